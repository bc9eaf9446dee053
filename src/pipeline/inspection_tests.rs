//! Batches in, reports and counters out.

use super::packets::{
    A, ACK, B, FIN, SYN, at, batch, endpoint, ethernet, extended_handshake, get_peers, handshake, peers, tcp,
    udp, udp_fragments,
};
use super::{Inspection, Published, Settings};
use crate::capture::{FrameBatch, LinkType};
use crate::flow::FlowHasher;
use crate::judge::{FlowId, LearnedPeer, Report, Sighting};
use crate::metrics::Counters;
use crate::network::{Ingress, Interface, InterfaceKind, Network, Prefix};
use btblocker_detectors::{Ends, LearnedFrom, Side, Technique, Transport};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

fn inspection() -> Inspection {
    let mut settings = Settings::new(NonZeroU32::new(1000).unwrap());
    settings.hasher = FlowHasher::seeded(1);
    Inspection::new(&settings, Published::new(Ingress::default()).reader())
}

fn run(inspection: &mut Inspection, frames: &[(u64, Vec<u8>)]) -> Vec<Report> {
    let mut reports = Vec::new();
    for frames in frames.chunks(100) {
        let batch = batch(frames.iter().map(|(millis, frame)| (*millis, &frame[..])));
        inspection.batch(&batch, &mut |report| reports.push(report));
    }
    reports
}

fn sightings(reports: &[Report]) -> Vec<Sighting> {
    let sighting = |report: &Report| match report {
        Report::Sighting(sighting) => Some(*sighting),
        Report::Learned(_) => None,
    };
    reports.iter().filter_map(sighting).collect()
}

fn learned(reports: &[Report]) -> Vec<LearnedPeer> {
    let learned = |report: &Report| match report {
        Report::Learned(learned) => Some(*learned),
        Report::Sighting(_) => None,
    };
    reports.iter().filter_map(learned).collect()
}

/// SYN of A (sequence 100), answer of B (500), and its acknowledgement.
fn opening() -> Vec<(u64, Vec<u8>)> {
    vec![
        (0, tcp(A, B, 100, 0, SYN, b"")),
        (1, tcp(B, A, 500, 101, SYN | ACK, b"")),
        (2, tcp(A, B, 101, 501, ACK, b"")),
    ]
}

#[test]
fn evidence_in_an_open_flow_proves_both_ends() {
    let mut inspection = inspection();
    let mut frames = opening();
    frames.push((3, tcp(A, B, 101, 501, ACK, &handshake(1))));
    let seen = sightings(&run(&mut inspection, &frames));
    let flow = FlowId {
        transport: Transport::Tcp,
        originator: endpoint(A),
        responder: endpoint(B),
    };
    assert!(!seen.is_empty());
    for sighting in &seen {
        assert_eq!((sighting.flow, sighting.proven), (flow, Ends::BOTH));
        assert_eq!(
            (sighting.at, sighting.interface, sighting.payload_len),
            (at(3), 3, 68)
        );
        assert_eq!(sighting.evidence.speaker, Side::Originator);
    }
    assert_eq!(seen[0].evidence.technique, Technique::Handshake);
    let mut expected = Counters {
        frames: 4,
        bytes: 4 * 40 + 68,
        flows_created: 1,
        flows_active: 1,
        inspected: 1,
        empty: 3,
        ..Counters::default()
    };
    for sighting in &seen {
        expected.see(sighting.evidence.technique, sighting.evidence.confidence);
    }
    assert_eq!(inspection.counters().clone().untimed(), expected);
}

#[test]
fn evidence_is_reported_once_more_when_its_flow_is_proven_later() {
    let mut inspection = inspection();
    let hello = handshake(1);
    let seen = sightings(&run(&mut inspection, &[(0, tcp(A, B, 101, 501, ACK, &hello))]));
    assert!(!seen.is_empty() && seen.iter().all(|sighting| sighting.proven.is_empty()));
    // B acknowledges and sends; A acknowledges that in a segment without payload.
    let seen = sightings(&run(&mut inspection, &[(1, tcp(B, A, 501, 169, ACK, b"hello"))]));
    assert!(seen.is_empty());
    let seen = sightings(&run(&mut inspection, &[(2, tcp(A, B, 169, 506, ACK, b""))]));
    let [late] = seen[..] else { panic!("{seen:?}") };
    assert_eq!((late.proven, late.at, late.payload_len), (Ends::BOTH, at(2), 68));
    assert_eq!(late.evidence.technique, Technique::Handshake);
    assert_eq!(inspection.counters().reproven, 1);
    assert!(run(&mut inspection, &[(3, tcp(A, B, 169, 506, ACK, b""))]).is_empty());
}

#[test]
fn a_capture_of_one_direction_proves_nobody() {
    let mut frames: Vec<_> = opening().into_iter().filter(|(millis, _)| *millis != 1).collect();
    frames.push((3, tcp(A, B, 101, 501, ACK, &handshake(1))));
    frames.push((4, tcp(A, B, 169, 569, ACK, b"")));
    let seen = sightings(&run(&mut inspection(), &frames));
    assert!(!seen.is_empty() && seen.iter().all(|sighting| sighting.proven.is_empty()));
}

#[test]
fn a_lone_datagram_proves_nobody_and_what_answers_prove_stays_with_the_flow() {
    let mut inspection = inspection();
    let query = |number| udp(A, B, &get_peers([b'a', number]));
    let answer = |number| udp(B, A, &peers([b'a', number]));
    let alone = run(&mut inspection, &[(0, query(0)), (1, query(1))]);
    assert!(
        !alone.is_empty()
            && sightings(&alone)
                .iter()
                .all(|sighting| sighting.proven.is_empty())
    );
    let reports = run(&mut inspection, &[(2, answer(0)), (3, answer(1))]);
    let answered = sightings(&reports);
    let last = answered.last().unwrap();
    assert_eq!(last.proven, Ends::only(Side::Responder));
    // What the query showed is told again, with the new proof.
    let query = |sighting: &&Sighting| sighting.evidence.speaker == Side::Originator;
    assert!(
        answered
            .iter()
            .any(|sighting| query(&sighting) && sighting.proven == last.proven)
    );
    // Long after, it is known still.
    let later = sightings(&run(&mut inspection, &[(60_000, udp(A, B, &get_peers(*b"zz")))]));
    assert!(!later.is_empty() && later.iter().all(|sighting| sighting.proven == last.proven));
    let learned = learned(&reports);
    assert!(!learned.is_empty() && learned.iter().all(|peer| peer.told == endpoint(A).address));
}

#[test]
fn a_listening_port_is_learned_for_the_other_end() {
    let mut frames = opening();
    let hello = [handshake(1), extended_handshake()].concat();
    // Who is told of it has to speak the protocol, too.
    let mut unasked = frames.clone();
    unasked.push((3, tcp(A, B, 101, 501, ACK, &hello)));
    unasked.push((4, tcp(B, A, 501, 102, ACK, b"400 Bad Request")));
    assert!(learned(&run(&mut inspection(), &unasked)).is_empty());
    frames.push((3, tcp(B, A, 501, 101, ACK, &handshake(2))));
    frames.push((3, tcp(A, B, 101, 501, ACK, &hello)));
    let learned = learned(&run(&mut inspection(), &frames));
    let [peer] = learned[..] else {
        panic!("{learned:?}")
    };
    assert_eq!(peer.from, LearnedFrom::ListenPort);
    assert_eq!(peer.told, endpoint(B).address);
    assert_eq!(peer.endpoint, endpoint((A.0, 51_413)));
}

/// A flow of which each call shows a query at that many milliseconds; whether it gives evidence.
fn queries() -> impl FnMut(u64) -> bool {
    let mut inspection = inspection();
    let mut transaction = 0_u16;
    move |millis| {
        transaction += 1;
        let query = get_peers(transaction.to_be_bytes());
        !sightings(&run(&mut inspection, &[(millis, udp(A, B, &query))])).is_empty()
    }
}

#[test]
fn evidence_comes_anew_while_the_traffic_goes_on() {
    let mut seen = queries();
    assert!(seen(0));
    assert!(!seen(10_000) && !seen(29_999));
    assert!(seen(30_000));
    assert!(!seen(40_000));
    assert!(seen(60_000));
}

#[test]
fn evidence_comes_anew_after_the_clock_stepped_back() {
    let mut seen = queries();
    assert!(seen(1_000_000));
    assert!(!seen(0) && !seen(29_999));
    assert!(seen(30_000));
}

#[test]
fn a_settled_flow_costs_a_look_up_and_gives_its_memory_back() {
    let mut inspection = inspection();
    let frames: Vec<_> = (0..1000)
        .map(|number: u32| (u64::from(number), tcp(A, B, number * 600, 1, ACK, &[b'x'; 600])))
        .collect();
    assert!(run(&mut inspection, &frames).is_empty());
    let counters = inspection.counters();
    assert!(counters.settled > 0);
    assert_eq!(counters.inspected + counters.settled, 1000);
}

#[test]
fn fragments_are_put_together() {
    let mut inspection = inspection();
    let [first, second] = udp_fragments(A, B, &get_peers(*b"ab"));
    let seen = sightings(&run(&mut inspection, &[(0, second), (1, first)]));
    assert!(!seen.is_empty());
    let counters = inspection.counters();
    assert_eq!(
        (counters.frames, counters.reassembled, counters.flows_created),
        (2, 1, 1)
    );
    assert_eq!(counters.skipped[crate::packet::Skip::Fragment.index()], 1);
}

#[test]
fn missing_buffers_are_counted_and_do_not_hinder() {
    let mut settings = Settings::new(NonZeroU32::new(1000).unwrap());
    settings.stream_buffers = 0;
    let mut inspection = Inspection::new(&settings, Published::new(Ingress::default()).reader());
    let mut frames = opening();
    frames.push((3, tcp(A, B, 101, 501, ACK, &handshake(1))));
    assert!(!sightings(&run(&mut inspection, &frames)).is_empty());
    assert_eq!(inspection.counters().buffers_missing, 1);
}

#[test]
fn a_closed_flow_ends_soon() {
    let mut inspection = inspection();
    let mut frames = opening();
    frames.push((3, tcp(A, B, 101, 501, ACK | FIN, b"x")));
    frames.push((4, tcp(B, A, 501, 103, ACK | FIN, b"")));
    frames.push((11_000, udp(A, B, b"hello")));
    run(&mut inspection, &frames);
    assert_eq!(
        (
            inspection.counters().flows_expired,
            inspection.counters().flows_active
        ),
        (1, 1)
    );
}

#[test]
fn what_is_no_packet_is_counted_by_reason() {
    let mut inspection = inspection();
    let mut icmp = udp(A, B, b"hello");
    icmp[9] = 1;
    run(&mut inspection, &[(0, icmp), (1, vec![0x45; 3])]);
    let counters = inspection.counters();
    assert_eq!((counters.frames, counters.flows_created), (2, 0));
    assert_eq!(counters.skipped.iter().sum::<u64>(), 2);
    assert_eq!(counters.skipped[crate::packet::Skip::NotTransport.index()], 1);
}

#[test]
fn a_source_that_cannot_be_there_makes_no_flow() {
    let prefix = |text: [u8; 4]| Prefix::new(Ipv4Addr::from(text).into(), 24).unwrap();
    let interface = |index, name: &str, address: [u8; 4]| Interface {
        name: name.to_owned(),
        index,
        kind: InterfaceKind::Ethernet,
        mac: Some([2, 0, 0, 0, 1, index as u8]),
        up: true,
        master: None,
        lower: None,
        addresses: vec![(Ipv4Addr::from(address).into(), prefix(address))],
    };
    let network = Network {
        interfaces: vec![
            interface(1, "lan0", [10, 0, 0, 254]),
            interface(2, "wan0", [198, 51, 100, 1]),
        ],
        ..Network::default()
    };
    let published = Published::new(Ingress::default());
    let settings = Settings::new(NonZeroU32::new(1000).unwrap());
    let mut inspection = Inspection::new(&settings, published.reader());
    let frame = ethernet([2, 0, 0, 0, 7, 7], &udp(A, B, &get_peers(*b"ab")));
    let mut on = |interface| {
        let mut batch = FrameBatch::new();
        assert!(batch.push(at(0), LinkType::Ethernet, interface, frame.len() as u32, &frame));
        let mut reports = 0;
        inspection.batch(&batch, &mut |_| reports += 1);
        (
            reports > 0,
            inspection.counters().martian,
            inspection.counters().flows_created,
        )
    };
    published.publish(Ingress::new(&network, &["lan0", "wan0"]));
    assert_eq!(
        on(1),
        (false, 1, 0),
        "a new picture counts from the next batch on"
    );
    assert_eq!(on(0), (true, 1, 1));
}

#[test]
fn a_silent_flow_gives_its_buffers_back() {
    for (silence, missing) in [(20_000, 1), (31_000, 0)] {
        let mut settings = Settings::new(NonZeroU32::new(1000).unwrap());
        settings.stream_buffers = 1;
        let mut inspection = Inspection::new(&settings, Published::new(Ingress::default()).reader());
        let other = ([10, 0, 0, 2], 50_002);
        run(&mut inspection, &[(0, tcp(A, B, 1, 1, ACK, b"x"))]);
        for later in 0..10 {
            run(&mut inspection, &[(silence + later, udp(other, B, b"x"))]);
        }
        run(&mut inspection, &[(silence + 10, tcp(other, B, 1, 1, ACK, b"x"))]);
        assert_eq!(inspection.counters().buffers_missing, missing);
    }
}

#[test]
fn a_long_flow_gives_its_evidence_anew_among_other_payload() {
    let mut inspection = inspection();
    let mut frames = opening();
    frames.push((3, tcp(A, B, 101, 501, ACK, &handshake(1))));
    let noise = |millis: u64, segments: u32, with_request: bool| {
        let mut frames = Vec::new();
        for number in 0..segments {
            let sequence = 169 + (millis as u32) * 100 + number * 17;
            let request = b"\0\0\0\x0d\x06\0\0\0\x11\0\x02\x40\0\0\0\x40\0";
            let payload = if with_request && number == 20 {
                *request
            } else {
                [0xa5; 17]
            };
            frames.push((millis, tcp(A, B, sequence, 501, ACK, &payload)));
        }
        frames
    };
    frames.extend(noise(4, 6000, false));
    assert!(!run(&mut inspection, &frames).is_empty());
    for millis in [31_000, 62_000] {
        assert!(
            !run(&mut inspection, &noise(millis, 100, true)).is_empty(),
            "at {millis}"
        );
    }
}
