//! The costliest packets that a search finds: for each technique, it begins with a valid message and keeps what takes
//! longer to inspect.
//!
//! ```text
//! cargo bench -p btblocker-detectors --bench worst -- [SECONDS]
//! ```
//! SECONDS are spent on each row. Three places are searched: the segment that ends the kept beginning of a TCP
//! stream (all before it is part of the search), a segment behind the beginning, and a datagram behind one of the other
//! end. Packets have up to 1,448 bytes. Times are the best of several rounds, because what disturbs a round only makes it
//! longer; the time of the same packet of random bytes stands beside them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use btblocker_detectors::{
    Findings, Options, Side, StreamBuffers, TcpInspector, TcpSegment, Timestamp, UdpDatagram, UdpInspector,
};
use vectors::{Carrier, Random, VECTORS, write};

mod vectors;

/// Bytes of a packet at most.
const PACKET: usize = 1_448;
/// Bytes of a stream's beginning, and one packet more.
const STREAM: usize = 4_096 + PACKET;
/// Inputs that are kept and changed further.
const KEPT: usize = 8;
/// Bytes and runs of bytes on which formats turn.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\0\0",
    b"\0\0\0",
    b"\x01",
    b"\xff",
    b"d",
    b"l",
    b"i",
    b"e",
    b"1:",
    b"0:",
    b"9",
    b"&",
    b"=",
    b"%",
    b" ",
    b"\r\n",
    b"\r\n\r\n",
    b":",
    b"\0\0\x40\x09\x07\0",
    b"\0\0\0\x0d\x06",
    b"\x14\0d1:md",
    b"d5:added",
    b"\x82\x7e",
];

/// Messages of techniques that need more than their bytes, and so are none of [`VECTORS`].
const MORE: [(&str, Carrier, &[u8]); 7] = [
    ("key exchange", Carrier::Stream, &[0xa5; 608]),
    (
        "peer exchange",
        Carrier::Stream,
        b"\0\0\0\x1c\x14\x01d5:added6:\x01\x02\x03\x04\x1a\xe17:added.f1:\0e",
    ),
    (
        "http answer",
        Carrier::Stream,
        b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers6:\x01\x02\x03\x04\x1a\xe1e",
    ),
    ("web socket", Carrier::Stream, b"\x81\x0d{\"info_hash\":}"),
    (
        "socks",
        Carrier::Stream,
        b"\x05\x01\0\x05\x01\0\x01\x01\x02\x03\x04\x1a\xe1",
    ),
    (
        "uTP",
        Carrier::Datagram,
        b"\x01\0\x12\x34\0\0\0\x01\0\0\0\x01\0\x10\0\0\0\x02\0\x01\x13BitTorrent protocol",
    ),
    (
        "socks relay",
        Carrier::Datagram,
        b"\0\0\0\x01\x01\x02\x03\x04\x1a\xe1d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    ),
];

/// Where the measured packet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    Behind,
    Datagram,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Beginning => "TCP, beginning",
            Self::Behind => "TCP, behind it",
            Self::Datagram => "UDP",
        }
    }
}

/// What is shown first, and the packet that is measured.
#[derive(Clone)]
struct Input {
    before: Vec<u8>,
    packet: Vec<u8>,
}

fn main() {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(2);
    let mut random = Random::new(11);
    let mut pool = Vec::new();
    for vector in VECTORS {
        let mut bytes = Vec::new();
        write(vector, &mut random, &mut bytes, &mut Vec::new());
        pool.push((vector.name, vector.carrier, bytes));
    }
    pool.extend(MORE.map(|(name, carrier, bytes)| (name, carrier, bytes.to_vec())));
    pool.push(("nested exchanges", Carrier::Stream, nested_exchanges()));
    let tokens: Vec<&[u8]> = pool
        .iter()
        .map(|(_, _, bytes)| &bytes[..])
        .chain(TOKENS)
        .collect();
    println!(
        "{:<20} {:<15} {:>9} {:>9} {:>9}  {:>6}  begins with",
        "technique", "place", "random ns", "found ns", "valid ns", "bytes"
    );
    let mut bench = Bench::new();
    for (name, carrier, valid) in &pool {
        let places: &[Place] = match carrier {
            Carrier::Stream => &[Place::Beginning, Place::Behind],
            Carrier::Datagram => &[Place::Datagram],
        };
        for &place in places {
            let valid = Input {
                before: if place == Place::Behind {
                    Vec::new()
                } else {
                    valid.clone()
                },
                packet: valid.clone(),
            };
            let mut noise = Input {
                before: Vec::new(),
                packet: Vec::new(),
            };
            random.fill(&mut noise.packet, PACKET);
            let [noise, first] = [&noise, &valid].map(|input| bench.nanos(place, input, 200));
            let (worst, found) =
                bench.search(place, valid, &tokens, Duration::from_secs(seconds), &mut random);
            println!(
                "{:<20} {:<15} {noise:>9.0} {worst:>9.0} {first:>9.0}  {:>6}  {}",
                name,
                place.name(),
                found.packet.len(),
                found.packet.get(..32).unwrap_or(&found.packet).escape_ascii()
            );
        }
    }
}

/// Peer exchanges inside each other's strings, all of which go on to the end.
fn nested_exchanges() -> Vec<u8> {
    const HEAD: usize = 18;
    let mut bytes = Vec::new();
    // The shortest string has three digits, as all.
    for left in (6..22).rev() {
        bytes.extend(b"\0\0\x04\0\x14\x01d5:added");
        bytes.extend(format!("{:03}:", HEAD * left).bytes());
    }
    bytes.extend([b'x'; 6 * HEAD]);
    bytes.extend(b"1:a0:".iter().cycle().take(PACKET - bytes.len()));
    bytes
}

struct Bench {
    buffers: Box<StreamBuffers>,
    findings: Findings,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        Self {
            buffers: Box::new(StreamBuffers::new()),
            findings: Findings::new(),
            options: Options::default(),
        }
    }

    /// Changes an input for so long, and gives the costliest.
    fn search(
        &mut self,
        place: Place,
        first: Input,
        tokens: &[&[u8]],
        time: Duration,
        random: &mut Random,
    ) -> (f64, Input) {
        let end = Instant::now() + time;
        let mut kept = vec![(self.nanos(place, &first, 20), first)];
        while Instant::now() < end {
            let Some((_, parent)) = kept.get(random.below(kept.len())) else {
                break;
            };
            let mut child = parent.clone();
            for _ in 0..=random.below(3) {
                change(&mut child, place, tokens, random);
            }
            let least = kept.last().map_or(0.0, |(cost, _)| *cost);
            // Measured again where it seems to be worth it.
            if self.nanos(place, &child, 3) > least {
                let cost = self.nanos(place, &child, 20);
                kept.push((cost, child));
                kept.sort_by(|a, b| b.0.total_cmp(&a.0));
                kept.truncate(KEPT);
            }
        }
        let (_, worst) = kept.swap_remove(0);
        (self.nanos(place, &worst, 200), worst)
    }

    /// Nanoseconds that the packet of an input takes, the state that it meets included.
    fn nanos(&mut self, place: Place, input: &Input, rounds: u32) -> f64 {
        match place {
            Place::Beginning | Place::Behind => self.segment(input, place == Place::Beginning, rounds),
            Place::Datagram => self.datagram(input, rounds),
        }
    }

    fn segment(&mut self, input: &Input, in_beginning: bool, rounds: u32) -> f64 {
        let mut state = TcpInspector::new();
        let mut sequence = 1;
        let opening = [
            (Side::Originator, true, &b""[..]),
            (Side::Responder, true, b""),
            (Side::Responder, false, b"\x99"),
        ];
        let before = input
            .before
            .chunks(PACKET)
            .map(|part| (Side::Originator, false, part));
        for (from, syn, payload) in opening.into_iter().chain(before) {
            let lent = in_beginning.then_some(&mut *self.buffers);
            self.findings.clear();
            state.segment(
                &segment(from, sequence, syn, payload),
                lent,
                &self.options,
                &mut self.findings,
            );
            if from == Side::Originator {
                sequence += payload.len() as u32;
            }
        }
        let measured = segment(Side::Originator, sequence, false, &input.packet);
        let Self {
            buffers,
            findings,
            options,
        } = self;
        best(rounds, || {
            let mut inspector = state.clone();
            findings.clear();
            let lent = in_beginning.then_some(&mut **buffers);
            black_box(inspector.segment(&measured, lent, options, findings));
        })
    }

    fn datagram(&mut self, input: &Input, rounds: u32) -> f64 {
        let mut state = UdpInspector::new();
        self.findings.clear();
        state.datagram(
            &datagram(Side::Originator, &input.before),
            &self.options,
            &mut self.findings,
        );
        let measured = datagram(Side::Responder, &input.packet);
        best(rounds, || {
            let mut inspector = state.clone();
            self.findings.clear();
            black_box(inspector.datagram(&measured, &self.options, &mut self.findings));
        })
    }
}

/// Nanoseconds per call in the best round.
fn best(rounds: u32, mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 20;
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / f64::from(CALLS)
}

/// Makes one change at random.
fn change(input: &mut Input, place: Place, tokens: &[&[u8]], random: &mut Random) {
    let (part, most) = match place {
        Place::Beginning if random.below(2) == 0 => (&mut input.before, STREAM - PACKET),
        Place::Datagram if random.below(4) == 0 => (&mut input.before, PACKET),
        _ => (&mut input.packet, PACKET),
    };
    let at = random.below(part.len() + 1);
    let unit: Vec<u8> = match random.below(3) {
        0 => vec![random.next() as u8],
        1 => slice(part, random).to_vec(),
        _ => tokens
            .get(random.below(tokens.len()))
            .map_or(Vec::new(), |token| slice(token, random).to_vec()),
    };
    match random.below(4) {
        // One more, one in the place of others, and one again and again to the end or for a while.
        0 => drop(part.splice(at..at, unit)),
        1 => {
            let end = part.len().min(at + unit.len());
            drop(part.splice(at..end, unit));
        }
        2 => {
            part.truncate(at);
            part.extend(unit.iter().copied().cycle().take(if unit.is_empty() {
                0
            } else {
                most - at.min(most)
            }));
        }
        _ => {
            let times = 1 + random.below(40);
            drop(part.splice(at..at, unit.repeat(times)));
        }
    }
    part.truncate(most);
}

/// A part of up to 40 bytes.
fn slice<'a>(bytes: &'a [u8], random: &mut Random) -> &'a [u8] {
    let from = random.below(bytes.len() + 1);
    let end = bytes.len().min(from + 1 + random.below(40));
    bytes.get(from..end).unwrap_or(&[])
}

fn segment(from: Side, sequence: u32, syn: bool, payload: &[u8]) -> TcpSegment<'_> {
    TcpSegment {
        from,
        at: Timestamp(0),
        sequence,
        acknowledgement: None,
        window: u16::MAX,
        window_scale: None,
        syn,
        payload,
        wire_len: payload.len() as u32,
    }
}

fn datagram(from: Side, payload: &[u8]) -> UdpDatagram<'_> {
    UdpDatagram {
        from,
        at: Timestamp(0),
        payload,
        wire_len: payload.len() as u32,
        multicast: false,
    }
}
