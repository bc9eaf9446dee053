//! UDP protocols that resemble something of BitTorrent. None may be told conclusively, none be judged.

use btblocker_detectors::{Confidence, Transport};

use crate::datagram_networks::networks;
use crate::script::*;

pub(crate) struct Case {
    name: &'static str,
    port: u16,
    steps: Vec<Step>,
}

/// `rounds` of a question and an answer, both made from the round's number.
pub(crate) fn exchange(
    name: &'static str,
    port: u16,
    rounds: u64,
    ask: impl Fn(u64) -> Vec<u8>,
    answer: impl Fn(u64) -> Vec<u8>,
) -> Case {
    let mut steps = Vec::new();
    for round in 1..=rounds {
        steps.push((A, ask(round)));
        steps.push((B, answer(round)));
    }
    Case { name, port, steps }
}

fn joined(name: &'static str, port: u16, parts: Vec<Case>) -> Case {
    let steps = parts.into_iter().flat_map(|part| part.steps).collect();
    Case { name, port, steps }
}

pub(crate) fn low(round: u64) -> u8 {
    (round & 255) as u8
}

fn stun(kind: u16, body: usize, seed: u64) -> Vec<u8> {
    let head = [
        &kind.to_be_bytes()[..],
        &(body as u16).to_be_bytes(),
        &[0x21, 0x12, 0xa4, 0x42],
    ]
    .concat();
    padded(&head, 20 + body, seed)
}

fn channel(number: u16, body: usize, seed: u64) -> Vec<u8> {
    [
        &number.to_be_bytes()[..],
        &(body as u16).to_be_bytes(),
        &noise(seed, body),
    ]
    .concat()
}

fn dns(name: &[u8], answer: bool, id: u64) -> Vec<u8> {
    let mut bytes = vec![
        0x41,
        low(id),
        if answer { 0x81 } else { 1 },
        0,
        0,
        1,
        0,
        u8::from(answer),
        0,
        0,
        0,
        0,
    ];
    for label in name.split(|&byte| byte == b'.') {
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.extend([0, 0, 1, 0, 1]);
    if answer {
        bytes.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1]);
    }
    bytes
}

fn webrtc() -> Case {
    joined(
        "webrtc",
        40_001,
        vec![
            exchange("", 0, 3, |n| stun(0x0001, 84, n), |n| stun(0x0101, 44, n + 90)),
            exchange(
                "",
                0,
                3,
                |n| padded(&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, low(n)], 190, n),
                |n| padded(&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, low(n)], 700, n + 40),
            ),
            exchange(
                "",
                0,
                60,
                |n| padded(&[0x80, 0x6f, 0, low(n)], 160, n),
                |n| padded(&[0x90, 0xe0, 0, low(n)], 1100, n + 300),
            ),
        ],
    )
}

fn wireguard() -> Case {
    joined(
        "wireguard",
        51_820,
        vec![
            exchange(
                "",
                0,
                1,
                |n| padded(&[1, 0, 0, 0], 148, n),
                |n| padded(&[2, 0, 0, 0], 92, n + 5),
            ),
            exchange(
                "",
                0,
                100,
                |n| padded(&[4, 0, 0, 0, 1, 2, 3, 4, low(n), 0, 0, 0, 0, 0, 0, 0], 96, n),
                |n| {
                    padded(
                        &[4, 0, 0, 0, 5, 6, 7, 8, low(n), 0, 0, 0, 0, 0, 0, 0],
                        1456,
                        n + 400,
                    )
                },
            ),
        ],
    )
}

fn quic() -> Case {
    joined(
        "quic",
        443,
        vec![
            exchange(
                "",
                0,
                2,
                |n| padded(&[0xc3, 0, 0, 0, 1, 8], 1200, n),
                |n| padded(&[0xc1, 0, 0, 0, 1, 0], 1200, n + 9),
            ),
            exchange(
                "",
                0,
                100,
                |n| padded(&[0x41], 40, n),
                |n| padded(&[0x41], 1250, n + 700),
            ),
        ],
    )
}

/// The header that mKCP writes to look like uTP: type and extension of data, a number, then its own.
fn mkcp() -> Case {
    let head = |n: u64, id: u8| {
        [
            &[1, 0, 0x5f, id][..],
            &noise(id.into(), 2),
            &[0x51, 0, 0, 0, 0, low(n)],
        ]
        .concat()
    };
    exchange(
        "mkcp behind a header like uTP's",
        10_086,
        120,
        |n| padded(&head(n, 1), 60, n),
        |n| padded(&head(n, 2), 1300, n + 800),
    )
}

/// A game whose datagrams begin like uTP's, with numbers that count up and a clock that does not fit.
fn game() -> Case {
    let first = [0x01, 0x11, 0x21, 0x31, 0x41];
    exchange(
        "game",
        27_015,
        120,
        |n| {
            padded(
                &[
                    first[n as usize % 5],
                    0,
                    0x12,
                    0x34,
                    0,
                    0,
                    0,
                    low(n),
                    0,
                    0,
                    0,
                    low(n),
                ],
                20 + (n as usize % 2) * 80,
                n,
            )
        },
        |n| {
            padded(
                &[first[(n as usize + 3) % 5], 0, 0x12, 0x34, 0, 0, 0, low(n)],
                20 + (n as usize % 3) * 60,
                n + 300,
            )
        },
    )
}

fn cases() -> Vec<Case> {
    let rpc = |n: u64, reply: bool| {
        let head = [
            0,
            0,
            0,
            low(n),
            0,
            0,
            0,
            u8::from(reply),
            0,
            0,
            0,
            2,
            0,
            1,
            0x86,
            0xa3,
            0,
            0,
            0,
            3,
        ];
        [&head[..], &[0; 36], &noise(n, 20)].concat()
    };
    let dhcp = |n: u64, operation: u8| {
        let head = [operation, 1, 6, 0, 9, 9, 9, low(n), 0, 0, 0, 0];
        [
            &head[..],
            &[0; 224],
            &[0x63, 0x82, 0x53, 0x63, 53, 1, operation, 255],
            &[0; 56],
        ]
        .concat()
    };
    let quoting = b"<14>Nov 21 10:00:00 nas transmission: d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe seen; BT-SEARCH * HTTP/1.1";
    vec![
        exchange(
            "stun",
            3478,
            40,
            |n| stun(0x0001, 8, n),
            |n| stun(0x0101, 12, n + 50),
        ),
        exchange(
            "turn channels",
            3478,
            80,
            |n| channel(0x4100, 160, n),
            |n| channel(0x4102, 1000 + n as usize % 7, n),
        ),
        webrtc(),
        quic(),
        exchange(
            "quic, the start unseen",
            443,
            120,
            |n| padded(&[0x41], 20 + n as usize % 40, n),
            |n| padded(&[0x41], 1250, n + 700),
        ),
        wireguard(),
        exchange(
            "openvpn",
            1194,
            100,
            |n| {
                padded(
                    &[[0x21, 0x31, 0x41][n as usize % 3], 8, 7, 6, 5, 4, 3, 2, 1],
                    54 + n as usize % 3 * 40,
                    n,
                )
            },
            |n| {
                padded(
                    &[[0x21, 0x31, 0x41][n as usize % 3], 1, 2, 3, 4, 5, 6, 7, 8],
                    1200,
                    n + 300,
                )
            },
        ),
        exchange(
            "dtls",
            4433,
            60,
            |n| padded(&[23, 0xfe, 0xfd, 0, 1], 90, n),
            |n| padded(&[23, 0xfe, 0xfd, 0, 1], 700, n + 4),
        ),
        exchange(
            "capwap",
            5246,
            60,
            |n| padded(&[1, 0, 0, 0, 22, 0xfe, 0xff], 120, n),
            |n| padded(&[1, 0, 0, 0, 23, 0xfe, 0xff], 300, n + 7),
        ),
        game(),
        mkcp(),
        exchange("dhcp", 67, 6, |n| dhcp(n, 1), |n| dhcp(n, 2)),
        exchange(
            "tftp",
            69,
            40,
            |n| vec![0, 4, 0, low(n)],
            |n| padded(&[0, 3, 0, low(n)], 516, n),
        ),
        exchange(
            "memcached",
            11_211,
            30,
            |n| [&[0, low(n), 0, 0, 0, 1, 0, 0][..], b"get d1:ad2:id20:\r\n"].concat(),
            |n| {
                [
                    &[0, low(n), 0, 0, 0, 1, 0, 0][..],
                    b"VALUE info_hash 0 4\r\n6:peer\r\nEND\r\n",
                ]
                .concat()
            },
        ),
        exchange(
            "redis over udp",
            6379,
            30,
            |_| b"$6\r\nfoobar\r\n".to_vec(),
            |_| b"*1\r\n$20\r\nBitTorrent protocol!\r\n".to_vec(),
        ),
        exchange("syslog", 514, 30, |_| quoting.to_vec(), |_| b"ok".to_vec()),
        exchange(
            "names of trackers",
            53,
            12,
            |n| dns(b"tracker.opentrackr.org", false, n),
            |n| dns(b"tracker.opentrackr.org", true, n),
        ),
        exchange(
            "names of routers",
            5353,
            12,
            |n| dns(b"router.bittorrent.com", false, n),
            |n| dns(b"_bittorrent._tcp.local", true, n),
        ),
        exchange(
            "valve",
            27_015,
            40,
            |n| padded(&[255, 255, 255, 255, b'T'], 25, n),
            |n| padded(&[255, 255, 255, 255, b'I'], 140, n + 3),
        ),
        exchange(
            "raknet",
            19_132,
            40,
            |n| padded(&[1, 0, 0, 0, 0, 0, 0, low(n)], 33, n),
            |n| padded(&[0x1c, 0, 0, 0, 0, 0, 0, low(n)], 90, n),
        ),
        exchange(
            "ed2k",
            4672,
            40,
            |n| padded(&[0xe4, 0x21], 35, n),
            |n| padded(&[0xe4, 0x29], 300, n + 8),
        ),
        exchange("nfs", 2049, 40, |n| rpc(n, false), |n| rpc(n, true)),
        exchange(
            "afs",
            7001,
            60,
            |n| {
                padded(
                    &[
                        9,
                        9,
                        9,
                        9,
                        0,
                        0,
                        0,
                        4,
                        0,
                        0,
                        0,
                        low(n),
                        0,
                        0,
                        0,
                        1,
                        0,
                        0,
                        0,
                        2,
                        1,
                        5,
                    ],
                    56,
                    n,
                )
            },
            |n| {
                padded(
                    &[
                        9,
                        9,
                        9,
                        9,
                        0,
                        0,
                        0,
                        4,
                        0,
                        0,
                        0,
                        low(n),
                        0,
                        0,
                        0,
                        1,
                        0,
                        0,
                        0,
                        2,
                        1,
                        4,
                    ],
                    476,
                    n,
                )
            },
        ),
        exchange(
            "pfcp",
            8805,
            40,
            |n| padded(&[0x21, 50, 0, 100, 0, 0, 0, low(n)], 104, n),
            |n| padded(&[0x21, 51, 0, 16], 20, n),
        ),
        exchange(
            "teredo",
            3544,
            30,
            |n| padded(&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x60], 61, n),
            |n| padded(&[0, 0, 1, 2, 0x60, 0], 109, n),
        ),
        exchange(
            "dnscrypt",
            443,
            30,
            |n| padded(&[9, 8, 7, 6, 5, 4, 3, 2, 0, 0, 0, 1], 256, n),
            |n| padded(b"r6fnvWj8", 304, n),
        ),
        exchange(
            "ntp",
            123,
            30,
            |n| padded(&[0x23, 0, 6, 0xec], 48, n),
            |n| padded(&[0x24, 1, 3, 0xec], 48, n + 2),
        ),
        exchange(
            "syncthing discovery",
            21_027,
            20,
            |n| padded(&[0x2e, 0xa7, 0xd9, 0x0b], 130, n),
            |n| padded(&[0x2e, 0xa7, 0xd9, 0x0b], 130, n),
        ),
        exchange(
            "socks relay of something else",
            1080,
            60,
            |n| padded(&[0, 0, 0, 1, 192, 0, 2, 1, 0, 53], 60, n),
            |n| padded(&[0, 0, 0, 1, 192, 0, 2, 1, 0, 53], 200, n),
        ),
        exchange(
            "random",
            50_000,
            150,
            |n| noise(n, 20 + n as usize * 37 % 1380),
            |n| noise(n + 999, 20 + n as usize * 91 % 1380),
        ),
    ]
}

#[test]
fn none_is_conclusive_and_none_is_judged() {
    for Case { name, port, steps } in cases().into_iter().chain(networks()) {
        let outcome = World::new().flow(Transport::Udp, port, &steps).outcome();
        assert_eq!(outcome.judged, 0, "{name}: {outcome:?}");
        assert!(
            outcome.surest < Some(Confidence::Conclusive),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn a_host_that_repeats_it_with_many_remotes_is_not_judged() {
    for Case { name, port, steps } in cases().into_iter().chain(networks()) {
        let mut world = World::new();
        for _ in 0..12 {
            world.flow(Transport::Udp, port, &steps);
        }
        let outcome = world.outcome();
        assert_eq!(outcome.judged, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn an_announce_is_judged_by_the_same_script() {
    let connect = [
        &0x0000_0417_2710_1980_u64.to_be_bytes()[..],
        &[0, 0, 0, 0, 1, 2, 3, 4],
    ]
    .concat();
    let answer = [&[0, 0, 0, 0, 1, 2, 3, 4][..], &[7; 8]].concat();
    let announce = [
        &[7; 8][..],
        &[0, 0, 0, 1, 1, 2, 3, 5],
        &noise(5, 20),
        b"-TR2940-abcdefghijkl",
        &[0; 24],
        &[0, 0, 0, 2, 0, 0, 0, 0, 9, 9, 9, 9, 255, 255, 255, 255, 0x1a, 0xe1],
    ]
    .concat();
    let mut world = World::new();
    world.flow(Transport::Udp, 80, &[(A, connect), (B, answer), (A, announce)]);
    let outcome = world.outcome();
    assert!(outcome.judged == 1 && outcome.banned > 0, "{outcome:?}");
}
