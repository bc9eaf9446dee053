//! What was seen and done so far, for those who look: web page and `top`.

use btblocker_detectors::{Technique, Timestamp};

use super::Daemon;
use super::capture::{Captures, InterfaceState};
use crate::ban::Element;
use crate::metrics::{Counters, DaemonCounters, Number};
use crate::overview::{Ban, History, Hosts, Interface, Loss, Overview, SHOWN, TechniqueCounts, Totals};
use crate::state::wall_clock;

/// Hosts that are remembered at most, some 500 bytes each.
const HOSTS: usize = 1_024;

/// What is remembered for it.
pub(super) struct Seen {
    pub(super) hosts: Hosts,
    history: History,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            hosts: Hosts::new(HOSTS),
            history: History::recent(),
        }
    }
}

impl Daemon {
    /// Takes the numbers of this moment into the history.
    pub(super) fn record(&mut self, captures: &Captures) {
        let interfaces: Vec<InterfaceState> = captures.states().collect();
        let totals = self.totals(&self.board.total(), &interfaces);
        let active = self.in_force() as u64;
        self.seen.history.record(wall_clock(), totals, active);
    }

    fn totals(&self, packets: &Counters, interfaces: &[InterfaceState]) -> Totals {
        let counts = self.tell.counts();
        let dropped = |interface: &InterfaceState| interface.stats.dropped + interface.stats.if_dropped;
        Totals {
            packets: packets.frames,
            bytes: packets.bytes,
            flows: packets.flows_created,
            bittorrent: counts.verdicts.iter().map(Number::get).sum(),
            bans: counts.banned(),
            lost: interfaces.iter().map(dropped).sum::<u64>()
                + packets.queue_dropped_frames
                + packets.batch_missing_frames,
        }
    }

    /// Everything that is shown.
    pub(super) fn overview(&mut self, captures: &Captures) -> Overview {
        self.record(captures);
        let (troubles, backend) = (self.troubles(), self.manager.backend().name());
        let now = self.start.elapsed();
        let interfaces: Vec<InterfaceState> = captures.states().collect();
        let packets = self.board.total();
        let counts = self.tell.counts();
        let by =
            |numbers: &[Number], technique: Technique| numbers.get(technique as usize).map_or(0, Number::get);
        let holds = |element: &Element| !self.manager.is_waiting(*element);
        let is_banned = |address| {
            self.manager
                .covering(Element::host(address))
                .is_some_and(|element| holds(&element))
        };
        let origin = |number| self.tell.interface(number).to_string();
        let Timestamp(micros) = wall_clock();
        Overview {
            source: self.interfaces.join(", "),
            version: env!("VERSION_WITH_COMMIT").to_owned(),
            at: micros / 1_000,
            seconds: now.as_secs(),
            totals: self.totals(&packets, &interfaces),
            active_bans: self.in_force() as u64,
            losses: self.losses(&packets, &interfaces, counts),
            techniques: TechniqueCounts::all(
                &packets,
                |technique| by(&counts.verdicts, technique),
                |technique| by(&counts.bans, technique),
            ),
            hosts: self
                .seen
                .hosts
                .view(SHOWN, self.tell.info_hashes(), origin, is_banned),
            hosts_known: self.seen.hosts.len() as u64,
            bans: Ban::newest(self.manager.active().filter(|(element, _)| holds(element)), now),
            step: self.seen.history.step(),
            history: self.seen.history.samples().copied().collect(),
            interfaces: interfaces
                .into_iter()
                .map(|interface| Interface {
                    name: interface.name,
                    state: interface.state,
                    received: interface.stats.received,
                    dropped: interface.stats.dropped,
                    if_dropped: interface.stats.if_dropped,
                })
                .collect(),
            troubles,
            backend: backend.to_owned(),
        }
    }

    fn troubles(&mut self) -> Vec<String> {
        let mut troubles = Vec::new();
        if let Some(why) = &self.refused {
            troubles.push(format!("The kernel refuses changes of the bans: {why}"));
        }
        if self.manager.is_storm(self.start.elapsed()) {
            troubles.push(format!(
                "More than {} hosts were to be banned within a minute (max_bans_per_minute): further ones are only \
                 reported.",
                self.config.max_bans_per_minute
            ));
        }
        if self.config.monitor_only {
            troubles.push("Nobody is really banned: monitor_only is set.".to_owned());
        }
        troubles
    }

    fn losses(
        &self,
        packets: &Counters,
        interfaces: &[InterfaceState],
        counts: &DaemonCounters,
    ) -> Vec<Loss> {
        let kernel = interfaces.iter().map(|interface| interface.stats.dropped).sum();
        let interface = interfaces
            .iter()
            .map(|interface| interface.stats.if_dropped)
            .sum();
        let losses = [
            ("packets: the kernel's ring was full", kernel),
            ("packets: dropped by an interface", interface),
            ("packets: a worker's queue was full", packets.queue_dropped_frames),
            ("packets: no buffer was free", packets.batch_missing_frames),
            ("packets: the flow table had no room", packets.flow_missing),
            ("flows: evicted from the full table", packets.flows_evicted),
            ("streams: no buffer was free", packets.buffers_missing),
            ("evidence: too much in one packet", packets.findings_overflow),
            ("evidence: the judge's queue was full", packets.reports_dropped),
            (
                "judge: hosts forgotten early, no room",
                counts.hosts_displaced.get(),
            ),
            (
                "judge: flows forgotten early, no room",
                counts.flows_displaced.get(),
            ),
            (
                "judge: named peers forgotten early, no room",
                counts.learned_displaced.get(),
            ),
            ("bans: refused because of max_bans", counts.full.get()),
            (
                "bans: only reported because of max_bans_per_minute",
                counts.storm.get(),
            ),
            (
                "bans: times that the kernel refused changes",
                counts.kernel_errors.get(),
            ),
            ("detection log: detections", counts.detections_dropped.get()),
            ("detection log: payloads", counts.payloads_dropped.get()),
            ("evidence files: files", counts.evidence_files_dropped.get()),
            ("evidence files: packets", counts.evidence_packets_dropped.get()),
            ("notices", counts.notices_dropped.get()),
            (
                "this view: hosts that gave way to others",
                self.seen.hosts.forgotten(),
            ),
        ];
        losses
            .into_iter()
            .map(|(place, count)| Loss {
                place: place.to_owned(),
                count,
            })
            .collect()
    }
}
