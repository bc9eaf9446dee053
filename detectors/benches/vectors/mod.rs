//! One valid message per technique, in parts that are fixed by its specification and parts that are free.

/// A part of a message.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// These bytes, or it is another message.
    Fixed(&'static [u8]),
    /// As many bytes of any value.
    Free(usize),
    /// As many bytes of text that can stand in the path of a request.
    Word(usize),
    /// As many digits, the first of which is not 0.
    Digits(usize),
}

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// At the beginning of a TCP direction.
    Stream,
    /// In one datagram.
    Datagram,
}

/// A message.
pub(crate) struct Vector {
    /// For the report.
    pub(crate) name: &'static str,
    /// How it travels.
    pub(crate) carrier: Carrier,
    /// What it consists of.
    pub(crate) parts: &'static [Part],
}

use Carrier::{Datagram, Stream};
use Part::{Digits, Fixed, Free, Word};

const fn vector(name: &'static str, carrier: Carrier, parts: &'static [Part]) -> Vector {
    Vector { name, carrier, parts }
}

/// The messages.
pub(crate) const VECTORS: &[Vector] = &[
    vector("handshake", Stream, &[Fixed(b"\x13BitTorrent protocol"), Free(48)]),
    vector("request", Stream, &[Free(40), Fixed(b"\0\0\0\x0d\x06\0"), Free(3), Fixed(b"\0\0\x40\0\0\0\x40\0"), Free(30)]),
    vector("piece", Stream, &[Free(40), Fixed(b"\0\0\x40\x09\x07\0"), Free(3), Fixed(b"\0\0\x40\0"), Free(900)]),
    vector("extended handshake", Stream, &[Free(20), Fixed(b"\0\0\0\x1f\x14\0d1:md11:ut_metadatai2ee1:v1:xe"), Free(9)]),
    vector("hash request", Stream, &[Free(20), Fixed(b"\0\0\0\x31\x15"), Free(32), Fixed(b"\0\0\0\0\0\0\0\x40\0\0\0\x40\0\0\0\x02"), Free(9)]),
    vector("azureus", Stream, &[Free(4), Fixed(b"\0\0"), Digits(2), Fixed(b"\0\0\0\x0cAZ_HANDSHAKE\x01"), Free(15)]),
    vector(
        "http announce",
        Stream,
        &[
            Fixed(b"GET /"),
            Word(8),
            Fixed(b"?info_hash="),
            Word(20),
            Fixed(b"&peer_id="),
            Word(20),
            Fixed(b"&port="),
            Digits(4),
            Fixed(b" "),
            Word(9),
            Fixed(b"\r\n"),
            Free(4),
        ],
    ),
    vector("dht query", Datagram, &[Fixed(b"d1:ad2:id20:"), Free(20), Fixed(b"9:info_hash20:"), Free(20), Fixed(b"e1:q9:get_peers1:t4:"), Free(4), Fixed(b"1:y1:qe")]),
    vector("dht answer", Datagram, &[Fixed(b"d1:rd2:id20:"), Free(20), Fixed(b"e1:t4:"), Free(4), Fixed(b"1:y1:re")]),
    vector("tracker connect", Datagram, &[Fixed(b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0"), Free(4)]),
    vector(
        "tracker announce",
        Datagram,
        &[
            Free(8),
            Fixed(b"\0\0\0\x01"),
            Free(4 + 20 + 20),
            Fixed(b"\0\0"),
            Free(6),
            Fixed(b"\0\0"),
            Free(6),
            Fixed(b"\0\0"),
            Free(6),
            Fixed(b"\0\0\0\x02"),
            Free(8),
            Fixed(b"\xff\xff\xff\xff\x1a\xe1"),
        ],
    ),
    vector("utp syn", Datagram, &[Fixed(b"\x41\0"), Free(6), Fixed(b"\0\0\0\0\0\x10\0\0"), Free(2), Fixed(b"\0\0")]),
    vector("vuze dht ping", Datagram, &[Fixed(b"\x80"), Free(7), Fixed(b"\0\0\x04\0"), Free(4), Fixed(b"\x33\0\0\0\0\0\x33\x04"), Free(4 + 2 + 4 + 8 + 1)]),
    vector(
        "lsd",
        Datagram,
        &[Fixed(b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: 0123456789abcdef0123456789abcdef01234567\r\n\r\n\r\n")],
    ),
];

/// Pseudo-random numbers (xorshift64*), the same in each run.
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    /// Appends random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) {
        let end = bytes.len() + len;
        while bytes.len() < end {
            bytes.extend(self.next().to_be_bytes());
        }
        bytes.truncate(end);
    }
}

/// Writes the message with fresh free parts; `fixed` gets the offsets of its fixed bytes.
pub(crate) fn write(vector: &Vector, random: &mut Random, bytes: &mut Vec<u8>, fixed: &mut Vec<usize>) {
    bytes.clear();
    fixed.clear();
    for part in vector.parts {
        match part {
            Fixed(part) => {
                fixed.extend(bytes.len()..bytes.len() + part.len());
                bytes.extend(*part);
            }
            Free(len) => random.fill(bytes, *len),
            Word(len) => bytes.extend((0..*len).map(|_| b'a' + random.below(26) as u8)),
            Digits(len) => bytes.extend((0..*len).map(|_| b'1' + random.below(9) as u8)),
        }
    }
}
