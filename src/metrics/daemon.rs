//! Counters of the judge's thread and of the sinks, for whoever serves them.

use std::sync::atomic::{AtomicU64, Ordering};

use btblocker_detectors::Technique;

use super::TECHNIQUES;

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Counts one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    /// Shows a value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened behind the packet path.
#[derive(Debug, Default)]
pub struct DaemonCounters {
    /// Flows that were judged BitTorrent, by technique in the order of [`Technique::ALL`].
    pub verdicts: [Number; TECHNIQUES],
    /// New bans that the kernel has taken, by the technique that decided.
    pub bans: [Number; TECHNIQUES],
    /// Bans by command that the kernel has taken.
    pub bans_by_hand: Number,
    /// Bans whose time began anew because evidence went on.
    pub renewed: Number,
    /// Bans that were not made because the host is exempt.
    pub exempt: Number,
    /// Bans that were not made because `max_bans` hosts were banned, or the kernel's set was full.
    pub full: Number,
    /// Bans that were not made because of `max_bans_per_minute`.
    pub storm: Number,
    /// Bans that the kernel refused at first; it is asked again.
    pub refused: Number,
    /// Hosts that were not banned because their interface is only monitored; each once while its ban would last.
    pub monitored: Number,
    /// Bans that ended by their time.
    pub expired: Number,
    /// Bans that were lifted before their time.
    pub lifted: Number,
    /// Bans that the kernel has taken.
    pub active: Number,
    /// Bans whose latest change the kernel has not taken.
    pub waiting: Number,
    /// Times that the kernel refused changes.
    pub kernel_errors: Number,
    /// Bans that were missing in the kernel and were put back.
    pub restored: Number,
    /// Bans that had run out and were removed from XDP maps.
    pub swept: Number,
    /// Packets that the XDP program let pass.
    pub xdp_passed: Number,
    /// IPv4 packets that the XDP program dropped.
    pub xdp_dropped_v4: Number,
    /// IPv6 packets that the XDP program dropped.
    pub xdp_dropped_v6: Number,
    /// Bytes of packets that the XDP program dropped.
    pub xdp_dropped_bytes: Number,
    /// Hosts that the judge forgot before their time because its memory was full.
    pub hosts_displaced: Number,
    /// Flows with evidence, likewise.
    pub flows_displaced: Number,
    /// Endpoints that plaintext traffic has named, likewise.
    pub learned_displaced: Number,
    /// Reports that wait for the judge.
    pub reports_waiting: Number,
    /// Batches that wait for workers.
    pub batches_waiting: Number,
    /// Detections that were not written.
    pub detections_dropped: Number,
    /// Payloads that were not kept for the detection log.
    pub payloads_dropped: Number,
    /// Evidence files that were not written.
    pub evidence_files_dropped: Number,
    /// Packets that were not kept for evidence files.
    pub evidence_packets_dropped: Number,
    /// Notices that did not reach a program or web hook.
    pub notices_dropped: Number,
    /// Seconds from the start to the latest turn of the judge's thread.
    pub heartbeat: Number,
}

impl DaemonCounters {
    /// New bans of any origin.
    pub fn banned(&self) -> u64 {
        self.bans.iter().map(Number::get).sum::<u64>() + self.bans_by_hand.get()
    }
    /// Counts for one technique.
    pub fn by(numbers: &[Number; TECHNIQUES], technique: Technique) {
        if let Some(number) = numbers.get(technique as usize) {
            number.count();
        }
    }
}
