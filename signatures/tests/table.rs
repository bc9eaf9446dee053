//! Every entry of the table does what it says, and nothing else than the samples expect.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use btblocker_signatures::{Anchor, Confidence, SIGNATURES, Signature, Transport, at, by_id};

mod data_files;
mod fields;
#[path = "../build/validate/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod validate;
#[path = "../src/words.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod words;

fn samples() -> Vec<validate::Signature> {
    validate::signatures(&data_files::read(false)).unwrap()
}

/// Ids that stand at any field of the anchor.
fn ids(anchor: Anchor, transport: Transport, message: &[u8]) -> BTreeSet<&'static str> {
    let fields = fields::fields(anchor, message);
    fields
        .iter()
        .flat_map(|field| at(anchor, transport, field))
        .map(|signature| signature.id)
        .collect()
}

#[test]
fn positive_samples_match_and_negative_ones_do_not() {
    for entry in samples() {
        let signature = by_id(&entry.id).unwrap();
        for transport in Transport::ALL.iter().copied() {
            let holds = signature.transports.contains(transport);
            let positive = ids(signature.anchor, transport, &entry.positive);
            let negative = ids(signature.anchor, transport, &entry.negative);
            assert_eq!(
                positive.contains(signature.id),
                holds,
                "{} {transport:?} positive {positive:?}",
                entry.id
            );
            assert!(
                !negative.contains(signature.id),
                "{} {transport:?} negative",
                entry.id
            );
        }
    }
}

#[test]
fn a_sample_cut_inside_the_pattern_does_not_match() {
    for entry in samples() {
        let signature = by_id(&entry.id).unwrap();
        let length = signature.pattern.bytes.len();
        for field in fields::fields(signature.anchor, &entry.positive) {
            for cut in 0..length.min(field.len()) {
                assert!(
                    !signature.pattern.matches(&field[..cut]),
                    "{} cut at {cut}",
                    entry.id
                );
            }
        }
    }
}

#[test]
fn every_bit_that_is_fixed_counts() {
    for entry in samples() {
        let signature = by_id(&entry.id).unwrap();
        let found = fields::fields(signature.anchor, &entry.positive);
        let field = found
            .iter()
            .find(|field| signature.pattern.matches(field))
            .unwrap();
        for place in 0..signature.pattern.bytes.len() {
            for bit in 0..8 {
                let mut flipped = field.clone();
                flipped[place] ^= 1 << bit;
                let fixed = entry.pattern.mask[place] & (1 << bit) != 0;
                assert_eq!(
                    signature.pattern.matches(&flipped),
                    !fixed,
                    "{} byte {place} bit {bit}",
                    entry.id
                );
            }
        }
    }
}

#[test]
fn the_table_holds_what_the_files_hold() {
    let written: BTreeSet<String> = samples().into_iter().map(|entry| entry.id).collect();
    let built: BTreeSet<String> = SIGNATURES
        .iter()
        .map(|signature| signature.id.to_owned())
        .collect();
    assert_eq!(written, built);
    assert_eq!(built.len(), SIGNATURES.len(), "ids are unique");
    assert_eq!(SIGNATURES.len(), 196);
    for (place, signature) in SIGNATURES.iter().enumerate() {
        assert_eq!(usize::from(signature.index), place);
        assert!(std::ptr::eq(by_id(signature.id).unwrap(), signature));
    }
}

#[test]
fn every_anchor_is_used_and_counted() {
    let count = |anchor| {
        SIGNATURES
            .iter()
            .filter(|signature| signature.anchor == anchor)
            .count()
    };
    let counts: Vec<_> = Anchor::ALL
        .iter()
        .map(|anchor| (anchor.name(), count(*anchor)))
        .collect();
    assert_eq!(
        counts,
        [
            ("stream-start", 6),
            ("datagram-start", 14),
            ("peer-message", 33),
            ("handshake-reserved", 10),
            ("peer-id", 3),
            ("azureus-message-id", 30),
            ("extension-key", 8),
            ("extension-field", 7),
            ("extension-name", 14),
            ("http-target", 5),
            ("http-path-end", 4),
            ("http-query-key", 14),
            ("http-parameter-order", 4),
            ("http-user-agent", 22),
            ("http-content-type", 1),
            ("http-body", 8),
            ("dht-method", 7),
            ("dht-version", 6),
        ]
    );
}

#[test]
fn names_that_anybody_can_choose_stay_weak() {
    let chosen = |signature: &&Signature| {
        matches!(
            signature.anchor,
            Anchor::HttpUserAgent | Anchor::ExtensionName | Anchor::DhtVersion | Anchor::HttpContentType
        )
    };
    for signature in SIGNATURES.iter().filter(chosen) {
        assert_eq!(signature.confidence, Confidence::Weak, "{}", signature.id);
    }
}

#[test]
fn text_about_bittorrent_matches_no_start() {
    let texts: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>The BitTorrent protocol starts with \
          \x13BitTorrent protocol and knows ut_pex, ut_metadata and get_peers.</p>",
        b"<!DOCTYPE html><html><title>BitTorrent protocol</title><a href=\"magnet:?xt=urn:btih:\
          0123456789abcdef0123456789abcdef01234567&tr=udp://tracker.example:6969/announce\">magnet</a>",
        b"magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=linux.iso",
        b"BitTorrent protocol",
        b"220 mail.example ESMTP\r\n",
        b"From: a@example\r\nTo: b@example\r\nSubject: BitTorrent protocol\r\n\r\nd1:ad2:id20: is a DHT query.\r\n",
        b":nick!user@host.example PRIVMSG #torrents :BitTorrent protocol, ut_pex, AZ_HANDSHAKE, BSYN\r\n",
        b"[12:00] <nick> try \\x13BitTorrent protocol\n",
        b"d8:announce31:http://tracker.example/announce13:announce-listll31:http://tracker.example/announceee4:infod6:lengthi1e4:name1:xee",
        b"d13:announce-listll3:abceee",
        b"d4:infod6:lengthi1e4:name1:x12:piece lengthi16384e6:pieces0:ee",
        b"d8:completei5e10:incompletei3e8:intervali1800e5:peers0:e",
        b"GET /announce?info_hash=mnopqrstuvwxyz123456 HTTP/1.1\r\nUser-Agent: Transmission/3.00\r\n\r\n",
        b"GET /wiki/BitTorrent_protocol HTTP/1.1\r\nHost: wiki.example\r\n\r\n",
        b"{\"action\":\"announce\",\"info_hash\":\"mnopqrstuvwxyz123456\"}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n",
        b"NOTIFY * HTTP/1.1\r\nServer: BT-SEARCH * HTTP/1.1\r\n\r\n",
        b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl",
        b"\x01\x01\x00\x0c\x21\x12\xa4\x42abcdefghijkl\x00\x20\x00\x08\x00\x01\x1a\xe1\xe1\x12\xa6\x43",
        b"\x41\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x02ex\x00\x00\x01\x00\x01",
        b"\x01\x00\x00\x00\x10\x20\x30\x40\x50\x60\x70\x80",
        b"",
    ];
    for text in texts {
        for transport in Transport::ALL.iter().copied() {
            for anchor in [Anchor::StreamStart, Anchor::DatagramStart] {
                assert_eq!(
                    ids(anchor, transport, text),
                    BTreeSet::new(),
                    "{}",
                    text.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn reserved_bits_are_read_one_by_one() {
    let reserved = [0, 0, 0, 0, 0, 0x10, 0, 0x05];
    let found: BTreeSet<_> = at(Anchor::HandshakeReserved, Transport::Tcp, &reserved)
        .map(|signature| signature.id)
        .collect();
    assert_eq!(
        found,
        BTreeSet::from(["reserved-extension", "reserved-dht", "reserved-fast"])
    );
}
