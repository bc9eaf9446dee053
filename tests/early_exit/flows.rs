//! What becomes of flows that are settled, and of what follows on the same ports.

use std::time::{Duration, Instant};

use btblocker_detectors::Technique;

use crate::lab::{Arrived, BOUND, Link, Watched, Wire, junk};
use crate::namespace::in_namespace;
use crate::packets::{
    ACK, End, FIN, GET_PEERS, HANDSHAKE, JUNK, RST, SYN, end, first_fragment, tcp, typed, udp, vxlan,
    with_extension, with_options,
};

fn of(arrived: &[Arrived], [a, b]: [End; 2]) -> usize {
    let ports = [[a.1, b.1], [b.1, a.1]];
    arrived
        .iter()
        .filter(|arrived| ports.contains(&arrived.ports))
        .count()
}

#[test]
fn a_settled_flow_ends_in_the_kernel_and_others_arrive() {
    let four = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
    let six = [end("2001:db8::1", 20_000), end("2001:db8:1::1", 4_500)];
    let one_host = [end("192.0.2.1", 20_000), end("192.0.2.1", 4_500)];
    for link in [Link::Ethernet, Link::Tun] {
        in_namespace(move || {
            let mut wire = Wire::new(link);
            let watched = Watched::start(true);
            for flow in [four, six, one_host] {
                let [a, b] = flow;
                watched.settle(&mut wire, |_| junk(a, b));
                watched.all(&mut wire);
                let before = watched.early_exit.as_ref().unwrap().left_out();
                let packet = junk(a, b);
                for _ in 0..50 {
                    wire.send(&packet);
                    wire.send(&junk(b, a));
                }
                let other = [End(a.0, a.1 + 1), b];
                wire.send(&junk(other[0], other[1]));
                wire.send(&tcp(a, b, [1, 1], ACK, JUNK));
                let arrived = watched.all(&mut wire);
                assert_eq!(of(&arrived, other), 1, "another flow");
                let found = of(&arrived, flow);
                assert_eq!(found, 1, "{link:?} {flow:?}: only the one of another protocol");
                let after = watched.early_exit.as_ref().unwrap().left_out();
                let frame = packet.len() as u64 + if link == Link::Ethernet { 14 } else { 0 };
                assert_eq!(
                    (after.frames - before.frames, after.bytes - before.bytes),
                    (100, 100 * frame)
                );
            }
            let start = Instant::now();
            while watched.counters.stats().left_out != watched.left_out() {
                assert!(start.elapsed() < BOUND, "{:?}", watched.counters.stats());
                std::thread::yield_now();
            }
        });
    }
}

/// The handshake of a connection and the beginning of what its two ends say.
fn connection([a, b]: [End; 2], first: u32, say: &[u8]) -> Vec<Vec<u8>> {
    let next = first + 1;
    let end = next + say.len() as u32;
    vec![
        tcp(a, b, [first, 0], SYN, b""),
        tcp(b, a, [7_000, next], SYN | ACK, b""),
        tcp(a, b, [next, 7_001], ACK, b""),
        tcp(a, b, [next, 7_001], ACK, say),
        tcp(b, a, [7_001, end], ACK, say),
    ]
}

#[test]
fn the_next_connection_on_the_same_ports_is_recognised() {
    let four = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
    let six = [end("2001:db8:9::1", 20_000), end("2001:db8:1::1", 4_500)];
    in_namespace(move || {
        let mut wire = Wire::new(Link::Ethernet);
        let watched = Watched::start(true);
        for flow in [four, six] {
            let [a, b] = flow;
            for packet in connection(flow, 1_000, JUNK) {
                wire.send(&packet);
            }
            let sequence = |number: u32| 1_201 + number * 200;
            watched.settle(&mut wire, |number| {
                tcp(a, b, [sequence(number), 7_201], ACK, JUNK)
            });
            watched.all(&mut wire);

            // In force, and nevertheless each of these arrives.
            wire.send(&tcp(a, b, [sequence(900), 7_201], ACK, JUNK));
            for flags in [FIN | ACK, RST] {
                wire.send(&tcp(b, a, [7_201, 1_201], flags, b""));
            }
            let arrived = watched.all(&mut wire);
            let flags: Vec<u8> = arrived.iter().map(|arrived| arrived.flags).collect();
            assert_eq!(flags, [FIN | ACK, RST]);

            for packet in connection(flow, 900_000, HANDSHAKE) {
                wire.send(&packet);
            }
            let arrived = watched.all(&mut wire);
            let payloads = arrived.iter().filter(|arrived| !arrived.payload.is_empty());
            assert_eq!((arrived.len(), payloads.count()), (5, 2));
            let recognised: Vec<Technique> = arrived
                .iter()
                .flat_map(|arrived| &arrived.sightings)
                .map(|sighting| sighting.evidence.technique)
                .collect();
            assert!(recognised.contains(&Technique::Handshake), "{recognised:?}");

            // BitTorrent is never left out.
            for _ in 0..100 {
                wire.send(&tcp(a, b, [900_069, 7_069], ACK, JUNK));
                watched.all(&mut wire);
            }
            let before = watched.left_out();
            wire.send(&tcp(a, b, [900_069, 7_069], ACK, JUNK));
            assert_eq!(of(&watched.all(&mut wire), flow), 1);
            assert_eq!(watched.left_out(), before);
        }
    });
}

#[test]
fn a_syn_alone_ends_the_early_exit() {
    in_namespace(|| {
        let mut wire = Wire::new(Link::Tun);
        let watched = Watched::start(true);
        let flow @ [a, b] = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
        for packet in connection(flow, 1_000, JUNK) {
            wire.send(&packet);
        }
        watched.settle(&mut wire, |number| {
            tcp(a, b, [1_201 + number * 200, 7_201], ACK, JUNK)
        });
        watched.all(&mut wire);
        wire.send(&tcp(b, a, [7_201, 1_201], ACK, JUNK));
        wire.send(&tcp(a, b, [900_000, 0], SYN, b""));
        wire.send(&tcp(b, a, [7_201, 1_201], ACK, JUNK));
        let arrived = watched.all(&mut wire);
        let flags: Vec<u8> = arrived.iter().map(|arrived| arrived.flags).collect();
        assert_eq!(flags, [SYN, ACK]);
    });
}

#[test]
fn an_entry_ends_by_itself_and_what_follows_the_silence_is_recognised() {
    in_namespace(|| {
        let mut wire = Wire::new(Link::Ethernet);
        let watched = Watched::start(true);
        let flow @ [a, b] = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
        watched.settle(&mut wire, |_| junk(a, b));
        let begun = Instant::now();
        watched.all(&mut wire);
        // Every packet that the kernel leaves out prolongs nothing.
        while of(&watched.all(&mut wire), flow) == 0 {
            assert!(begun.elapsed() < BOUND, "it does not end");
            wire.send(&junk(a, b));
        }
        assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        // As after four minutes of silence.
        watched.skip(Duration::from_secs(240));
        wire.send(&udp(a, b, GET_PEERS));
        let arrived = watched.all(&mut wire);
        let recognised = |arrived: &Arrived| {
            arrived
                .sightings
                .iter()
                .any(|seen| seen.evidence.technique == Technique::Dht)
        };
        assert!(arrived.iter().any(recognised), "{arrived:?}");
    });
}

#[test]
fn what_the_filter_does_not_read_arrives() {
    let four @ [a, b] = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
    let six @ [c, d] = [end("2001:db8::1", 20_006), end("2001:db8:1::1", 4_500)];
    let vxlans @ [e, f] = [end("192.0.2.1", 20_001), end("198.51.100.1", 4_789)];
    in_namespace(move || {
        let mut wire = Wire::new(Link::Ethernet);
        let watched = Watched::start(true);
        for (flow, settled) in [(four, [a, b]), (six, [c, d]), (vxlans, [f, e])] {
            watched.settle(&mut wire, |_| junk(settled[0], settled[1]));
            watched.all(&mut wire);
            wire.send(&junk(settled[0], settled[1]));
            assert_eq!(of(&watched.all(&mut wire), flow), 0, "it is in force");
        }
        let tags = [&[0, 9, 0x81, 0, 0, 8, 8, 0][..], &junk(a, b)].concat();
        let label = [&[0, 1, 1, 64][..], &junk(a, b)].concat();
        let inner = typed(0x0800, &junk(end("10.0.0.1", 1_000), end("10.0.0.2", 2_000)));
        wire.send(&first_fragment(a, b, JUNK));
        wire.send(&with_options(a, b, JUNK));
        wire.send(&with_extension(c, d, JUNK));
        wire.send_frame(&typed(0x88a8, &tags));
        wire.send_frame(&typed(0x8847, &label));
        wire.send(&vxlan(e, f, &inner));
        let arrived = watched.all(&mut wire);
        assert_eq!([four, six].map(|flow| of(&arrived, flow)), [4, 1]);
        assert_eq!(of(&arrived, [End(a.0, 1_000), End(b.0, 2_000)]), 1, "{arrived:?}");
    });
}
