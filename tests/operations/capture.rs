//! Options of the capture, of the queues and of the flow table.

use std::time::{Duration, Instant};

use btblocker::capture::{FileSource, FrameBatch};

use crate::lab::{Daemon, cable, play, send, until};
use crate::metrics::{ADDRESS, get, value};
use crate::namespace::in_namespace;

/// A UDP datagram over IPv4 and Ethernet from this port.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = |of: usize| u16::try_from(of).unwrap().to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(length(28 + payload.len()));
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 77, 1, 11, 203, 0, 113, 11]);
    frame.extend(
        [
            port.to_be_bytes(),
            6_881_u16.to_be_bytes(),
            length(8 + payload.len()),
        ]
        .concat(),
    );
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// So many datagrams, each of a flow of its own.
fn datagrams(count: u16, length: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |number| datagram(10_000 + number, &vec![0; length]))
}

fn daemon(option: &str) -> Daemon {
    cable();
    let arguments = ["--monitor-only", "--log-level=debug", "--metrics-listen", ADDRESS];
    Daemon::start(&[&arguments[..], &option.split(' ').collect::<Vec<_>>()].concat())
}

/// The same, whose ring is used to its end while nobody reads it: its blocks are handed over when they are full, however
/// slowly frames are sent.
fn filling_daemon(option: &str) -> Daemon {
    daemon(&format!("--capture-delay=1s {option}"))
}

/// Sum of samples.
fn sum(text: &str, samples: &[&str]) -> f64 {
    samples.iter().map(|sample| value(text, sample).unwrap()).sum()
}

#[test]
fn there_are_as_many_workers_as_asked_for() {
    for (option, workers) in [("--workers=0", 0), ("--workers=3", 3)] {
        in_namespace(move || {
            let names = daemon(option).threads();
            let found = names.iter().filter(|name| name.starts_with("inspect-")).count();
            assert_eq!(found, workers, "{names:?}");
        });
    }
}

#[test]
fn a_small_ring_loses_what_a_large_one_holds() {
    const FRAMES: u16 = 4_000;
    for (option, loses) in [("--buffer-size=65536", true), ("--buffer-size=16777216", false)] {
        in_namespace(move || {
            let daemon = filling_daemon(option);
            // 4 MB while nobody reads the ring.
            daemon.hold(|| send(datagrams(FRAMES, 1_000)));
            let received = "btblocker_interface_received_total{interface=\"watched\"}";
            let dropped = "btblocker_interface_dropped_total{interface=\"watched\",place=\"kernel\"}";
            until("what is lost or not", || {
                let text = get("/metrics");
                let all = sum(&text, &[received]) >= FRAMES.into();
                (all && loses == (sum(&text, &[dropped]) > 0.0)).then_some(())
            });
        });
    }
}

#[test]
fn a_short_queue_loses_what_a_long_one_holds() {
    const FRAMES: u16 = 20_000;
    for (option, loses) in [("--queue-batches=1", true), ("--queue-batches=1024", false)] {
        in_namespace(move || {
            let daemon = filling_daemon(&format!("--workers=1 {option}"));
            let lost = [
                "btblocker_dropped_packets_total{place=\"queue\"}",
                "btblocker_dropped_packets_total{place=\"buffers\"}",
            ];
            until("what is lost or not", || {
                // Full blocks come all at once, faster than a worker looks at them.
                let before = sum(&get("/metrics"), &["btblocker_packets_total"]);
                daemon.hold(|| send(datagrams(FRAMES, 10)));
                let text = until("all frames", || {
                    let text = get("/metrics");
                    let seen = sum(&text, &["btblocker_packets_total"]) - before + sum(&text, &lost);
                    (seen >= FRAMES.into()).then_some(text)
                });
                (loses == (sum(&text, &lost) > 0.0)).then_some(())
            });
        });
    }
}

#[test]
fn no_more_flows_are_tracked_than_allowed() {
    const FLOWS: u16 = 1_500;
    for (option, most) in [("--max-flows=1024", 1_024.0), ("--max-flows=2048", 1_500.0)] {
        in_namespace(move || {
            let _daemon = daemon(option);
            send(datagrams(FLOWS, 10));
            until("the number of flows", || {
                let text = get("/metrics");
                let evicted = sum(&text, &["btblocker_flows_total{event=\"evicted\"}"]);
                let active = sum(&text, &["btblocker_flows_active"]);
                ((active, evicted) == (most, f64::from(FLOWS) - most)).then_some(())
            });
        });
    }
}

#[test]
fn frames_are_cut_at_the_snap_length() {
    for (option, longest) in [("--snaplen=256", 242), ("--snaplen=4352", 1_500)] {
        in_namespace(move || {
            let folder = tempfile::tempdir().unwrap();
            let mut daemon = daemon(&format!("{option} --evidence-dir {}", folder.path().display()));
            play("bt-libtorrent-plain-v4");
            daemon.wait_for("banned 10.77.1.11");
            assert!(daemon.stop().1.success());
            let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
            let mut source = FileSource::open(&file.path(), 0).unwrap();
            let mut batch = FrameBatch::new();
            assert!(source.fill(&mut batch).unwrap());
            // Written without the link layer's 14 bytes.
            let found = batch.frames().map(|(_, frame)| frame.len()).max().unwrap();
            assert!((200..=longest).contains(&found), "{option}: {found}");
            assert_eq!(found == 242, longest == 242, "{option}: {found}");
        });
    }
}

/// How long it takes on average, with this option, that a lone packet is told.
fn delay(option: &'static str) -> Duration {
    const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    const TIMES: u16 = 8;
    let (told, heard) = std::sync::mpsc::channel();
    in_namespace(move || {
        let mut daemon = daemon(option);
        let begun = Instant::now();
        for port in 1..=TIMES {
            send([datagram(port, PING)]);
            daemon.wait_for(&format!("\"sport\":{port},"));
        }
        told.send(begun.elapsed() / TIMES.into()).unwrap();
    });
    heard.recv().unwrap()
}

#[test]
fn the_kernel_keeps_packets_for_no_longer_than_allowed() {
    // A busy machine takes its time, too: the difference shows when it is less busy.
    until("a difference", || {
        let (long, short) = (delay("--capture-delay=1s"), delay("--capture-delay=1ms"));
        (long > 2 * short && long > Duration::from_millis(100)).then_some(())
    });
}
