//! What each step costs by itself: nanoseconds of CPU time and allocations per call.
//!
//! Data are warm, so this is the least that a step costs; `growth` shows what memory adds.

#[path = "../examples/generate_capture/traffic.rs"]
#[allow(dead_code, reason = "the generator of captures uses the rest")]
mod traffic;

mod measure;

use btblocker::backend::DryRun;
use btblocker::ban::{BanPolicy, Exemptions, Manager, Reason};
use btblocker::flow::{FlowHasher, FlowTable};
use btblocker::judge::{Addresses, FlowId, Judge, Policy, Report, Sighting};
use btblocker::packet::{LinkType, parse};
use btblocker_detectors::{
    Confidence, Endpoint, Ends, Evidence, Findings, Options, Side, StreamBuffers, TcpInspector, TcpSegment,
    Technique, Timestamp, Transport, UdpDatagram, UdpInspector,
};
use measure::quickest;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;
use traffic::{ACK, Numbers, Pair, Random};

const ROUNDS: u32 = 20;
const AT: Timestamp = Timestamp(1_700_000_000_000_000);

fn main() {
    println!("{:<44} {:>9} {:>12}", "step", "ns", "allocations");
    parsing();
    look_up();
    banning();
    judging();
    inspecting();
}

fn row(name: &str, (nanos, allocations): (f64, f64)) {
    println!("{name:<44} {nanos:>9.1} {allocations:>12.2}");
}

/// An Ethernet frame with a TCP segment of `len` bytes.
fn segment(len: usize) -> Vec<u8> {
    let (mut frame, mut payload) = (Vec::new(), Vec::new());
    Random::new(3).bytes(len, &mut payload);
    traffic::tcp(
        &mut frame,
        &Pair::number(7, 443),
        &mut Numbers([5, 9]),
        0,
        ACK,
        &payload,
    );
    frame
}

fn parsing() {
    let whole = segment(1400);
    let (ethernet, ip) = whole.split_at(14);
    let macs = &ethernet[..12];
    let ipv6 = {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((ip.len() as u16 - 20).to_be_bytes());
        packet.extend([6, 64]);
        packet.extend([0x20; 32]);
        packet.extend(&ip[20..]);
        packet
    };
    let gre = {
        let mut packet = vec![0x45, 0];
        packet.extend((24 + ip.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 8, 0]);
        packet.extend(ip);
        packet
    };
    let ppp_len = (ip.len() as u16 + 2).to_be_bytes();
    let rows: [(&str, LinkType, Vec<u8>); 11] = [
        ("parse Ethernet, IPv4, TCP", LinkType::Ethernet, whole.clone()),
        (
            "parse Ethernet, IPv6, TCP",
            LinkType::Ethernet,
            [macs, &[0x86, 0xdd], &ipv6].concat(),
        ),
        (
            "parse Ethernet, VLAN, IPv4",
            LinkType::Ethernet,
            [macs, &[0x81, 0, 0, 5, 8, 0], ip].concat(),
        ),
        (
            "parse Ethernet, QinQ, IPv4",
            LinkType::Ethernet,
            [macs, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5, 8, 0], ip].concat(),
        ),
        (
            "parse Ethernet, PPPoE, IPv4",
            LinkType::Ethernet,
            [macs, &[0x88, 0x64, 0x11, 0, 0, 1], &ppp_len, &[0, 0x21], ip].concat(),
        ),
        (
            "parse Ethernet, GRE, IPv4",
            LinkType::Ethernet,
            [ethernet, &gre].concat(),
        ),
        ("parse raw IPv4", LinkType::Raw, ip.to_vec()),
        ("parse raw IPv6", LinkType::Raw, ipv6.clone()),
        (
            "parse cooked (SLL), IPv4",
            LinkType::LinuxSll,
            [&[0; 14], &[8, 0][..], ip].concat(),
        ),
        (
            "parse cooked (SLL2), IPv4",
            LinkType::LinuxSll2,
            [&[8, 0], &[0; 18][..], ip].concat(),
        ),
        (
            "parse loopback, IPv4",
            LinkType::Null,
            [&[2, 0, 0, 0], ip].concat(),
        ),
    ];
    for (name, link, frame) in rows {
        assert!(parse(link, &frame, frame.len() as u32).is_ok(), "{name}");
        row(
            name,
            quickest(ROUNDS, 20_000, |_| {
                let _ = black_box(parse(link, black_box(&frame), frame.len() as u32));
            }),
        );
    }
}

fn look_up() {
    for flows in [1_000, 10_000, 100_000, 1_000_000_u32] {
        let capacity = NonZeroU32::new(1 << 20).unwrap_or(NonZeroU32::MIN);
        let mut table = FlowTable::new(FlowHasher::seeded(1), capacity, 0);
        let mut frame = Vec::new();
        let mut touch = |flow: u32| {
            traffic::tcp(
                &mut frame,
                &Pair::number(flow, 443),
                &mut Numbers([5, 9]),
                0,
                ACK,
                &[1],
            );
            if let Ok(packet) = parse(LinkType::Ethernet, &frame, 60) {
                black_box(table.touch(AT, &packet));
            }
        };
        (0..flows).for_each(&mut touch);
        let mut random = Random::new(5);
        // Making and reading the frame is not part of the step.
        let made = quickest(ROUNDS, 100_000, |_| {
            let mut frame = Vec::with_capacity(128);
            let flow = (random.next() % u64::from(flows)) as u32;
            traffic::tcp(
                &mut frame,
                &Pair::number(flow, 443),
                &mut Numbers([5, 9]),
                0,
                ACK,
                &[1],
            );
            let _ = black_box(parse(LinkType::Ethernet, black_box(&frame), 60));
        });
        let all = quickest(ROUNDS, 100_000, |_| {
            touch((random.next() % u64::from(flows)) as u32)
        });
        row(&format!("find one of {flows} flows"), (all.0 - made.0, all.1));
    }
}

fn banning() {
    let host = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
    for (hosts, asked) in [
        (100, 100),
        (100_000, 100_000),
        (1_000_000, 1_000_000),
        (1_000_000, 100_u32),
    ] {
        let policy = BanPolicy {
            duration: Duration::from_secs(18_000),
            max_bans: 1 << 20,
            max_bans_per_minute: 0,
            escalation: Duration::ZERO,
            ipv6_prefix: 128,
            setup: false,
        };
        let ban = |manager: &mut Manager, host, at| {
            manager.ban(host, Duration::from_secs(at), Timestamp(at * 1_000_000), || {
                Reason {
                    technique: Reason::BY_HAND.to_owned(),
                    text: String::new(),
                    client: None,
                }
            })
        };
        let mut manager = Manager::new(Box::new(DryRun::default()), Exemptions::default(), policy);
        for number in 0..hosts {
            ban(&mut manager, host(number), 0);
        }
        let mut random = Random::new(9);
        let name = format!("ban one of {asked} of {hosts} banned hosts again");
        row(
            &name,
            quickest(ROUNDS, 100_000, |_| {
                let number = (random.next() % u64::from(asked)) as u32;
                black_box(ban(&mut manager, host(number), 1));
            }),
        );
    }
}

struct Anybody;

impl Addresses for Anybody {
    fn is_local(&self, _: IpAddr) -> bool {
        false
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

fn judging() {
    let evidence = Evidence::new(
        Technique::Handshake,
        "handshake",
        Confidence::Conclusive,
        Side::Originator,
    );
    let report = |number: u32| {
        Report::Sighting(Sighting {
            at: AT,
            interface: 0,
            flow: FlowId {
                transport: Transport::Tcp,
                originator: Endpoint {
                    address: 0xffff_0a00_0000 + u128::from(number),
                    port: 6881,
                },
                responder: Endpoint {
                    address: 0xffff_c633_6400,
                    port: 51_413,
                },
            },
            evidence,
            proven: Ends::BOTH,
            payload_len: 68,
        })
    };
    let (mut judge, mut verdicts) = (Judge::new(Policy::default()), Vec::new());
    for hosts in [1, 10_000] {
        let name = format!("judge evidence on one of {hosts} flows");
        row(
            &name,
            quickest(ROUNDS, 20_000, |call| {
                verdicts.clear();
                judge.hear(&report(call % hosts), &Anybody, &mut verdicts);
            }),
        );
    }
}

/// The least favourable contents that were thought of, beside ordinary ones. 1,400 bytes each.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Vec::new();
    Random::new(1).bytes(1400, &mut random);
    let repeated = |unit: &[u8]| unit.iter().copied().cycle().take(1400).collect::<Vec<u8>>();
    let dht = [
        &b"d1:ad2:id20:abcdefghij01234567896:target1300:"[..],
        &[b'x'; 1300],
        b"e1:q9:find_node1:t2:aa1:y1:qe",
    ];
    vec![
        ("random bytes", random),
        ("zeros", repeated(&[0])),
        ("text", repeated(b"the quick brown fox jumps over the lazy dog. ")),
        (
            "HTTP headers",
            repeated(b"GET /announce HTTP/1.1\r\nHost: tracker\r\n"),
        ),
        ("lengths of requests", repeated(b"\0\0\0\x0d")),
        ("heads of pieces", repeated(b"\0\0\x40\x09\x07\x01")),
        ("heads of handshakes", repeated(b"\x13BitTorrent protocol")),
        (
            "heads of extended handshakes",
            repeated(b"\0\0\x03\xe8\x14\0d1:md"),
        ),
        (
            "heads of peer exchanges",
            repeated(b"\0\0\x03\xe8\x14\x01d5:added"),
        ),
        ("open lists", repeated(b"l")),
        ("open dictionaries", repeated(b"d1:a")),
        ("one DHT query", dht.concat()),
    ]
}

fn inspecting() {
    let options = Options::default();
    for (name, payload) in contents() {
        let len = payload.len() as u32;
        let (mut inspector, mut findings, mut sequence) = (TcpInspector::new(), Findings::new(), 1_u32);
        let cost = quickest(ROUNDS, 2000, |call| {
            findings.clear();
            let segment = TcpSegment {
                from: if call % 2 == 0 {
                    Side::Originator
                } else {
                    Side::Responder
                },
                at: AT,
                sequence,
                acknowledgement: None,
                window: u16::MAX,
                window_scale: None,
                syn: false,
                payload: &payload,
                wire_len: len,
            };
            black_box(inspector.segment(&segment, None, &options, &mut findings));
            sequence = sequence.wrapping_add(call % 2 * len);
        });
        row(&format!("TCP segment behind the beginning: {name}"), cost);
    }
    let mut buffers = Box::new(StreamBuffers::new());
    for (name, payload) in contents() {
        let mut findings = Findings::new();
        let cost = quickest(ROUNDS, 1000, |_| {
            let mut inspector = TcpInspector::new();
            for (number, part) in payload.chunks(350).enumerate() {
                findings.clear();
                let segment = TcpSegment {
                    from: Side::Originator,
                    at: AT,
                    sequence: 1 + 350 * number as u32,
                    acknowledgement: None,
                    window: u16::MAX,
                    window_scale: None,
                    syn: number == 0,
                    payload: part,
                    wire_len: part.len() as u32,
                };
                black_box(inspector.segment(&segment, Some(&mut buffers), &options, &mut findings));
            }
        });
        row(&format!("new TCP flow, four segments: {name}"), cost);
    }
    for (name, payload) in contents() {
        let mut findings = Findings::new();
        let cost = quickest(ROUNDS, 2000, |_| {
            let mut inspector = UdpInspector::new();
            findings.clear();
            let datagram = UdpDatagram {
                from: Side::Originator,
                at: AT,
                payload: &payload,
                wire_len: payload.len() as u32,
                multicast: false,
            };
            black_box(inspector.datagram(&datagram, &options, &mut findings));
        });
        row(&format!("new UDP flow, one datagram: {name}"), cost);
    }
}
