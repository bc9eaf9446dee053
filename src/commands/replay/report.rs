//! What a replay shows beside its verdicts: hosts, and the report as one HTML file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use btblocker_detectors::{Technique, Timestamp};

use crate::ban::{Element, Manager, Outcome};
use crate::capture::FrameBatch;
use crate::event::InfoHashes;
use crate::judge::{BanVerdict, FlowVerdict};
use crate::metrics::Counters;
use crate::overview::{Ban, History, Host, Hosts, Overview, TechniqueCounts, Totals, Treatment, report_page};

/// Hosts that are remembered, and hosts and bans that are shown, of one replay at most.
const REMEMBERED: usize = 1_024;
/// How a report begins.
const BEGIN: &[u8] = b"<!doctype html>";

/// Watches one replay.
pub(super) struct Watcher {
    hosts: Hosts,
    /// Only for a report: it looks at every frame.
    history: Option<History>,
    totals: Totals,
    /// Verdicts that no frame was recorded behind: when, and whether it is a ban.
    verdicts: VecDeque<(Timestamp, bool)>,
    bans: Vec<Ban>,
    time: Option<(Timestamp, Timestamp)>,
}

impl Watcher {
    /// For hosts only, or for a report.
    pub(super) fn new(for_report: bool) -> Self {
        Self {
            hosts: Hosts::new(REMEMBERED),
            history: for_report.then(History::whole),
            totals: Totals::default(),
            verdicts: VecDeque::new(),
            bans: Vec::new(),
            time: None,
        }
    }

    /// A flow is judged BitTorrent.
    pub(super) fn flow(&mut self, verdict: &FlowVerdict) {
        self.hosts.flow(verdict);
        self.verdicts.push_back((verdict.at, false));
    }

    /// A host was to be banned, at a time of the manager's clock.
    pub(super) fn ban(&mut self, verdict: &BanVerdict, outcome: Outcome, manager: &Manager, now: Duration) {
        self.hosts.ban(verdict, Treatment::Asked(outcome));
        if outcome == Outcome::Banned {
            self.verdicts.push_back((verdict.because.at, true));
            let element = manager.element_for(verdict.address);
            if self.bans.len() < REMEMBERED
                && let Some(record) = manager.record(element)
            {
                self.bans.push(Ban::new(element, record, now));
            }
        }
    }

    /// Records the frames of a batch whose verdicts were told.
    pub(super) fn frames(&mut self, batch: &FrameBatch) {
        let Some(history) = &mut self.history else {
            self.verdicts.clear();
            return;
        };
        for (meta, _) in batch.frames() {
            self.totals.packets += 1;
            self.totals.bytes += u64::from(meta.wire_len);
            count(&mut self.verdicts, &mut self.totals, meta.at);
            history.record(meta.at, self.totals, self.totals.bans);
            let (first, last) = self.time.unwrap_or((meta.at, meta.at));
            self.time = Some((first.min(meta.at), last.max(meta.at)));
        }
        if let Some((_, last)) = self.time {
            count(&mut self.verdicts, &mut self.totals, Timestamp(u64::MAX));
            history.record(last, self.totals, self.totals.bans);
        }
    }

    /// The hosts as they are shown.
    pub(super) fn hosts(
        &self,
        info_hashes: &InfoHashes,
        origin: impl Fn(u16) -> String,
        manager: &Manager,
    ) -> Vec<Host> {
        let is_banned = |address: IpAddr| manager.covering(Element::host(address)).is_some();
        self.hosts.view(REMEMBERED, info_hashes, origin, is_banned)
    }

    /// Everything that a report shows of this replay.
    pub(super) fn overview(
        self,
        source: String,
        counters: &Counters,
        flows: &[FlowVerdict],
        bans: &[BanVerdict],
        hosts: Vec<Host>,
        troubles: Vec<String>,
    ) -> Overview {
        let (first, last) = self.time.unwrap_or_default();
        let flows_by = |technique: Technique| {
            let of_it = flows.iter().filter(|flow| flow.evidence.technique == technique);
            of_it.count() as u64
        };
        let bans_by = |technique: Technique| {
            let of_it = bans
                .iter()
                .filter(|ban| ban.because.evidence.technique == technique);
            of_it.count() as u64
        };
        Overview {
            source,
            version: env!("VERSION_WITH_COMMIT").to_owned(),
            at: last.0 / 1_000,
            seconds: last.since(first) / 1_000_000,
            troubles,
            totals: Totals {
                flows: counters.flows_created,
                ..self.totals
            },
            techniques: TechniqueCounts::all(counters, flows_by, bans_by),
            hosts_known: self.hosts.len() as u64,
            hosts,
            bans: self.bans,
            step: self.history.as_ref().map_or(0, History::step),
            history: self.history.iter().flat_map(History::samples).copied().collect(),
            ..Overview::default()
        }
    }
}

/// Counts the verdicts up to a time.
fn count(verdicts: &mut VecDeque<(Timestamp, bool)>, totals: &mut Totals, until: Timestamp) {
    while let Some((at, is_ban)) = verdicts.front()
        && *at <= until
    {
        totals.bans += u64::from(*is_ban);
        totals.bittorrent += u64::from(!is_ban);
        verdicts.pop_front();
    }
}

/// Sees to it that a report does not overwrite what is no report: a capture whose name stands in the wrong place.
///
/// # Errors
/// When there is something else.
pub(super) fn check_place(path: &Path) -> anyhow::Result<()> {
    let Ok(file) = File::open(path) else {
        return Ok(());
    };
    let mut begin = Vec::new();
    let is_read = file.take(BEGIN.len() as u64).read_to_end(&mut begin).is_ok();
    anyhow::ensure!(
        is_read && (begin.is_empty() || begin == BEGIN),
        "--html {}: this is no earlier report and is not overwritten",
        path.display()
    );
    Ok(())
}

/// Writes the report.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, replays: &[Overview]) -> anyhow::Result<()> {
    let text = report_page(replays);
    std::fs::write(path, text).with_context(|| format!("cannot write the report {}", path.display()))
}
