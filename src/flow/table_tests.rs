//! The table against hand-made packets and against a naive model.

use super::{FlowCounts, FlowHasher, FlowTable, limits};
use crate::packet::{PacketView, TcpView, TransportView, UdpView};
use btblocker_detectors::{Endpoint, Ends, Findings, Options, Side, Timestamp};
use proptest::prelude::*;
use std::collections::HashMap;
use std::num::NonZeroU32;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const SECOND: u64 = 1_000_000;

fn table(flows: u32) -> FlowTable {
    FlowTable::new(FlowHasher::seeded(7), NonZeroU32::new(flows).unwrap(), 2)
}

fn endpoint(number: u16) -> Endpoint {
    Endpoint {
        address: 0xffff_c000_0200 + u128::from(number),
        port: 1000 + number,
    }
}

fn packet(from: u16, to: u16, transport: TransportView<'_>) -> PacketView<'_> {
    PacketView {
        source: endpoint(from),
        destination: endpoint(to),
        source_mac: None,
        transport,
        tunnel: None,
        first_fragment: false,
    }
}

fn udp(from: u16, to: u16) -> PacketView<'static> {
    let view = UdpView {
        payload: b"x",
        wire_len: 1,
    };
    packet(from, to, TransportView::Udp(view))
}

fn tcp(from: u16, to: u16, sequence: u32, flags: u8, wire_len: u32) -> PacketView<'static> {
    let view = TcpView {
        sequence,
        acknowledgement: 0,
        window: u16::MAX,
        window_scale: None,
        flags,
        payload: &[],
        wire_len,
    };
    packet(from, to, TransportView::Tcp(view))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_700_000_000 * SECOND + seconds * SECOND)
}

#[test]
fn the_originator_sent_the_syn_or_the_first_packet() {
    let rows = [
        ("datagram", udp(1, 2), 1),
        ("datagram of the greater", udp(2, 1), 2),
        ("request", tcp(2, 1, 5, SYN, 0), 2),
        ("answer", tcp(2, 1, 5, SYN | ACK, 0), 1),
        ("middle", tcp(2, 1, 5, ACK, 5), 2),
    ];
    for (name, packet, originator) in rows {
        let mut table = table(4);
        let touched = table.touch(at(0), &packet).unwrap();
        let (first, second) = table.ends(touched.handle).unwrap();
        assert_eq!(
            (first, second),
            (endpoint(originator), endpoint(3 - originator)),
            "{name}"
        );
        let expected = if packet.source == first {
            Side::Originator
        } else {
            Side::Responder
        };
        assert_eq!(touched.from, expected, "{name}");
    }
}

#[test]
fn both_directions_are_one_flow_and_are_counted_apart() {
    let mut table = table(4);
    for packet in [udp(1, 2), udp(2, 1), udp(2, 1), tcp(1, 2, 0, ACK, 9)] {
        table.touch(at(0), &packet).unwrap();
    }
    let touched = table.touch(at(1), &udp(1, 2)).unwrap();
    assert_eq!((table.active(), table.counts().created), (2, 2));
    assert_eq!(table.sent(touched.handle, Side::Originator), Some((2, 2)));
    assert_eq!(table.sent(touched.handle, Side::Responder), Some((2, 2)));
}

#[test]
fn a_silent_flow_ends_after_the_time_of_its_state() {
    let open = tcp(1, 2, 5, ACK, 5);
    let rows: [(&str, &[PacketView<'_>], u64); 4] = [
        ("datagrams", &[udp(1, 2)], limits::UDP_IDLE_MICROS),
        ("request", &[tcp(1, 2, 5, SYN, 0)], limits::TCP_HALF_OPEN_MICROS),
        ("payload", &[open], limits::TCP_IDLE_MICROS),
        ("reset", &[open, tcp(2, 1, 5, RST, 0)], limits::TCP_CLOSED_MICROS),
    ];
    for (name, packets, timeout) in rows {
        let mut table = table(4);
        for packet in packets {
            table.touch(at(0), packet).unwrap();
        }
        let last = Timestamp(at(0).0 + timeout);
        table.sweep(last);
        assert_eq!(table.active(), 1, "{name}: too early");
        table.sweep(Timestamp(last.0 + 1));
        assert_eq!((table.active(), table.counts().expired), (0, 1), "{name}");
    }
}

#[test]
fn an_expired_flow_is_not_found_even_without_a_sweep() {
    let mut table = table(4);
    table.touch(at(0), &udp(1, 2)).unwrap();
    let touched = table.touch(at(1000), &udp(2, 1)).unwrap();
    assert_eq!(touched.from, Side::Originator);
    let expected = FlowCounts {
        created: 2,
        expired: 1,
        ..FlowCounts::default()
    };
    assert_eq!((table.counts(), table.active()), (expected, 1));
}

#[test]
fn a_clock_that_steps_back_ends_nothing() {
    let mut table = table(4);
    table.touch(at(10_000), &udp(1, 2)).unwrap();
    table.touch(at(0), &udp(1, 2)).unwrap();
    table.sweep(at(1));
    assert_eq!((table.active(), table.counts().created), (1, 1));
}

#[test]
fn a_silent_flow_ends_in_time_after_the_clock_steps_back() {
    let mut table = table(4);
    table.touch(at(10_000), &udp(1, 2)).unwrap();
    table.sweep(at(0));
    let last = Timestamp(at(0).0 + limits::UDP_IDLE_MICROS);
    table.sweep(last);
    assert_eq!(table.active(), 1, "too early");
    table.sweep(Timestamp(last.0 + 1));
    assert_eq!((table.active(), table.counts().expired), (0, 1));
}

#[test]
fn a_finished_flow_gives_its_buffers_back_at_once() {
    let opening = [tcp(1, 2, 1, SYN, 0), tcp(1, 2, 2, ACK, 50)];
    let rows: [(&str, &[PacketView<'_>], u32); 4] = [
        ("open", &[tcp(2, 1, 9, ACK, 0)], 1),
        ("one end", &[tcp(1, 2, 52, FIN | ACK, 0), tcp(2, 1, 9, ACK, 0)], 1),
        (
            "both ends",
            &[tcp(1, 2, 52, FIN | ACK, 0), tcp(2, 1, 9, FIN | ACK, 0)],
            0,
        ),
        ("a reset, which may be forged", &[tcp(2, 1, 9, RST, 0)], 1),
    ];
    for (name, closing, lent) in rows {
        let mut table = table(4);
        for packet in opening.iter().chain(closing) {
            let touched = table.touch(at(0), packet).unwrap();
            table.inspect(touched, at(0), packet, &Options::default(), &mut Findings::new());
        }
        assert_eq!(table.buffers_lent(), lent, "{name}");
    }
}

#[test]
fn a_new_syn_on_an_ended_flow_begins_another() {
    let open = [tcp(1, 2, 100, SYN, 0), tcp(1, 2, 101, ACK, 50)];
    let rows: [(&str, &[PacketView<'_>], u64, PacketView<'_>, u64); 6] = [
        (
            "after a reset",
            &[open[0], open[1], tcp(2, 1, 0, RST, 0)],
            1,
            tcp(1, 2, 999, SYN, 0),
            1,
        ),
        (
            "by the other end",
            &[open[0], open[1], tcp(2, 1, 0, RST, 0)],
            1,
            tcp(2, 1, 999, SYN, 0),
            1,
        ),
        ("repeated", &[open[0]], 1, open[0], 0),
        ("another attempt", &[open[0]], 1, tcp(1, 2, 999, SYN, 0), 1),
        ("into an open flow", &open, 1, tcp(1, 2, 999, SYN, 0), 0),
        ("into a silent flow", &open, 60, tcp(1, 2, 999, SYN, 0), 1),
    ];
    for (name, before, seconds, syn, reused) in rows {
        let mut table = table(4);
        for packet in before {
            table.touch(at(0), packet).unwrap();
        }
        table.touch(at(seconds), &syn).unwrap();
        assert_eq!((table.counts().reused, table.active()), (reused, 1), "{name}");
    }
}

#[test]
fn a_new_connection_on_a_live_one_begins_with_its_answer() {
    let acknowledged = |packet: PacketView<'static>, number: u32| {
        let TransportView::Tcp(segment) = packet.transport else {
            return packet;
        };
        let segment = TcpView {
            acknowledgement: number,
            ..segment
        };
        PacketView {
            transport: TransportView::Tcp(segment),
            ..packet
        }
    };
    let open = [
        tcp(1, 2, 100, SYN, 0),
        acknowledged(tcp(2, 1, 500, SYN | ACK, 0), 101),
        acknowledged(tcp(1, 2, 101, ACK, 50), 501),
    ];
    let asks = tcp(1, 2, 9_000, SYN, 0);
    let grants = acknowledged(tcp(2, 1, 7_000, SYN | ACK, 0), 9_001);
    let ends = |from, to, number| tcp(from, to, number, FIN | ACK, 0);
    let reset = |number| tcp(1, 2, number, RST, 0);
    let rest = acknowledged(tcp(2, 1, 501, ACK, 9), 151);
    let rows: [(&str, &[PacketView<'_>], u64); 9] = [
        ("asked", &[asks], 0),
        ("asked and granted", &[asks, grants], 1),
        ("granted unasked", &[grants], 0),
        (
            "granted with an old number",
            &[asks, acknowledged(open[1], 9_001)],
            1,
        ),
        ("asked and granted once more", &[open[0], open[1]], 0),
        (
            "granted to another",
            &[asks, acknowledged(tcp(2, 1, 7_000, SYN | ACK, 0), 9_002)],
            0,
        ),
        (
            "reset, which the other end may ignore",
            &[rest, reset(151), asks],
            0,
        ),
        ("reset, asked and granted", &[rest, reset(151), asks, grants], 1),
        ("finished by both", &[ends(1, 2, 151), ends(2, 1, 510), asks], 1),
    ];
    for (name, packets, reused) in rows {
        let mut table = table(4);
        for packet in &open {
            table.touch(at(0), packet).unwrap();
        }
        // A minute of silence changes nothing.
        for packet in packets {
            table.touch(at(60), packet).unwrap();
        }
        assert_eq!((table.counts().reused, table.active()), (reused, 1), "{name}");
    }
    let mut table = table(4);
    for packet in open.iter().chain(&[asks, grants]) {
        table.touch(at(60), packet).unwrap();
    }
    let touched = table
        .touch(at(61), &acknowledged(tcp(1, 2, 9_001, ACK, 0), 7_001))
        .unwrap();
    assert_eq!(touched.from, Side::Originator);
    assert_eq!(table.proven(touched.handle, &Findings::new()), Ends::BOTH);
}

#[test]
fn a_full_table_gives_up_the_half_open_first_then_the_oldest() {
    let mut table = table(4);
    for (second, packet) in [
        udp(1, 2),
        udp(2, 1),
        tcp(3, 4, 1, SYN, 0),
        udp(5, 6),
        udp(6, 5),
        udp(7, 8),
        udp(8, 7),
    ]
    .iter()
    .enumerate()
    {
        table.touch(at(second as u64), packet).unwrap();
    }
    let creates = |table: &mut FlowTable, packet: &PacketView<'_>| {
        let before = table.counts().created;
        table.touch(at(10), packet).unwrap();
        table.counts().created != before
    };
    assert!(creates(&mut table, &udp(9, 10)));
    assert!(
        !creates(&mut table, &udp(10, 9)),
        "answered: not one way any more"
    );
    assert_eq!(table.counts().evicted, 1);
    assert!(!creates(&mut table, &udp(1, 2)) && !creates(&mut table, &udp(5, 6)));
    assert!(
        creates(&mut table, &tcp(3, 4, 1, SYN, 0)),
        "the half-open one had gone"
    );
    assert_eq!((table.counts().evicted, table.active()), (2, 4));
    assert!(creates(&mut table, &udp(7, 8)), "the longest silent one had gone");
}

#[derive(Clone, Debug)]
struct Step {
    from: u16,
    to: u16,
    wait: u64,
    is_tcp: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u16..6, 0_u16..6, 0_u64..300, any::<bool>());
    let step = step.prop_map(|(from, to, wait, is_tcp)| Step {
        from,
        to,
        wait,
        is_tcp,
    });
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// The model: a map of flows with the time of their last packet, where nothing is swept or evicted.
    #[test]
    fn the_table_behaves_like_a_map(steps in steps()) {
        let mut table = table(64);
        let mut model: HashMap<(u16, u16, bool), (u64, u16, u32)> = HashMap::new();
        let (mut now, mut created) = (0, 0);
        for Step { from, to, wait, is_tcp } in steps {
            now += wait;
            let packet = if is_tcp { tcp(from, to, 1, ACK, 1) } else { udp(from, to) };
            let timeout = if is_tcp { limits::TCP_IDLE_MICROS } else { limits::UDP_IDLE_MICROS };
            let key = (from.min(to), from.max(to), is_tcp);
            model.retain(|kept, (last, ..)| *kept != key || (now - *last) * SECOND <= timeout);
            let flow = model.entry(key).or_insert_with(|| {
                created += 1;
                (now, from, 0)
            });
            flow.0 = now;
            flow.2 += 1;
            let touched = table.touch(at(now), &packet).unwrap();
            prop_assert_eq!(table.ends(touched.handle).unwrap().0, endpoint(flow.1));
            let sent = [Side::Originator, Side::Responder].map(|side| table.sent(touched.handle, side).unwrap().0);
            prop_assert_eq!(sent[0] + sent[1], flow.2);
            prop_assert_eq!(table.counts().created, created);
            table.sweep(at(now));
        }
        let alive = |(is_tcp, last): (bool, u64)| {
            let timeout = if is_tcp { limits::TCP_IDLE_MICROS } else { limits::UDP_IDLE_MICROS };
            (now - last) * SECOND <= timeout
        };
        let expected = model.iter().filter(|(key, flow)| alive((key.2, flow.0))).count();
        table.sweep(at(now));
        table.sweep(at(now));
        prop_assert_eq!(table.active() as usize, expected);
    }

    #[test]
    fn a_small_table_never_exceeds_its_bound(steps in steps(), flows in 1_u32..6) {
        let mut table = table(flows);
        let mut now = 0;
        for Step { from, to, wait, is_tcp } in steps {
            now += wait;
            let packet = if is_tcp { tcp(from, to, 1, ACK, 1) } else { udp(from, to) };
            prop_assert!(table.touch(at(now), &packet).is_some());
            let FlowCounts { created, expired, evicted, reused, .. } = table.counts();
            prop_assert!(table.active() <= flows);
            prop_assert_eq!(created - expired - evicted - reused, u64::from(table.active()));
        }
    }
}
