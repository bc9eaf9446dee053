//! Capture on real devices, each test in a network namespace of its own. Needs root, `ip` and /dev/net/tun.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the module is shared by test programs")]

mod namespace;
#[path = "namespace/tun.rs"]
mod tun;

use btblocker::capture::{
    CaptureError, CaptureStatus, FrameBatch, FrameSink, LinkType, LiveCapture, LiveOptions, Stop, WaitReason,
};
use btblocker::packet::{TransportView, parse};
use namespace::{in_namespace, ip, veth};
use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tun::tun;

/// Longer than anything here takes on a loaded machine.
const BOUND: Duration = Duration::from_secs(20);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// Puts frames on the wire at the peer of a watched veth.
struct Wire(pcap::Capture<pcap::Active>);

impl Wire {
    fn at(peer: &str) -> Self {
        Self(
            pcap::Capture::from_device(peer)
                .unwrap()
                .open()
                .expect("peer opens"),
        )
    }
    fn send(&mut self, frame: &[u8]) {
        self.0.sendpacket(frame).expect("frame is sent");
    }
}

#[derive(Debug)]
enum Seen {
    Frame {
        link: LinkType,
        number: u16,
        wire_len: u32,
        bytes: Vec<u8>,
    },
    Status(CaptureStatus),
}

struct Recorder(Sender<Seen>);

impl FrameSink for Recorder {
    fn frames(&mut self, batch: &mut FrameBatch) {
        assert!(!batch.is_empty());
        for (meta, bytes) in batch.frames() {
            let (link, number, wire_len) = (meta.link, meta.interface, meta.wire_len);
            let _ = self.0.send(Seen::Frame {
                link,
                number,
                wire_len,
                bytes: bytes.to_vec(),
            });
        }
    }
    fn status(&mut self, status: &CaptureStatus) {
        let _ = self.0.send(Seen::Status(status.clone()));
    }
}

/// A capture that runs in a thread until it is dropped.
struct Watched {
    stop: Stop,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
    counters: std::sync::Arc<btblocker::capture::KernelCounters>,
}

impl Watched {
    fn new(name: &str, number: u16, options: &LiveOptions) -> Self {
        let mut capture = LiveCapture::open(name, number, options).expect("interface opens");
        let (stop, counters) = (Stop::new().unwrap(), capture.counters());
        let (sender, seen) = mpsc::channel();
        let signal = stop.clone();
        let thread =
            thread::spawn(move || capture.run(&mut Recorder(sender), &signal).expect("capture runs"));
        Self {
            stop,
            seen,
            thread: Some(thread),
            counters,
        }
    }

    fn on(name: &str) -> Self {
        let watched = Self::new(name, 3, &LiveOptions::default());
        watched.expect_status(&CaptureStatus::Running);
        watched
    }

    fn next(&self, what: &str) -> Seen {
        self.seen
            .recv_timeout(BOUND)
            .unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Waits for the next status, past frames; it must be this one.
    fn expect_status(&self, expected: &CaptureStatus) {
        loop {
            if let Seen::Status(status) = self.next("a status") {
                assert_eq!(&status, expected);
                return;
            }
        }
    }

    /// Frames from our own address until one that ends with `last`.
    fn frames_until(&self, last: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = vec![];
        loop {
            if let Seen::Frame {
                link, number, bytes, ..
            } = self.next("a frame")
                && (link == LinkType::Raw || bytes.get(6..12) == Some(&MAC))
            {
                assert!(matches!(link, LinkType::Ethernet | LinkType::Raw) && number == 3);
                if bytes.ends_with(last) {
                    return frames;
                }
                frames.push(bytes);
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.stop();
        let result = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(result, Some(Ok(()))));
    }
}

fn waiting(reason: WaitReason) -> CaptureStatus {
    CaptureStatus::Waiting { reason }
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0x78][..], &MAC, &kind.to_be_bytes(), payload].concat()
}

fn udp(source: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [source.to_be_bytes(), 6881u16.to_be_bytes()].concat();
    [
        &ports[..],
        &(8 + payload.len() as u16).to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat()
}

fn ip4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len() as u16).to_be_bytes();
    [
        &[0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, protocol, 0, 0][..],
        &source,
        &destination,
        payload,
    ]
    .concat()
}

fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let address = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [
        &[0x60, 0, 0, 0, len[0], len[1], next, 64][..],
        &address(1),
        &address(2),
        payload,
    ]
    .concat()
}

fn plain(payload: &[u8]) -> Vec<u8> {
    ip4(17, [192, 0, 2, 1], [192, 0, 2, 2], &udp(1000, payload))
}

#[test]
fn the_kernel_filter_passes_what_can_hold_tcp_or_udp_and_nothing_else() {
    in_namespace(|| {
        veth("watched", "peer");
        let watched = Watched::on("watched");
        let mut wire = Wire::at("peer");
        let four = plain(b"payload");
        let six = ip6(17, &udp(1000, b"payload"));
        let mut later_fragment = four.clone();
        later_fragment[7] = 9;
        let tag = |kind: u16| [&[0, 9][..], &kind.to_be_bytes()].concat();
        let passes = [
            ethernet(0x0800, &four),
            ethernet(0x86dd, &six),
            ethernet(0x8100, &[tag(0x0800), four.clone()].concat()),
            ethernet(0x88a8, &[tag(0x8100), tag(0x86dd), six.clone()].concat()),
            ethernet(
                0x8864,
                &[&[0x11, 0, 0, 1, 0, 2 + four.len() as u8, 0, 0x21][..], &four].concat(),
            ),
            ethernet(0x8847, &[&[0, 1, 1, 64][..], &four].concat()),
            ethernet(
                0x86dd,
                &ip6(
                    0,
                    &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(1000, b"payload")].concat(),
                ),
            ),
            ethernet(
                0x86dd,
                &ip6(44, &[&[17, 0, 1, 0, 0, 0, 0, 1][..], b"fragments"].concat()),
            ),
            ethernet(0x0800, &later_fragment),
            ethernet(
                0x0800,
                &ip4(
                    47,
                    [10, 0, 0, 1],
                    [10, 0, 0, 2],
                    &[&[0, 0, 8, 0][..], &four].concat(),
                ),
            ),
            ethernet(0x0800, &ip4(41, [10, 0, 0, 1], [10, 0, 0, 2], &six)),
        ];
        let blocked = [
            ethernet(0x0806, &[0; 28]),
            ethernet(0x0800, &ip4(1, [10, 0, 0, 1], [10, 0, 0, 2], &[8; 40])),
            ethernet(0x0800, &ip4(50, [10, 0, 0, 1], [10, 0, 0, 2], &[8; 40])),
            ethernet(0x86dd, &ip6(58, &[128; 40])),
        ];
        for frame in passes.iter().chain(&blocked) {
            wire.send(frame);
        }
        wire.send(&ethernet(0x0800, &plain(b"last")));
        assert_eq!(watched.frames_until(b"last"), passes);
        for (at, frame) in passes.iter().enumerate().filter(|(at, _)| *at != 7 && *at != 8) {
            let view = parse(LinkType::Ethernet, frame, frame.len() as u32).expect("readable");
            let TransportView::Udp(udp) = view.transport else {
                panic!("not UDP")
            };
            assert_eq!(
                (udp.payload, view.source_mac),
                (&b"payload"[..], Some(MAC)),
                "{at}"
            );
        }
    });
}

#[test]
fn raw_ip_arrives_on_a_tun_device() {
    in_namespace(|| {
        let mut device = tun("tun7");
        let watched = Watched::on("tun7");
        let sent = [plain(b"payload"), ip6(17, &udp(1000, b"payload"))];
        let icmp = ip4(1, [10, 0, 0, 1], [10, 0, 0, 2], &[8; 40]);
        for packet in sent.iter().chain([&icmp, &plain(b"last")]) {
            device.write_all(packet).expect("packet is written");
        }
        let mut seen = watched.frames_until(b"last");
        // The kernel sends its own IPv6 router solicitations and multicast reports on a new device.
        seen.retain(|packet| parse(LinkType::Raw, packet, packet.len() as u32).is_ok());
        assert_eq!(seen, sent);
    });
}

#[test]
fn a_deleted_interface_is_waited_for_while_others_go_on() {
    in_namespace(|| {
        veth("gone", "gone-peer");
        veth("stays", "stays-peer");
        let (gone, stays) = (Watched::on("gone"), Watched::on("stays"));
        let mut wire = Wire::at("stays-peer");
        for round in [b"round 1", b"round 2"] {
            Wire::at("gone-peer").send(&ethernet(0x0800, &plain(round)));
            gone.frames_until(round);
            ip("link del gone");
            gone.expect_status(&waiting(WaitReason::Missing));
            wire.send(&ethernet(0x0800, &plain(round)));
            stays.frames_until(round);
            veth("gone", "gone-peer");
            loop {
                // Between the two `ip` commands it may be seen as down.
                match gone.next("a status") {
                    Seen::Status(CaptureStatus::Running) => break,
                    Seen::Status(status) => assert_eq!(status, waiting(WaitReason::Down)),
                    Seen::Frame { .. } => {}
                }
            }
        }
        assert!(!stays.seen.try_iter().any(|seen| matches!(seen, Seen::Status(_))));
    });
}

#[test]
fn down_and_up_is_told_and_survived() {
    in_namespace(|| {
        veth("watched", "peer");
        let watched = Watched::on("watched");
        ip("link set watched down");
        watched.expect_status(&waiting(WaitReason::Down));
        ip("link set watched up");
        watched.expect_status(&CaptureStatus::Running);
        Wire::at("peer").send(&ethernet(0x0800, &plain(b"last")));
        watched.frames_until(b"last");

        ip("link set watched down");
        watched.expect_status(&waiting(WaitReason::Down));
        let from_down = Watched::new("watched", 3, &LiveOptions::default());
        from_down.expect_status(&waiting(WaitReason::Down));
        ip("link set watched up");
        from_down.expect_status(&CaptureStatus::Running);
        Wire::at("peer").send(&ethernet(0x0800, &plain(b"last")));
        from_down.frames_until(b"last");
    });
}

#[test]
fn a_renamed_interface_is_left_and_its_name_waited_for() {
    in_namespace(|| {
        veth("watched", "peer");
        let watched = Watched::on("watched");
        ip("link set watched down");
        watched.expect_status(&waiting(WaitReason::Down));
        ip("link set watched name other");
        watched.expect_status(&waiting(WaitReason::Missing));
        veth("watched", "peer2");
        loop {
            match watched.next("a status") {
                Seen::Status(CaptureStatus::Running) => break,
                Seen::Status(status) => assert_eq!(status, waiting(WaitReason::Down)),
                Seen::Frame { .. } => {}
            }
        }
        Wire::at("peer2").send(&ethernet(0x0800, &plain(b"last")));
        watched.frames_until(b"last");
    });
}

#[test]
fn an_interface_that_is_not_there_yet_can_be_waited_for() {
    in_namespace(|| {
        let options = LiveOptions {
            wait_for_interface: true,
            ..LiveOptions::default()
        };
        let watched = Watched::new("later", 3, &options);
        watched.expect_status(&waiting(WaitReason::Missing));
        let mut device = tun("later");
        while !matches!(watched.next("running"), Seen::Status(CaptureStatus::Running)) {}
        device.write_all(&plain(b"last")).expect("packet is written");
        watched.frames_until(b"last");
    });
}

#[test]
fn the_device_any_captures_all_interfaces() {
    in_namespace(|| {
        veth("one", "one-peer");
        veth("two", "two-peer");
        let watched = Watched::on("any");
        for (peer, payload) in [("one-peer", b"first"), ("two-peer", b"other")] {
            Wire::at(peer).send(&ethernet(0x0800, &plain(payload)));
            loop {
                if let Seen::Frame {
                    link,
                    bytes,
                    wire_len,
                    ..
                } = watched.next("a frame")
                    && bytes.ends_with(payload)
                {
                    assert_eq!(link, LinkType::LinuxSll);
                    let view = parse(link, &bytes, wire_len).expect("readable");
                    assert_eq!((view.source.port, view.source_mac), (1000, Some(MAC)));
                    break;
                }
            }
        }
    });
}

#[test]
fn long_frames_are_cut_and_keep_their_length() {
    in_namespace(|| {
        veth("watched", "peer");
        let options = LiveOptions {
            snaplen: 100,
            ..LiveOptions::default()
        };
        let watched = Watched::new("watched", 3, &options);
        watched.expect_status(&CaptureStatus::Running);
        let frame = ethernet(0x0800, &plain(&[5; 1000]));
        Wire::at("peer").send(&frame);
        loop {
            if let Seen::Frame {
                wire_len,
                bytes,
                link,
                ..
            } = watched.next("the frame")
                && bytes.get(6..12) == Some(&MAC)
            {
                assert_eq!((&bytes[..], wire_len), (&frame[..100], frame.len() as u32));
                let view = parse(link, &bytes, wire_len).expect("readable");
                let TransportView::Udp(udp) = view.transport else {
                    panic!("not UDP")
                };
                assert_eq!((udp.payload.len(), udp.wire_len), (58, 1000));
                return;
            }
        }
    });
}

#[test]
fn the_kernel_counts_what_passed_the_filter() {
    in_namespace(|| {
        veth("watched", "peer");
        let watched = Watched::on("watched");
        let mut wire = Wire::at("peer");
        for _ in 0..300 {
            wire.send(&ethernet(0x0800, &plain(b"payload")));
            wire.send(&ethernet(0x0806, &[0; 28]));
        }
        let started = Instant::now();
        while watched.counters.stats().received < 300 {
            assert!(started.elapsed() < BOUND, "{:?}", watched.counters.stats());
            thread::yield_now();
        }
        let stats = watched.counters.stats();
        assert!(stats.received < 600 && stats.dropped == 0, "{stats:?}");
    });
}

#[test]
fn a_fanout_group_keeps_both_directions_of_a_flow_together() {
    in_namespace(|| {
        veth("watched", "peer");
        let options = LiveOptions {
            fanout: Some(77),
            ..LiveOptions::default()
        };
        let captures = [(); 2].map(|()| Watched::new("watched", 3, &options));
        let mut wire = Wire::at("peer");
        captures
            .iter()
            .for_each(|capture| capture.expect_status(&CaptureStatus::Running));
        let ends = |flow: u16| ([192, 0, 2, 1], [198, 51, 100, flow as u8], 10_000 + flow);
        for flow in 0..200u16 {
            let (a, b, port) = ends(flow);
            let there = udp(port, b"payload");
            let mut back = there.clone();
            back[..4].rotate_left(2);
            wire.send(&ethernet(0x0800, &ip4(17, a, b, &there)));
            wire.send(&ethernet(0x0800, &ip4(17, b, a, &back)));
        }
        let mut flows = std::collections::BTreeMap::new();
        let (mut total, started) = (0, Instant::now());
        while total < 400 {
            assert!(started.elapsed() < BOUND, "only {total} frames arrived");
            for (at, capture) in captures.iter().enumerate() {
                for seen in capture.seen.try_iter() {
                    let Seen::Frame {
                        link,
                        bytes,
                        wire_len,
                        ..
                    } = seen
                    else {
                        continue;
                    };
                    let Ok(view) = parse(link, &bytes, wire_len) else {
                        continue;
                    };
                    let flow = view.source.port.max(view.destination.port);
                    assert_eq!(*flows.entry(flow).or_insert(at), at, "flow {flow} was split");
                    total += 1;
                }
            }
            thread::yield_now();
        }
        let first = flows.values().filter(|at| **at == 0).count();
        assert_eq!((total, flows.len()), (400, 200));
        assert!(
            (20..180).contains(&first),
            "{first} of 200 flows came to one capture"
        );
    });
}

#[test]
fn refusals_name_the_interface_and_what_to_do() {
    in_namespace(|| {
        let open = |name: &str| {
            LiveCapture::open(name, 0, &LiveOptions::default())
                .map(|_| ())
                .unwrap_err()
        };
        veth("real0", "real1");
        let error = open("typo0");
        assert!(matches!(error, CaptureError::Unknown { .. }));
        assert_eq!(
            error.to_string(),
            "interface typo0 does not exist; there are: lo, real1, real0"
        );

        // SAFETY: the raw system call takes no pointer and changes this thread only, unlike libc's wrapper.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0, "setresuid: {}", std::io::Error::last_os_error());
        let error = open("real0");
        assert!(matches!(error, CaptureError::Permission { .. }));
        assert!(
            error.to_string().contains("real0") && error.to_string().contains("CAP_NET_RAW"),
            "{error}"
        );
    });
}
