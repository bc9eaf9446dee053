//! The live path on capture files: what came of them.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::merge::Merged;
use super::report::Watcher;
use super::{label, origin};
use crate::backend::DryRun;
use crate::ban::{Exemptions, Manager, Outcome};
use crate::capture::{FileError, FrameBatch};
use crate::config::Config;
use crate::event::{self, InfoHashes};
use crate::flow::FlowHasher;
use crate::judge::{Addresses, BanVerdict, FlowVerdict, Judge, Report, Verdict};
use crate::metrics::Counters;
use crate::network::Ingress;
use crate::overview::{Host, Overview};
use crate::pipeline::{Inspection, Published, Settings};

/// What the judge may know when there are only files: what the operator wrote.
struct Written<'a> {
    config: &'a Config,
    exemptions: &'a Exemptions,
}

impl Addresses for Written<'_> {
    fn is_local(&self, address: IpAddr) -> bool {
        self.config
            .local_networks
            .iter()
            .any(|network| network.contains(address))
    }
    fn may_be_banned(&self, address: IpAddr) -> bool {
        self.exemptions.of(address).is_none()
    }
}

/// What came of one file, or of several that were merged.
pub(super) struct Outcomes {
    pub(super) flows: Vec<FlowVerdict>,
    pub(super) bans: Vec<BanVerdict>,
    pub(super) counters: Counters,
    pub(super) hosts: Vec<Host>,
    watcher: Watcher,
    /// Why files could not be read to their end.
    pub(super) damage: Vec<FileError>,
}

impl Outcomes {
    /// The same for a report.
    pub(super) fn overview(self, source: String, troubles: Vec<String>) -> Overview {
        let Self {
            flows,
            bans,
            counters,
            hosts,
            watcher,
            ..
        } = self;
        watcher.overview(source, &counters, &flows, &bans, hosts, troubles)
    }
}

/// Judges files from an empty state, in packet time.
pub(super) fn judge_files(
    config: &Config,
    files: &[PathBuf],
    source: &mut Merged,
    for_report: bool,
) -> Outcomes {
    let exemptions = config.allowed();
    let mut manager = Manager::new(
        Box::new(DryRun::default()),
        exemptions.clone(),
        config.ban_policy(),
    );
    let addresses = Written {
        config,
        exemptions: &exemptions,
    };
    let mut judge = Judge::new(config.policy());
    let settings = Settings {
        options: config.inspector_options(),
        hasher: FlowHasher::seeded(0),
        ..Settings::new(config.flows_per_worker(1))
    };
    // A file does not say which addresses belong where, so every source is plausible.
    let anywhere = Published::new(Ingress::default());
    let mut inspection = Inspection::new(&settings, anywhere.reader());
    let mut batch = FrameBatch::new();
    let progress = progress_bar(&label(files), source.bytes_total());
    let (mut flows, mut bans, mut verdicts, mut first) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut watcher = Watcher::new(for_report);
    while source.fill(&mut batch) {
        inspection.batch(&batch, &mut |report| {
            if let Report::Sighting(sighting) = &report {
                log::debug!("{}: {sighting}", origin(files, sighting.interface));
            }
            judge.hear(&report, &addresses, &mut verdicts);
        });
        for verdict in verdicts.drain(..) {
            match verdict {
                Verdict::Flow(verdict) => {
                    watcher.flow(&verdict);
                    flows.push(verdict);
                }
                Verdict::Ban(verdict) => {
                    let start = *first.get_or_insert(verdict.because.at);
                    let now = Duration::from_micros(verdict.because.at.since(start));
                    let reason = || event::reason(&verdict);
                    let outcome = manager.ban(verdict.address, now, verdict.because.at, reason);
                    watcher.ban(&verdict, outcome, &manager, now);
                    if outcome == Outcome::Banned {
                        bans.push(verdict);
                    }
                }
            }
        }
        watcher.frames(&batch);
        if let Some(bytes) = source.bytes_read() {
            progress.set_position(bytes);
        }
    }
    progress.finish_and_clear();
    Outcomes {
        flows,
        bans,
        counters: inspection.counters().clone(),
        hosts: watcher.hosts(
            &InfoHashes::new(config.info_hash),
            |number| origin(files, number),
            &manager,
        ),
        watcher,
        damage: std::mem::take(&mut source.damage),
    }
}

/// A bar on a terminal, for files whose size is known; otherwise nothing.
fn progress_bar(label: &str, total: Option<u64>) -> ProgressBar {
    let Some(total) = total.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(label.to_owned());
    bar
}
