//! Whole TCP flows, segment by segment: what is told of them, however they are cut.

use std::collections::{BTreeMap, BTreeSet};

use btblocker_detectors::{
    Class, Client, Confidence, Evidence, Findings, Options, Progress, Side, StreamBuffers, TcpInspector,
    TcpSegment, Technique, Timestamp,
};
use proptest::prelude::*;

use Side::{Originator as A, Responder as B};

type Told = (&'static str, &'static str, &'static str, usize);

/// A flow being shown to an inspector.
struct Shown {
    inspector: TcpInspector,
    buffers: Option<Box<StreamBuffers>>,
    options: Options,
    next: [u32; 2],
    told: Vec<Evidence>,
    progress: Progress,
}

impl Shown {
    /// A flow of which both SYNs were seen.
    fn from_start() -> Self {
        let mut shown = Self::mid_stream();
        for side in [A, B] {
            shown.segment(side, shown.next[side.index()], true, b"");
        }
        shown
    }
    /// A flow that was going on before.
    fn mid_stream() -> Self {
        Self {
            inspector: TcpInspector::new(),
            buffers: Some(Box::new(StreamBuffers::new())),
            options: Options::default(),
            // The first direction wraps.
            next: [u32::MAX - 30, 7000],
            told: Vec::new(),
            progress: Progress::Stream,
        }
    }
    fn segment(&mut self, from: Side, sequence: u32, syn: bool, payload: &[u8]) {
        self.show(&TcpSegment {
            sequence,
            syn,
            ..segment(from, payload)
        });
    }
    fn show(&mut self, segment: &TcpSegment<'_>) {
        let mut findings = Findings::new();
        let buffers = self.buffers.as_deref_mut();
        self.progress = self
            .inspector
            .segment(segment, buffers, &self.options, &mut findings);
        if self.progress != Progress::Stream {
            self.buffers = None;
        }
        self.told.extend(findings.evidence());
    }
    /// The sequence number of the next bytes of one side, which are these.
    fn advance(&mut self, from: Side, payload: &[u8]) -> u32 {
        let sequence = self.next[from.index()];
        self.next[from.index()] = sequence.wrapping_add(payload.len() as u32);
        sequence
    }
    /// The next bytes of one side in one segment.
    fn says(&mut self, from: Side, payload: &[u8]) -> &mut Self {
        let sequence = self.advance(from, payload);
        self.segment(from, sequence, false, payload);
        self
    }
    /// The next bytes of one side in one segment, of which the capture holds `snap` bytes and which acknowledges
    /// the other side's `acknowledgement` bytes.
    fn says_cut(&mut self, from: Side, payload: &[u8], snap: usize, acknowledgement: u32) -> &mut Self {
        let sequence = self.advance(from, payload);
        self.show(&TcpSegment {
            sequence,
            acknowledgement: Some(acknowledgement),
            payload: &payload[..snap.min(payload.len())],
            ..segment(from, payload)
        });
        self
    }
    /// The next bytes of one side, in segments of at most `size`.
    fn says_in(&mut self, from: Side, payload: &[u8], size: usize) -> &mut Self {
        for part in payload.chunks(size) {
            self.says(from, part);
        }
        self
    }
    /// The next bytes of one side, which acknowledges all that the other has sent and lets `window` bytes more come.
    fn lets(&mut self, from: Side, payload: &[u8], window: u16) -> &mut Self {
        let sequence = self.advance(from, payload);
        self.show(&TcpSegment {
            sequence,
            acknowledgement: Some(self.next[from.other().index()]),
            window,
            ..segment(from, payload)
        });
        self
    }
    fn told(&self) -> BTreeSet<Told> {
        self.told
            .iter()
            .map(|e| (e.technique.name(), e.rule, e.confidence.name(), e.speaker.index()))
            .collect()
    }
}

/// A segment with a payload and nothing else.
fn segment(from: Side, payload: &[u8]) -> TcpSegment<'_> {
    TcpSegment {
        from,
        at: Timestamp(0),
        sequence: 0,
        acknowledgement: None,
        window: u16::MAX,
        window_scale: None,
        syn: false,
        payload,
        wire_len: payload.len() as u32,
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
        })
        .collect()
}

fn handshake(id: &[u8; 20]) -> Vec<u8> {
    [
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
        &noise(99, 20)[..],
        id,
    ]
    .concat()
}

fn greeting_by(id: &[u8; 20]) -> Vec<u8> {
    [
        &handshake(id)[..],
        b"\0\0\0\x20\x14\0d1:md11:ut_metadatai2ee1:v1:xe",
    ]
    .concat()
}

fn greeting() -> Vec<u8> {
    greeting_by(b"-TR2920-abcdefghijkl")
}

/// That of the other end.
fn reply() -> Vec<u8> {
    greeting_by(b"-qB4600-mnopqrstuvwx")
}

fn request(index: u8) -> Vec<u8> {
    [b"\0\0\0\x0d\x06\0\0\0", &[index][..], b"\0\x01\x40\0\0\0\x40\0"].concat()
}

const HELLO: Told = ("handshake", "handshake", "conclusive", 0);
const ANSWER: Told = ("handshake", "handshake", "conclusive", 1);

#[test]
fn a_plain_connection_is_told_once_per_side_and_technique() {
    let mut shown = Shown::from_start();
    shown
        .says(A, &greeting())
        .says(B, &reply())
        .says(A, &request(1))
        .says(A, &request(2));
    let expected = [
        HELLO,
        ANSWER,
        ("extension", "extended-handshake", "conclusive", 0),
        ("extension", "extended-handshake", "conclusive", 1),
        ("peer-message", "request", "conclusive", 0),
    ];
    assert_eq!(shown.told(), expected.into());
    assert_eq!(shown.told.len(), expected.len());
    assert_eq!(shown.told[0].client, Client::PeerId(*b"-TR2920-abcdefghijkl"));
    shown.says(A, &request(3));
    assert_eq!(shown.told.len(), expected.len());
    shown.inspector.rearm();
    shown.says(A, &request(4));
    assert_eq!(shown.told.len(), expected.len() + 1);
}

#[test]
fn an_unanswered_handshake_is_conclusive_in_the_middle_of_a_capture() {
    let mut shown = Shown::mid_stream();
    shown.says(A, &handshake(b"-UT3490-abcdefghijkl"));
    assert_eq!(shown.told(), [HELLO].into());
}

#[test]
fn transfers_of_files_that_hold_peer_traffic_are_not_conclusive() {
    let file = handshake(b"-UT3490-abcdefghijkl").repeat(300);
    let recorded = [
        &noise(1, 700)[..],
        &[0; 60],
        &greeting(),
        &request(7),
        &noise(2, 900),
    ]
    .concat()
    .repeat(20);
    for (name, bytes) in [("handshakes", file), ("recorded traffic", recorded)] {
        for (seen_from, mut shown) in [("start", Shown::from_start()), ("middle", Shown::mid_stream())] {
            shown.says_in(B, &bytes, 1448);
            assert!(
                shown.told.iter().all(|e| e.confidence < Confidence::Conclusive),
                "{name} from the {seen_from}: {:?}",
                shown.told()
            );
        }
    }
}

/// A packet of a capture file, behind the header of its record.
fn recorded(ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let tcp = [
        &b"\xc0\x01\x1a\xe1\x01\x02\x03\x04\x05\x06\x07\x08\x80\x18\x01\xf6\xab\xcd\0\0"[..],
        b"\x01\x01\x08\x0a\x11\x22\x33\x44\x55\x66\x77\x88",
        payload,
    ]
    .concat();
    let mut ip = match ipv6 {
        false => b"\x08\0\x45\0\0\0\x12\x34\x40\0\x40\x06\0\0\x0a\x08\0\x07\xcb\0\x71\x09".to_vec(),
        true => [
            &b"\x86\xdd\x60\0\0\0\0\0\x06\x40"[..],
            &[&[0xfd][..], &[0x11; 15]].concat().repeat(2),
        ]
        .concat(),
    };
    let (at, length) = if ipv6 { (6, tcp.len()) } else { (4, tcp.len() + 20) };
    ip[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    let length = (12 + ip.len() + tcp.len()) as u32;
    let record = [0x6740_1000, 77, length, length].map(u32::to_le_bytes).concat();
    [record, vec![2; 12], ip, tcp].concat()
}

#[test]
fn copies_of_a_capture_are_nothing_however_it_is_copied() {
    let records = |ipv6| {
        let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0".to_vec();
        file.extend(recorded(ipv6, b""));
        file.extend(recorded(ipv6, &handshake(b"-TR2920-abcdefghijkl")));
        file.extend(recorded(ipv6, &greeting()));
        for n in 0..40 {
            let piece = [&b"\0\0\x40\x09\x07\0\0\0\x03\0\0\x40\0"[..], &noise(n, 1400)].concat();
            file.extend(recorded(ipv6, &request(n as u8)));
            file.extend(recorded(ipv6, &piece));
        }
        file
    };
    let mut at_starts = 0;
    for ipv6 in [false, true] {
        let file = records(ipv6);
        for cut in (1..1448).step_by(31) {
            // A file server and its client: both speak, and neither is a peer.
            for mut shown in [Shown::from_start(), Shown::mid_stream()] {
                for (n, part) in [&file[..cut], &file[cut..]].into_iter().enumerate() {
                    shown.says(A, &[&b"\x80\0\0\x60\0\0\0\x09"[..], &[n as u8; 92]].concat());
                    shown.says(
                        B,
                        &[&b"\x80\0\x40\x60\0\0\0\x09\0\0\0\x01"[..], &[0; 100]].concat(),
                    );
                    shown.says_in(B, part, 1448);
                }
                assert!(
                    shown.told.is_empty(),
                    "ipv6 {ipv6}, cut at {cut}: {:?}",
                    shown.told()
                );
            }
            // The capture of the copy shows the beginnings of its segments.
            let mut shown = Shown::mid_stream();
            shown.says(A, &[7; 92]);
            shown.says_cut(B, &file[..cut], 62, 92);
            for part in file[cut..].chunks(1448) {
                shown.says_cut(B, part, 62, 92);
            }
            at_starts += usize::from(!shown.told.is_empty());
        }
    }
    // Of 94 copies; a segment begins with a message by accident.
    assert!(at_starts < 10, "{at_starts} copies were taken for peers");
}

#[test]
fn a_capture_that_cuts_segments_shows_their_beginnings() {
    let greetings = |snap| {
        let mut shown = Shown::from_start();
        shown
            .says_cut(A, &greeting(), snap, 0)
            .says_cut(B, &reply(), snap, 0);
        shown.told()
    };
    let handshakes = |confidence| {
        let rule = if confidence == "strong" {
            "handshake-prefix"
        } else {
            "handshake"
        };
        BTreeSet::from([0, 1].map(|side| ("handshake", rule, confidence, side)))
    };
    assert_eq!(greetings(19), BTreeSet::new());
    assert!(greetings(24).is_subset(&handshakes("strong")) && !greetings(24).is_empty());
    for snap in [28, 30, 62, 68] {
        assert!(
            greetings(snap).is_superset(&handshakes("conclusive")),
            "{snap}: {:?}",
            greetings(snap)
        );
    }
    // What follows is read segment by segment.
    let mut later = Shown::from_start();
    later
        .says_cut(A, &noise(1, 700), 62, 0)
        .says_cut(B, &noise(2, 700), 62, 0);
    later.says_cut(A, &[request(1), noise(3, 300)].concat(), 62, 0);
    assert_eq!(
        later.told(),
        BTreeSet::from([("peer-message", "request", "conclusive", 0)])
    );
}

#[test]
fn a_handshake_in_two_segments_is_no_cut_one() {
    let whole = handshake(b"-TR2920-abcdefghijkl");
    let mut shown = Shown::from_start();
    shown
        .says(A, &whole[..20])
        .says(A, &whole[20..48])
        .says(B, &whole);
    let told = [0, 1].map(|side| ("handshake", "handshake", "conclusive", side));
    assert_eq!(shown.told(), BTreeSet::from(told));
}

#[test]
fn an_exchange_of_keys_has_its_sizes_on_the_wire() {
    for (snap, seen) in [(23, false), (24, true), (62, true), (134, true), (2000, true)] {
        let mut shown = Shown::from_start();
        for (n, len) in [380, 213, 124, 357].into_iter().enumerate() {
            shown.says_cut([A, B][n % 2], &noise(n as u64 + 1, len), snap, 0);
        }
        let expected = seen.then_some(("mse", "flights", "strong", 0));
        assert_eq!(shown.told(), expected.into_iter().collect(), "{snap}");
    }
}

#[test]
fn acknowledgements_show_that_the_other_end_speaks() {
    let blocks = [b"\0\0\x40\x09\x07\0\0\0\x01\0\0\x40\0".to_vec(), noise(5, 900)].concat();
    for (acknowledged, confidence) in [(0, "strong"), (1, "strong"), (17, "conclusive")] {
        let mut shown = Shown::mid_stream();
        shown
            .says_cut(A, &blocks, 2000, 500)
            .says_cut(A, &blocks, 2000, 500 + acknowledged);
        let surest = shown
            .told
            .iter()
            .map(|one| one.confidence.name())
            .max_by_key(|name| *name == "conclusive");
        assert_eq!(surest, Some(confidence), "{acknowledged}");
    }
}

#[test]
fn text_protocols_quote() {
    let file = handshake(b"-UT3490-abcdefghijkl").repeat(9);
    for (name, hello) in [
        ("http", &b"GET /handshake.bin HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        ("smtp", b"EHLO mail.example.org\r\n"),
        ("irc", b"NICK someone\r\nUSER a b c d\r\n"),
    ] {
        let mut shown = Shown::from_start();
        shown
            .says(A, hello)
            .says(B, &[b"HTTP/1.1 200 OK\r\n\r\n", &file[..], &request(1)].concat());
        shown
            .says(A, &[b"PRIVMSG #x :", &file[..]].concat())
            .says_in(B, &file.repeat(20), 1448);
        assert_eq!(shown.told(), [].into(), "{name}");
    }
}

#[test]
fn a_proxy_negotiation_is_unwrapped() {
    let socks: [(Side, &[u8]); 4] = [
        (A, b"\x05\x01\0"),
        (B, b"\x05\0"),
        (A, b"\x05\x01\0\x01\xc0\0\x02\x07\x1a\xe1"),
        (B, b"\x05\0\0\x01\0\0\0\0\0\0"),
    ];
    let connect: [(Side, &[u8]); 2] = [
        (A, b"CONNECT 192.0.2.7:6881 HTTP/1.1\r\n\r\n"),
        (B, b"HTTP/1.1 200 OK\r\n\r\n"),
    ];
    for (name, wrapper) in [("socks", &socks[..]), ("connect", &connect[..])] {
        let mut shown = Shown::from_start();
        for (side, bytes) in wrapper {
            shown.says(*side, bytes);
        }
        shown.says(A, &handshake(b"-UT3490-abcdefghijkl"));
        assert!(shown.told().contains(&HELLO), "{name}: {:?}", shown.told());
        let target = shown.told.last().unwrap().target.unwrap();
        assert_eq!(
            (target.ip().to_string(), target.port),
            ("192.0.2.7".into(), 6881),
            "{name}"
        );
        assert_eq!(
            shown.told().contains(&("socks", "socks5", "strong", 0)),
            name == "socks"
        );
    }
}

#[test]
fn an_encrypted_connection_shows_two_techniques() {
    let mut shown = Shown::from_start();
    for (n, (side, len)) in [(A, 389), (B, 452), (A, 551), (B, 226), (A, 68), (B, 300)]
        .into_iter()
        .enumerate()
    {
        shown.says_in(side, &noise(n as u64 + 1, len), 97);
    }
    assert!(
        shown.told().contains(&("mse", "flights", "strong", 0)),
        "{:?}",
        shown.told()
    );
    assert!(shown.told.iter().all(|e| e.key.is_some()));
    for n in 0..5 {
        shown.says_in(B, &noise(100 + n, 16_397), 1448);
    }
    assert!(
        shown.told().contains(&("entropy", "rc4-blocks", "strong", 1)),
        "{:?}",
        shown.told()
    );
}

#[test]
fn the_windows_of_a_receiver_are_not_the_sizes_of_the_sender() {
    for start in [Shown::from_start, Shown::mid_stream] {
        for (window, told) in [(u16::MAX, true), (16_397, false)] {
            let mut shown = start();
            shown.says(A, &noise(1, 96)).says(B, &noise(2, 500));
            for block in 0..14 {
                shown.lets(A, b"", window);
                shown.says_in(B, &noise(3 + block, 16_397), 1448);
            }
            let blocks = ("entropy", "rc4-blocks", "conclusive", 1);
            assert_eq!(
                shown.told().contains(&blocks),
                told,
                "{window}: {:?}",
                shown.told()
            );
        }
    }
    // Others that reach only the monitor do not hide them.
    let mut shown = Shown::from_start();
    shown.says(A, &noise(1, 96)).says(B, &noise(2, 500));
    for block in 0..14 {
        for window in [16_397, 900, 800, 700, 600] {
            shown.lets(A, b"", window);
        }
        shown.says_in(B, &noise(3 + block, 16_397), 1448);
    }
    let conclusive = shown.told.iter().any(|e| e.confidence == Confidence::Conclusive);
    assert!(!conclusive, "{:?}", shown.told());
    // Nor are those of a server whose answers have the size that was asked for, when its beginning was not seen.
    let mut shown = Shown::mid_stream();
    shown.says(A, &noise(1, 5_000)).says(B, &noise(2, 5_000));
    for block in 0..14 {
        shown.says(A, &[&b"\x17\x03\x03\0\x40"[..], &noise(70 + block, 64)].concat());
        let record = [&b"\x17\x03\x03\x40\x08"[..], &noise(3 + block, 16_392)].concat();
        shown.says_in(B, &record, 1448);
    }
    assert_eq!(shown.told(), BTreeSet::new());
    // Who lets a few requests' bytes come at a time gets no more from any server.
    for (wide, told) in [(true, true), (false, false)] {
        let mut shown = Shown::from_start();
        shown.says(A, &noise(1, 64)).says(B, &noise(2, 64));
        for n in 0..40 {
            let blocks = 1 + n % 3;
            shown.lets(A, b"", if wide { u16::MAX } else { 17 * blocks });
            shown.says(B, &noise(100 + u64::from(n), 17 * usize::from(blocks)));
            shown.says_in(A, &noise(900 + u64::from(n), 16_397 * usize::from(blocks)), 1448);
        }
        let own: Vec<&Evidence> = shown.told.iter().filter(|e| e.rule == "rc4-download").collect();
        assert_eq!(!own.is_empty(), told, "{own:?}");
    }
    // Nor do a segment and a few bytes more make it ask for blocks.
    let mut shown = Shown::from_start();
    shown.says(A, &noise(1, 64)).says(B, &noise(2, 64));
    for n in 0..40 {
        let bytes = 1448 + 17 * (1 + n % 3);
        shown.lets(A, b"", bytes);
        shown.says_in(B, &noise(100 + u64::from(n), bytes.into()), 1448);
    }
    for n in 0..12 {
        shown
            .says_in(A, &noise(900 + n, 16_397), 1448)
            .lets(B, b"", u16::MAX);
    }
    let own: Vec<&Evidence> = shown.told.iter().filter(|e| e.speaker == B).collect();
    assert!(own.is_empty() && !shown.told.is_empty(), "{own:?}");
    for (window, told) in [(u16::MAX, true), (82, false)] {
        let mut shown = Shown::from_start();
        shown.says(A, &noise(1, 350)).says(B, &noise(2, 132));
        shown.lets(A, &noise(3, 208), window).says(B, &noise(4, 82));
        shown.lets(A, &noise(5, 253), u16::MAX);
        let flights = shown.told.iter().any(|e| e.rule == "flights");
        assert_eq!(flights, told, "{window}: {:?}", shown.told());
    }
}

#[test]
fn an_exchange_of_keys_in_many_small_writes_is_one() {
    let mut shown = Shown::from_start();
    for (n, (side, lengths)) in [
        (A, &[96, 200][..]),
        (B, &[96, 17]),
        (A, &[20, 20, 16, 68]),
        (B, &[14, 68]),
    ]
    .into_iter()
    .enumerate()
    {
        for (m, len) in lengths.iter().enumerate() {
            shown.says(side, &noise((n * 10 + m) as u64 + 1, *len));
        }
    }
    assert!(
        shown.told().contains(&("mse", "flights", "strong", 0)),
        "{:?}",
        shown.told()
    );
}

#[test]
fn plaintext_after_an_exchange_of_keys_is_found() {
    let mut shown = Shown::from_start();
    shown
        .says(A, &noise(1, 300))
        .says(B, &noise(2, 200))
        .says(A, &noise(3, 400));
    shown.says(
        B,
        &[&noise(4, 33)[..], &handshake(b"-UW130Q-abcdefghijkl")].concat(),
    );
    assert!(shown.told().contains(&ANSWER), "{:?}", shown.told());
}

#[test]
fn other_random_protocols_are_at_most_weak() {
    for seed in 1..60 {
        let mut shown = Shown::from_start();
        for n in 0..20 {
            let side = if n % 2 == 0 { A } else { B };
            let len = 96 + (seed * 7919 + n * 104_729) as usize % 1900;
            shown.says_in(side, &noise(seed * 100 + n, len), 1448);
        }
        assert!(
            shown.told.iter().all(|e| e.confidence == Confidence::Weak),
            "{seed}: {:?}",
            shown.told()
        );
    }
}

#[test]
fn delivery_optimization_is_its_own_class_and_hides_what_follows() {
    let mut shown = Shown::from_start();
    let hello = [b"\x0eSwarm protocol\0\0\0\0\0\x10\0\0", &noise(5, 52)[..]].concat();
    shown
        .says(A, &hello)
        .says(B, &hello)
        .says(A, &request(1))
        .says(B, &request(2));
    assert!(shown.told.iter().all(|e| e.class == Class::DeliveryOptimization));
    assert_eq!(shown.told.len(), 2);
}

#[test]
fn a_blizzard_client_gives_the_whole_flow_its_class() {
    let mut shown = Shown::from_start();
    shown
        .says(A, &handshake(b"BLZ00000abcdefghijkl"))
        .says(B, &reply())
        .says(A, &request(1));
    assert!(shown.told.len() > 2 && shown.told.iter().all(|e| e.class == Class::Blizzard));
}

#[test]
fn products_of_the_signature_table_are_named() {
    let mut shown = Shown::from_start();
    shown
        .says(A, &[b"\x13QVOD protocol", &noise(3, 54)[..]].concat())
        .says(B, &noise(4, 60));
    let classes: Vec<Class> = shown.told.iter().map(|e| e.class).collect();
    assert_eq!(classes, [Class::OtherSwarm]);
}

#[test]
fn techniques_can_be_switched_off() {
    let mut shown = Shown::from_start();
    shown.options.set(Technique::Handshake, false);
    shown.says(A, &greeting()).says(B, &reply());
    assert!(shown.told.iter().all(|e| e.technique == Technique::Extension));
    assert_eq!(shown.told.len(), 2);
}

#[test]
fn sealed_protocols_are_done_soon_and_opaque_ones_later() {
    let mut shown = Shown::from_start();
    let record = [b"\x16\x03\x01\x02\x00", &noise(1, 512)[..]].concat();
    shown
        .says(A, &record)
        .says(B, &record)
        .says(A, &record)
        .says(B, &record);
    assert_eq!(shown.progress, Progress::Done);
    let mut shown = Shown::mid_stream();
    let mut segments = 0;
    while shown.progress != Progress::Done && segments < 10_000 {
        shown.says(A, &noise(segments, 1448));
        segments += 1;
    }
    assert_eq!(segments, (4u64 << 20).div_ceil(1448));
    assert_eq!(shown.told(), [].into());
}

#[test]
fn buffers_may_hold_what_another_flow_left() {
    let mut first = Shown::from_start();
    first.says(A, &noise(1, 3000));
    let mut second = Shown::from_start();
    second.buffers = first.buffers.take();
    second.says(A, &greeting()[..50]).says(B, b"\x13");
    assert_eq!(second.told(), [HELLO].into());
}

#[test]
fn recognition_works_without_buffers() {
    let mut shown = Shown::from_start();
    shown.buffers = None;
    shown.says(A, &greeting()).says(B, &reply()).says(A, &request(1));
    assert!(shown.told().is_superset(&[HELLO, ANSWER].into()));
}

#[test]
fn the_state_of_a_flow_is_small() {
    assert!(size_of::<TcpInspector>() <= 448, "{}", size_of::<TcpInspector>());
}

fn conversations() -> Vec<Vec<(Side, Vec<u8>)>> {
    let tracker = b"GET /announce?info_hash=aaaaaaaaaaaaaaaaaaab&peer_id=-TR2940-chho92c56pul&port=51413 HTTP/1.1\r\nHost: t\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers6:\xc0\0\x02\x07\x1a\xe1e";
    vec![
        vec![
            (A, greeting()),
            (B, reply()),
            (A, [request(1), request(2)].concat()),
            (B, noise(3, 400)),
        ],
        vec![(A, tracker.to_vec()), (B, answer.to_vec())],
        vec![
            (A, b"\x05\x01\0".to_vec()),
            (B, b"\x05\0".to_vec()),
            (A, b"\x05\x01\0\x01\xc0\0\x02\x07\x1a\xe1".to_vec()),
            (B, b"\x05\0\0\x01\0\0\0\0\0\0".to_vec()),
            (A, greeting()),
            (B, reply()),
        ],
        vec![
            (A, noise(1, 380)),
            (B, noise(2, 213)),
            (A, noise(3, 124)),
            (B, noise(4, 357)),
            (A, noise(5, 90)),
        ],
        vec![
            (A, noise(1, 300)),
            (B, noise(2, 200)),
            (A, noise(3, 400)),
            (B, [noise(4, 33), greeting()].concat()),
        ],
        vec![
            (A, b"EHLO a.example\r\n".to_vec()),
            (B, [b"250 hello there\r\n".to_vec(), greeting()].concat()),
        ],
        vec![
            (A, handshake(b"-UT3490-abcdefghijkl")[..20].to_vec()),
            (B, b"\0".to_vec()),
        ],
    ]
}

#[test]
fn a_capture_that_cuts_segments_is_never_surer() {
    let surest = |shown: &Shown| {
        let mut surest = BTreeMap::new();
        for evidence in &shown.told {
            let told = surest
                .entry((evidence.technique.name(), evidence.speaker.index()))
                .or_insert(evidence.confidence);
            *told = evidence.confidence.max(*told);
        }
        surest
    };
    for conversation in conversations() {
        let mut whole = Shown::from_start();
        for (side, bytes) in &conversation {
            whole.says(*side, bytes);
        }
        let whole = surest(&whole);
        for snap in 0..400 {
            let mut cut = Shown::from_start();
            for (side, bytes) in &conversation {
                let acknowledgement = cut.next[1 - side.index()];
                cut.says_cut(*side, bytes, snap, acknowledgement);
            }
            for (told, confidence) in surest(&cut) {
                assert!(
                    Some(&confidence) <= whole.get(&told),
                    "{told:?} {confidence:?} of {snap} bytes each"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_is_told_does_not_depend_on_the_segments(
        which in 0usize..7,
        cuts in prop::collection::vec(1usize..120, 1..60),
        order in prop::collection::vec(any::<u8>(), 60),
        twice in prop::collection::vec(any::<bool>(), 60),
    ) {
        let conversation = &conversations()[which];
        let (mut whole, mut cut) = (Shown::from_start(), Shown::from_start());
        for (side, bytes) in conversation {
            whole.says(*side, bytes);
            let (mut segments, mut at, mut n) = (Vec::new(), 0, 0);
            while at < bytes.len() {
                let end = (at + cuts[n % cuts.len()]).min(bytes.len());
                for copy in 0..=usize::from(twice[n % 60]) {
                    segments.push((order[(n + copy * 7) % 60], at, end));
                }
                (at, n) = (end, n + 1);
            }
            segments.sort();
            let base = cut.next[side.index()];
            for (_, at, end) in segments {
                cut.segment(*side, base.wrapping_add(at as u32), false, &bytes[at..end]);
            }
            cut.next[side.index()] = base.wrapping_add(bytes.len() as u32);
        }
        prop_assert_eq!(whole.told(), cut.told());
    }

    #[test]
    fn any_segments_are_survived(segments in prop::collection::vec(
        (any::<bool>(), 0u32..6000, any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..60,
    )) {
        let mut shown = Shown::mid_stream();
        for (from, sequence, syn, payload) in segments {
            shown.segment(if from { A } else { B }, sequence, syn, &payload);
        }
        prop_assert!(shown.told.iter().all(|e| e.confidence < Confidence::Conclusive));
    }
}
