//! TCP protocols that resemble something of BitTorrent. None may be told conclusively, none be judged.

use btblocker_detectors::{Confidence, Transport};

use crate::script::*;

struct Case {
    name: &'static str,
    port: u16,
    steps: Vec<Step>,
}

fn case(name: &'static str, port: u16, steps: Vec<Step>) -> Case {
    Case { name, port, steps }
}

fn talk(steps: &[(Side, &[u8])]) -> Vec<Step> {
    steps
        .iter()
        .map(|(side, bytes)| (*side, bytes.to_vec()))
        .collect()
}

/// `len` with its length in `width` bytes in front, big-endian, random behind.
fn counted(width: usize, len: usize, seed: u64) -> Vec<u8> {
    let length = (len as u32).to_be_bytes();
    [&length[4 - width..], &noise(seed, len)].concat()
}

/// TLS records of these body lengths.
fn records(kinds: &[(u8, usize)], seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, (kind, len)) in kinds.iter().enumerate() {
        bytes.extend([*kind, 3, 3]);
        bytes.extend((*len as u16).to_be_bytes());
        bytes.extend(noise(seed + n as u64, *len));
    }
    bytes
}

fn ssh(port: u16) -> Case {
    let mut steps = talk(&[(A, b"SSH-2.0-OpenSSH_9.2\r\n"), (B, b"SSH-2.0-OpenSSH_9.2\r\n")]);
    steps.push((A, counted(4, 1500, 3)));
    steps.push((B, counted(4, 1100, 4)));
    // Lone small messages, as key strokes are, then a copy of a file.
    for n in 0..40 {
        steps.push((A, noise(n, 36)));
        steps.push((B, noise(n + 500, 36)));
    }
    steps.extend((0..30).map(|n| (B, noise(n + 900, 32_768 + 32))));
    case("ssh", port, steps)
}

fn tls(name: &'static str, port: u16, hello: usize) -> Case {
    let mut steps = vec![
        (A, records(&[(22, hello)], 1)),
        (
            B,
            records(&[(22, 122), (20, 1), (23, 2300), (23, 281), (23, 69)], 2),
        ),
        (A, records(&[(20, 1), (23, 69), (23, 124 - 6 - 74 - 5)], 20)),
    ];
    steps.extend((0..40).map(|n| (B, records(&[(23, 16_401)], 100 + n))));
    case(name, port, steps)
}

/// TLS to a server that is named by 40 hexadecimal digits, as SSL torrents name theirs.
fn digest_name() -> Case {
    let name = b"da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let head = [
        &[22, 3, 1, 0, 96, 1, 0, 0, 92, 3, 3][..],
        &noise(1, 32),
        &[0, 0, 2, 0x13, 1, 1, 0, 0, 49, 0, 0, 0, 45, 0, 43, 0, 0, 40],
        name,
    ]
    .concat();
    let mut steps = vec![(A, head)];
    steps.extend((0..20).map(|n| {
        let from = if n % 3 == 1 { A } else { B };
        (from, records(&[(23, 900)], 2 + n))
    }));
    case("tls to a name of digits", 8443, steps)
}

/// HTTP whose body holds recorded BitTorrent traffic and text about it.
fn http_bodies() -> Case {
    let greeting = handshake(b"-UT3490-abcdefghijkl");
    let body = [
        &greeting[..],
        b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0 magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a ",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe udp://tracker.example.org:6969/announce ut_pex",
        &greeting,
    ]
    .concat()
    .repeat(30);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut steps = talk(&[(
        A,
        b"GET /how-bittorrent-works?info_hash=short HTTP/1.1\r\nHost: example.org\r\nReferer: http://t/announce?info_hash=aaaaaaaaaaaaaaaaaaab&peer_id=-TR2940-chho92c56pul&port=51413\r\nUser-Agent: Mozilla/5.0 (BitTorrent fan)\r\n\r\n",
    )]);
    steps.push((B, [head.as_bytes(), &body].concat()));
    let post = format!(
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    steps.push((A, [post.as_bytes(), &body].concat()));
    steps.push((B, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    case("http bodies", 80, steps)
}

/// A text protocol in which BitTorrent is spoken of.
fn quoting(name: &'static str, port: u16, server_first: Option<&[u8]>, lines: &[&[u8]]) -> Case {
    let mut steps: Vec<Step> = server_first.into_iter().map(|line| (B, line.to_vec())).collect();
    for line in lines {
        steps.push((A, line.to_vec()));
        steps.push((B, b"250 ok\r\n".to_vec()));
    }
    let quoted = [
        &b"DATA "[..],
        &handshake(b"-UT3490-abcdefghijkl"),
        b" BitTorrent protocol ut_metadata d8:announce\r\n.\r\n",
    ]
    .concat();
    steps.push((A, quoted.clone()));
    steps.push((B, quoted));
    case(name, port, steps)
}

/// Frames of a protocol with four bytes of length in front: as BitTorrent's messages have.
fn framed(name: &'static str, port: u16, bodies: &[(Side, Vec<u8>)]) -> Case {
    let steps = bodies
        .iter()
        .map(|(side, body)| (*side, [&(body.len() as u32).to_be_bytes()[..], body].concat()))
        .collect();
    case(name, port, steps)
}

fn kafka() -> Case {
    let mut bodies = Vec::new();
    for n in 0..60_u8 {
        // Fetch requests and answers: api key 1, version 4, correlation id.
        bodies.push((
            A,
            [&[0, 1, 0, 4, 0, 0, 0, n, 0, 4][..], b"test", &[0; 4]].concat(),
        ));
        bodies.push((
            B,
            [&[0, 0, 0, n][..], &[0; 20], &noise(u64::from(n), 16_384)].concat(),
        ));
    }
    framed("kafka", 9092, &bodies)
}

fn openwire() -> Case {
    let mut bodies = vec![
        (A, [&[1][..], b"ActiveMQ", &[0, 0, 0, 12, 1, 0, 0, 0]].concat()),
        (B, [&[1][..], b"ActiveMQ", &[0, 0, 0, 12, 1, 0, 0, 0]].concat()),
    ];
    for n in 0..50_u8 {
        bodies.push((A, vec![10]));
        bodies.push((B, vec![4, 0, 0, 0, n]));
        bodies.push((A, vec![14]));
        bodies.push((A, [&[21, 0, 0, 0, n][..], &noise(u64::from(n), 200)].concat()));
    }
    framed("openwire", 61_616, &bodies)
}

/// Bare messages that BitTorrent has, too, but that say nothing: lone states and numbers.
fn short_messages() -> Case {
    let mut bodies = Vec::new();
    for n in 0..80_u8 {
        bodies.push((A, vec![]));
        bodies.push((B, vec![n % 4]));
        bodies.push((A, vec![4, 0, 0, 0, n]));
        bodies.push((B, vec![9, 0x1a, 0xe1]));
        bodies.push((A, vec![20, n]));
    }
    framed("short messages", 5000, &bodies)
}

fn nfs() -> Case {
    let mut steps = Vec::new();
    for n in 0..30_u8 {
        let call = [
            &[0, 0, 0, n][..],
            &[0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xa3, 0, 0, 0, 3, 0, 0, 0, 6],
            &[0; 60],
        ]
        .concat();
        let reply = [
            &[0, 0, 0, n][..],
            &[0, 0, 0, 1, 0, 0, 0, 0],
            &[0; 90],
            &noise(u64::from(n), 16_384),
        ]
        .concat();
        for (side, body) in [(A, call), (B, reply)] {
            let mark = 0x8000_0000 | body.len() as u32;
            steps.push((side, [&mark.to_be_bytes()[..], &body].concat()));
        }
    }
    case("nfs", 2049, steps)
}

fn ldap() -> Case {
    let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
    let bound = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0";
    case(
        "ldap",
        389,
        talk(&[
            (A, bind),
            (B, bound),
            (A, &[0x30, 0x81, 0x80, 2, 1, 2, 0x63, 0x7b]),
            (B, &[0x30; 300]),
        ]),
    )
}

fn vnc() -> Case {
    let mut steps = talk(&[
        (B, b"RFB 003.008\n"),
        (A, b"RFB 003.008\n"),
        (B, b"\x01\x01"),
        (A, b"\x01"),
        (B, b"\0\0\0\0"),
        (A, b"\x01"),
    ]);
    for n in 0..40 {
        steps.push((A, vec![3, 1, 0, 0, 0, 0, 4, 0, 3, 0]));
        steps.push((A, vec![5, 0, 0, n, 0, 9]));
        steps.push((
            B,
            [&[0, 0, 0, 1, 0, 0, 0, 0][..], &noise(u64::from(n), 900)].concat(),
        ));
    }
    case("vnc", 5900, steps)
}

fn redis() -> Case {
    let mut steps = Vec::new();
    for _ in 0..20 {
        steps.push((A, b"*2\r\n$3\r\nGET\r\n$20\r\ninfo_hash:0123456789\r\n".to_vec()));
        steps.push((
            B,
            b"$56\r\nd1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe\r\n".to_vec(),
        ));
    }
    case("redis", 6379, steps)
}

/// Encrypted streams whose first flights have lengths that an exchange of keys has, too.
fn random_first_flights() -> Vec<Case> {
    let to_follow = |mut steps: Vec<Step>| {
        steps.extend((0..60).map(|n| {
            (
                if n % 3 == 0 { A } else { B },
                noise(7_000 + n, 90 + (n as usize * 977) % 5_000),
            )
        }));
        steps
    };
    let eip8 = vec![
        (A, counted(2, 401, 1)),
        (B, counted(2, 377, 2)),
        (A, noise(3, 192)),
        (B, noise(4, 176)),
        (A, noise(5, 80)),
    ];
    let openvpn = vec![
        (A, counted(2, 118, 1)),
        (B, counted(2, 130, 2)),
        (A, counted(2, 122, 3)),
        (B, counted(2, 300, 4)),
    ];
    let noise_pipe = vec![
        (A, [&b"WA\x06\x03\0\0\x24"[..], &noise(1, 250)].concat()),
        (B, [&b"\0\x01\x5e"[..], &noise(2, 350)].concat()),
        (A, [&b"\0\0\xd0"[..], &noise(3, 208)].concat()),
        (B, [&b"\0\x02\x10"[..], &noise(4, 528)].concat()),
    ];
    vec![
        case(
            "shadowsocks, small reply",
            8388,
            to_follow(flights(1, &[32 + 18 + 16 + 141, 32 + 18 + 16 + 400, 133, 690])),
        ),
        case(
            "shadowsocks 2022",
            8388,
            to_follow(flights(2, &[590, 310, 97, 1300])),
        ),
        case("obfs4", 9001, to_follow(flights(3, &[4100, 2777, 565, 1448]))),
        case(
            "obfs4, short pads",
            9001,
            to_follow(flights(4, &[580, 596, 565, 565])),
        ),
        case("vmess", 10_086, to_follow(flights(5, &[310, 170, 90, 18_000]))),
        case(
            "mtproto obfuscated",
            443,
            to_follow(flights(6, &[64 + 41, 105, 340, 652, 396, 73])),
        ),
        case(
            "bitcoin v2",
            8333,
            to_follow(flights(7, &[64 + 4000, 64 + 300, 20 + 16, 150])),
        ),
        case(
            "bitcoin v2, short garbage",
            8333,
            to_follow(flights(8, &[64 + 100, 64 + 200, 36 + 126, 36 + 126])),
        ),
        case("rlpx", 30_303, to_follow(eip8)),
        case("openvpn", 1194, to_follow(openvpn)),
        case(
            "openvpn, scrambled",
            1194,
            to_follow(flights(9, &[56, 68, 64, 56, 300])),
        ),
        case("noise of a messenger", 443, to_follow(noise_pipe)),
        case(
            "random, one by one",
            50_000,
            to_follow(flights(10, &[300, 300, 300, 300, 300, 300])),
        ),
    ]
}

/// A request and its answer over HTTP.
fn http(name: &'static str, port: u16, request: &str, answer: &[u8]) -> Case {
    case(
        name,
        port,
        vec![(A, request.as_bytes().to_vec()), (B, answer.to_vec())],
    )
}

/// What is said about torrents, to a client or to a web site, and not to a swarm.
fn control_planes() -> Vec<Case> {
    let torrent = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-bittorrent\r\n\r\nd8:announce35:udp://tracker.example.org:6969/announce4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
    let page = b"HTTP/1.1 200 OK\r\n\r\n{\"hash\":\"c12fe1c06bba254a9dc9f519b335aa7c1367a88a\",\"peers\":[],\"interval\":1800}";
    vec![
        http(
            "rpc of transmission",
            9091,
            "POST /transmission/rpc HTTP/1.1\r\nHost: nas:9091\r\nX-Transmission-Session-Id: a\r\nUser-Agent: Transmission/4.0\r\n\r\n{\"method\":\"torrent-add\",\"arguments\":{\"filename\":\"magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a\"}}",
            page,
        ),
        http(
            "web interface of qbittorrent",
            8080,
            "GET /api/v2/torrents/info?hashes=c12fe1c06bba254a9dc9f519b335aa7c1367a88a HTTP/1.1\r\nHost: nas:8080\r\nUser-Agent: Mozilla/5.0\r\n\r\n",
            page,
        ),
        http(
            "rpc of aria2",
            6800,
            "POST /jsonrpc HTTP/1.1\r\nHost: nas:6800\r\n\r\n{\"method\":\"aria2.addTorrent\",\"params\":[\"ZDg6YW5ub3VuY2U=\"]}",
            page,
        ),
        http(
            "download of a torrent file",
            80,
            "GET /ubuntu.torrent HTTP/1.1\r\nHost: releases.example.org\r\nUser-Agent: qBittorrent/4.6.0\r\n\r\n",
            torrent,
        ),
        http(
            "agent with a torrent in its name",
            80,
            "GET /news HTTP/1.1\r\nHost: example.org\r\nUser-Agent: TorrentFreakReader/1.0 (BitTorrent news)\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n<html>announce</html>",
        ),
        http(
            "paths of a tracker with text",
            80,
            "GET /announce?info_hash=all&peer_id=me&port=80 HTTP/1.1\r\nHost: example.org\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nd5:filesi1ee",
        ),
        http(
            "page about a tracker's answers",
            80,
            "GET /wiki/Tracker HTTP/1.1\r\nHost: example.org\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nd8:intervali1800e5:peers is what a tracker answers, then 6:abcdefe",
        ),
    ]
}

/// Other networks of peers.
fn peer_networks() -> Vec<Case> {
    let noise_frames = |mut steps: Vec<Step>| {
        steps.extend((0..40).map(|n| {
            (
                if n % 2 == 0 { A } else { B },
                counted(2, 60 + (n as usize * 37) % 500, n),
            )
        }));
        steps
    };
    let mut bitcoin = Vec::new();
    for n in 0..30 {
        for (side, command) in [(A, b"getdata\0\0\0\0\0"), (B, b"inv\0\0\0\0\0\0\0\0\0")] {
            let head = [&b"\xf9\xbe\xb4\xd9"[..], command, &[37, 0, 0, 0], &noise(n, 4)].concat();
            bitcoin.push((side, padded(&head, 24 + 37, n)));
        }
    }
    let levin = |kind: u8, len: usize, seed| {
        let head = [
            1, 0x21, 1, 1, 1, 1, 1, 1, len as u8, 0, 0, 0, 0, 0, 0, 0, kind, 0xe9, 3, 0, 0,
        ];
        padded(&head, 33 + len, seed)
    };
    vec![
        case(
            "libp2p",
            4001,
            noise_frames(talk(&[
                (A, b"\x13/multistream/1.0.0\n\x07/noise\n"),
                (B, b"\x13/multistream/1.0.0\n\x07/noise\n"),
            ])),
        ),
        case("bitcoin", 8333, bitcoin),
        case(
            "monero",
            18_080,
            vec![
                (A, levin(1, 200, 1)),
                (B, levin(0, 250, 2)),
                (A, levin(1, 68, 3)),
                (B, levin(0, 124, 4)),
            ],
        ),
        case(
            "soulseek",
            2234,
            vec![
                (A, padded(&[0x1d, 0, 0, 0, 1, 9, 0, 0, 0], 33, 1)),
                (B, padded(&[0x50, 0, 0, 0, 9, 0, 0, 0], 84, 2)),
                (A, noise(3, 8)),
                (B, noise(4, 60_000)),
            ],
        ),
        case(
            "freenet",
            9481,
            talk(&[
                (A, b"ClientHello\nName=x\nExpectedVersion=2.0\nEndMessage\n"),
                (B, b"NodeHello\nEndMessage\n"),
            ]),
        ),
        case(
            "mtproto, abridged",
            443,
            vec![
                (A, [&[0xef, 0x0a][..], &noise(1, 40)].concat()),
                (B, [&[0x15][..], &noise(2, 84)].concat()),
                (A, [&[0x7f, 0x55, 0, 0][..], &noise(3, 340)].concat()),
                (B, [&[0x7f, 0xa3, 0, 0][..], &noise(4, 652)].concat()),
            ],
        ),
        case(
            "i2p",
            12_000,
            flights(
                11,
                &[64 + 130, 64 + 120, 48 + 16 + 620, 18 + 90, 18 + 200, 18 + 44],
            ),
        ),
    ]
}

fn other_swarms() -> Vec<Case> {
    let optimization = [b"\x0eSwarm protocol\0\0\0\0\0\x10\0\0", &noise(5, 52)[..]].concat();
    let request = b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0".to_vec();
    vec![
        case(
            "delivery optimization",
            7680,
            vec![
                (A, optimization.clone()),
                (B, optimization),
                (A, request.clone()),
                (B, request),
            ],
        ),
        case(
            "resilio",
            3838,
            talk(&[(A, b"BSYN\0\0\0\0d1:m4:pinge"), (B, b"BSYN\0\0\0\0d1:m4:ponge")]),
        ),
        case(
            "ed2k",
            4662,
            vec![
                (A, padded(&[0xe3, 0x60, 0, 0, 0, 1, 16], 101, 1)),
                (B, padded(&[0xe3, 0x50, 0, 0, 0, 0x4c], 85, 2)),
                (A, padded(&[0xc5, 0x20, 0, 0, 0, 1], 37, 3)),
            ],
        ),
        case(
            "gnutella",
            6346,
            talk(&[
                (
                    A,
                    b"GNUTELLA CONNECT/0.6\r\nUser-Agent: Shareaza 2.7 BitTorrent\r\n\r\n",
                ),
                (B, b"GNUTELLA/0.6 200 OK\r\nUser-Agent: LimeWire\r\n\r\n"),
            ]),
        ),
        case(
            "syncthing",
            22_000,
            vec![
                (A, records(&[(22, 300)], 1)),
                (B, records(&[(22, 1200)], 2)),
                (A, records(&[(23, 119)], 3)),
            ],
        ),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        ssh(6881),
        ssh(22),
        tls("tls 1.3", 443, 512),
        tls("tls 1.2 on another port", 6881, 196),
        digest_name(),
        http_bodies(),
        kafka(),
        openwire(),
        short_messages(),
        nfs(),
        ldap(),
        vnc(),
        redis(),
        quoting(
            "smtp",
            25,
            Some(b"220 mail.example.org ESMTP\r\n"),
            &[b"EHLO a\r\n", b"MAIL FROM:<a@b>\r\n"],
        ),
        quoting(
            "irc",
            6667,
            None,
            &[
                b"NICK someone\r\nUSER a b c :d\r\n",
                b"PRIVMSG #torrents :get BitTorrent\r\n",
            ],
        ),
        quoting(
            "ftp",
            21,
            Some(b"220 ProFTPD Server\r\n"),
            &[b"USER a\r\n", b"RETR BitTorrent.torrent\r\n"],
        ),
        quoting(
            "syslog",
            514,
            None,
            &[b"<13>Jan  1 00:00:00 host transmission: BitTorrent protocol\n"],
        ),
        quoting("pop3", 110, Some(b"+OK ready\r\n"), &[b"USER a\r\n"]),
    ];
    cases.extend(control_planes());
    cases.extend(peer_networks());
    cases.extend(random_first_flights());
    cases.extend(other_swarms());
    cases
}

#[test]
fn none_is_conclusive_and_none_is_judged() {
    for Case { name, port, steps } in cases() {
        let outcome = World::new().flow(Transport::Tcp, port, &steps).outcome();
        assert_eq!(outcome.judged, 0, "{name}: {outcome:?}");
        let swarm = ["delivery optimization", "resilio"].contains(&name);
        assert!(
            swarm || outcome.surest < Some(Confidence::Conclusive),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn a_server_that_is_named_by_digits_is_suspected_only() {
    let Case { port, steps, .. } = digest_name();
    let outcome = World::new().flow(Transport::Tcp, port, &steps).outcome();
    assert_eq!(
        (outcome.judged, outcome.surest),
        (0, Some(Confidence::Strong)),
        "{outcome:?}"
    );
}

#[test]
fn a_host_that_repeats_it_with_many_remotes_is_not_judged() {
    for Case { name, port, steps } in cases() {
        let mut world = World::new();
        for _ in 0..12 {
            world.flow(Transport::Tcp, port, &steps);
        }
        let outcome = world.outcome();
        assert_eq!(outcome.judged, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn random_flights_to_many_remotes_are_not_judged_but_by_exact_sizes() {
    // Lengths from 96 to 608 that are none of the exact ones.
    let mut world = World::new();
    for seed in 1..200 {
        let lengths: Vec<usize> = (0..8)
            .map(|flight| 96 + (seed * 7919 + flight * 104_729) % 513)
            .map(|length| if matches!(length, 124) { 125 } else { length })
            .collect();
        world.flow(Transport::Tcp, 50_000, &flights(seed as u64, &lengths));
    }
    let outcome = world.outcome();
    assert_eq!(outcome.judged, 0, "{outcome:?}");
}
