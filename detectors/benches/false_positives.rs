//! How often recognition errs: payloads that are not BitTorrent, by the million.
//!
//! `cargo bench -p btblocker-detectors --bench false_positives -- MILLIONS` (1 without a number) shows each of
//! the kinds below that many millions of times, TCP and UDP apart, and prints what was told, by technique, rule
//! and confidence, and an example.
//!
//! | kind       | what                                                                            |
//! |------------|---------------------------------------------------------------------------------|
//! | random     | uniform bytes, 1 to 1,448 of them                                               |
//! | speckled   | bytes that BitTorrent likes: zeros, digits, `d e l i :`, small numbers, in runs |
//! | one per message | a valid message of which 1 to 4 fixed bytes were changed                   |
//!
//! A changed message counts as another one because only bytes were changed that the message's specification
//! fixes, each to another value; its free parts are new each time. What is then still told of it is a false
//! positive, or is another valid message, which the example shows.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measuring program may stop at once"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use btblocker_detectors::{
    Confidence, Findings, Options, Side, StreamBuffers, TcpInspector, TcpSegment, Timestamp, UdpDatagram,
    UdpInspector,
};
use vectors::{Carrier, Random, VECTORS, write};

mod vectors;

type Told = BTreeMap<(&'static str, &'static str, Confidence), (u64, Vec<u8>)>;

struct Shown {
    buffers: Box<StreamBuffers>,
    options: Options,
    findings: Findings,
    told: Told,
    reply: Vec<u8>,
}

impl Shown {
    /// The beginning of a flow of which both SYNs were seen, or (`middle`) a segment of an older one, behind one of the
    /// other end: much is sure only when both ends speak.
    fn stream(&mut self, payload: &[u8], middle: bool) {
        let mut inspector = TcpInspector::new();
        let reply = std::mem::take(&mut self.reply);
        self.findings.clear();
        let mut segments = [
            (Side::Originator, true, &[][..]),
            (Side::Responder, true, &[]),
            (Side::Originator, false, payload),
            (Side::Responder, false, &reply),
        ];
        if middle {
            segments.swap(2, 3);
        }
        for (from, syn, payload) in segments {
            let segment = TcpSegment {
                from,
                at: Timestamp(0),
                sequence: 1,
                acknowledgement: None,
                window: u16::MAX,
                window_scale: None,
                syn,
                payload,
                wire_len: payload.len() as u32,
            };
            let buffers = (!middle).then_some(&mut *self.buffers);
            if !(syn && middle) {
                inspector.segment(&segment, buffers, &self.options, &mut self.findings);
            }
        }
        self.reply = reply;
        self.count(payload);
    }

    fn datagram(&mut self, payload: &[u8]) {
        let mut inspector = UdpInspector::new();
        self.findings.clear();
        let datagram = UdpDatagram {
            from: Side::Originator,
            at: Timestamp(0),
            payload,
            wire_len: payload.len() as u32,
            multicast: false,
        };
        inspector.datagram(&datagram, &self.options, &mut self.findings);
        self.count(payload);
    }

    fn count(&mut self, payload: &[u8]) {
        for evidence in self.findings.evidence() {
            let key = (evidence.technique.name(), evidence.rule, evidence.confidence);
            self.told.entry(key).or_insert_with(|| (0, payload.to_vec())).0 += 1;
        }
    }

    fn report(&mut self, name: &str, carrier: Carrier, payloads: u64, since: Instant) {
        let carrier = if carrier == Carrier::Stream { "tcp" } else { "udp" };
        let nanoseconds = since.elapsed().as_nanos() / u128::from(payloads.max(1));
        println!("{name} ({carrier}): {payloads} payloads, {nanoseconds} ns each");
        for ((technique, rule, confidence), (count, example)) in std::mem::take(&mut self.told) {
            let shown = example.escape_ascii().to_string();
            let shown = shown.get(..400).unwrap_or(&shown);
            println!("  {technique} {rule} {}: {count}, as {shown}", confidence.name());
        }
    }
}

fn speckled(random: &mut Random, bytes: &mut Vec<u8>) {
    const LIKED: &[u8] = b"\0\0\0\0delid1:20:\x13\x14\x06\x07\x0d\x40\xffaqrty\x01\x21\x41\x04\x17\x27";
    let len = 1 + random.below(400);
    while bytes.len() < len {
        let byte = LIKED[random.below(LIKED.len())];
        let run = if random.below(4) == 0 {
            1 + random.below(6)
        } else {
            1
        };
        bytes.extend(std::iter::repeat_n(byte, run));
    }
}

fn main() {
    let millions: u64 = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1);
    let payloads = millions * 1_000_000;
    let mut random = Random::new(20_000);
    let (mut bytes, mut fixed) = (Vec::new(), Vec::new());
    let mut shown = Shown {
        buffers: Box::new(StreamBuffers::new()),
        options: Options::default(),
        findings: Findings::new(),
        told: Told::new(),
        reply: Vec::new(),
    };
    random.fill(&mut shown.reply, 60);
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        for name in ["random", "speckled"] {
            let since = Instant::now();
            for round in 0..payloads {
                bytes.clear();
                if name == "random" {
                    let len = 1 + random.below(1448);
                    random.fill(&mut bytes, len);
                } else {
                    speckled(&mut random, &mut bytes);
                }
                match carrier {
                    Carrier::Stream => shown.stream(&bytes, round % 2 == 0),
                    Carrier::Datagram => shown.datagram(&bytes),
                }
            }
            shown.report(name, carrier, payloads, since);
        }
    }
    for vector in VECTORS {
        write(vector, &mut random, &mut bytes, &mut fixed);
        for middle in [false, true] {
            match vector.carrier {
                Carrier::Stream => shown.stream(&bytes, middle),
                Carrier::Datagram => shown.datagram(&bytes),
            }
        }
        assert!(
            !shown.told.is_empty(),
            "{}: the unchanged message is not recognised",
            vector.name
        );
        shown.told.clear();
        let since = Instant::now();
        for round in 0..payloads {
            write(vector, &mut random, &mut bytes, &mut fixed);
            for _ in 0..=random.below(4) {
                let at = fixed.swap_remove(random.below(fixed.len()));
                let other = 1 + random.below(255);
                bytes[at] = bytes[at].wrapping_add(u8::try_from(other).unwrap());
                if fixed.is_empty() {
                    break;
                }
            }
            match vector.carrier {
                Carrier::Stream => shown.stream(&bytes, round % 2 == 0),
                Carrier::Datagram => shown.datagram(&bytes),
            }
        }
        shown.report(vector.name, vector.carrier, payloads, since);
    }
}
