//! Who is told what: every verdict and every end of a ban passes here on its way to the sinks.

use std::sync::Arc;

use btblocker_detectors::Timestamp;
use log::{debug, info, warn};

use super::decided::{Decision, Fate};
use crate::backend::BackendKind;
use crate::ban::{Element, Outcome};
use crate::config::Config;
use crate::event::{self, InfoHashes, PacketSender, Packets, SampleSender, Samples, packets, samples};
use crate::judge::{BanVerdict, FlowVerdict};
use crate::metrics::DaemonCounters;
use crate::sink::{Detection, DetectionLog, EvidenceFiles, Exhibit, Notice, Notifier};
use crate::state::wall_clock;

/// Buffers for the beginnings of payloads, 600 bytes each. Half of them wait for verdicts at most.
const SAMPLES: usize = 2_048;
/// Chunks of packets for evidence files, 10 KiB each. Half of them wait for bans at most.
const CHUNKS: usize = 1_024;

/// Where the packet path sends what sinks want beside reports.
pub(super) struct Taps {
    pub(super) samples: Option<SampleSender>,
    pub(super) packets: Option<PacketSender>,
}

/// What bans are called.
struct Words {
    /// Events in notices.
    ban: &'static str,
    unban: &'static str,
    /// Said behind the name of a host that is banned.
    behind: &'static str,
}

const IN_THE_KERNEL: Words = Words {
    ban: "ban",
    unban: "unban",
    behind: "",
};
const ON_PAPER: Words = Words {
    ban: "would-ban",
    unban: "would-unban",
    behind: " on paper only",
};

/// The sinks of the judge's thread.
pub(super) struct Tell {
    interfaces: Vec<Arc<str>>,
    max_bans: usize,
    words: &'static Words,
    info_hashes: InfoHashes,
    counts: Arc<DaemonCounters>,
    detections: Option<(DetectionLog, Samples)>,
    evidence: Option<(EvidenceFiles, Packets)>,
    notifier: Notifier,
}

impl Tell {
    /// Starts the sinks that the configuration asks for, and says where the packet path sends what they want.
    pub(super) fn start(config: &Config, interfaces: &[String]) -> anyhow::Result<(Self, Taps)> {
        let mut taps = Taps {
            samples: None,
            packets: None,
        };
        let (mut detections, mut evidence) = (None, None);
        if let Some(options) = config.detection_log() {
            let (send, samples) = samples(SAMPLES);
            let log = DetectionLog::start(options, samples.home())?;
            (detections, taps.samples) = (Some((log, samples)), Some(send));
        }
        if let Some(options) = config.evidence() {
            let (send, packets) = packets(CHUNKS);
            let files = EvidenceFiles::start(options)?;
            (evidence, taps.packets) = (Some((files, packets)), Some(send));
        }
        let tell = Self {
            interfaces: interfaces.iter().map(|name| name.as_str().into()).collect(),
            max_bans: config.max_bans,
            words: match config.holder() {
                BackendKind::DryRun => &ON_PAPER,
                BackendKind::Ipset | BackendKind::Nftables | BackendKind::Xdp => &IN_THE_KERNEL,
            },
            info_hashes: InfoHashes::new(config.info_hash),
            counts: Arc::default(),
            detections,
            evidence,
            notifier: Notifier::start(config.programs(), config.webhook())?,
        };
        Ok((tell, taps))
    }

    /// How info-hashes are shown.
    pub(super) const fn info_hashes(&self) -> &InfoHashes {
        &self.info_hashes
    }

    /// What is said behind "banned".
    pub(super) const fn behind(&self) -> &'static str {
        self.words.behind
    }

    /// Name of an interface by its number.
    pub(super) fn interface(&self, number: u16) -> Arc<str> {
        let name = self.interfaces.get(usize::from(number));
        name.map_or_else(|| "?".into(), Arc::clone)
    }

    /// To be called before each report is judged.
    pub(super) fn before_report(&mut self) {
        if let Some((_, samples)) = &mut self.detections {
            samples.hear();
        }
        if let Some((_, packets)) = &mut self.evidence {
            packets.hear();
        }
    }

    /// A flow is judged BitTorrent.
    pub(super) fn flow(&mut self, verdict: &FlowVerdict) {
        DaemonCounters::by(&self.counts.verdicts, verdict.evidence.technique);
        if !verdict.reported {
            return;
        }
        let interface = self.interface(verdict.interface);
        debug!(interface = &*interface; "{}", event::flow(("interface", &interface), verdict, &self.info_hashes));
        if let Some((log, samples)) = &mut self.detections {
            log.write(Detection {
                verdict: *verdict,
                interface,
                sample: samples.take(&verdict.flow),
            });
        }
    }

    /// A host is to be banned, as `element` or a part of it, and what the ban manager makes of it. A new ban is
    /// told when the kernel has taken it.
    pub(super) fn asked(&mut self, ban: &BanVerdict, element: Element, outcome: &Outcome) {
        let interface = self.interface(ban.because.interface);
        let (interface, host) = (&*interface, element.to_string());
        let host = host.as_str();
        match outcome {
            // Now the packets are still there, whenever the kernel takes the ban.
            Outcome::Banned => self.write_evidence(ban),
            Outcome::Cached => {}
            Outcome::Renewed => debug!(interface, host; "renewed {host}: {}", ban.reason()),
            Outcome::Exempt(why) => debug!(interface, host; "{host} is exempt ({})", why.name()),
            // Many hosts may be refused: one line for all, now and then.
            Outcome::Full => warn!(interface, host, trouble = "max_bans";
                "{host} not banned: {} hosts are banned already (max_bans)", self.max_bans),
            Outcome::Storm => debug!(interface, host; "{host} only reported: {}", ban.reason()),
        }
    }

    /// A host would be banned, if its interface were not only monitored.
    pub(super) fn monitored(&self, ban: &BanVerdict, element: Element) {
        self.counts.monitored.count();
        self.write_evidence(ban);
        let interface = self.interface(ban.because.interface);
        let (interface, host) = (&*interface, element.to_string());
        let host = host.as_str();
        info!(interface, host; "{host} would be banned: {} (monitor_only)", ban.reason());
    }

    /// What the kernel made of a decision.
    pub(super) fn settled(&self, element: Element, decision: &Decision, fate: Fate) {
        let host = element.to_string();
        let host = host.as_str();
        match (fate, decision) {
            (Fate::Taken, Decision::Ban(ban)) => self.banned(host, ban),
            (Fate::Taken, Decision::BanByHand) => {
                self.counts.bans_by_hand.count();
                info!(host; "banned {host}{}: by command", self.words.behind);
                self.without_packet(self.words.ban, host, "by command");
            }
            (Fate::Taken, Decision::Unban) => self.unbanned(host, "by command"),
            (Fate::Taken, Decision::Exempt) => self.unbanned(host, "it is never banned any more"),
            (Fate::Taken, Decision::Stop) => self.unbanned(host, "btblocker stops (cleanup_on_stop)"),
            (Fate::Refused, _) if decision.bans() => {
                self.counts.refused.count();
                warn!(host, trouble = "kernel"; "{host} not banned yet: the kernel does not take the ban; trying again");
            }
            (Fate::Refused, _) => warn!(host, trouble = "kernel";
                "{host} still banned: the kernel does not take the end of the ban; trying again"),
            (Fate::GivenUp, _) => warn!(host, trouble = "full";
                "{host} not banned: the kernel's set is full"),
        }
    }

    fn banned(&self, host: &str, ban: &BanVerdict) {
        let because = &ban.because;
        let interface = &*self.interface(because.interface);
        DaemonCounters::by(&self.counts.bans, because.evidence.technique);
        let technique = because.evidence.technique.name();
        let client = event::client_name(&ban.client());
        self.notify(Notice {
            event: self.words.ban,
            time: event::rfc3339(because.at),
            address: host.to_owned(),
            interface: interface.to_owned(),
            technique: technique.to_owned(),
            client: client.clone().unwrap_or_default(),
            reason: ban.reason(),
        });
        let client = client.map_or_else(String::new, |name| format!(" [{name}]"));
        info!(interface, host, technique;
            "banned {host}{}: {}{client}, {} after the packet", self.words.behind, ban.reason(), age(because.at));
    }

    /// Writes the packets that led to a ban.
    fn write_evidence(&self, ban: &BanVerdict) {
        if let Some((files, packets)) = &self.evidence {
            let exhibit = Exhibit {
                at: ban.because.at,
                host: ban.address,
                reason: &ban.reason(),
                interface: &self.interface(ban.because.interface),
            };
            files.write(&exhibit, packets.of(ban.address, &ban.because.flow));
        }
    }

    /// Takes over another configuration; opens the detection log by its name again in any case.
    pub(super) fn reload(&mut self, config: &Config) {
        self.info_hashes = InfoHashes::new(config.info_hash);
        if let (Some((log, _)), Some(options)) = (&self.detections, config.detection_log())
            && !log.reopen(options)
        {
            warn!("the detection log has too much to write to be opened anew; ask again");
        }
    }

    /// The time of a ban is over.
    pub(super) fn expired(&self, element: Element) {
        self.unbanned(&element.to_string(), "the time is over");
    }

    fn unbanned(&self, host: &str, why: &str) {
        info!(host; "unbanned {host}: {why}");
        self.without_packet(self.words.unban, host, why);
    }

    /// Notifies of a ban or its end that no packet led to.
    fn without_packet(&self, event: &'static str, host: &str, why: &str) {
        self.notify(Notice {
            event,
            time: event::rfc3339(wall_clock()),
            address: host.to_owned(),
            reason: why.to_owned(),
            ..Notice::default()
        });
    }

    fn notify(&self, notice: Notice) {
        if self.notifier.is_wanted() {
            self.notifier.tell(&notice);
        }
    }

    /// Counters of what is told, for whoever serves them.
    pub(super) fn counts(&self) -> &Arc<DaemonCounters> {
        &self.counts
    }

    /// To be called now and then: shows the counters of the sinks.
    pub(super) fn turn(&mut self) -> &DaemonCounters {
        self.counts.notices_dropped.set(self.notifier.dropped());
        if let Some((log, samples)) = &self.detections {
            self.counts.detections_dropped.set(log.dropped());
            self.counts.payloads_dropped.set(samples.dropped());
        }
        if let Some((files, packets)) = &self.evidence {
            self.counts.evidence_files_dropped.set(files.dropped());
            self.counts.evidence_packets_dropped.set(packets.dropped());
        }
        &self.counts
    }

    /// Writes what waits. To be called after the packet path has ended.
    pub(super) fn finish(self) {
        self.notifier.finish();
        if let Some((files, packets)) = self.evidence {
            let (missing, bare) = (files.dropped(), packets.dropped());
            files.finish();
            if missing > 0 || bare > 0 {
                warn!("evidence: {missing} files were not written, {bare} packets not kept");
            }
        }
        if let Some((log, samples)) = self.detections {
            let (missing, bare) = (log.dropped(), samples.dropped());
            log.finish();
            if missing > 0 || bare > 0 {
                warn!("detection log: {missing} detections were not written, {bare} payloads not kept");
            }
        }
    }
}

/// Time since a packet was captured, for the log.
fn age(at: Timestamp) -> String {
    format!("{:.1} ms", wall_clock().since(at) as f64 / 1_000.0)
}
