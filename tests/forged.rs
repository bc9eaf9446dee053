//! Forged packets ban nobody: every UDP message that is conclusive by its structure is sent with a forged
//! source, in both directions, against an idle and a busy host, from the outside and from the inside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use btblocker::capture::{FrameBatch, LinkType};
use btblocker::flow::FlowHasher;
use btblocker::judge::{Addresses, Judge, Policy, Verdict};
use btblocker::network::{Ingress, Interface, InterfaceKind, Network, Prefix, Route};
use btblocker::pipeline::{Inspection, Published, Settings};
use btblocker_detectors::Timestamp;

const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
/// Interfaces as frames name them.
const LAN: u16 = 0;
const WAN: u16 = 1;
const OWN_MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const FOREIGN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// A gateway: one network inside, the default route outside.
fn gateway() -> Network {
    let interface = |name: &str, index: u32, mac, address: [u8; 4], len| {
        let address = IpAddr::from(address);
        Interface {
            name: name.to_owned(),
            index,
            kind: InterfaceKind::Ethernet,
            mac: Some(mac),
            up: true,
            master: None,
            lower: None,
            addresses: vec![(address, Prefix::new(address, len).unwrap())],
        }
    };
    let route = |destination: [u8; 4], len, interface, gateway: Option<[u8; 4]>| Route {
        destination: Prefix::new(IpAddr::from(destination), len).unwrap(),
        interface,
        gateway: gateway.map(IpAddr::from),
        table: 254,
    };
    Network {
        interfaces: vec![
            interface("lan", 2, OWN_MAC[0], [10, 77, 0, 1], 24),
            interface("wan", 3, OWN_MAC[1], [192, 0, 2, 2], 24),
        ],
        routes: vec![
            route([10, 77, 0, 0], 24, 2, None),
            route([192, 0, 2, 0], 24, 3, None),
            route([0, 0, 0, 0], 0, 3, Some([192, 0, 2, 1])),
        ],
        ..Network::default()
    }
}

struct Nearby;

impl Addresses for Nearby {
    fn is_local(&self, address: IpAddr) -> bool {
        address.to_string().starts_with("10.77.0.")
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

fn udp(
    source_mac: [u8; 6],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(source_mac);
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// Every message that is conclusive by its structure, each with the answer that would prove the other end.
fn messages() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let id = b"abcdefghij0123456789";
    let query = |method: &str, more: &str| {
        let mut text = b"d1:ad2:id20:".to_vec();
        text.extend(id);
        text.extend(more.as_bytes());
        text.extend(format!("e1:q{}:{method}1:t4:aabb1:y1:qe", method.len()).as_bytes());
        text
    };
    let answer = |more: &[u8]| {
        let mut text = b"d1:rd2:id20:".to_vec();
        text.extend(id);
        text.extend(more);
        text.extend(b"e1:t4:aabb1:y1:re");
        text
    };
    let connect = [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 4], &[7; 4]].concat();
    let connected = [&[0; 4][..], &[7; 4], &[9; 8]].concat();
    let mut announce = [&[9; 8][..], &[0, 0, 0, 1], &[8; 4], id, b"-TR4060-abcdefghijkl"].concat();
    announce.extend([0; 24]);
    announce.extend([
        0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0xc8, 0xd5,
    ]);
    let announced = [
        &[0, 0, 0, 1][..],
        &[8; 4],
        &[0, 0, 7, 8],
        &[0, 0, 0, 1],
        &[0, 0, 0, 1],
        &[198, 51, 100, 9, 26, 225],
    ];
    let utp = |kind: u8, id: u16, seq: u16, ack: u16, payload: &[u8]| {
        let mut packet = vec![kind << 4 | 1, 0];
        packet.extend(id.to_be_bytes());
        packet.extend([0, 1, 2, 3, 0, 0, 0, 0, 0, 16, 0, 0]);
        packet.extend(seq.to_be_bytes());
        packet.extend(ack.to_be_bytes());
        packet.extend(payload);
        packet
    };
    let handshake = [
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05".as_slice(),
        id,
        b"-TR4060-abcdefghijkl",
    ]
    .concat();
    let target = "6:target20:abcdefghij0123456789";
    let hash = "9:info_hash20:mnopqrstuvwxyz123456";
    let search = b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 51413\r\n\
        Infohash: 0123456789abcdef0123456789abcdef01234567\r\n\r\n\r\n";
    vec![
        ("ping", query("ping", ""), answer(b"")),
        (
            "find_node",
            query("find_node", target),
            answer(b"5:nodes26:abcdefghij0123456789\xc6\x33\x64\x09\x1a\xe1"),
        ),
        (
            "get_peers",
            query("get_peers", hash),
            answer(b"5:token4:abcd6:valuesl6:\xc6\x33\x64\x09\x1a\xe1e"),
        ),
        (
            "announce_peer",
            query("announce_peer", &format!("{hash}4:porti6881e5:token4:abcd")),
            answer(b""),
        ),
        ("connect", connect, connected),
        ("announce", announce, announced.concat()),
        ("utp syn", utp(4, 100, 1, 0, b""), utp(2, 100, 500, 1, b"")),
        (
            "utp handshake",
            utp(0, 101, 2, 499, &handshake),
            utp(0, 100, 501, 2, &handshake),
        ),
        ("lsd", search.to_vec(), search.to_vec()),
    ]
}

/// Frames with the interface that they come in on, played to a fresh path; addresses that would be banned, and how many
/// peers were learned of.
fn outcome(frames: &[(u16, Vec<u8>)]) -> (Vec<String>, u64) {
    let ingress = Published::new(Ingress::new(&gateway(), &["lan", "wan"]));
    let settings = Settings {
        hasher: FlowHasher::seeded(1),
        ..Settings::new(NonZeroU32::new(4_096).unwrap())
    };
    let mut inspection = Inspection::new(&settings, ingress.reader());
    let (mut judge, mut verdicts) = (Judge::new(Policy::default()), Vec::new());
    for (millis, (interface, frame)) in (1_000_u64..).zip(frames) {
        let mut batch = FrameBatch::new();
        let at = Timestamp(millis * 1_000);
        assert!(batch.push(at, LinkType::Ethernet, *interface, frame.len() as u32, frame));
        inspection.batch(&batch, &mut |report| judge.hear(&report, &Nearby, &mut verdicts));
    }
    let banned = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Ban(ban) => Some(ban.address.to_string()),
            Verdict::Flow(_) => None,
        })
        .collect();
    (banned, inspection.counters().learned)
}

/// What a busy host does beside: a name look-up with its answer, as the gateway sees it inside.
fn everyday_traffic() -> Vec<(u16, Vec<u8>)> {
    let resolver = Ipv4Addr::new(192, 0, 2, 53);
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";
    let answer = b"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";
    vec![
        (LAN, udp(FOREIGN_MAC, VICTIM, resolver, (40_000, 53), query)),
        (LAN, udp(OWN_MAC[0], resolver, VICTIM, (53, 40_000), answer)),
    ]
}

fn check(name: &str, forged: &[(u16, Vec<u8>)]) {
    for busy in [Vec::new(), everyday_traffic()] {
        let frames: Vec<_> = busy.into_iter().chain(forged.iter().cloned()).collect();
        // A peer that was named by forgery would corroborate what an honest host does with it.
        assert_eq!(outcome(&frames), (Vec::new(), 0), "{name}");
    }
}

#[test]
fn lone_messages_with_a_forged_source_ban_nobody() {
    for (name, request, answer) in messages() {
        let to = |destination| if name == "lsd" { GROUP } else { destination };
        for payload in [&request, &answer] {
            for ports in [(51_413, 6_881), (40_000, 53)] {
                for (interface, source, destination) in [
                    (LAN, VICTIM, REMOTE),
                    (WAN, VICTIM, REMOTE),
                    (WAN, REMOTE, VICTIM),
                    (LAN, REMOTE, VICTIM),
                ] {
                    let frame = udp(FOREIGN_MAC, source, to(destination), ports, payload);
                    check(name, &[(interface, frame.clone())]);
                    check(name, &vec![(interface, frame); 40]);
                }
            }
        }
    }
}

#[test]
fn whole_conversations_forged_from_one_place_ban_nobody() {
    for interface in [LAN, WAN] {
        let mut everything = Vec::new();
        for (name, request, answer) in messages() {
            let to = |destination| if name == "lsd" { GROUP } else { destination };
            for (asker, other) in [(VICTIM, REMOTE), (REMOTE, VICTIM)] {
                let ports = if asker == VICTIM {
                    (51_413, 6_881)
                } else {
                    (6_881, 51_413)
                };
                let ask = udp(FOREIGN_MAC, asker, to(other), ports, &request);
                let reply = udp(FOREIGN_MAC, other, to(asker), (ports.1, ports.0), &answer);
                check(name, &[(interface, ask.clone()), (interface, reply.clone())]);
                everything.extend([(interface, ask), (interface, reply)]);
            }
        }
        check("everything", &everything);
    }
}

/// One TCP segment between the ports 6881 of `source` and 51413 of `destination`, or back when `source` is the latter.
fn segment(
    mac: [u8; 6],
    ends: (Ipv4Addr, Ipv4Addr),
    ports: (u16, u16),
    numbers: [u32; 2],
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let mut frame = udp(mac, ends.0, ends.1, ports, &[&[0; 12], data].concat());
    // Protocol TCP, and a header of 20 bytes in place of the first 20 behind IP's.
    frame[23] = 6;
    frame[38..42].copy_from_slice(&numbers[0].to_be_bytes());
    frame[42..46].copy_from_slice(&numbers[1].to_be_bytes());
    frame[46..50].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    frame[50..54].fill(0);
    frame
}

/// A conversation in which the responder names a peer, on one interface; `macs` are where the originator's and the
/// responder's segments come from.
fn peer_exchange(
    interface: u16,
    ends: (Ipv4Addr, Ipv4Addr),
    macs: [[u8; 6]; 2],
    opened: bool,
) -> Vec<(u16, Vec<u8>)> {
    let extended = |id: u8, body: &[u8]| {
        let len = u32::try_from(body.len() + 2).unwrap();
        [&len.to_be_bytes()[..], &[20, id], body].concat()
    };
    let greeting = |client: &[u8; 8]| {
        [
            &b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05\x91nopqrstuvwxyz\xe123456"[..],
            client,
            b"abcdefghijkl",
            &extended(0, b"d1:md6:ut_pexi1eee"),
        ]
        .concat()
    };
    let (hello, reply) = (greeting(b"-TR4060-"), greeting(b"-qB4600-"));
    let exchange = extended(1, b"d5:added6:\xc6\x33\x64\x09\x20\xc47:added.f1:\0e");
    let (mut numbers, mut frames) = ([1_000_u32, 77], Vec::new());
    for (side, flags, data) in [
        (0, 0x02, &[][..]),
        (1, 0x12, &[]),
        (0, 0x18, &hello),
        (1, 0x18, &reply),
        (1, 0x18, &exchange),
        (0, 0x10, &[]),
    ] {
        let there = (ends, (51_413, 6_881));
        let back = ((ends.1, ends.0), (6_881, 51_413));
        let (ends, ports) = if side == 0 { there } else { back };
        let acknowledged = if flags == 0x02 { 0 } else { numbers[1 - side] };
        if opened || flags & 0x02 == 0 {
            let numbers = [numbers[side], acknowledged];
            frames.push((interface, segment(macs[side], ends, ports, numbers, flags, data)));
        }
        let syn = u32::from(flags & 0x02 != 0);
        numbers[side] += syn + u32::try_from(data.len()).unwrap();
    }
    frames
}

#[test]
fn peers_are_learned_from_real_streams_only() {
    for (interface, ends) in [(LAN, (VICTIM, REMOTE)), (WAN, (REMOTE, VICTIM))] {
        let both = [FOREIGN_MAC, OWN_MAC[usize::from(interface)]];
        assert!(
            outcome(&peer_exchange(interface, ends, both, true)).1 > 0,
            "it is a real one"
        );
        for opened in [false, true] {
            check("pex", &peer_exchange(interface, ends, [FOREIGN_MAC; 2], opened));
            // The forger's half alone, with an end that answers nothing.
            let half = peer_exchange(interface, ends, both, opened);
            let half = half.into_iter().filter(|(_, frame)| frame[6..12] == FOREIGN_MAC);
            check("half of pex", &half.collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_same_conversation_through_the_gateway_bans_the_host() {
    let mut frames = Vec::new();
    for (_, request, answer) in messages()
        .into_iter()
        .filter(|(name, ..)| name.starts_with("get_peers"))
    {
        for (asker, other) in [(VICTIM, REMOTE), (REMOTE, VICTIM)] {
            let ports = if asker == VICTIM {
                (51_413, 6_881)
            } else {
                (6_881, 51_413)
            };
            let mac = |source| if source == VICTIM { FOREIGN_MAC } else { OWN_MAC[0] };
            frames.push((LAN, udp(mac(asker), asker, other, ports, &request)));
            frames.push((LAN, udp(mac(other), other, asker, (ports.1, ports.0), &answer)));
        }
    }
    let (mut hosts, learned) = outcome(&frames);
    hosts.dedup();
    assert!(learned > 0);
    assert_eq!(hosts, [VICTIM.to_string()], "the test's messages are real ones");
}
