//! Cost of one search at the start of a stream or datagram, by kind of payload.

use std::hint::black_box;
use std::time::Instant;

use btblocker_signatures::{Anchor, Transport, at};

const ROUNDS: u32 = 10_000_000;

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
        let start = Instant::now();
        let mut found = 0;
        for _ in 0..ROUNDS {
            found += at(black_box(*anchor), black_box(*transport), black_box(field)).count();
        }
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS);
        println!("{name:16} {each:6.2} ns, {} found", found / ROUNDS as usize);
    }
}
