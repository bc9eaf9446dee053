//! Judges a capture file as the daemon judges an interface: frames, packets, flows, evidence, verdicts.
//!
//! Usage: `cargo run --example judge_capture -- CAPTURE.pcap`

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use btblocker::capture::{FileError, FileSource, FrameBatch};
use btblocker::judge::{Addresses, Judge, Policy, Verdict};
use btblocker::network::{Ingress, Network};
use btblocker::pipeline::{Inspection, Published, Settings};

/// What the judge is told of addresses.
struct Campus;

impl Addresses for Campus {
    /// Hosts that we answer for: private IPv4 addresses.
    fn is_local(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.is_private())
    }
    /// Everybody but this machine itself.
    fn may_be_banned(&self, address: IpAddr) -> bool {
        !address.is_loopback()
    }
}

/// Every verdict on a capture, in the order of its packets.
fn judge(capture: &Path) -> Result<Vec<Verdict>, FileError> {
    let mut source = FileSource::open(capture, 0)?;
    let settings = Settings::new(NonZeroU32::MIN.saturating_add(65_535));
    // A file does not say which addresses belong where, so every source is plausible.
    let anywhere = Published::new(Ingress::new(&Network::default(), &[] as &[&str]));
    let mut inspection = Inspection::new(&settings, anywhere.reader());
    let mut judge = Judge::new(Policy::default());
    let (mut batch, mut verdicts) = (FrameBatch::new(), Vec::new());
    while source.fill(&mut batch)? {
        inspection.batch(&batch, &mut |report| judge.hear(&report, &Campus, &mut verdicts));
    }
    Ok(verdicts)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let capture = std::env::args_os().nth(1).map(PathBuf::from);
    let capture = capture.ok_or("usage: judge_capture CAPTURE.pcap")?;
    for verdict in judge(&capture)? {
        match verdict {
            Verdict::Flow(flow) => println!("BitTorrent: {}, {}", flow.flow, flow.corroboration),
            Verdict::Ban(ban) => println!("ban {}: {}", ban.address, ban.reason()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(case: &str) -> usize {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let verdicts = judge(&cases.join(case).join("input.pcap"));
        let bans = verdicts
            .iter()
            .flatten()
            .filter(|verdict| matches!(verdict, Verdict::Ban(_)));
        bans.count()
    }

    #[test]
    fn a_torrent_leads_to_bans_and_a_web_site_does_not() {
        assert!(bans("bt-libtorrent-plain-v4") > 0);
        assert_eq!(bans("honest-tls-443"), 0);
    }
}
