//! What a stranger sends to an honest host, or has it send back, counts against nobody else.

use btblocker_detectors::{Confidence, Transport};

use crate::script::*;

/// A `request` message for the first block.
const REQUEST: &[u8] = b"\0\0\0\x0d\x06\0\0\0\x05\0\0\0\0\0\0\x40\0";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

/// A flow of TCP that a stranger opens to the host.
fn visit(world: &mut World, remote: u16, port: u16, steps: &[Step]) {
    world.flow_with(remote, B, Transport::Tcp, port, steps);
}

/// Heads of piece messages of 16 KiB with content.
fn pieces(count: u64) -> Vec<u8> {
    let piece = |n: u64| [b"\0\0\x40\x09\x07\0\0\0\x02\0\0\0\0", &noise(n, 16_384)[..]].concat();
    (1..=count).flat_map(piece).collect()
}

#[test]
fn a_server_that_understands_nothing_is_not_banned_for_what_it_is_sent() {
    let greeting = [&noise(1, 64)[..], &handshake(b"-TR4060-abcdefghijkl"), REQUEST].concat();
    for port in [80, 443, 8080] {
        for answer in [None, Some(BAD_REQUEST), Some(b"\0\0\0\x05error")] {
            for hello in [&greeting[..], &greeting[64..], &greeting[40..]] {
                let mut world = World::new();
                let answer = answer.map(|answer| (B, answer.to_vec()));
                let steps: Vec<Step> = [(A, hello.to_vec())].into_iter().chain(answer).collect();
                visit(&mut world, 1, port, &steps);
                let outcome = world.outcome();
                assert_eq!(outcome.banned, 0, "port {port}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_server_is_not_banned_for_blocks_that_many_strangers_send() {
    for answer in [None, Some(BAD_REQUEST.to_vec()), Some(noise(9, 220))] {
        let mut world = World::new();
        for remote in 1..=8 {
            let opening = (A, noise(50 + u64::from(remote), 64));
            let blocks = (0..12).map(|n| (A, noise(n + 100 * u64::from(remote), 16_397)));
            let answer = answer.clone().map(|answer| (B, answer));
            let steps: Vec<Step> = [opening].into_iter().chain(answer).chain(blocks).collect();
            visit(&mut world, remote, 9000, &steps);
        }
        let outcome = world.outcome();
        assert_eq!(outcome.banned, 0, "{outcome:?}");
    }
}

#[test]
fn who_answers_random_bytes_with_random_bytes_is_not_banned_for_the_sizes_of_strangers() {
    let mut world = World::new();
    for remote in 1..=8 {
        let first = 120 + 17 * usize::from(remote);
        let lengths = [first, 150 + usize::from(remote), 124, 90, 300, 200];
        visit(&mut world, remote, 443, &flights(remote.into(), &lengths));
        visit(&mut world, remote, 8388, &flights(remote.into(), &lengths));
        // Sizes of requests, and whatever the server sends.
        let requests = (0..60).flat_map(|n: u64| {
            let blocks = 1 + n as usize % 4;
            [
                (A, noise(n, 17 * blocks)),
                (B, noise(n + 900, 16_000 * blocks + 13 * n as usize)),
            ]
        });
        let steps: Vec<Step> = flights(7, &[64, 64]).into_iter().chain(requests).collect();
        visit(&mut world, remote, 8389, &steps);
    }
    let outcome = world.outcome();
    assert_eq!(outcome.banned, 0, "{outcome:?}");
}

#[test]
fn who_gives_back_what_others_left_there_is_not_banned() {
    let opening = |head: &[u8]| (A, [head, &[0; 120]].concat());
    let cases: [(&str, Vec<Step>); 3] = [
        (
            "a file of peer messages, read from a file server",
            vec![
                opening(b"\x80\0\0\x28\x72\xfe\x1d\x13\0\0\0\0\0\0\0\x02"),
                (B, [&b"\x80\0\0\x40"[..], &[0; 64]].concat()),
                opening(b"\x80\0\0\x28\x72\xfe\x1d\x14\0\0\0\0\0\0\0\x02"),
                (B, pieces(4)),
            ],
        ),
        (
            "a message broker that passes on a request",
            vec![
                (
                    A,
                    b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0esensor-kitchen".to_vec(),
                ),
                (B, b"\x20\x02\0\0".to_vec()),
                (A, b"\x82\x1f\0\x01\0\x1abuilding/floor/room/+/state\0".to_vec()),
                (B, b"\x90\x03\0\x01\0".to_vec()),
                (
                    B,
                    [&b"\x30\x2d\0\x1abuilding/floor/room/7/state"[..], REQUEST].concat(),
                ),
            ],
        ),
        (
            "files read in blocks of 16 KiB without SSH around it",
            [
                vec![
                    (A, [&b"\0\0\0\x05\x01\0\0\0\x03"[..], &[0; 100]].concat()),
                    (B, [&b"\0\0\0\x60\x02\0\0\0\x03"[..], &[b'x'; 91]].concat()),
                ],
                (0..40)
                    .flat_map(|n| {
                        let data = [b"\0\0\x40\x09\x67\0\0\0\x07\0\0\x40\0", &noise(n, 16_384)[..]].concat();
                        [(A, [&b"\0\0\0\x19\x05"[..], &[0; 24]].concat()), (B, data)]
                    })
                    .collect(),
            ]
            .concat(),
        ),
    ];
    for (name, steps) in cases {
        let mut world = World::new();
        visit(&mut world, 1, 2049, &steps);
        let outcome = world.outcome();
        assert_eq!((outcome.judged, outcome.banned), (0, 0), "{name}: {outcome:?}");
        assert_ne!(
            outcome.surest,
            Some(Confidence::Conclusive),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn text_on_a_web_server_is_no_answer_of_a_tracker_when_nobody_has_announced() {
    for body in [
        "d8:intervali1e5:peers0:e",
        "d8:intervali1e5:peers0:e and more text",
    ] {
        let mut world = World::new();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}");
        let request = b"GET /raw/XyZ12 HTTP/1.1\r\nHost: paste.example\r\n\r\n".to_vec();
        visit(&mut world, 1, 80, &[(A, request), (B, answer.into_bytes())]);
        let outcome = world.outcome();
        assert_eq!((outcome.judged, outcome.banned), (0, 0), "{body}: {outcome:?}");
    }
}

#[test]
fn a_file_on_a_web_server_is_no_answer_of_a_tracker() {
    let hash = "%aa%bb%cc%dd%ee%ff%11%22%33%44aaaaaaaaaa";
    let query = format!("info_hash={hash}&peer_id=-TR2940-chho92c56pul&port=6881");
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let ok = |headers: &str| {
        let body = "d8:intervali1e5:peers0:e";
        (
            B,
            format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 24\r\n\r\n{body}").into_bytes(),
        )
    };
    let announce = format!("/announce?{query}");
    for (name, requests, headers, banned) in [
        ("a tracker", vec![get(&announce)], "", true),
        ("a file", vec![get(&format!("/note.txt?{query}"))], "", false),
        (
            "a file of that name",
            vec![get(&announce)],
            "ETag: \"5\"\r\nAccept-Ranges: bytes\r\n",
            false,
        ),
        ("two requests", vec![get("/note.txt"), get(&announce)], "", false),
    ] {
        let mut world = World::new();
        let asked = requests.into_iter().map(|request| (A, request));
        let steps: Vec<Step> = asked.chain([ok(headers)]).collect();
        visit(&mut world, 1, 80, &steps);
        let outcome = world.outcome();
        assert_eq!(outcome.banned > 0, banned, "{name}: {outcome:?}");
    }
}

#[test]
fn a_browser_or_a_proxy_that_fetches_an_announce_for_others_is_not_banned() {
    let hash = "%aa7i%c4S%0d%de%06%24%18s%da%d4%3a%b5%cc%ec%2c%e6%22";
    let target = format!("/announce?info_hash={hash}&peer_id=-TR2940-chho92c56pul&port=6881");
    for header in [
        "Referer: http://forum.example/\r\nAccept-Language: de",
        "X-Forwarded-For: 198.51.100.9",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: pics.example\r\n{header}\r\n\r\n");
        let mut world = World::new();
        let steps = [(A, request.into_bytes()), (B, BAD_REQUEST.to_vec())];
        world.flow(Transport::Tcp, 8000, &steps);
        let outcome = world.outcome();
        assert_eq!((outcome.judged, outcome.banned), (0, 0), "{header}: {outcome:?}");
    }
    // A proxy is asked for the whole address, and relays the answer.
    let mut world = World::new();
    let steps = [
        (
            A,
            format!("GET http://tracker.example{target} HTTP/1.1\r\nHost: tracker.example\r\n\r\n")
                .into_bytes(),
        ),
        (
            B,
            b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers6:\xc0\0\x02\x07\x1a\xe1e".to_vec(),
        ),
    ];
    visit(&mut world, 1, 3128, &steps);
    let outcome = world.outcome();
    assert_eq!((outcome.judged, outcome.banned), (1, 0), "{outcome:?}");
}

#[test]
fn the_use_of_a_proxy_is_no_second_technique() {
    let mut world = World::new();
    let steps = [
        (A, b"\x05\x01\0".to_vec()),
        (B, b"\x05\0".to_vec()),
        (A, b"\x05\x01\0\x01\xc0\0\x02\x07\0\x50".to_vec()),
        (B, b"\x05\0\0\x01\0\0\0\0\0\0".to_vec()),
        (
            A,
            b"GET /api/data?fid=12&size=200 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (B, BAD_REQUEST.to_vec()),
    ];
    world.flow(Transport::Tcp, 1080, &steps);
    let outcome = world.outcome();
    assert_eq!((outcome.judged, outcome.banned), (0, 0), "{outcome:?}");
}

#[test]
fn a_program_that_repeats_its_sizes_is_no_message_stream_encryption() {
    // Two equal requests over each of twelve Shadowsocks connections, as health checks make them.
    let mut world = World::new();
    for seed in 1..=12 {
        world.flow(Transport::Tcp, 8388, &flights(seed, &[213, 193, 124, 161]));
    }
    let outcome = world.outcome();
    assert!(
        outcome.told.iter().any(|told| told == "mse/flights strong"),
        "{outcome:?}"
    );
    assert_eq!((outcome.judged, outcome.banned), (0, 0), "{outcome:?}");
}

/// A connect request of the tracker protocol with this transaction.
fn connect(transaction: u32) -> Vec<u8> {
    [
        &b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0"[..],
        &transaction.to_be_bytes(),
    ]
    .concat()
}

#[test]
fn services_that_send_back_a_number_are_no_trackers() {
    let exchange = noise(3, 400);
    let cases: [(&str, u32, Vec<u8>, Vec<u8>); 3] = [
        (
            "remote procedure call",
            1,
            [&[0; 4][..], &[0, 0, 0, 0, 0, 0, 0, 2], &[0; 28]].concat(),
            [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16]].concat(),
        ),
        (
            "key exchange of IPsec",
            0x1234_5678,
            [&b"\0\0\0\0\x12\x34\x56\x78"[..], &exchange].concat(),
            [&b"\0\0\0\0\x12\x34\x56\x78"[..], &exchange[8..]].concat(),
        ),
        (
            "memcached",
            0x1_0000,
            b"\0\0\0\0\0\x01\0\0set k 0 0 1\r\nx\r\n".to_vec(),
            b"\0\0\0\0\0\x01\0\0STORED\r\n".to_vec(),
        ),
    ];
    for (name, transaction, request, answer) in cases {
        let mut world = World::new();
        let steps = [(A, connect(transaction)), (A, request), (B, answer)];
        world.flow_with(1, B, Transport::Udp, 111, &steps);
        let outcome = world.outcome();
        assert_eq!(outcome.banned, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn game_servers_and_caches_are_no_trackers_and_no_peers() {
    let status = |session: u8| {
        [
            &[0, 0, 0, 3, session][..],
            b"A Minecraft Server\0SMP\0world\x000\x0020\0",
        ]
        .concat()
    };
    let mut world = World::new();
    let ask = |session| (A, connect(u32::from_be_bytes([session, b'A', b' ', b'M'])));
    let steps = [ask(b'1'), (B, status(b'1')), ask(b'2'), (B, status(b'2'))];
    world.flow_with(1, B, Transport::Udp, 25_565, &steps);
    let outcome = world.outcome();
    assert_eq!(outcome.banned, 0, "{outcome:?}");
    assert!(
        !outcome.told.iter().any(|told| told.contains("/error")),
        "{outcome:?}"
    );
    let connected = |transaction: u32| {
        let id = noise(transaction.into(), 8);
        (B, [&[0; 4][..], &transaction.to_be_bytes(), &id].concat())
    };
    let mut world = World::new();
    let ask = |transaction| (A, connect(transaction));
    let steps = [ask(5), connected(5), ask(6), connected(6)];
    world.flow_with(1, B, Transport::Udp, 9987, &steps);
    let outcome = world.outcome();
    assert_eq!(outcome.banned, 0, "whoever sends back what he gets: {outcome:?}");
    let mut world = World::new();
    for remote in 1..=8 {
        let syn = [
            &[0x41, 0, 0, 0][..],
            &[0xb0, 0, 0, 1, 0, 0, 0, 0, 0, 0x10, 0, 0, 0x0d, 0x0a, 0, 0],
        ]
        .concat();
        let count = [&b"\x21\0\0\0\0\x01\0\0"[..], b"incr k 1\r\n"].concat();
        let answer = [&b"\x21\0\0\0\0\x01\0\0"[..], b"1234567894\r\n"].concat();
        let steps = [(A, syn), (A, count), (B, answer)];
        world.flow_with(remote, B, Transport::Udp, 11_211, &steps);
    }
    let outcome = world.outcome();
    assert_eq!(outcome.banned, 0, "{outcome:?}");
}

#[test]
fn heartbeats_with_small_numbers_are_no_utp() {
    let mut world = World::new();
    for remote in 1..=8_u32 {
        let beat = |opcode: u16, sequence: u32| {
            let mut bytes = vec![1, 0];
            bytes.extend(opcode.to_be_bytes());
            for word in [40, sequence, remote, 0, 0] {
                bytes.extend(u32::to_be_bytes(word));
            }
            bytes.resize(40, 0);
            bytes
        };
        let beats = |n| [(A, beat(1, n)), (B, beat(2, n))];
        let steps: Vec<Step> = (1..=60).flat_map(beats).collect();
        world.flow(Transport::Udp, 7946, &steps);
    }
    let outcome = world.outcome();
    assert_eq!((outcome.judged, outcome.banned), (0, 0), "{outcome:?}");
}

#[test]
fn a_tracker_is_still_banned_for_two_answers_and_a_peer_for_its_own_greeting() {
    let hash = noise(9, 20);
    let id = noise(5, 8);
    let announce = |transaction: u32| {
        [
            &id[..],
            &1_u32.to_be_bytes(),
            &transaction.to_be_bytes(),
            &hash,
            b"-TR4060-abcdefghijkl",
            &[0; 24],
            &2_u32.to_be_bytes(),
            &[0; 8],
            &80_u32.to_be_bytes(),
            &6881_u16.to_be_bytes(),
        ]
        .concat()
    };
    let mut world = World::new();
    let steps = [
        (A, connect(7)),
        (B, [&[0; 4][..], &7_u32.to_be_bytes(), &id].concat()),
        (A, announce(8)),
        (
            B,
            [
                &[0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 1][..],
                &[192, 0, 2, 7, 26, 225],
            ]
            .concat(),
        ),
    ];
    world.flow_with(1, B, Transport::Udp, 6969, &steps);
    assert!(world.outcome().banned > 0);
    let greeting = handshake(b"-TR4060-abcdefghijkl");
    let mut world = World::new();
    let answer = handshake(b"-qB4600-abcdefghijkl");
    visit(&mut world, 1, 6881, &[(A, greeting), (B, answer)]);
    assert!(world.outcome().banned > 0);
}

/// A message of DNS over TCP whose only question is a name that holds a handshake in its labels.
fn quoting_name(flags: [u8; 2]) -> Vec<u8> {
    let handshake = handshake(b"-TR4060-abcdefghijkl");
    let (label, rest) = handshake.split_at(20);
    let message = [
        &[0x12, 0x34][..],
        &flags,
        &[0, 1, 0, 0, 0, 0, 0, 0, 63],
        &noise(7, 63),
        label,
        &[47],
        &rest[1..],
        &[0, 0, 0, 1, 0, 1],
    ]
    .concat();
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

#[test]
fn who_quotes_a_stranger_is_not_banned() {
    let hello = handshake(b"-TR4060-abcdefghijkl");
    let error = [
        &b"E\0\0\0\xb0SFATAL\0VFATAL\0C22023\0Minvalid value for parameter \"replication\": \""[..],
        &noise(8, 64),
        &hello,
        b"\"\0Fpostmaster.c\0\0",
    ]
    .concat();
    let behind = |head: &[u8], what: &[u8]| [head, &noise(4, 96), what].concat();
    let cases: [(&str, Vec<Step>); 11] = [
        (
            "a store that echoes",
            vec![
                (A, [&b"echo \""[..], &noise(5, 64), b"\\x13\\x42\"\r\n"].concat()),
                (B, behind(b"$164\r\n", &hello)),
            ],
        ),
        (
            "a cache",
            vec![
                (A, b"mg \x81\x82\x83 v\r\n".to_vec()),
                (B, behind(b"VA 164\r\n", &hello)),
            ],
        ),
        (
            "a message broker with a short topic",
            vec![
                (
                    A,
                    b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a\x82\x06\0\x01\0\x01a\0".to_vec(),
                ),
                (B, b"\x20\x02\0\0\x90\x03\0\x01\0".to_vec()),
                (A, b"\xc0\0".to_vec()),
                (B, behind(b"\x30\x74\0\x01a", REQUEST)),
            ],
        ),
        (
            "an echo of a handshake without a peer-id",
            vec![(A, hello[..48].to_vec()), (B, hello[..48].to_vec())],
        ),
        (
            "an echo of a handshake behind random bytes",
            vec![(A, behind(b"", &hello)), (B, behind(b"", &hello))],
        ),
        (
            "an echo of a request behind random bytes",
            vec![(A, behind(b"", REQUEST)), (B, behind(b"", REQUEST))],
        ),
        (
            "a name server",
            vec![(A, quoting_name([1, 0])), (B, quoting_name([0x81, 0x85]))],
        ),
        (
            "a database",
            vec![
                (A, [&b"\0\0\0\x9c\0\x03\0\0replication\0"[..], &hello].concat()),
                (B, error),
            ],
        ),
        (
            "an echo of a handshake",
            vec![(A, hello.clone()), (B, hello.clone())],
        ),
        (
            "an echo of a request",
            vec![(A, REQUEST.to_vec()), (B, REQUEST.to_vec())],
        ),
        (
            "a message broker that a stranger has greeted",
            vec![
                (
                    A,
                    [
                        &b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"[..],
                        &noise(4, 64),
                        &hello,
                    ]
                    .concat(),
                ),
                (B, b"\x20\x02\0\0".to_vec()),
                (
                    B,
                    [&b"\x30\x2d\0\x1abuilding/floor/room/7/state"[..], REQUEST].concat(),
                ),
            ],
        ),
    ];
    for (name, steps) in cases {
        let mut world = World::new();
        visit(&mut world, 1, 5432, &steps);
        let outcome = world.outcome();
        assert_eq!(outcome.banned, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn answers_to_chosen_questions_are_no_utp() {
    /// A uTP packet of a stranger.
    fn packet(kind: u8, id: u16, sequence: u16, acknowledged: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind << 4 | 1, 0];
        bytes.extend(id.to_be_bytes());
        let difference: u32 = if kind == 4 { 0 } else { 77 };
        for word in [3_000_000_000, difference, 1 << 20] {
            bytes.extend(u32::to_be_bytes(word));
        }
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledged.to_be_bytes());
        bytes.extend(content);
        bytes
    }
    let hello = handshake(b"-TR4060-abcdefghijkl");
    let question = |flags: [u8; 2], class: u16| {
        let head = [
            &[0x21, 0][..],
            &flags,
            &[0, 1, 0, 0, 0, 0, 0, 0, 2, 0x90, 0xfe, 0, 0, 1],
        ]
        .concat();
        [&head[..], &class.to_be_bytes()].concat()
    };
    let procedure = [&[0x21, 0, 0x12, 0x34][..], &[0, 0, 0, 1].repeat(3), &[0, 0, 0, 5]].concat();
    let key_exchange = {
        let mut message = [
            &b"\x21\0\x12\x34\xb3\x11\x22\x33"[..],
            &noise(5, 8),
            &[0x21, 0x20, 0x22, 0x20, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let len = message.len() as u32;
        message[24..28].copy_from_slice(&len.to_be_bytes());
        message
    };
    for (name, id, number, request, answer) in [
        (
            "a name server",
            0x8185,
            0x1234,
            question([1, 0], 0x1234),
            question([0x81, 0x85], 0x1234),
        ),
        (
            "a remote procedure",
            0x1234,
            5,
            [&procedure[..4], &[0; 36]].concat(),
            procedure.clone(),
        ),
        (
            "a key exchange",
            0x1234,
            0x2220,
            key_exchange.clone(),
            key_exchange.clone(),
        ),
    ] {
        let mut world = World::new();
        for remote in 1..=8 {
            let mut steps = vec![
                (A, packet(4, id, number, 0, b"")),
                (A, request.clone()),
                (B, answer.clone()),
            ];
            let data = |n: u16| (A, packet(0, id + 1, number + n, 0, &noise(n.into(), 1_200)));
            steps.extend((1..8).map(data));
            steps.push((A, packet(0, id + 1, number + 9, 0, &hello)));
            world.flow_with(remote, B, Transport::Udp, 111, &steps);
        }
        let outcome = world.outcome();
        assert_eq!(outcome.banned, 0, "{name}: {outcome:?}");
    }
}

#[test]
fn a_browser_is_known_however_long_the_address_is_and_a_client_by_its_library() {
    let hash = "%aa7i%c4S%0d%de%06%24%18s%da%d4%3a%b5%cc%ec%2c%e6%22";
    let target = format!("/announce?info_hash={hash}&peer_id=-TR2940-chho92c56pul&port=6881");
    for (padding, headers, banned) in [
        (
            2_000,
            "User-Agent: Mozilla/5.0\r\nAccept-Language: de-DE,de;q=0.9",
            false,
        ),
        (
            0,
            "User-Agent: Mozilla/5.0\r\nAccept-Language: de-DE,de;q=0.9",
            false,
        ),
        (2_000, "User-Agent: node\r\nAccept-Language: *", true),
        (0, "User-Agent: node\r\nAccept-Language: *", true),
    ] {
        let padding = "A".repeat(padding);
        let request = format!("GET {target}&x={padding} HTTP/1.1\r\nHost: t\r\n{headers}\r\n\r\n");
        let mut world = World::new();
        world.flow(
            Transport::Tcp,
            8000,
            &[(A, request.into_bytes()), (B, BAD_REQUEST.to_vec())],
        );
        let outcome = world.outcome();
        assert_eq!(outcome.banned > 0, banned, "{headers}: {outcome:?}");
    }
}
