//! Mainline DHT.

use crate::bencoded::*;
use crate::script::*;
use btblocker_detectors::{Class, Client, Endpoint, LearnedFrom, Side, Technique};

/// The examples of BEP 5, word for word.
#[test]
fn the_examples_of_the_specification_are_recognised() {
    let table: &[(&str, &[u8], &str, Class)] = &[
        ("ping", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", "dht/ping conclusive O +", Class::DhtMaintenance),
        ("pong", b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", "dht/response conclusive O +", Class::DhtMaintenance),
        (
            "find_node",
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            "dht/find_node conclusive O +",
            Class::DhtMaintenance,
        ),
        (
            "get_peers",
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
            "dht/get_peers conclusive O +",
            Class::BitTorrent,
        ),
        (
            "values",
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
            "dht/values conclusive O +",
            Class::BitTorrent,
        ),
        (
            "token and nodes",
            b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
            "dht/token conclusive O +",
            Class::BitTorrent,
        ),
        (
            "announce_peer",
            b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
            "dht/announce_peer conclusive O +",
            Class::BitTorrent,
        ),
        ("error", b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee", "dht/error conclusive O +", Class::DhtMaintenance),
        (
            "keys before id",
            b"d1:ad2:bsi1e2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            "dht/find_node conclusive O +",
            Class::DhtMaintenance,
        ),
        ("unsorted", b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee", "dht/ping conclusive O +", Class::DhtMaintenance),
        (
            "sample_infohashes",
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q17:sample_infohashes1:t2:aa1:y1:qe",
            "dht/sample_infohashes conclusive O +",
            Class::BitTorrent,
        ),
        ("no transaction", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe", "dht/no-transaction strong O +", Class::DhtMaintenance),
        ("unknown method", b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:aa1:y1:qe", "dht/unknown-query strong O +", Class::DhtMaintenance),
    ];
    for (name, bytes, expected, class) in table {
        let said = play(&[(O, 0, bytes.to_vec())]);
        assert_eq!(said.iter().map(words).collect::<Vec<_>>(), [*expected], "{name}");
        assert_eq!(said[0].class, *class, "{name}");
    }
}

#[test]
fn other_bencode_is_nothing() {
    let table: &[(&str, &[u8])] = &[
        (
            "torrent",
            b"d8:announce19:http://example.org/4:infod6:lengthi1e4:name1:xee",
        ),
        (
            "tracker answer",
            b"d8:completei1e10:incompletei2e8:intervali1800e5:peers6:axje.ue",
        ),
        ("short id", b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe"),
        ("no kind", b"d1:bd2:id20:abcdefghij0123456789e1:q4:ping1:t2:aae"),
        ("error without text", b"d1:eli201ee1:t2:aa1:y1:ee"),
        ("rpc", b"d6:methodi1e6:paramsli1eee"),
    ];
    for (name, bytes) in table {
        let found = play(&[(O, 0, bytes.to_vec())])
            .iter()
            .any(|one| one.technique == Technique::Dht);
        assert!(!found, "{name}");
    }
}

#[test]
fn a_known_beginning_of_a_broken_message_is_strong() {
    check(
        "bytes left over",
        &[(
            O,
            0,
            &[&ping(b"abcd")[..], b"x"].concat(),
            &["signature/krpc-query strong O +"],
        )],
    );
}

#[test]
fn an_answer_with_a_long_transaction_proves_the_responder() {
    check(
        "4 bytes",
        &[
            (O, 0, &ping(b"abcd"), &["dht/ping conclusive O +"]),
            (
                R,
                9_000,
                &response(b"", b"abcd"),
                &["dht/response conclusive R +R"],
            ),
        ],
    );
    check(
        "too late",
        &[
            (O, 0, &ping(b"abcd"), &["dht/ping conclusive O +"]),
            (
                R,
                10_600,
                &response(b"", b"abcd"),
                &["dht/response conclusive R +"],
            ),
        ],
    );
    check(
        "other transaction",
        &[
            (O, 0, &ping(b"abcd"), &["dht/ping conclusive O +"]),
            (R, 1, &response(b"", b"abce"), &["dht/response conclusive R +"]),
        ],
    );
    check(
        "own question",
        &[
            (O, 0, &ping(b"abcd"), &["dht/ping conclusive O +"]),
            (O, 1, &response(b"", b"abcd"), &["dht/response conclusive O +"]),
        ],
    );
    check(
        "error proves, too",
        &[
            (O, 0, &ping(b"abcd"), &["dht/ping conclusive O +"]),
            (
                R,
                1,
                b"d1:eli201e3:bade1:t4:abcd1:y1:ee",
                &["dht/error conclusive R +R"],
            ),
        ],
    );
}

#[test]
fn short_transactions_prove_by_two_different_ones() {
    check(
        "two",
        &[
            (O, 0, &ping(b"aa"), &["dht/ping conclusive O +"]),
            (R, 1, &response(b"", b"aa"), &["dht/response conclusive R +"]),
            (O, 2, &ping(b"ab"), &[]),
            (R, 3, &response(b"", b"ab"), &["dht/response conclusive R +R"]),
        ],
    );
    check(
        "the same twice",
        &[
            (O, 0, &ping(b"aa"), &["dht/ping conclusive O +"]),
            (R, 1, &response(b"", b"aa"), &["dht/response conclusive R +"]),
            (O, 2, &ping(b"aa"), &[]),
            (R, 3, &response(b"", b"aa"), &[]),
        ],
    );
    check(
        "an answer repeated",
        &[
            (O, 0, &ping(b"aa"), &["dht/ping conclusive O +"]),
            (R, 1, &response(b"", b"aa"), &["dht/response conclusive R +"]),
            (R, 2, &response(b"", b"aa"), &[]),
        ],
    );
    check(
        "one byte",
        &[
            (O, 0, &ping(b"a"), &["dht/ping conclusive O +"]),
            (R, 1, &response(b"", b"a"), &["dht/response conclusive R +"]),
            (O, 2, &ping(b"b"), &[]),
            (R, 3, &response(b"", b"b"), &[]),
        ],
    );
}

#[test]
fn who_guesses_short_transactions_is_not_proven() {
    let mut steps = Vec::new();
    for byte in 0..=u8::MAX {
        steps.push((O, u64::from(byte), ping(&[7, byte])));
        for guess in 0..4 {
            steps.push((R, u64::from(byte), response(b"", &[guess, byte])));
        }
        steps.push((R, u64::from(byte), response(b"", &[7, byte])));
    }
    // The first two transactions are matched before enough guesses were seen, so leave them out.
    let steps: Vec<_> = steps
        .into_iter()
        .filter(|(from, at, bytes)| {
            *at > 8
                || *from == O
                || !bytes
                    .windows(2)
                    .any(|pair| pair[0] == 7 && u64::from(pair[1]) == *at)
        })
        .collect();
    assert!(proven(&play(&steps)).is_empty());
}

#[test]
fn a_token_that_was_issued_proves_the_querier() {
    let token = b"5:token4:tokn";
    check(
        "issued",
        &[
            (O, 0, &get_peers(b"abcd"), &["dht/get_peers conclusive O +"]),
            (R, 1, &response(token, b"abcd"), &["dht/token conclusive R +R"]),
            (
                O,
                2,
                &announce_peer(b"abce", b"tokn"),
                &["dht/announce_peer conclusive O +O"],
            ),
        ],
    );
    check(
        "not issued",
        &[
            (O, 0, &get_peers(b"abcd"), &["dht/get_peers conclusive O +"]),
            (R, 1, &response(token, b"abcd"), &["dht/token conclusive R +R"]),
            (
                O,
                2,
                &announce_peer(b"abce", b"tokx"),
                &["dht/announce_peer conclusive O +"],
            ),
        ],
    );
    check(
        "issued without a question",
        &[
            (R, 1, &response(token, b"abcd"), &["dht/token conclusive R +"]),
            (
                O,
                2,
                &announce_peer(b"abce", b"tokn"),
                &["dht/announce_peer conclusive O +"],
            ),
        ],
    );
    check(
        "short token",
        &[
            (O, 0, &get_peers(b"abcd"), &["dht/get_peers conclusive O +"]),
            (
                R,
                1,
                &response(b"5:token2:to", b"abcd"),
                &["dht/token conclusive R +R"],
            ),
            (
                O,
                2,
                &announce_peer(b"abce", b"to"),
                &["dht/announce_peer conclusive O +"],
            ),
        ],
    );
}

#[test]
fn client_and_torrent_are_named() {
    let said = play(&[(O, 0, get_peers(b"abcd"))]);
    assert_eq!(said[0].client, Client::DhtTag(*b"LT\x02\x08"));
    assert_eq!(said[0].info_hash, Some(*ID_B));
}

#[test]
fn answers_to_questions_teach_endpoints_to_the_side_that_asked() {
    let node = join(&[b"5:nodes26:", ID_A, &[192, 0, 2, 9, 0x1a, 0xe1]]);
    let mut node6 = join(&[b"6:nodes638:", ID_A, &[0x20, 0x01, 0x0d, 0xb8]]);
    node6.extend([0; 11]);
    node6.extend([7, 0x1a, 0xe2]);
    let values = b"5:token4:tokn6:valuesl6:\xc0\x00\x02\x01\x1a\xe16:\xc0\x00\x02\x02\x00\x00ee";
    let results = join(&[&node, &node6, &values[..values.len() - 1]]);

    let mut flow = Flow::new();
    flow.show(O, 0, &get_peers(b"abcd"));
    flow.show(R, 1, &response(&results, b"abcd"));
    let learned = flow.learned();
    assert!(learned.iter().all(|one| one.told == Side::Originator));
    let named: Vec<_> = learned.iter().map(|one| (one.endpoint, one.from)).collect();
    let v6 = "2001:db8::7".parse().expect("an address");
    assert_eq!(
        named,
        [
            (
                Endpoint::compact4([192, 0, 2, 1, 0x1a, 0xe1]),
                LearnedFrom::DhtValues
            ),
            (
                Endpoint::compact4([192, 0, 2, 9, 0x1a, 0xe1]),
                LearnedFrom::DhtNodes
            ),
            (Endpoint::new(v6, 0x1ae2), LearnedFrom::DhtNodes),
            (Endpoint { address: 0, port: 0 }, LearnedFrom::DhtNodes),
        ]
    );

    let mut flow = Flow::new();
    flow.show(R, 1, &response(&results, b"abcd"));
    assert!(flow.learned().is_empty(), "nobody asked");
}

#[test]
fn a_message_that_the_capture_cut_proves_nobody() {
    let bytes = get_peers(b"abcd");
    let mut flow = Flow::new();
    let said = flow.show_cut(O, 0, &bytes[..70], bytes.len());
    assert_eq!(
        said.iter().map(words).collect::<Vec<_>>(),
        ["dht/cut-message conclusive O +"]
    );
    assert_eq!(said[0].class, Class::BitTorrent);
}
