//! uTP connections and the streams inside them.

use crate::script::*;
use btblocker_detectors::{Class, Ends, Evidence, Sensitivity, Side, Technique};

const DATA: u8 = 0x01;
const STATE: u8 = 0x21;
const RESET: u8 = 0x31;
const SYN: u8 = 0x41;
/// One way between the ends, in microseconds; the observer stands in the middle.
const WAY_US: u64 = 20_000;

/// A packet as the observer sees it: sender, microseconds, bytes.
type Seen = (Side, u64, Vec<u8>);

/// Two stacks with clocks that have nothing in common.
struct Pair {
    id: u16,
    clocks: [u32; 2],
    next: [u16; 2],
    /// Sequence number that each side acknowledges, and the difference it reports.
    acknowledges: [u16; 2],
    difference: [u32; 2],
    now_us: u64,
    seen: Vec<Seen>,
}

impl Pair {
    fn new() -> Self {
        Self {
            id: 0x5f10,
            clocks: [4_128_284_457, 166_799_639],
            next: [0x8ccb, 0xfffe],
            acknowledges: [0; 2],
            difference: [0; 2],
            now_us: 0,
            seen: Vec::new(),
        }
    }

    fn clock(&self, side: Side, at_us: u64) -> u32 {
        self.clocks[side.index()].wrapping_add(at_us as u32)
    }

    fn raw(&mut self, from: Side, kind: u8, id: u16, window: u32, payload: &[u8]) {
        let (own, other) = (from.index(), from.other().index());
        let timestamp = self.clock(from, self.now_us);
        let mut bytes = vec![kind, 0];
        bytes.extend(id.to_be_bytes());
        for field in [timestamp, self.difference[own], window] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(self.next[own].to_be_bytes());
        bytes.extend(self.acknowledges[own].to_be_bytes());
        bytes.extend(payload);
        self.seen.push((from, self.now_us + WAY_US / 2, bytes));
        let arrival = self.now_us + WAY_US;
        self.difference[other] = self.clock(from.other(), arrival).wrapping_sub(timestamp);
        self.now_us = arrival + 150;
    }

    fn open(&mut self) -> &mut Self {
        self.next[0] = self.next[0].wrapping_sub(1);
        self.raw(O, SYN, self.id, 0, b"");
        self.acknowledges[1] = self.next[0];
        self.next[0] = self.next[0].wrapping_add(1);
        self.raw(R, STATE, self.id, 1 << 20, b"");
        self.acknowledges[0] = self.next[1].wrapping_sub(1);
        self
    }

    fn id_of(&self, from: Side) -> u16 {
        if from == O {
            self.id.wrapping_add(1)
        } else {
            self.id
        }
    }

    fn data(&mut self, from: Side, payload: &[u8]) -> &mut Self {
        self.raw(from, DATA, self.id_of(from), 1 << 20, payload);
        self.acknowledges[from.other().index()] = self.next[from.index()];
        self.next[from.index()] = self.next[from.index()].wrapping_add(1);
        self
    }

    fn state(&mut self, from: Side) -> &mut Self {
        self.raw(from, STATE, self.id_of(from), 1 << 20, b"");
        self
    }
}

fn play_on(flow: &mut Flow, seen: &[Seen]) -> Vec<Evidence> {
    seen.iter()
        .flat_map(|(from, at_us, bytes)| flow.show_cut(*from, *at_us, bytes, bytes.len()))
        .collect()
}

fn said(seen: &[Seen]) -> Vec<String> {
    play_on(&mut Flow::new(), seen).iter().map(words).collect()
}

pub(crate) fn handshake() -> Vec<u8> {
    let reserved = [0, 0, 0, 0, 0, 0x10, 0, 5];
    [
        b"\x13BitTorrent protocol",
        &reserved[..],
        &random(20, 5),
        b"-qB4500-",
        &random(12, 6),
    ]
    .concat()
}

/// Datagrams of a plaintext connection.
pub(crate) fn plaintext() -> Vec<Step> {
    let mut pair = Pair::new();
    pair.open().data(O, &handshake()).state(R).data(R, &handshake());
    pair.seen
        .into_iter()
        .map(|(from, at_us, bytes)| (from, at_us / 1_000, bytes))
        .collect()
}

const OPENED: [&str; 3] = [
    "utp/syn strong O +",
    "utp/answer strong R +R",
    "utp/connection strong O +OR",
];

#[test]
fn a_connection_from_its_syn_proves_both_ends_with_the_first_data() {
    let mut pair = Pair::new();
    pair.open().data(O, b"hello").data(R, b"hello").data(O, b"more");
    assert_eq!(said(&pair.seen[..2]), OPENED[..2]);
    assert_eq!(said(&pair.seen[..3]), OPENED);
    assert_eq!(said(&pair.seen), OPENED);
}

#[test]
fn a_connection_picked_up_in_the_middle_is_recognised_by_ids_and_echoes() {
    let mut pair = Pair::new();
    pair.open();
    for _ in 0..5 {
        pair.data(O, &random(900, 1))
            .state(R)
            .data(R, &random(900, 2))
            .state(O);
    }
    assert_eq!(said(&pair.seen[6..]), OPENED[2..]);
    let one_side: Vec<_> = pair
        .seen
        .iter()
        .filter(|(from, ..)| *from == O)
        .cloned()
        .collect();
    assert_eq!(said(&one_side[1..]), [""; 0]);
}

#[test]
fn a_pair_of_clocks_that_wrap_is_still_a_connection() {
    let mut pair = Pair::new();
    pair.clocks = [u32::MAX - 30_000, u32::MAX - 60_000];
    pair.id = u16::MAX;
    pair.open().data(O, b"hello").data(R, b"hello");
    assert_eq!(said(&pair.seen), OPENED);
}

#[test]
fn a_stack_that_follows_the_text_of_the_specification_is_recognised() {
    let mut pair = Pair::new();
    pair.open();
    pair.acknowledges[0] = pair.next[1];
    pair.next[1] = pair.next[1].wrapping_add(1);
    pair.data(O, b"hello").data(R, b"hello");
    assert_eq!(said(&pair.seen), OPENED);
}

#[test]
fn a_syn_that_nobody_answers_is_told_once() {
    let mut pair = Pair::new();
    pair.open();
    let syn = pair.seen[0].clone();
    let again: Vec<_> = (0..5)
        .map(|round| (O, round * 3_000_000, syn.2.clone()))
        .collect();
    assert_eq!(said(&again), OPENED[..1]);
}

#[test]
fn only_strict_syns_count() {
    let syn = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut pair = Pair::new();
        pair.open();
        let mut bytes = pair.seen[0].2.clone();
        edit(&mut bytes);
        bytes
    };
    let bits = |bytes: &mut Vec<u8>| {
        bytes[1] = 2;
        bytes.extend([0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    };
    for (name, bytes, count) in [
        ("libtorrent", syn(&|_| {}), 1),
        ("libutp", syn(&|bytes| bytes[13] = 0x10), 1),
        (
            "transmission",
            syn(&|bytes| {
                bytes[13] = 4;
                bits(bytes)
            }),
            1,
        ),
        ("id 0", syn(&|bytes| bytes[2..4].fill(0)), 1),
        ("odd window", syn(&|bytes| bytes[13] = 0x11), 0),
        ("small window", syn(&|bytes| bytes[15] = 0x40), 0),
        ("difference", syn(&|bytes| bytes[8] = 1), 0),
        ("acknowledges", syn(&|bytes| bytes[19] = 1), 0),
        ("payload", syn(&|bytes| bytes.push(0)), 0),
        (
            "extension bits set",
            syn(&|bytes| {
                bits(bytes);
                bytes[29] = 1
            }),
            0,
        ),
        ("version 0", syn(&|bytes| bytes[0] = 0x40), 0),
    ] {
        let found = play(&[(O, 0, bytes)])
            .iter()
            .filter(|one| one.technique == Technique::Utp)
            .count();
        assert_eq!(found, count, "{name}");
    }
}

#[test]
fn what_breaks_a_relation_proves_nothing() {
    let broken = |edit: &dyn Fn(&mut Pair)| {
        let mut pair = Pair::new();
        pair.open();
        edit(&mut pair);
        for _ in 0..8 {
            pair.data(O, &random(300, 3)).data(R, &random(300, 4));
        }
        play_on(&mut Flow::new(), &pair.seen)
    };
    let connected = |said: &[Evidence]| said.iter().any(|one| one.rule == "connection");
    assert!(connected(&broken(&|_| {})));
    // The responder answers another syn.
    let said = broken(&|pair| pair.seen[1].2[19] ^= 1);
    assert!(!said.iter().any(|one| one.rule == "answer"));
    // A reset is no answer.
    let mut pair = Pair::new();
    pair.open();
    pair.seen[1].2[0] = RESET;
    assert_eq!(proven(&play_on(&mut Flow::new(), &pair.seen)), Ends::NONE);
}

#[test]
fn an_initiator_that_guesses_is_not_proven() {
    let mut pair = Pair::new();
    pair.open();
    let mut forged = pair.seen.clone();
    // Whoever forges the initiator sees no answer: the acknowledgements are guesses, the echoes right.
    for guess in 0..200_u16 {
        pair.acknowledges[0] = guess.wrapping_mul(321).wrapping_add(9);
        pair.seen.clear();
        pair.raw(O, DATA, pair.id.wrapping_add(1), 1 << 20, b"x");
        forged.append(&mut pair.seen);
    }
    let said = play_on(&mut Flow::new(), &forged);
    assert_eq!(proven(&said), Ends::only(R));
}

#[test]
fn a_link_that_holds_packets_for_seconds_needs_one_packet_more() {
    let mut pair = Pair::new();
    pair.open()
        .data(O, b"hello")
        .data(R, b"hello")
        .data(O, b"more")
        .data(R, b"more");
    for (at, (.., at_us, _)) in pair.seen.iter_mut().enumerate() {
        *at_us += 3_000_000 * at as u64;
    }
    assert_eq!(said(&pair.seen[..3]), OPENED[..2]);
    assert_eq!(said(&pair.seen), OPENED);
}

#[test]
fn unrelated_packets_of_the_right_form_are_nothing() {
    let mut seen = Vec::new();
    for round in 0..120_u64 {
        let mut bytes = random(60, round + 1);
        bytes[0] = if round % 3 == 0 { STATE } else { DATA };
        bytes[1] = 0;
        if round % 3 == 0 {
            bytes.truncate(20);
        }
        seen.push((if round % 2 == 0 { O } else { R }, round * 20_000, bytes));
    }
    assert_eq!(said(&seen), [""; 0]);
}

#[test]
fn bittorrent_in_the_stream_is_conclusive() {
    let mut pair = Pair::new();
    pair.open().data(O, &handshake());
    let evidence = play_on(&mut Flow::new(), &pair.seen);
    let handshakes: Vec<_> = evidence
        .iter()
        .filter(|one| one.technique == Technique::Handshake)
        .collect();
    assert_eq!(words(handshakes[0]), "handshake/handshake conclusive O +OR");
    assert_eq!(handshakes[0].class, Class::BitTorrent);

    // A request in a lone packet: the structure holds, nobody is proven.
    let mut request = random(30, 9);
    request.extend(b"\x00\x00\x00\x0d\x06\x00\x00\x00\x07\x00\x00\x40\x00\x00\x00\x40\x00");
    let mut pair = Pair::new();
    pair.data(O, &request);
    assert_eq!(said(&pair.seen), ["peer-message/request conclusive O +"]);
}

/// Flights of these sizes, begun by the originator.
fn flights(sizes: &[usize]) -> Vec<Seen> {
    let mut pair = Pair::new();
    pair.open();
    for (flight, size) in sizes.iter().enumerate() {
        let side = if flight % 2 == 0 { O } else { R };
        for part in random(*size, flight as u64 + 40).chunks(400) {
            pair.data(side, part);
        }
    }
    pair.seen
}

fn encrypted(flow: &mut Flow, seen: &[Seen]) -> Vec<String> {
    let said = play_on(flow, seen);
    let mse: Vec<_> = said
        .iter()
        .filter(|one| one.technique == Technique::Mse)
        .collect();
    assert!(mse.iter().all(|one| one.key.is_some()));
    mse.into_iter().map(words).collect()
}

#[test]
fn an_encrypted_handshake_is_told_by_its_flights() {
    let table: &[(&str, &[usize], &[&str])] = &[
        ("glued", &[455, 221, 124, 484], &["mse/utp-mse strong O +OR"]),
        (
            "alone in the fifth",
            &[389, 595, 551, 226, 68, 300],
            &["mse/utp-mse strong O +OR"],
        ),
        ("longest", &[608, 608, 124, 14], &["mse/utp-mse strong O +OR"]),
        ("shortest", &[96, 96, 124, 14], &["mse/utp-mse strong O +OR"]),
        (
            "no exact size",
            &[300, 300, 300, 300, 300, 300],
            &["mse/utp-mse strong O +OR"],
        ),
        ("third too long", &[300, 300, 891, 300, 300, 300], &[]),
        ("first too long", &[609, 221, 124, 484], &[]),
        ("second too short", &[455, 95, 124, 484], &[]),
        ("nothing follows", &[455, 221, 124], &[]),
        ("fifth not ended", &[389, 595, 551, 226, 68], &[]),
    ];
    for (name, sizes, expected) in table {
        assert_eq!(encrypted(&mut Flow::new(), &flights(sizes)), *expected, "{name}");
    }
    let mut strict = Flow::new();
    strict.options.sensitivity = Sensitivity::Strict;
    assert_eq!(encrypted(&mut strict, &flights(&[455, 221, 124, 484])), [""; 0]);
}

#[test]
fn retransmissions_do_not_count_twice_and_a_lost_packet_ends_it() {
    let seen = flights(&[455, 221, 124, 484]);
    let mut repeated = seen.clone();
    repeated.insert(4, seen[3].clone());
    assert_eq!(
        encrypted(&mut Flow::new(), &repeated),
        ["mse/utp-mse strong O +OR"]
    );
    let mut lost = seen;
    lost.remove(2);
    assert_eq!(encrypted(&mut Flow::new(), &lost), [""; 0]);
}

/// A download in the middle of a connection: `count` messages of `size` bytes, each in packets of 1,400 bytes
/// and a shorter last one, filled by `content`.
fn download(count: u64, size: usize, content: fn(usize, u64) -> Vec<u8>) -> Vec<Seen> {
    let mut pair = Pair::new();
    pair.open();
    for message in 0..count {
        for part in content(size, message + 1).chunks(1400) {
            pair.data(R, part).state(O);
        }
        pair.data(O, &content(34, message + 99));
    }
    pair.seen.split_off(2)
}

fn text(len: usize, _: u64) -> Vec<u8> {
    b"The quick brown fox jumps over the lazy dog. "
        .iter()
        .cycle()
        .take(len)
        .copied()
        .collect()
}

fn sizes_told(seen: &[Seen]) -> Vec<String> {
    let said = play_on(&mut Flow::new(), seen);
    let sizes = said.iter().filter(|one| one.technique == Technique::Entropy);
    sizes.map(words).collect()
}

#[test]
fn encrypted_blocks_are_told_by_where_they_end() {
    let told = [
        "entropy/rc4-blocks strong R +OR",
        // It asks for them.
        "entropy/rc4-blocks strong O +OR",
        "entropy/rc4-blocks conclusive R +OR",
        "entropy/rc4-blocks conclusive O +OR",
    ];
    for (name, seen, expected) in [
        ("five blocks", download(5, 16_397, random), &told[..2]),
        ("eight blocks", download(8, 16_397, random), &told),
        ("three blocks", download(3, 16_397, random), &[]),
        ("text in blocks", download(30, 16_397, text), &[]),
        ("bare blocks", download(30, 16_384, random), &[]),
        ("records", download(30, 16_406, random), &[]),
        ("Noise frames of 64 KiB", download(30, 65_535, random), &[]),
    ] {
        assert_eq!(sizes_told(&seen), expected, "{name}");
    }
}

#[test]
fn a_packet_that_is_missing_is_taken_for_a_full_one() {
    let told = [
        "entropy/rc4-blocks strong R +OR",
        "entropy/rc4-blocks strong O +OR",
    ];
    let whole = download(5, 16_397, random);
    let places = |len: usize| -> Vec<usize> {
        let of_len = |(_, (.., bytes)): &(usize, &Seen)| bytes.len() == 20 + len;
        whole
            .iter()
            .enumerate()
            .filter(of_len)
            .map(|(place, _)| place)
            .collect()
    };
    let mut lost = whole.clone();
    let full = places(1400)[14];
    let dropped = lost.remove(full);
    assert_eq!(sizes_told(&lost), told);
    let mut late = lost;
    late.insert(full + 3, dropped);
    assert_eq!(sizes_told(&late), told);
    // Without the end of the third block, those before it are not compared with those behind it.
    let mut end = whole.clone();
    end.remove(places(16_397 % 1400)[2]);
    assert_eq!(sizes_told(&end), [""; 0]);
    let mut twice = download(5, 16_397, random);
    twice.insert(9, twice[2].clone());
    assert_eq!(sizes_told(&twice), told);
}

#[test]
fn two_connections_at_once_are_kept_apart() {
    let (mut one, mut two) = (Pair::new(), Pair::new());
    two.id = 0x1234;
    one.open().data(O, b"hello").data(R, b"hello");
    two.open().data(O, b"hello").data(R, b"hello");
    let mut seen: Vec<_> = one.seen.into_iter().chain(two.seen).collect();
    seen.sort_by_key(|(_, at_us, _)| *at_us);
    assert_eq!(said(&seen), OPENED);
}
