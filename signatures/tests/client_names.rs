//! Names and versions that peer-ids, DHT tags and user agents give.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use btblocker_signatures::{ClientName, client_of_dht_tag, client_of_peer_id, client_of_user_agent};
use proptest::prelude::*;

mod data_files;
#[path = "../build/validate/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod validate;
#[path = "../src/words.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod words;

fn clients() -> validate::clients::Clients {
    let files = data_files::read(true);
    let [(name, text)] = files.as_slice() else {
        panic!("{files:?}")
    };
    validate::clients::read(name, text).unwrap()
}

fn text(client: Option<ClientName>) -> String {
    client.map_or_else(|| "nobody".to_owned(), |client| client.to_string())
}

/// The peer-id that starts so, filled with random-looking bytes.
fn peer_id(start: &[u8]) -> [u8; 20] {
    let mut id = *b"\xf1k8hj0wgej6chr2ylqwz";
    id[..start.len()].copy_from_slice(start);
    id
}

#[test]
fn peer_ids_are_named() {
    #[rustfmt::skip]
    let cases: &[(&[u8], &str)] = &[
        (b"-UT3490-", "\u{b5}Torrent 3.4.9"),
        (b"-UT355W-", "\u{b5}Torrent 3.5.5W"),
        (b"-BT7990-", "BitTorrent 7.9.9"),
        (b"-UM1860-", "\u{b5}Torrent Mac 1.8.6"),
        (b"-UW130Q-", "\u{b5}Torrent Web 1.3.0Q"),
        (b"-TR2920-", "Transmission 2.92"),
        (b"-TR3000-", "Transmission 3.00"),
        (b"-TR4060-", "Transmission 4.0.6"),
        (b"-TR410Z-", "Transmission 4.1.0+"),
        (b"-TR0072-", "Transmission 0.72"),
        (b"-TR0006-", "Transmission 0.6"),
        (b"-LT1100-", "libtorrent (Rasterbar) 1.1.0"),
        (b"-LT20A1-", "libtorrent (Rasterbar) 2.0.10.1"),
        (b"-lt0C20-", "libTorrent (Rakshasa) / rTorrent 0.12.2"),
        (b"-lt0D80-", "libTorrent (Rakshasa) / rTorrent 0.13.8"),
        (b"-DE1190-", "Deluge 1.1.9"),
        (b"-DE13F0-", "Deluge 1.3.15"),
        (b"-DE211s-", "Deluge 2.1.1s"),
        (b"-qB4620-", "qBittorrent 4.6.2"),
        (b"-AZ5760-", "Azureus / Vuze 5.7.6"),
        (b"-BC0165-", "BitComet 1.65"),
        (b"-BC0059-", "BitComet 0.59"),
        (b"-WW0102-", "WebTorrent 1.2"),
        (b"-KT22R1-", "KTorrent 22R1"),
        (b"-GT0003-", "anacrolix/torrent 0003"),
        (b"-A~0010-", "Ares 0.0.1"),
        (b"-LW0001-", "LimeWire"),
        (b"-XY1234-", "unknown client XY 1.2.3.4"),
        (b"-xy12-4-", "nobody"),
        (b"-XY1234x", "nobody"),
        (b"-FG0181", "FlashGet 1.81"),
        (b"-ML2.7.2-", "MLDonkey 2.7.2"),
        (b"-BOWA0C-", "Bits on Wheels A0C"),
        (b"-G3nick", "G3 Torrent"),
        (b"-Qt-", "Qt 4 example"),
        (b"S58B-----", "Shad0w's client 5.8.11"),
        (b"T03I-----", "BitTornado 0.3.18"),
        (b"A310--001", "nobody"),
        (b"A310-----", "ABC 3.1.0"),
        (b"Z310-----", "nobody"),
        (b"T--------", "nobody"),
        (b"M4-3-6--", "BitTorrent (Mainline) 4.3.6"),
        (b"M7-10-3-", "BitTorrent (Mainline) 7.10.3"),
        (b"Q1-0-0--", "Queen Bee 1.0.0"),
        (b"M4-3-x--", "nobody"),
        (b"A2-1-36-0-", "aria2 1.36.0"),
        (b"-aria2-", "aria2"),
        (b"S3-1-0-0-", "Amazon S3 1.0.0"),
        (b"exbc\x00\x38", "BitComet 0.56"),
        (b"exbc\x01\x02LORD", "BitLord 1.02"),
        (b"FUTB\x00\x42", "BitComet (modified) 0.66"),
        (b"XBT054d-", "XBT Client 0.5.4"),
        (b"OP7685", "Opera 7685"),
        (b"TIX0137", "Tixati 0137"),
        (b"btpd/0.9", "BitTorrent Protocol Daemon 0.9"),
        (b"AZ2500BT", "BitTyrant"),
        (b"BLZ\x00\x00\x01", "Blizzard Downloader"),
        (b"QVOD0054", "QVOD 0054"),
        (b"vcz", "vincenzo"),
        (b"-rQ9100-", "rqbit 9.1.0"),
        (b"-FE0100-", "irontide"),
        (b"-GD0001-", "gosh-dl"),
        (b"-TD0001-", "TorrentDHT"),
        (b"\x00\x03BS", "BitSpirit"),
        (b"abRS", "Rufus"),
        (b"abcdeAzureus", "Azureus 2.0.3.2"),
        (b"abcdbtfans", "SimpleBT"),
        (&[0; 20], "Experimental 3.1"),
        (b"-rn0.0.0", "fake downloader (rn0.0.0)"),
        (b"", "nobody"),
    ];
    for (start, expected) in cases {
        assert_eq!(
            text(client_of_peer_id(&peer_id(start))),
            *expected,
            "{}",
            start.escape_ascii()
        );
    }
}

#[test]
fn every_code_of_the_table_is_named() {
    let clients = clients();
    assert_eq!(clients.azureus.len(), 133);
    assert_eq!(clients.shadow.len() + clients.mainline.len(), 9);
    assert!(clients.convention.len() >= 60, "{}", clients.convention.len());
    for (code, name, _) in &clients.azureus {
        let id = peer_id(&[b"-", code.as_slice(), b"1000-"].concat());
        assert_eq!(client_of_peer_id(&id).unwrap().name(), Some(name.as_str()));
    }
    for (letter, name) in &clients.shadow {
        let id = peer_id(&[&[*letter], b"12------".as_slice()].concat());
        assert_eq!(client_of_peer_id(&id).unwrap().name(), Some(name.as_str()));
    }
    for entry in &clients.convention {
        let mut id = peer_id(b"");
        id[entry.at..entry.at + entry.pattern.bytes.len()].copy_from_slice(&entry.pattern.bytes);
        assert_eq!(client_of_peer_id(&id).unwrap().name(), Some(entry.name.as_str()));
    }
    for (tag, name, _) in &clients.dht {
        let [a, b] = *tag;
        assert_eq!(
            client_of_dht_tag(&[a, b, 0, 3]).unwrap().name(),
            Some(name.as_str())
        );
    }
    for (prefix, name) in &clients.agent {
        assert_eq!(
            client_of_user_agent(prefix.as_bytes()).unwrap().name(),
            Some(name.as_str())
        );
    }
}

#[test]
fn dht_tags_are_named() {
    let cases: &[(&[u8; 4], &str)] = &[
        (b"UT\xa8\xb0", "\u{b5}Torrent / BitTorrent build 43184"),
        (b"LT\x02\x09", "libtorrent (Rasterbar) 2.0.9"),
        (b"LT\x01\x2f", "libtorrent (Rasterbar) 1.2.15"),
        (b"lt\x0d\x80", "libTorrent (Rakshasa) / rTorrent 0.13.8"),
        (b"A2\x00\x03", "aria2"),
        (b"\x00\x00\x00\x00", "nobody"),
        (b"XX12", "nobody"),
    ];
    for (tag, expected) in cases {
        assert_eq!(text(client_of_dht_tag(tag)), *expected, "{}", tag.escape_ascii());
    }
}

#[test]
fn user_agents_are_named() {
    #[rustfmt::skip]
    let cases: &[(&str, &str)] = &[
        ("Transmission/3.00", "Transmission 3.00"),
        ("Transmission 4.0.6\0\0\0", "Transmission 4.0.6"),
        ("qBittorrent/4.6.2", "qBittorrent 4.6.2"),
        ("qBittorrent v4.6.2", "qBittorrent 4.6.2"),
        ("libtorrent/2.0.9.0", "libtorrent (Rasterbar) 2.0.9.0"),
        ("libTorrent 0.13.8", "libTorrent (Rakshasa) / rTorrent 0.13.8"),
        ("rtorrent/0.9.8/0.13.8", "libTorrent (Rakshasa) / rTorrent 0.9.8"),
        ("Deluge/2.1.1 libtorrent/2.0.9.0", "Deluge 2.1.1"),
        ("\u{b5}Torrent 3.5.5", "\u{b5}Torrent 3.5.5"),
        ("\u{b5}Torrent Web 1.3", "\u{b5}Torrent Web 1.3"),
        ("uTorrentMac/1870", "\u{b5}Torrent Mac 1870"),
        ("BTWebClient/3000(12345)", "\u{b5}Torrent / BitTorrent 3000"),
        ("BitTorrent Pro 7.10", "BitTorrent Pro 7.10"),
        ("anacrolix-torrent/1.55.0", "anacrolix/torrent 1.55.0"),
        ("Tixati", "Tixati"),
        ("FlashGet", "FlashGet"),
        ("aria2/1.36.0", "aria2 1.36.0"),
        ("curl/7.81.0", "nobody"),
        ("Mozilla/5.0 (compatible; Transmission/3.00)", "nobody"),
        ("", "nobody"),
    ];
    for (agent, expected) in cases {
        assert_eq!(text(client_of_user_agent(agent.as_bytes())), *expected, "{agent}");
    }
}

#[test]
fn a_version_is_told_apart_from_its_absence() {
    let client = client_of_user_agent(b"Tixati").unwrap();
    assert_eq!((client.name(), client.version()), (Some("Tixati"), None));
    let client = client_of_peer_id(&peer_id(b"-XY1234-")).unwrap();
    assert_eq!((client.name(), client.version()), (None, Some("1.2.3.4")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_printable_names(id: [u8; 20], tag: [u8; 4], agent in prop::collection::vec(any::<u8>(), 0..40)) {
        let azureus = peer_id(&[b"-TR", &id[..4], b"-"].concat());
        for client in [client_of_peer_id(&id), client_of_peer_id(&azureus), client_of_dht_tag(&tag), client_of_user_agent(&agent)] {
            prop_assert!(text(client).chars().all(|c| !c.is_control()));
        }
    }
}
