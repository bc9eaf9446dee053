//! The recordings of `tests/cases` as other captures would hold them: cut, in part, in another order, on other ports.
//!
//! For each way, how many of the flows are still found (no fewer than it says), and that nothing else is flagged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use btblocker::packet::{self, LinkType, TransportView};
use btblocker_detectors::Endpoint;
use serde_json::Value;

/// What a packet says behind its addresses.
#[derive(Clone)]
enum Header {
    Tcp {
        sequence: u32,
        acknowledgement: u32,
        flags: u8,
    },
    Udp,
}

#[derive(Clone)]
struct Packet {
    micros: u64,
    from: SocketAddr,
    to: SocketAddr,
    header: Header,
    payload: Vec<u8>,
    wire_len: usize,
}

/// The two ends in a fixed order, and whether it is TCP.
type Flow = (bool, SocketAddr, SocketAddr);

fn flow(tcp: bool, a: SocketAddr, b: SocketAddr) -> Flow {
    (tcp, a.min(b), a.max(b))
}

impl Packet {
    fn flow(&self) -> Flow {
        flow(matches!(self.header, Header::Tcp { .. }), self.from, self.to)
    }

    /// Raw IP.
    fn frame(&self) -> Vec<u8> {
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let protocol = match self.header {
            Header::Tcp {
                sequence,
                acknowledgement,
                flags,
            } => {
                segment.extend(sequence.to_be_bytes());
                segment.extend(acknowledgement.to_be_bytes());
                segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                6
            }
            Header::Udp => {
                segment.extend(((8 + self.wire_len) as u16).to_be_bytes());
                segment.extend([0, 0]);
                17
            }
        };
        let length = segment.len() + self.wire_len;
        segment.extend(&self.payload);
        let mut frame = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x45, 0]);
                frame.extend(((20 + length).min(65_535) as u16).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x60, 0, 0, 0]);
                frame.extend((length as u16).to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            mixed => panic!("{mixed:?}"),
        }
        frame.extend(segment);
        frame
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The packets of a classic, little-endian pcap.
fn read(path: &Path) -> Vec<Packet> {
    let bytes = fs::read(path).unwrap();
    let link = LinkType::from_number(number(&bytes, 20) as i32);
    let (mut at, mut packets) = (24, Vec::new());
    while at < bytes.len() {
        let (captured, wire) = (number(&bytes, at + 8), number(&bytes, at + 12));
        let micros = number(&bytes, at) as u64 * 1_000_000 + number(&bytes, at + 4) as u64;
        let frame = &bytes[at + 16..at + 16 + captured];
        at += 16 + captured;
        let Ok(view) = packet::parse(link, frame, wire as u32) else {
            continue;
        };
        let end = |end: Endpoint| SocketAddr::new(end.ip(), end.port);
        let (header, payload, wire_len) = match view.transport {
            TransportView::Tcp(tcp) => {
                let (sequence, acknowledgement, flags) = (tcp.sequence, tcp.acknowledgement, tcp.flags);
                (
                    Header::Tcp {
                        sequence,
                        acknowledgement,
                        flags,
                    },
                    tcp.payload,
                    tcp.wire_len,
                )
            }
            TransportView::Udp(udp) => (Header::Udp, udp.payload, udp.wire_len),
        };
        packets.push(Packet {
            micros,
            from: end(view.source),
            to: end(view.destination),
            header,
            payload: payload.to_vec(),
            wire_len: wire_len as usize,
        });
    }
    packets
}

fn write(path: &Path, packets: &[Packet], snap: usize) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
        bytes.extend(word.to_le_bytes());
    }
    for packet in packets {
        let frame = packet.frame();
        let wire = frame.len() + packet.wire_len - packet.payload.len();
        let kept = &frame[..snap.min(frame.len())];
        let words = [
            packet.micros / 1_000_000,
            packet.micros % 1_000_000,
            kept.len() as u64,
            wire as u64,
        ];
        bytes.extend(words.iter().flat_map(|word| (*word as u32).to_le_bytes()));
        bytes.extend(kept);
    }
    fs::write(path, bytes).unwrap();
}

/// Changes every flow by itself.
fn each_flow(packets: &[Packet], change: impl Fn(Vec<Packet>) -> Vec<Packet>) -> Vec<Packet> {
    let mut flows: BTreeMap<Flow, Vec<Packet>> = BTreeMap::new();
    for packet in packets {
        flows.entry(packet.flow()).or_default().push(packet.clone());
    }
    let mut all: Vec<Packet> = flows.into_values().flat_map(change).collect();
    all.sort_by_key(|packet| packet.micros);
    all
}

fn without_first(count: usize) -> impl Fn(&[Packet]) -> Vec<Packet> {
    move |packets| each_flow(packets, |flow| flow.into_iter().skip(count).collect())
}

/// Only what the end sends that sent first, or only what the other does.
fn one_direction(of_first: bool) -> impl Fn(&[Packet]) -> Vec<Packet> {
    move |packets| {
        each_flow(packets, |mut flow| {
            let first = flow[0].from;
            flow.retain(|packet| (packet.from == first) == of_first);
            flow
        })
    }
}

fn without_each(nth: usize) -> impl Fn(&[Packet]) -> Vec<Packet> {
    move |packets| {
        each_flow(packets, |flow| {
            let numbered = flow.into_iter().enumerate();
            numbered
                .filter(|(n, _)| n % nth != nth - 1)
                .map(|(_, packet)| packet)
                .collect()
        })
    }
}

/// Every seventh packet of a flow comes behind the next three.
fn late(packets: &[Packet]) -> Vec<Packet> {
    each_flow(packets, |mut flow| {
        let times: Vec<u64> = flow.iter().map(|packet| packet.micros).collect();
        for start in (6..flow.len().saturating_sub(3)).step_by(7) {
            flow[start..start + 4].rotate_left(1);
        }
        for (packet, micros) in flow.iter_mut().zip(times) {
            packet.micros = micros;
        }
        flow
    })
}

/// The port of the end that was called becomes another.
fn on_port(port: u16) -> impl Fn(&[Packet]) -> Vec<Packet> {
    move |packets| {
        each_flow(packets, |mut flow| {
            let called = flow[0].to;
            for packet in &mut flow {
                let end = if packet.from == called {
                    &mut packet.from
                } else {
                    &mut packet.to
                };
                end.set_port(port);
            }
            flow
        })
    }
}

fn in_segments(size: usize) -> impl Fn(&[Packet]) -> Vec<Packet> {
    move |packets| {
        let mut all = Vec::new();
        for packet in packets {
            let Header::Tcp {
                sequence,
                acknowledgement,
                flags,
            } = packet.header
            else {
                all.push(packet.clone());
                continue;
            };
            let mut at = 0;
            loop {
                let payload = packet.payload[at..(at + size).min(packet.payload.len())].to_vec();
                let sequence = sequence.wrapping_add(at as u32);
                let wire_len = payload.len();
                at += wire_len;
                let header = Header::Tcp {
                    sequence,
                    acknowledgement,
                    flags,
                };
                all.push(Packet {
                    header,
                    wire_len,
                    payload,
                    ..packet.clone()
                });
                if at >= packet.payload.len() {
                    break;
                }
            }
        }
        all
    }
}

/// Full segments that follow each other, and the one behind them, become one, as a receiving card does.
fn joined(packets: &[Packet]) -> Vec<Packet> {
    each_flow(packets, |flow| {
        let mut all: Vec<(Packet, usize, bool)> = Vec::new();
        for packet in flow {
            if let Some((last, full, open)) = all.last_mut()
                && let (
                    Header::Tcp { sequence, flags, .. },
                    Header::Tcp {
                        sequence: next,
                        flags: more,
                        ..
                    },
                ) = (&last.header, &packet.header)
                && *open
                && (flags | more) & 7 == 0
                && last.from == packet.from
                && !packet.payload.is_empty()
                && sequence.wrapping_add(last.wire_len as u32) == *next
                && packet.wire_len <= *full
                && last.wire_len + packet.wire_len < 60_000
            {
                *open = packet.wire_len == *full;
                last.payload.extend(&packet.payload);
                last.wire_len += packet.wire_len;
                continue;
            }
            let full = packet.wire_len;
            all.push((packet, full, full > 0));
        }
        all.into_iter().map(|(packet, ..)| packet).collect()
    })
}

fn as_it_is(packets: &[Packet]) -> Vec<Packet> {
    packets.to_vec()
}

struct Case {
    name: String,
    packets: Vec<Packet>,
    positive: BTreeSet<Flow>,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let case = |folder: PathBuf| {
        let expectation: toml::Table = fs::read_to_string(folder.join("expect.toml"))
            .unwrap()
            .parse()
            .unwrap();
        let listed =
            ["positive", "unprovable"].map(|key| expectation.get(key).and_then(toml::Value::as_array));
        let positive = listed.into_iter().flatten().flatten().map(|line| {
            let end = |key: &str| line[key].as_str().unwrap().parse().unwrap();
            flow(line["proto"].as_str() == Some("tcp"), end("a"), end("b"))
        });
        Case {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            packets: read(&folder.join("input.pcap")),
            positive: positive.collect(),
        }
    };
    folders.into_iter().map(case).collect()
}

/// What is found in the changed recordings: flows that are BitTorrent, and complaints.
fn found(cases: &[Case], snap: usize, change: &dyn Fn(&[Packet]) -> Vec<Packet>) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted: BTreeMap<String, BTreeSet<Flow>> = BTreeMap::new();
    for case in cases {
        let changed = change(&case.packets);
        let path = folder.path().join(format!("{}.pcap", case.name));
        write(&path, &changed, snap);
        let renamed = renamed(&case.packets, change);
        let positive = renamed
            .into_iter()
            .filter(|(flow, _)| case.positive.contains(flow))
            .map(|(_, after)| after);
        wanted.insert(path.display().to_string(), positive.collect());
    }
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args([
            "replay",
            "--format",
            "json",
            "--local-networks",
            "10.77.0.0/16,fd77::/16",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut right, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let file = line["file"].as_str().unwrap_or_default();
        let Some(wanted) = wanted.get(file) else { continue };
        if line["event"] == "flow" {
            let end = |address: &str, port: &str| {
                SocketAddr::new(
                    line[address].as_str().unwrap().parse().unwrap(),
                    line[port].as_u64().unwrap() as u16,
                )
            };
            let flow = flow(line["proto"] == "tcp", end("src", "sport"), end("dst", "dport"));
            if wanted.contains(&flow) {
                right.insert((file.to_owned(), flow));
            } else {
                wrong.push(line.to_string());
            }
        } else if line["event"] == "ban" && wanted.is_empty() {
            wrong.push(line.to_string());
        }
    }
    (right.len(), wrong)
}

/// What each flow is called afterwards.
fn renamed(packets: &[Packet], change: &dyn Fn(&[Packet]) -> Vec<Packet>) -> BTreeMap<Flow, Flow> {
    let mut flows: BTreeMap<Flow, Vec<Packet>> = BTreeMap::new();
    for packet in packets {
        flows.entry(packet.flow()).or_default().push(packet.clone());
    }
    let name = |(flow, packets): (Flow, Vec<Packet>)| {
        let after = change(&packets).first().map_or(flow, Packet::flow);
        (flow, after)
    };
    flows.into_iter().map(name).collect()
}

/// A way that a capture may hold a recording: its name, the bytes of a packet that it holds, what happens to the packets,
/// and the flows that are found at least.
type Way = (&'static str, usize, Box<dyn Fn(&[Packet]) -> Vec<Packet>>, usize);

#[test]
fn changed_recordings_are_found_as_far_as_they_show_it_and_nothing_else_is() {
    let cases = cases();
    let ways: [Way; 21] = [
        ("as it is", 65_535, Box::new(as_it_is), 73),
        ("256 bytes", 256, Box::new(as_it_is), 73),
        ("128 bytes", 128, Box::new(as_it_is), 59),
        ("96 bytes", 96, Box::new(as_it_is), 62),
        ("64 bytes", 64, Box::new(as_it_is), 33),
        ("without the first packet", 65_535, Box::new(without_first(1)), 65),
        ("without the first 5", 65_535, Box::new(without_first(5)), 47),
        ("without the first 30", 65_535, Box::new(without_first(30)), 23),
        ("one direction", 65_535, Box::new(one_direction(true)), 50),
        ("the other direction", 65_535, Box::new(one_direction(false)), 45),
        ("without each third", 65_535, Box::new(without_each(3)), 52),
        ("without each tenth", 65_535, Box::new(without_each(10)), 61),
        ("each seventh late", 65_535, Box::new(late), 65),
        ("on port 443", 65_535, Box::new(on_port(443)), 65),
        ("on port 80", 65_535, Box::new(on_port(80)), 65),
        ("on port 53", 65_535, Box::new(on_port(53)), 65),
        ("in segments of 20 bytes", 65_535, Box::new(in_segments(20)), 63),
        ("in segments of 100 bytes", 65_535, Box::new(in_segments(100)), 63),
        ("joined", 65_535, Box::new(joined), 70),
        ("joined, 128 bytes", 128, Box::new(joined), 56),
        ("one direction, 128 bytes", 128, Box::new(one_direction(true)), 38),
    ];
    let mut complaints = Vec::new();
    for (name, snap, change, least) in ways {
        let (right, wrong) = found(&cases, snap, &change);
        if right < least {
            complaints.push(format!("{name}: {right} flows are found, not {least}"));
        }
        complaints.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
