//! Cost of one search at the start of a stream or datagram, by kind of payload; and how it grows with the signatures that
//! begin with the same byte, which are all that is looked at.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use btblocker_signatures::{Anchor, Pattern, SIGNATURES, Signature, Transport, at};

const ROUNDS: u32 = 2_000;
const SEARCHES: u32 = 1_000;

fn main() {
    let cases: &[(&str, Anchor, Transport, &[u8])] = &[
        (
            "miss: TLS",
            Anchor::StreamStart,
            Transport::Tcp,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ),
        (
            "miss: 0x13",
            Anchor::StreamStart,
            Transport::Tcp,
            b"\x13Bittorrent protocol, nearly",
        ),
        (
            "hit: handshake",
            Anchor::StreamStart,
            Transport::Tcp,
            b"\x13BitTorrent protocol\x00\x00\x00",
        ),
        (
            "miss: DNS",
            Anchor::DatagramStart,
            Transport::Udp,
            b"\x1f\x2e\x01\x00\x00\x01\x00\x00\x00\x00",
        ),
        ("miss: QUIC", Anchor::DatagramStart, Transport::Udp, &[0xc3; 1200]),
        ("miss: RTP", Anchor::DatagramStart, Transport::Udp, &[0x80; 172]),
        (
            "hit: DHT query",
            Anchor::DatagramStart,
            Transport::Udp,
            b"d1:ad2:id20:abcdefghij0123456789e",
        ),
    ];
    for (name, anchor, transport, field) in cases {
        let (each, found) = cost(*anchor, *transport, field);
        println!("{name:16} {each:6.2} ns, {found} found");
    }
    growth();
}

/// Nanoseconds of a search in the quickest round, and signatures that it finds.
fn cost(anchor: Anchor, transport: Transport, field: &[u8]) -> (f64, usize) {
    let (mut best, mut found) = (f64::MAX, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..SEARCHES {
            found = at(black_box(anchor), black_box(transport), black_box(field)).count();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(SEARCHES));
    }
    (best, found)
}

/// One first byte for each number of signatures that begin with it, and a field that none of them matches.
fn growth() {
    println!(
        "{} signatures; of them begin with the same byte:",
        SIGNATURES.len()
    );
    let mut counts = BTreeMap::new();
    for anchor in [Anchor::StreamStart, Anchor::DatagramStart] {
        for first in 0..=u8::MAX {
            let begins = |signature: &&Signature| {
                let Pattern { bytes, mask, .. } = &signature.pattern;
                let mask = mask.first().copied().unwrap_or(u8::MAX);
                signature.anchor == anchor && bytes.first().is_some_and(|byte| first & mask == *byte)
            };
            let number = SIGNATURES.iter().filter(begins).count();
            counts.entry(number).or_insert((anchor, first));
        }
    }
    for (number, (anchor, first)) in counts {
        let mut field = [0xa5; 200];
        field[0] = first;
        let (each, found) = cost(anchor, Transport::Udp, &field);
        println!("{number:4} {each:6.2} ns, {found} found");
    }
}
