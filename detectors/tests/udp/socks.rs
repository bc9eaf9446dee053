//! Datagrams behind the header of a SOCKS5 relay.

use crate::bencoded::{ping, response};
use crate::script::*;
use crate::tracker::connect;
use btblocker_detectors::Endpoint;

pub(crate) const HEADER: &[u8] = &[0, 0, 0, 1, 203, 0, 113, 9, 0x1a, 0xe1];

fn wrapped(header: &[u8], inner: &[u8]) -> Vec<u8> {
    [header, inner].concat()
}

#[test]
fn conclusive_inner_structure_counts_and_names_the_destination() {
    let v6 = [
        &[0, 0, 0, 4, 0x20, 0x01, 0x0d, 0xb8][..],
        &[0; 11],
        &[7, 0x1a, 0xe1],
    ]
    .concat();
    let name = b"\x00\x00\x00\x03\x0btracker.org\x00\x50";
    let v4 = Endpoint::compact4([203, 0, 113, 9, 0x1a, 0xe1]);
    let targets = [
        (HEADER, Some(v4)),
        (
            &v6[..],
            Some(Endpoint::new("2001:db8::7".parse().expect("an address"), 0x1ae1)),
        ),
        (&name[..], None),
    ];
    for (header, target) in targets {
        for (inner, expected) in [
            (connect(7), "udp-tracker/connect conclusive O +"),
            (ping(b"abcd"), "dht/ping conclusive O +"),
        ] {
            let said = play(&[(O, 0, wrapped(header, &inner))]);
            assert_eq!(said.iter().map(words).collect::<Vec<_>>(), [expected]);
            assert_eq!(said[0].target, target);
        }
    }
}

#[test]
fn an_inner_exchange_proves_its_ends() {
    check(
        "ping",
        &[
            (
                O,
                0,
                &wrapped(HEADER, &ping(b"abcd")),
                &["dht/ping conclusive O +"],
            ),
            (
                R,
                1,
                &wrapped(HEADER, &response(b"", b"abcd")),
                &["dht/response conclusive R +R"],
            ),
        ],
    );
}

#[test]
fn inner_evidence_that_is_only_strong_is_dropped() {
    let mut syn = vec![0x41, 0, 1, 2, 3, 4, 5, 6];
    syn.extend([0; 8]);
    syn.extend([9, 9, 0, 0]);
    check("syn", &[(O, 0, &wrapped(HEADER, &syn), &[])]);
    check(
        "fragment",
        &[(
            O,
            0,
            &wrapped(&[0, 0, 1, 1, 203, 0, 113, 9, 0x1a, 0xe1], &ping(b"abcd")),
            &[],
        )],
    );
    check("header alone", &[(O, 0, HEADER, &[])]);
}

#[test]
fn a_handshake_in_a_utp_stream_behind_the_header_counts() {
    let steps: Vec<Step> = crate::utp::plaintext()
        .into_iter()
        .map(|(from, at, bytes)| (from, at, wrapped(HEADER, &bytes)))
        .collect();
    let said: Vec<_> = play(&steps).iter().map(words).collect();
    assert_eq!(
        said,
        [
            "handshake/handshake conclusive O +OR",
            "handshake/handshake conclusive R +OR"
        ]
    );
}
