//! The text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and btblocker's metrics in it.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::{BATCH_MICROS, Counters, DaemonCounters, Number};
use crate::capture::KernelStats;
use crate::packet::Skip;
use btblocker_detectors::{Confidence, Technique};

/// What `Content-Type` says of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is shown, at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Name of the backend that holds the bans.
    pub backend: &'a str,
    /// When the program was started, in seconds since 1970.
    pub started: u64,
    /// The sum over the threads of the packet path.
    pub packets: Counters,
    /// Behind the packet path.
    pub daemon: &'a DaemonCounters,
    /// The kernel's counters by interface.
    pub interfaces: &'a [(String, KernelStats)],
}

/// A metric family: its samples have its name.
struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A sample with labels, whose values may be any text.
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str("btblocker_");
        self.text.push_str(self.name);
        for (number, (label, value)) in labels.iter().enumerate() {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let before = if number == 0 { '{' } else { ',' };
            // Writing to a string does not fail.
            let _ = write!(self.text, "{before}{label}=\"{value}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
        self
    }
}

fn family<'t>(text: &'t mut String, kind: &str, name: &'static str, help: &str) -> Family<'t> {
    let _ = write!(
        text,
        "# HELP btblocker_{name} {help}\n# TYPE btblocker_{name} {kind}\n"
    );
    Family { text, name }
}

/// The metrics as text.
pub fn exposition(now: &Snapshot<'_>) -> String {
    let mut text = String::with_capacity(16 * 1024);
    program(&mut text, now);
    packets(&mut text, &now.packets);
    batches(&mut text, &now.packets);
    interfaces(&mut text, now.interfaces);
    recognised(&mut text, now);
    bans(&mut text, now.daemon);
    queues(&mut text, now);
    if now.backend == "xdp" {
        xdp(&mut text, now.daemon);
    }
    text
}

fn program(text: &mut String, now: &Snapshot<'_>) {
    family(
        text,
        "gauge",
        "build_info",
        "Version of the program and backend that holds the bans.",
    )
    .sample(&[("version", now.version), ("backend", now.backend)], 1);
    let help = "When the program was started, since 1970.";
    family(text, "gauge", "start_time_seconds", help).sample(&[], now.started);
}

fn packets(text: &mut String, packets: &Counters) {
    family(
        text,
        "counter",
        "packets_total",
        "Frames that reached the recognition.",
    )
    .sample(&[], packets.frames);
    family(
        text,
        "counter",
        "bytes_total",
        "Bytes of these frames on the wire.",
    )
    .sample(&[], packets.bytes);
    let mut skipped = family(
        text,
        "counter",
        "skipped_total",
        "Frames that hold nothing to look at, by reason.",
    );
    for (reason, count) in Skip::ALL.iter().zip(packets.skipped) {
        skipped.sample(&[("reason", reason.name())], count);
    }
    let help = "Packets by what the recognition did with them.";
    family(text, "counter", "inspections_total", help)
        .sample(&[("outcome", "inspected")], packets.inspected)
        .sample(&[("outcome", "empty")], packets.empty)
        .sample(&[("outcome", "settled")], packets.settled)
        .sample(&[("outcome", "martian")], packets.martian)
        .sample(&[("outcome", "untracked")], packets.flow_missing);
    family(text, "counter", "flows_total", "Flows by what happened to them.")
        .sample(&[("event", "created")], packets.flows_created)
        .sample(&[("event", "expired")], packets.flows_expired)
        .sample(&[("event", "evicted")], packets.flows_evicted)
        .sample(&[("event", "reused")], packets.flows_reused);
    family(text, "gauge", "flows_active", "Flows that are tracked.").sample(&[], packets.flows_active);
    let help = "Flows that were read without a stream buffer because none was free.";
    family(text, "counter", "stream_buffers_missing_total", help).sample(&[], packets.buffers_missing);
    let help = "Datagrams that were put together from fragments.";
    family(text, "counter", "reassembled_total", help).sample(&[], packets.reassembled);
}

/// Classes of a histogram are cumulative, the last one without an end.
fn batches(text: &mut String, packets: &Counters) {
    let help = "Time that looking at a batch of frames took, from its first frame on.";
    let mut histogram = family(text, "histogram", "batch_seconds", help);
    let ends = BATCH_MICROS.map(|micros| (f64::from(micros) / 1e6).to_string());
    let ends = ends.iter().map(String::as_str).chain(["+Inf"]);
    let mut below = 0;
    histogram.name = "batch_seconds_bucket";
    for (end, count) in ends.zip(packets.batches) {
        below += count;
        histogram.sample(&[("le", end)], below);
    }
    histogram.name = "batch_seconds_sum";
    histogram.sample(&[], Duration::from_nanos(packets.batch_nanos).as_secs_f64());
    histogram.name = "batch_seconds_count";
    histogram.sample(&[], below);
}

fn interfaces(text: &mut String, interfaces: &[(String, KernelStats)]) {
    let help = "Frames that the kernel captured on an interface, dropped ones included.";
    let mut received = family(text, "counter", "interface_received_total", help);
    for (name, stats) in interfaces {
        received.sample(&[("interface", name)], stats.received);
    }
    let help = "Frames of an interface that were lost before btblocker saw them, by place.";
    let mut dropped = family(text, "counter", "interface_dropped_total", help);
    for (name, stats) in interfaces {
        dropped
            .sample(&[("interface", name), ("place", "kernel")], stats.dropped)
            .sample(&[("interface", name), ("place", "interface")], stats.if_dropped);
    }
    let help = "Frames of settled flows that ended in the kernel (early_exit); nothing else counts them.";
    let mut left_out = family(text, "counter", "interface_left_out_total", help);
    for (name, stats) in interfaces {
        left_out.sample(&[("interface", name)], stats.left_out);
    }
    let help = "Bytes of these frames.";
    let mut bytes = family(text, "counter", "interface_left_out_bytes_total", help);
    for (name, stats) in interfaces {
        bytes.sample(&[("interface", name)], stats.left_out_bytes);
    }
}

fn recognised(text: &mut String, now: &Snapshot<'_>) {
    let help = "Pieces of evidence by technique and confidence.";
    let mut evidence = family(text, "counter", "evidence_total", help);
    for technique in Technique::ALL {
        for confidence in [Confidence::Weak, Confidence::Strong, Confidence::Conclusive] {
            let labels = [("technique", technique.name()), ("confidence", confidence.name())];
            evidence.sample(&labels, now.packets.evidence(*technique, confidence));
        }
    }
    let help = "Endpoints that plaintext traffic has named.";
    family(text, "counter", "learned_peers_total", help).sample(&[], now.packets.learned);
    let help =
        "Entries that the judge forgot before their time because there was no room for more, by table.";
    family(text, "counter", "judge_displaced_total", help)
        .sample(&[("table", "hosts")], now.daemon.hosts_displaced.get())
        .sample(&[("table", "flows")], now.daemon.flows_displaced.get())
        .sample(&[("table", "learned-peers")], now.daemon.learned_displaced.get());
    let help = "Flows that were judged BitTorrent, by technique.";
    by_technique(
        &mut family(text, "counter", "verdicts_total", help),
        &now.daemon.verdicts,
    );
}

fn by_technique(family: &mut Family<'_>, numbers: &[Number]) {
    for (technique, number) in Technique::ALL.iter().zip(numbers) {
        family.sample(&[("technique", technique.name())], number.get());
    }
}

fn bans(text: &mut String, daemon: &DaemonCounters) {
    let help = "New bans that the kernel has taken, by the technique that decided.";
    let mut bans = family(text, "counter", "bans_total", help);
    by_technique(&mut bans, &daemon.bans);
    bans.sample(&[("technique", "by-hand")], daemon.bans_by_hand.get());
    let help = "Bans whose time began anew because evidence went on.";
    family(text, "counter", "bans_renewed_total", help).sample(&[], daemon.renewed.get());
    family(
        text,
        "counter",
        "bans_refused_total",
        "Bans that were not made, by reason; after kernel, it is asked again.",
    )
    .sample(&[("reason", "exempt")], daemon.exempt.get())
    .sample(&[("reason", "full")], daemon.full.get())
    .sample(&[("reason", "storm")], daemon.storm.get())
    .sample(&[("reason", "monitored")], daemon.monitored.get())
    .sample(&[("reason", "kernel")], daemon.refused.get());
    family(text, "counter", "unbans_total", "Bans that ended, by reason.")
        .sample(&[("reason", "expired")], daemon.expired.get())
        .sample(&[("reason", "lifted")], daemon.lifted.get());
    family(text, "gauge", "bans_active", "Bans in force.").sample(&[], daemon.active.get());
    let help = "Bans that the kernel has not taken yet, or not anew.";
    family(text, "gauge", "bans_waiting", help).sample(&[], daemon.waiting.get());
    let help = "Times that the kernel refused changes of its set.";
    family(text, "counter", "kernel_errors_total", help).sample(&[], daemon.kernel_errors.get());
    let help = "Bans that were missing in the kernel and were put back.";
    family(text, "counter", "bans_restored_total", help).sample(&[], daemon.restored.get());
}

fn queues(text: &mut String, now: &Snapshot<'_>) {
    let (packets, daemon) = (&now.packets, now.daemon);
    family(
        text,
        "gauge",
        "queue_depth",
        "Entries that wait: reports for the judge, batches for workers.",
    )
    .sample(&[("queue", "reports")], daemon.reports_waiting.get())
    .sample(&[("queue", "batches")], daemon.batches_waiting.get());
    let help = "Frames that were lost inside btblocker: a worker's queue was full, or no buffer was free.";
    family(text, "counter", "dropped_packets_total", help)
        .sample(&[("place", "queue")], packets.queue_dropped_frames)
        .sample(&[("place", "buffers")], packets.batch_missing_frames);
    let help = "Evidence and messages that were lost because a queue was full or a sink failed, by place.";
    family(text, "counter", "dropped_events_total", help)
        .sample(&[("place", "reports")], packets.reports_dropped)
        .sample(&[("place", "findings")], packets.findings_overflow)
        .sample(&[("place", "detection-log")], daemon.detections_dropped.get())
        .sample(&[("place", "payloads")], daemon.payloads_dropped.get())
        .sample(
            &[("place", "evidence-files")],
            daemon.evidence_files_dropped.get(),
        )
        .sample(
            &[("place", "evidence-packets")],
            daemon.evidence_packets_dropped.get(),
        )
        .sample(&[("place", "notices")], daemon.notices_dropped.get());
}

fn xdp(text: &mut String, daemon: &DaemonCounters) {
    let help = "Packets by what the XDP program did with them.";
    family(text, "counter", "xdp_packets_total", help)
        .sample(&[("outcome", "passed")], daemon.xdp_passed.get())
        .sample(&[("outcome", "dropped-v4")], daemon.xdp_dropped_v4.get())
        .sample(&[("outcome", "dropped-v6")], daemon.xdp_dropped_v6.get());
    let help = "Bytes of packets that the XDP program dropped, from the IP header on.";
    family(text, "counter", "xdp_dropped_bytes_total", help).sample(&[], daemon.xdp_dropped_bytes.get());
    let help = "Bans that had run out and were removed from the XDP maps.";
    family(text, "counter", "xdp_swept_total", help).sample(&[], daemon.swept.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_stands_behind_its_help_and_type_and_labels_are_escaped() {
        let daemon = DaemonCounters::default();
        DaemonCounters::by(&daemon.bans, Technique::Dht);
        let mut packets = Counters::default();
        packets.see(Technique::Utp, Confidence::Strong);
        packets.skip(Skip::NotIp);
        packets.batch(Duration::from_micros(20));
        packets.batch(Duration::from_millis(480));
        packets.frames = u64::MAX;
        let stats = KernelStats {
            received: 7,
            dropped: 2,
            if_dropped: 1,
            left_out: 9,
            left_out_bytes: 900,
        };
        let text = exposition(&Snapshot {
            version: "1\"\\\n",
            backend: "nftables",
            started: 5,
            packets,
            daemon: &daemon,
            interfaces: &[("wg0".to_owned(), stats)],
        });
        for line in [
            r#"btblocker_build_info{version="1\"\\\n",backend="nftables"} 1"#,
            "btblocker_packets_total 18446744073709551615",
            r#"btblocker_bans_total{technique="dht"} 1"#,
            r#"btblocker_bans_total{technique="utp"} 0"#,
            r#"btblocker_evidence_total{technique="utp",confidence="strong"} 1"#,
            r#"btblocker_skipped_total{reason="not-ip"} 1"#,
            r#"btblocker_batch_seconds_bucket{le="0.00001"} 0"#,
            r#"btblocker_batch_seconds_bucket{le="0.00003"} 1"#,
            r#"btblocker_batch_seconds_bucket{le="0.1"} 1"#,
            r#"btblocker_batch_seconds_bucket{le="+Inf"} 2"#,
            "btblocker_batch_seconds_sum 0.48002",
            "btblocker_batch_seconds_count 2",
            r#"btblocker_interface_received_total{interface="wg0"} 7"#,
            r#"btblocker_interface_dropped_total{interface="wg0",place="kernel"} 2"#,
            r#"btblocker_interface_dropped_total{interface="wg0",place="interface"} 1"#,
            r#"btblocker_interface_left_out_total{interface="wg0"} 9"#,
            r#"btblocker_interface_left_out_bytes_total{interface="wg0"} 900"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        let mut family = "";
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap();
                assert!(!families.contains(&family), "{family} comes twice");
                families.push(family);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let kind = if family.ends_with("_total") {
                    "counter"
                } else if family == "btblocker_batch_seconds" {
                    "histogram"
                } else {
                    "gauge"
                };
                assert_eq!(rest, format!("{family} {kind}"));
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let is_part = |part: &str| name.strip_suffix(part) == Some(family);
                let of_histogram = ["_bucket", "_sum", "_count"].into_iter().any(is_part);
                assert!(name == family || of_histogram, "{line}");
            }
        }
    }
}
