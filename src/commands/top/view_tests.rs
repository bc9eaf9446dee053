//! The view on terminals of several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::view::{Step, View};
use crate::overview::{Ban, Host, Interface, Loss, Overview, Sample, TechniqueCounts, Totals};

/// A daemon that has seen something.
fn overview() -> Overview {
    let host = |number: u8, state: &str| Host {
        address: format!("10.8.0.{number}"),
        state: state.to_owned(),
        first: "2026-11-21T05:00:00.000000Z".to_owned(),
        last: format!("2026-11-21T06:00:{number:02}.000000Z"),
        flows: 12,
        techniques: vec!["handshake".to_owned(), "dht".to_owned()],
        clients: vec!["qBittorrent 4.5.2".to_owned()],
        torrents: Vec::new(),
        origin: "wg0".to_owned(),
        evidence: "handshake plain (conclusive), tcp 10.8.0.1:1 > 192.0.2.1:2".to_owned(),
    };
    Overview {
        source: "eth0, wg0".to_owned(),
        version: "1.2.3".to_owned(),
        backend: "nftables".to_owned(),
        at: 1_790_000_005_000,
        seconds: 11_520,
        troubles: Vec::new(),
        totals: Totals {
            packets: 1_000,
            bytes: 500_000,
            flows: 40,
            bittorrent: 17,
            bans: 2,
            lost: 0,
        },
        active_bans: 2,
        interfaces: vec![
            Interface {
                name: "eth0".to_owned(),
                state: "running".to_owned(),
                received: 900,
                ..Interface::default()
            },
            Interface {
                name: "wg0".to_owned(),
                state: "waiting: the interface is down".to_owned(),
                received: 100,
                dropped: 3,
                if_dropped: 4,
            },
        ],
        losses: vec![Loss::default()],
        techniques: vec![TechniqueCounts {
            name: "handshake".to_owned(),
            conclusive: 31,
            flows: 17,
            bans: 2,
            ..TechniqueCounts::default()
        }],
        hosts: (1..=40)
            .map(|number| host(number, if number < 3 { "banned" } else { "seen" }))
            .collect(),
        hosts_known: 700,
        bans: vec![Ban {
            address: "2001:db8::/64".to_owned(),
            since: "2026-11-21T05:30:00.000000Z".to_owned(),
            remaining_seconds: 16_200,
            technique: "dht".to_owned(),
            reason: "dht get_peers (conclusive), udp".to_owned(),
            client: Some("Transmission 4.0".to_owned()),
            flows: 3,
            times: 1,
        }],
        step: 10_000,
        history: vec![Sample::from([1_790_000_000_000, 1_000, 500_000, 40, 17, 2, 0, 2])],
    }
}

/// The rows of a screen of this size.
fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
    (0..height).map(row).collect()
}

/// The row with this text.
fn row<'s>(screen: &'s [String], text: &str) -> &'s str {
    let found = screen.iter().find(|row| row.contains(text));
    found.unwrap_or_else(|| panic!("{text:?} is not in {screen:#?}"))
}

#[test]
fn everything_is_shown_where_there_is_room() {
    let screen = screen(&View::new(overview(), true), 160, 50);
    for (text, beside) in [
        ("btblocker 1.2.3", "eth0, wg0  up 3 h 12 min  nftables"),
        ("btblocker 1.2.3", "q quit  Tab table  ↑↓ scroll"),
        ("2 bans", "17 BitTorrent flows"),
        ("Traffic", "New bans"),
        ("eth0 ", "running"),
        ("waiting: the interface is down", "7"),
        ("handshake ", "31"),
        ("Hosts (40 of 700)", "▸"),
        ("10.8.0.1 ", "banned"),
        ("10.8.0.3 ", "qBittorrent 4.5.2"),
        ("Bans (1 of 2)", ""),
        ("2001:db8::/64", "4 h 30 min"),
    ] {
        assert!(
            row(&screen, text).contains(beside),
            "{text}: {beside} is not in {screen:#?}"
        );
    }
}

#[test]
fn little_room_shows_hosts_and_bans_and_no_size_is_too_small() {
    let mut view = View::new(overview(), true);
    let small = screen(&view, 80, 16);
    row(&small, "10.8.0.1 ");
    row(&small, "2001:db8::/64");
    assert!(!small.iter().any(|row| row.contains("Techniques")), "{small:#?}");
    // What is left of a narrow table is whole.
    let narrow = screen(&view, 80, 24);
    assert!(row(&narrow, "handshake  ").contains(" 17 "), "{narrow:#?}");
    assert!(row(&narrow, "INTERFACE ").contains("STATE"), "{narrow:#?}");
    assert!(row(&narrow, "HOST ").contains("EVIDENCE"), "{narrow:#?}");
    assert!(row(&narrow, "btblocker 1.2.3").ends_with("q quit"), "{narrow:#?}");
    for (width, height) in [(1, 1), (2, 3), (10, 4), (300, 2), (3, 200)] {
        screen(&view, width, height);
        view.step(Step::Down(1));
    }
}

#[test]
fn rates_come_from_two_overviews() {
    let mut view = View::new(overview(), true);
    let mut later = overview();
    later.at += 2_000;
    later.totals.packets += 5_000;
    later.totals.bytes += 1_000_000;
    later.interfaces[0].received += 4_000;
    view.update(later.clone());
    let shown = screen(&view, 160, 50);
    row(&shown, "2500 packets/s  4.0 Mbit/s  0 flows/s");
    assert!(row(&shown, "eth0 ").contains(" 2000 "), "{shown:#?}");
    // Another run begins at nothing.
    later.at += 1_000;
    later.totals = Totals::default();
    view.update(later);
    row(&screen(&view, 160, 50), "2500 packets/s");
}

#[test]
fn tables_are_scrolled_to_their_last_row_and_not_further() {
    let mut view = View::new(overview(), true);
    view.step(Step::Down(10));
    let shown = screen(&view, 120, 30);
    row(&shown, "10.8.0.11 ");
    assert!(!shown.iter().any(|row| row.contains("10.8.0.10 ")), "{shown:#?}");
    view.step(Step::Down(1_000));
    row(&screen(&view, 120, 30), "10.8.0.40 ");
    view.step(Step::OtherTable);
    view.step(Step::Down(5));
    let shown = screen(&view, 120, 30);
    row(&shown, "▸ Bans");
    row(&shown, "2001:db8::/64");
    view.step(Step::OtherTable);
    view.step(Step::Up(39));
    row(&screen(&view, 120, 30), "10.8.0.1 ");
    // Fewer rows than before: the last of them is still shown.
    view.step(Step::Down(30));
    let mut fewer = overview();
    fewer.hosts.truncate(3);
    view.update(fewer);
    row(&screen(&view, 120, 30), "10.8.0.3 ");
}

#[test]
fn troubles_stand_on_top() {
    let mut view = View::new(overview(), true);
    view.fail("no btblocker answers on /run/x".to_owned());
    assert!(screen(&view, 120, 30)[0].contains("no btblocker answers on /run/x"));
    let mut storm = overview();
    storm.troubles = vec!["The kernel refuses changes".to_owned()];
    view.update(storm);
    assert!(screen(&view, 120, 30)[0].contains("The kernel refuses changes"));
}

#[test]
fn without_colours_there_are_none() {
    for (has_colours, expected) in [(true, true), (false, false)] {
        let mut terminal = Terminal::new(TestBackend::new(120, 50)).unwrap();
        let view = View::new(overview(), has_colours);
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let cells = &terminal.backend().buffer().content;
        let coloured = cells
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, expected);
    }
}
