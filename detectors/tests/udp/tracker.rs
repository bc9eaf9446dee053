//! UDP tracker protocol.

use crate::script::*;
use btblocker_detectors::{Client, Endpoint, LearnedFrom, Side};

const CONNECTION: [u8; 8] = [0x8a, 1, 2, 3, 4, 5, 6, 7];
const HASH: [u8; 20] = *b"\x11\x22info-hash-of-20---";
const PEER: [u8; 20] = *b"-qB4500-abcdefghijkl";

pub(crate) fn connect(transaction: u32) -> Vec<u8> {
    let mut bytes = 0x0000_0417_2710_1980_u64.to_be_bytes().to_vec();
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(transaction.to_be_bytes());
    bytes
}

pub(crate) fn connected(transaction: u32) -> Vec<u8> {
    [&[0; 4][..], &transaction.to_be_bytes(), &CONNECTION].concat()
}

pub(crate) fn announce(transaction: u32) -> Vec<u8> {
    let mut bytes = CONNECTION.to_vec();
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend(transaction.to_be_bytes());
    bytes.extend(HASH);
    bytes.extend(PEER);
    for counter in [0, 40_000_000, 0_u64] {
        bytes.extend(counter.to_be_bytes());
    }
    for field in [2, 0, 0x1234_5678, u32::MAX] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(6881_u16.to_be_bytes());
    bytes
}

fn announced(transaction: u32, peers: &[u8]) -> Vec<u8> {
    let mut bytes = 1_u32.to_be_bytes().to_vec();
    for field in [transaction, 1800, 3, 5] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(peers);
    bytes
}

fn scrape(transaction: u32) -> Vec<u8> {
    let mut bytes = CONNECTION.to_vec();
    bytes.extend(2_u32.to_be_bytes());
    bytes.extend(transaction.to_be_bytes());
    bytes.extend(HASH);
    bytes
}

const CONNECT_SAID: &[&str] = &["udp-tracker/connect conclusive O +"];
/// One answer may be four bytes that somebody has sent back.
const CONNECTED_SAID: &[&str] = &["udp-tracker/connect-answer conclusive R +"];

#[test]
fn an_exchange_proves_both_ends() {
    check(
        "announce, scrape, error",
        &[
            (O, 0, &connect(7), CONNECT_SAID),
            (R, 10, &connected(7), CONNECTED_SAID),
            (O, 20, &announce(8), &["udp-tracker/announce conclusive O +O"]),
            (
                R,
                30,
                &announced(8, &[192, 0, 2, 1, 0x1a, 0xe1]),
                &["udp-tracker/announce-answer conclusive R +R"],
            ),
            (O, 40, &scrape(9), &["udp-tracker/scrape conclusive O +O"]),
            (
                R,
                50,
                &[&[0, 0, 0, 2, 0, 0, 0, 9][..], &[0; 12]].concat(),
                &["udp-tracker/scrape-answer conclusive R +R"],
            ),
            (O, 60, &announce(10), &[]),
            (
                R,
                70,
                b"\x00\x00\x00\x03\x00\x00\x00\x0aunregistered",
                &["udp-tracker/error conclusive R +R"],
            ),
        ],
    );
}

#[test]
fn what_nobody_asked_for_is_nothing() {
    check(
        "answers alone",
        &[
            (R, 0, &connected(7), &[]),
            (R, 1, &announced(8, &[192, 0, 2, 1, 0x1a, 0xe1]), &[]),
            (R, 2, b"\x00\x00\x00\x03\x00\x00\x00\x0aunregistered", &[]),
        ],
    );
    check(
        "another transaction",
        &[(O, 0, &connect(7), CONNECT_SAID), (R, 1, &connected(8), &[])],
    );
    check(
        "from the asking side",
        &[(O, 0, &connect(7), CONNECT_SAID), (O, 1, &connected(7), &[])],
    );
    check("scrape without connect", &[(O, 0, &scrape(9), &[])]);
}

#[test]
fn an_announce_without_its_connect_is_strong_when_strict() {
    check(
        "strict",
        &[
            (O, 0, &announce(8), &["udp-tracker/announce-unbound strong O +"]),
            (
                R,
                9,
                &announced(8, b""),
                &["udp-tracker/announce-answer conclusive R +"],
            ),
        ],
    );
    let with = |at: usize, field: &[u8]| {
        let mut bytes = announce(8);
        bytes[at..at + field.len()].copy_from_slice(field);
        bytes
    };
    let options = [announce(8), b"\x01\x02\x05/path\x00".to_vec()].concat();
    check(
        "options",
        &[(O, 0, &options, &["udp-tracker/announce-unbound strong O +"])],
    );
    let left = with(64, &[0x7f, 255, 255, 255, 255, 255, 255, 255]);
    check(
        "left unknown",
        &[(O, 0, &left, &["udp-tracker/announce-unbound strong O +"])],
    );
    for (name, bytes) in [
        ("downloaded", with(56, &[1])),
        ("left", with(64, &[0x80])),
        ("uploaded", with(72, &[1])),
        ("event", with(83, &[5])),
        ("wanted", with(92, &[0])),
        ("port", with(96, &[0, 0])),
        ("options", [announce(8), b"\x02\x09short".to_vec()].concat()),
        ("unknown option", [announce(8), b"\x03".to_vec()].concat()),
    ] {
        check(name, &[(O, 0, &bytes, &[])]);
    }
}

#[test]
fn what_is_no_whole_answer_is_none() {
    let asked = |answer: &[u8]| {
        let mut flow = Flow::new();
        flow.show(O, 0, &connect(7));
        flow.show(R, 10, &connected(7));
        flow.show(O, 20, &announce(8));
        flow.show(O, 30, &scrape(9));
        flow.show(R, 40, answer).len()
    };
    let counts = |counts: [u32; 3]| {
        let counts: Vec<u8> = counts.into_iter().flat_map(u32::to_be_bytes).collect();
        [&[0, 0, 0, 2, 0, 0, 0, 9][..], &counts].concat()
    };
    assert_eq!(asked(&announced(8, &[192, 0, 2, 1, 0x1a, 0xe1])), 1);
    assert_eq!(asked(&announced(8, &[192, 0, 2, 1, 0x1a])), 0, "a part of a peer");
    assert_eq!(asked(&announced(8, b"")[..12]), 0, "no counts");
    assert_eq!(asked(&counts([3, 5, 7])), 1);
    assert_eq!(asked(&counts([3, 5, 1 << 24])), 0, "more than there are");
    assert_eq!(asked(&counts([3, 5, 7])[..16]), 0, "a part of the counts");
    assert_eq!(asked(b"\0\0\0\x03\0\0\0\x08no"), 1);
    assert_eq!(asked(b"\0\0\0\x03\0\0\0\x08\x01\x02"), 0, "no text");
    let mut flow = Flow::new();
    flow.show(O, 0, &connect(7));
    assert!(
        flow.show(R, 10, &[&connected(7)[..], &[0; 12]].concat())
            .is_empty(),
        "more than 16 bytes"
    );
}

#[test]
fn a_connection_id_serves_its_owner_for_its_time() {
    check(
        "expired",
        &[
            (O, 0, &connect(7), CONNECT_SAID),
            (R, 10, &connected(7), CONNECTED_SAID),
            (
                O,
                200_000,
                &announce(8),
                &["udp-tracker/announce-unbound strong O +"],
            ),
        ],
    );
    check(
        "the tracker itself",
        &[
            (O, 0, &connect(7), CONNECT_SAID),
            (R, 10, &connected(7), CONNECTED_SAID),
            (R, 20, &announce(8), &["udp-tracker/announce-unbound strong R +"]),
        ],
    );
}

#[test]
fn client_torrent_and_peers_are_read() {
    let v4 = [
        [192, 0, 2, 1, 0x1a, 0xe1],
        [198, 51, 100, 2, 0x1a, 0xe2],
        [203, 0, 113, 3, 0, 0],
    ]
    .concat();
    let v6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7, 0x1a, 0xe2]].concat();
    for (peers, expected) in [
        (
            v4,
            vec![
                Endpoint::compact4([192, 0, 2, 1, 0x1a, 0xe1]),
                Endpoint::compact4([198, 51, 100, 2, 0x1a, 0xe2]),
            ],
        ),
        (
            v6,
            vec![Endpoint::new("2001:db8::7".parse().expect("an address"), 0x1ae2)],
        ),
    ] {
        let mut flow = Flow::new();
        flow.show(O, 0, &connect(7));
        flow.show(R, 1, &connected(7));
        let said = flow.show(O, 2, &announce(8));
        assert_eq!(
            (said[0].info_hash, said[0].client),
            (Some(HASH), Client::PeerId(PEER))
        );
        flow.show(R, 3, &announced(8, &peers));
        let learned = flow.learned();
        assert!(
            learned
                .iter()
                .all(|one| one.told == Side::Originator && one.from == LearnedFrom::Tracker)
        );
        assert_eq!(
            learned.iter().map(|one| one.endpoint).collect::<Vec<_>>(),
            expected
        );
    }
}
