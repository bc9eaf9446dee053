//! Reassembly: order, overlap, expiry and bounds.

use super::tests::{A4, B4, ip4, ip6, udp};
use super::{LinkType, Reassembler, Skip, TransportView, fragment, parse};
use btblocker_detectors::Timestamp;
use proptest::prelude::*;

/// Fragments of `body` by (start, end) in bytes; the last one ends at `body.len()`.
fn cut4(id: u16, body: &[u8], ranges: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let cut = |&(start, end): &(usize, usize)| {
        let mut packet = ip4(17, A4, B4, &body[start..end]);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        let more = if end < body.len() { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&((start / 8) as u16 | more).to_be_bytes());
        packet
    };
    ranges.iter().map(cut).collect()
}

fn cut6(body: &[u8], ranges: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let cut = |&(start, end): &(usize, usize)| {
        let field = start as u16 | u16::from(end < body.len());
        let head = [&[17, 0][..], &field.to_be_bytes(), &[0, 0, 0, 9]].concat();
        ip6(
            44,
            "2001:db8::1",
            "2001:db8::2",
            &[&head, &body[start..end]].concat(),
        )
    };
    ranges.iter().map(cut).collect()
}

/// Payload of the datagram that `packet` completes.
fn insert(reassembler: &mut Reassembler, at: u64, packet: &[u8]) -> Option<Vec<u8>> {
    let piece = fragment(LinkType::Raw, packet, packet.len() as u32).expect("a fragment");
    let whole = reassembler.insert(Timestamp(at), &piece)?;
    let view = parse(LinkType::Raw, whole, whole.len() as u32).expect("a whole packet");
    assert!(!view.first_fragment);
    assert_eq!((view.source.port, view.destination.port), (6881, 6882));
    let TransportView::Udp(udp) = view.transport else {
        panic!("not UDP")
    };
    Some(udp.payload.to_vec())
}

fn body(len: usize) -> (Vec<u8>, Vec<u8>) {
    let payload: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
    (udp(6881, 6882, &payload), payload)
}

#[test]
fn packets_of_tunnels_are_put_together_before_they_are_opened() {
    let (datagram, payload) = body(1_400);
    let inner = ip4(17, A4, B4, &datagram);
    let inner6 = ip6(17, "2001:db8::1", "2001:db8::2", &datagram);
    for (name, protocol, carried) in [
        ("GRE", 47, [&[0, 0, 8, 0][..], &inner].concat()),
        ("IP in IP", 4, inner),
        ("IPv6 in IP", 41, inner6),
    ] {
        let mut packets = cut4(7, &carried, &[(0, 800), (800, carried.len())]);
        for packet in &mut packets {
            packet[9] = protocol;
        }
        let mut reassembler = Reassembler::new();
        let mut whole = None;
        for packet in &packets {
            let skipped = parse(LinkType::Raw, packet, packet.len() as u32).err();
            assert_eq!(skipped, Some(Skip::Fragment), "{name}");
            whole = whole.or(insert(&mut reassembler, 1, packet));
        }
        assert_eq!(whole.as_deref(), Some(&payload[..]), "{name}");
    }
}

#[test]
fn the_first_fragment_is_a_cut_datagram_and_the_others_are_skipped() {
    let (datagram, payload) = body(3000);
    let packets = cut4(1, &datagram, &[(0, 1480), (1480, 2960), (2960, 3008)]);
    let view = parse(LinkType::Raw, &packets[0], packets[0].len() as u32).expect("first");
    let TransportView::Udp(udp) = view.transport else {
        panic!("not UDP")
    };
    assert!(view.first_fragment);
    assert_eq!((udp.payload, udp.wire_len), (&payload[..1472], 3000));
    for packet in &packets[1..] {
        assert_eq!(
            parse(LinkType::Raw, packet, packet.len() as u32).err(),
            Some(Skip::Fragment)
        );
    }
    let whole = ip4(17, A4, B4, &datagram);
    assert!(fragment(LinkType::Raw, &whole, whole.len() as u32).is_none());
}

#[test]
fn fragments_in_any_order_with_duplicates_give_one_datagram() {
    let (datagram, payload) = body(3000);
    let ranges = [(0, 1480), (1480, 2960), (2960, 3008)];
    for packets in [cut4(1, &datagram, &ranges), cut6(&datagram, &ranges)] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut reassembler = Reassembler::new();
            assert_eq!(insert(&mut reassembler, 0, &packets[order[0]]), None);
            assert_eq!(insert(&mut reassembler, 1, &packets[order[0]]), None);
            assert_eq!(insert(&mut reassembler, 2, &packets[order[1]]), None);
            assert_eq!(
                insert(&mut reassembler, 3, &packets[order[2]]),
                Some(payload.clone()),
                "{order:?}"
            );
        }
    }
}

#[test]
fn contradictions_spoil_the_datagram() {
    let (datagram, _) = body(3000);
    let good = cut4(1, &datagram, &[(0, 1480), (1480, 2960), (2960, 3008)]);
    let mut other_bytes = good[1].clone();
    other_bytes[100] ^= 1;
    let overlap = cut4(1, &datagram, &[(1480, 2968)]).remove(0);
    let early_end = cut4(1, &datagram[..2000], &[(1480, 2000)]).remove(0);
    let bads = [
        ("other bytes", other_bytes),
        ("overlap", overlap),
        ("early end", early_end),
    ];
    for (name, bad) in bads {
        let mut reassembler = Reassembler::new();
        for packet in [&good[0], &good[1], &bad, &good[2], &good[0], &good[1], &good[2]] {
            assert_eq!(insert(&mut reassembler, 0, packet), None, "{name}");
        }
    }
    let mut reassembler = Reassembler::new();
    let late_end = cut4(1, &datagram, &[(2960, 3008)]).remove(0);
    let shorter = cut4(1, &datagram[..1480], &[(1000, 1480)]).remove(0);
    for packet in [&late_end, &shorter, &good[0], &good[1]] {
        assert_eq!(insert(&mut reassembler, 0, packet), None);
    }
}

#[test]
fn a_fragment_that_the_capture_cut_gives_nothing() {
    let (datagram, _) = body(3000);
    let packets = cut4(1, &datagram, &[(0, 1480), (1480, 3008)]);
    let mut reassembler = Reassembler::new();
    let piece = fragment(LinkType::Raw, &packets[0][..500], packets[0].len() as u32).expect("a fragment");
    assert!(reassembler.insert(Timestamp(0), &piece).is_none());
    assert_eq!(insert(&mut reassembler, 0, &packets[1]), None);
}

#[test]
fn half_a_datagram_is_forgotten_after_thirty_seconds() {
    let (datagram, payload) = body(2000);
    let packets = cut4(1, &datagram, &[(0, 1480), (1480, 2008)]);
    for (pause, expected) in [(30_000_000, Some(payload)), (30_000_001, None)] {
        let mut reassembler = Reassembler::new();
        assert_eq!(insert(&mut reassembler, 1000, &packets[0]), None);
        assert_eq!(insert(&mut reassembler, 1000 + pause, &packets[1]), expected);
    }
}

#[test]
fn a_flood_of_halves_takes_the_oldest_place() {
    let (datagram, payload) = body(2000);
    let packets = |id| cut4(id, &datagram, &[(0, 1480), (1480, 2008)]);
    for (flood, expected) in [(63, Some(payload)), (64, None)] {
        let mut reassembler = Reassembler::new();
        assert_eq!(insert(&mut reassembler, 0, &packets(1)[0]), None);
        for id in 0..flood {
            assert_eq!(insert(&mut reassembler, 1, &packets(100 + id)[0]), None);
        }
        assert_eq!(insert(&mut reassembler, 2, &packets(1)[1]), expected, "{flood}");
    }
}

#[test]
fn large_datagrams_share_bounded_pages() {
    let (datagram, payload) = body(65_000);
    let ranges: Vec<_> = (0..datagram.len())
        .step_by(1480)
        .map(|at| (at, (at + 1480).min(datagram.len())))
        .collect();
    let mut reassembler = Reassembler::new();
    // Twenty halves need more pages than there are: the oldest ones give way, the newest can be completed.
    let mut done = None;
    for id in 1..=20 {
        let packets = cut4(id, &datagram, &ranges);
        let kept = if id == 20 {
            packets.len()
        } else {
            packets.len() - 1
        };
        for packet in &packets[..kept] {
            done = insert(&mut reassembler, u64::from(id), packet);
        }
    }
    assert_eq!(done, Some(payload));
}

proptest! {
    #[test]
    fn random_fragments_never_panic(pieces in prop::collection::vec((0u16..4, 0u16..0x4000, 0usize..3000), 0..200)) {
        let mut reassembler = Reassembler::new();
        for (at, (id, field, len)) in pieces.into_iter().enumerate() {
            let mut packet = ip4(17, A4, B4, &vec![7; len]);
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            packet[6..8].copy_from_slice(&field.to_be_bytes());
            if let Some(piece) = fragment(LinkType::Raw, &packet, packet.len() as u32) {
                let _ = reassembler.insert(Timestamp(at as u64), &piece);
            }
        }
    }

    #[test]
    fn any_cut_in_any_order_is_put_together(len in 100usize..9000, unit in 1usize..200, seed: u64) {
        let (datagram, payload) = body(len);
        let step = unit * 8;
        let mut ranges: Vec<_> = (0..datagram.len()).step_by(step).map(|at| (at, (at + step).min(datagram.len()))).collect();
        prop_assume!(ranges.len() > 1);
        let mut state = seed;
        for at in (1..ranges.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ranges.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut reassembler = Reassembler::new();
        let packets = cut4(1, &datagram, &ranges);
        let (last, before) = packets.split_last().expect("several");
        for packet in before {
            prop_assert_eq!(insert(&mut reassembler, 0, packet), None);
        }
        prop_assert_eq!(insert(&mut reassembler, 0, last), Some(payload));
    }
}
