//! Nanoseconds and allocations of one inspection, per technique: a hit, a miss, a look-alike, a worst case.
//!
//! `cargo bench -p btblocker-detectors --bench inspect`. Each row shows one payload to an inspector in a given
//! state; the time includes making that state (a copy of a few hundred bytes), which the first two rows give
//! alone. Stops with an error when an inspection allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use btblocker_detectors::{
    Findings, Options, Side, StreamBuffers, TcpInspector, TcpSegment, Timestamp, UdpDatagram, UdpInspector,
};
use vectors::{Carrier, Random, VECTORS, write};

mod vectors;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged; counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` was given out by `System` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Inspections per round; the best of [`ROUNDS`] rounds is told.
const INSPECTIONS: u64 = 20_000;
const ROUNDS: usize = 7;

/// Tells the best time of `inspect`, which says whether it found evidence.
fn row(name: &str, kind: &str, mut inspect: impl FnMut() -> bool) {
    let mut best = f64::INFINITY;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut found = false;
    for _ in 0..ROUNDS {
        let since = Instant::now();
        for _ in 0..INSPECTIONS {
            found = black_box(inspect());
        }
        best = best.min(since.elapsed().as_secs_f64() * 1e9 / INSPECTIONS as f64);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let found = if found { "evidence" } else { "-" };
    println!("{name:22} {kind:34} {best:8.0} ns  {allocations} allocations  {found}");
    assert_eq!(allocations, 0, "{name}, {kind}");
}

struct Bench {
    buffers: Box<StreamBuffers>,
    findings: Findings,
    options: Options,
}

impl Bench {
    fn datagram(&mut self, name: &str, kind: &str, state: &UdpInspector, from: Side, payload: &[u8]) {
        row(name, kind, || {
            let mut inspector = state.clone();
            self.findings.clear();
            let datagram = UdpDatagram {
                from,
                at: Timestamp(0),
                payload,
                wire_len: payload.len() as u32,
                multicast: false,
            };
            inspector.datagram(&datagram, &self.options, &mut self.findings);
            !self.findings.is_empty()
        });
    }

    /// Segments of a flow in the state `state`; the beginning is read when `beginning`.
    fn segment(&mut self, name: &str, kind: &str, state: &TcpInspector, payload: &[u8], beginning: bool) {
        row(name, kind, || {
            let mut inspector = state.clone();
            self.findings.clear();
            let segment = segment(Side::Originator, 1, false, payload);
            let buffers = beginning.then_some(&mut *self.buffers);
            inspector.segment(&segment, buffers, &self.options, &mut self.findings);
            !self.findings.is_empty()
        });
    }

    /// An inspector that saw both SYNs and the responder's first bytes.
    fn opened(&mut self) -> TcpInspector {
        let mut inspector = TcpInspector::new();
        for part in [
            segment(Side::Originator, 1, true, b""),
            segment(Side::Responder, 1, true, b""),
            segment(Side::Responder, 1, false, b"\x99\x88\x77"),
        ] {
            inspector.segment(&part, Some(&mut self.buffers), &self.options, &mut self.findings);
        }
        inspector
    }
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

fn main() {
    let mut random = Random::new(7);
    let mut noise = Vec::new();
    random.fill(&mut noise, 1448);
    let mut bench = Bench {
        buffers: Box::new(StreamBuffers::new()),
        findings: Findings::new(),
        options: Options::default(),
    };
    let fresh = UdpInspector::new();
    let opened = bench.opened();
    let middle = TcpInspector::new();
    bench.datagram("udp", "state only", &fresh, Side::Originator, b"");
    bench.segment("tcp", "state only", &opened, b"", true);

    let (mut bytes, mut fixed) = (Vec::new(), Vec::new());
    for vector in VECTORS {
        write(vector, &mut random, &mut bytes, &mut fixed);
        let mut changed = bytes.clone();
        if let Some(byte) = fixed.get(fixed.len() / 2).and_then(|at| changed.get_mut(*at)) {
            *byte ^= 0x55;
        }
        match vector.carrier {
            Carrier::Stream => {
                bench.segment(vector.name, "hit, beginning", &opened, &bytes, true);
                bench.segment(vector.name, "hit, middle", &middle, &bytes, false);
                bench.segment(vector.name, "look-alike, beginning", &opened, &changed, true);
            }
            Carrier::Datagram => {
                bench.datagram(vector.name, "hit", &fresh, Side::Originator, &bytes);
                bench.datagram(vector.name, "look-alike", &fresh, Side::Originator, &changed);
            }
        }
    }

    let cycled = |pattern: &[u8]| pattern.iter().copied().cycle().take(1448).collect::<Vec<u8>>();
    let tls = [&b"\x17\x03\x03\x05\xa3"[..], &noise].concat();
    for (kind, payload) in [
        ("miss: random", noise.clone()),
        ("look-alike: TLS", tls),
        (
            "look-alike: HTTP",
            b"GET /index.html HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n".to_vec(),
        ),
        ("worst: zeros", cycled(&[0])),
        ("worst: handshake prefixes", cycled(b"\x13BitTorrent protocol")),
        ("worst: extended messages", cycled(b"\0\0\0\x14\x14\0d1:md1:")),
        ("worst: headers of pieces", cycled(b"\0\0\x40\x09\x07\0")),
        ("worst: names of messages", cycled(b"\0\0\0\x20\0\0\0\x0cAZ_")),
        ("worst: parameters", cycled(b"GET /?info_hash=%aa&peer_id=%bb&")),
    ] {
        bench.segment("tcp", &format!("{kind}, beginning"), &opened, &payload, true);
        bench.segment("tcp", &format!("{kind}, middle"), &middle, &payload, false);
    }
    for (kind, payload) in [
        ("miss: random", noise.clone()),
        (
            "miss: random, 100 bytes",
            noise.get(..100).unwrap_or_default().to_vec(),
        ),
        (
            "look-alike: STUN",
            b"\0\x01\0\x08\x21\x12\xa4\x4212345678901212345678".to_vec(),
        ),
        (
            "worst: nested lists",
            [&b"d1:a"[..], &cycled(b"l"), b"e"].concat(),
        ),
        ("worst: many keys", [&b"d"[..], &cycled(b"1:y1:q"), b"e"].concat()),
        ("worst: utp with zeros", [&b"\x01\0"[..], &cycled(&[0])].concat()),
        (
            "worst: utp, extended messages",
            [
                &b"\x01\0\x12\x34"[..],
                &[1; 16],
                &cycled(b"\0\0\0\x14\x14\0d1:md1:"),
            ]
            .concat(),
        ),
        (
            "worst: relay around nested lists",
            [&b"\0\0\0\x01\x01\x01\x01\x01\0\x35d1:a"[..], &cycled(b"l")].concat(),
        ),
    ] {
        bench.datagram("udp", kind, &fresh, Side::Originator, &payload);
    }
}
