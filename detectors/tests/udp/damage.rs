//! Truncated, changed and random datagrams: no panic, and no more certainty than the whole ones give.

use crate::script::*;
use crate::{bencoded, lsd, socks, tracker, utp, vuze};
use btblocker_detectors::{Confidence, Findings, Options, Timestamp, UdpDatagram, UdpInspector};
use proptest::prelude::*;

/// One exchange per technique.
fn exchanges() -> Vec<(&'static str, Vec<Step>)> {
    let wrapped = [socks::HEADER, &bencoded::ping(b"abcd")].concat();
    vec![
        (
            "dht",
            vec![
                (O, 0, bencoded::get_peers(b"abcd")),
                (
                    R,
                    1,
                    bencoded::response(b"5:token4:tokn6:valuesl6:axje.uee"[..31].as_ref(), b"abcd"),
                ),
                (O, 2, bencoded::announce_peer(b"abce", b"tokn")),
            ],
        ),
        (
            "tracker",
            vec![
                (O, 0, tracker::connect(7)),
                (R, 1, tracker::connected(7)),
                (O, 2, tracker::announce(8)),
            ],
        ),
        ("utp", utp::plaintext()),
        (
            "vuze",
            vec![(O, 0, vuze::request(1024)), (R, 1, vuze::reply(1025))],
        ),
        ("lsd", vec![(O, 0, lsd::SEARCH.to_vec())]),
        ("socks", vec![(O, 0, wrapped)]),
    ]
}

#[test]
fn a_datagram_cut_at_any_byte_gives_no_more_than_the_whole() {
    for (name, steps) in exchanges() {
        for (row, (from, at, bytes)) in steps.iter().enumerate() {
            let before = || {
                let mut flow = Flow::new();
                for (from, at, bytes) in &steps[..row] {
                    flow.show(*from, *at, bytes);
                }
                flow
            };
            let whole = before().show(*from, *at, bytes);
            for cut in 0..bytes.len() {
                for wire_len in [cut, bytes.len()] {
                    let said = before().show_cut(*from, at * 1_000, &bytes[..cut], wire_len);
                    assert!(
                        surest(&said) <= surest(&whole),
                        "{name}, datagram {row}, cut at {cut} of {wire_len}"
                    );
                    let more = proven(&whole).union(proven(&said)) != proven(&whole);
                    assert!(!more, "{name}, datagram {row}, cut at {cut} of {wire_len}");
                }
            }
        }
    }
}

#[test]
fn forged_lone_datagrams_prove_nobody() {
    for (name, steps) in exchanges() {
        for (row, step) in steps.into_iter().enumerate() {
            assert!(proven(&play(&[step])).is_empty(), "{name}, datagram {row}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn random_payloads_are_never_conclusive(
        payloads in proptest::collection::vec(
            (any::<bool>(), prop_oneof![Just(None), (0_u8..=0x4f).prop_map(Some)],
             proptest::collection::vec(any::<u8>(), 0..160)), 1..24)
    ) {
        let mut flow = Flow::new();
        for (step, (originator, first, mut payload)) in payloads.into_iter().enumerate() {
            if let (Some(first), Some(byte)) = (first, payload.first_mut()) {
                *byte = first;
            }
            let said = flow.show(if originator { O } else { R }, step as u64, &payload);
            prop_assert!(surest(&said) < Some(Confidence::Strong), "{:?}", said);
        }
    }

    #[test]
    fn changed_bytes_never_panic_nor_prove(
        exchange in 0_usize..6,
        changes in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 2)
    ) {
        let (_, mut steps) = exchanges().remove(exchange);
        let whole = proven(&play(&steps));
        for (row, at, byte) in changes {
            let rows = steps.len();
            let bytes = &mut steps[row % rows].2;
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        let said = proven(&play(&steps));
        prop_assert_eq!(said.union(whole), whole);
    }

    #[test]
    fn any_length_on_the_wire_is_survived(
        payload in proptest::collection::vec(any::<u8>(), 0..64), wire_len in any::<u32>(), at in any::<u64>()
    ) {
        let mut inspector = UdpInspector::new();
        let mut findings = Findings::new();
        for from in [O, R] {
            let datagram =
                UdpDatagram { from, at: Timestamp(at), payload: &payload, wire_len, multicast: false };
            inspector.datagram(&datagram, &Options::default(), &mut findings);
        }
    }
}
