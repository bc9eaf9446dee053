//! Evidence files of the recordings in `tests/cases`: for each ban one, which `btblocker replay` judges alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use btblocker::ban::Element;
use btblocker::capture::{FileSource, FrameBatch};
use btblocker::event::packets;
use btblocker::flow::FlowHasher;
use btblocker::judge::{Addresses, BanVerdict, Judge, Policy, Verdict};
use btblocker::network::Ingress;
use btblocker::pipeline::{Inspection, Published, Settings};
use btblocker::sink::{EvidenceFiles, EvidenceOptions, Exhibit};
use serde_json::Value;

struct Local(Vec<Element>);

impl Addresses for Local {
    fn is_local(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

/// Judges a recording as the daemon does; the bans, for each of which a file was written.
fn bans(case: &Path, evidence: &Path) -> Vec<BanVerdict> {
    let expectation: toml::Value =
        toml::from_str(&fs::read_to_string(case.join("expect.toml")).unwrap()).unwrap();
    let networks = expectation["local_networks"].as_array().unwrap().iter();
    let local = Local(
        networks
            .map(|text| text.as_str().unwrap().parse().unwrap())
            .collect(),
    );
    let (sender, mut packets) = packets(1_024);
    let settings = Settings {
        hasher: FlowHasher::seeded(0),
        packets: Some(sender),
        ..Settings::new(NonZeroU32::new(4_096).unwrap())
    };
    let mut inspection = Inspection::new(&settings, Published::new(Ingress::default()).reader());
    let mut judge = Judge::new(Policy::default());
    let files = EvidenceFiles::start(EvidenceOptions {
        folder: evidence.to_owned(),
        max_size: 128 * 1024,
        keep: 500,
    })
    .unwrap();
    let mut source = FileSource::open(&case.join("input.pcap"), 0).unwrap();
    let (mut batch, mut verdicts, mut bans) = (FrameBatch::new(), Vec::new(), Vec::<BanVerdict>::new());
    while source.fill(&mut batch).unwrap() {
        inspection.batch(&batch, &mut |report| {
            packets.hear();
            judge.hear(&report, &local, &mut verdicts);
            for verdict in verdicts.drain(..) {
                if let Verdict::Ban(ban) = verdict
                    && bans.iter().all(|before| before.address != ban.address)
                {
                    let exhibit = Exhibit {
                        at: ban.because.at,
                        host: ban.address,
                        reason: &ban.reason(),
                        interface: "wg0",
                    };
                    files.write(&exhibit, packets.of(ban.address, &ban.because.flow));
                    bans.push(ban);
                }
            }
        });
    }
    assert_eq!((files.dropped(), packets.dropped()), (0, 0));
    files.finish();
    bans
}

#[test]
fn a_replay_of_an_evidence_file_gives_the_same_ban() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::<PathBuf, Vec<(String, String)>>::new();
    for entry in fs::read_dir(root).unwrap() {
        let case = entry.unwrap().path();
        let evidence = folder.path().join(case.file_name().unwrap());
        let bans = bans(&case, &evidence);
        let files = fs::read_dir(&evidence).map_or(0, Iterator::count);
        assert_eq!(files, bans.len(), "{}", case.display());
        for ban in bans {
            let host = ban.address.to_string();
            let suffix = format!("-{}.pcapng", host.replace(':', "_"));
            let file = fs::read_dir(&evidence)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.to_str().unwrap().ends_with(&suffix));
            let file = file.unwrap_or_else(|| panic!("{host} has no file"));
            expected.entry(file).or_default().push((host, ban.reason()));
        }
    }
    assert!(expected.len() >= 30, "{} files", expected.len());
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args(["replay", "--format", "json"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut given = BTreeMap::<PathBuf, Vec<(String, String)>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["event"] == "ban" {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            let ban = (text("address"), text("reason"));
            given.entry(text("file").into()).or_default().push(ban);
        }
    }
    let missing: Vec<_> = expected
        .iter()
        .flat_map(|(file, bans)| bans.iter().map(move |ban| (file, ban)))
        .filter(|(file, ban)| !given.get(*file).is_some_and(|bans| bans.contains(ban)))
        .map(|(file, ban)| format!("{}: {ban:?}, but {:?}", file.display(), given.get(file)))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let sizes = expected.keys().map(|file| fs::metadata(file).unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    println!(
        "{} files of {} to {} bytes, {} in all",
        sizes.len(),
        sizes.iter().min().unwrap(),
        sizes.iter().max().unwrap(),
        sizes.iter().sum::<u64>()
    );
}
