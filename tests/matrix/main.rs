//! Bans are enforced: every backend on every kind of link, IPv4 and IPv6, TCP and UDP, to the router and through it.
//!
//! Each cell of this matrix is a host with an address of its own, which speaks to an echo server. All cells of a
//! backend go through the same story at once, with the real program: they pass; banned, they are dropped, flows that
//! the router's firewall accepts as established among them; without the drop rule they pass, and with it they are
//! dropped again; unbanned they pass; banned for some seconds they pass after these; banned by a daemon that saw
//! BitTorrent and was killed they are dropped, and pass when their time is over.
//!
//! Cells that this kernel cannot do are found by trying, and are exactly those that are known, for the reason that is
//! known: [`Backend::impossible`]. Needs root, `ip` and `nft`.

#![cfg(all(feature = "ipset", feature = "nftables", feature = "xdp"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the module is shared by test programs")]

mod cell;
mod healing;
mod lab;
#[allow(dead_code, reason = "the module is shared by test programs")]
#[path = "../namespace/mod.rs"]
mod namespace;
mod program;

use std::time::{Duration, Instant};

use cell::{BRIEFLY, Cell, PATIENTLY, Protocol, each, echoes, unlike};
use lab::{Link, eventually, sh};
use namespace::in_namespace;
use program::{Backend, Program};

/// Whether all cells pass, in several tries.
fn assert_pass(cells: &[Cell], when: &str) {
    let mut waiting = cells.to_vec();
    eventually(&format!("{when}: all cells pass"), || {
        let passing = each(&waiting, |cell| cell.passes(Duration::from_secs(1)));
        let mut passing = passing.into_iter();
        waiting.retain(|_| !passing.next().unwrap_or_default());
        waiting.is_empty().then_some(())
    });
}

fn assert_dropped(cells: &[Cell], when: &str) {
    let passing = unlike(cells, false, |cell| cell.passes(BRIEFLY));
    assert!(passing.is_empty(), "{when}: these pass: {passing:#?}");
}

/// Links on which the backend works. On the others it is known not to.
fn links(backend: Backend, missing: &[(Link, String)]) -> Vec<Link> {
    let (mut links, mut impossible) = (Vec::new(), Vec::new());
    for link in Link::ALL {
        let made = missing.iter().find(|(missing, _)| *missing == link);
        let outcome = match made {
            Some((_, why)) => Err(why.clone()),
            None => {
                let program = Program::new(backend, &[link.device()]);
                let outcome = program.run(&["setup"]);
                program.say(&["teardown"]);
                outcome
            }
        };
        match outcome {
            Ok(_) => links.push(link),
            Err(why) => {
                for cell in Cell::of(link) {
                    println!("{}: {cell} cannot be on this kernel: {why}", backend.name);
                }
                let is_known = |(known, said): &(Link, &str)| *known == link && why.contains(said);
                assert!(backend.impossible.iter().any(is_known), "{link:?}: {why}");
                impossible.push(link);
            }
        }
    }
    // Kernels with VLAN devices run their cells, too; the driver's XDP sees tagged frames in `tests/xdp`.
    let now_possible: Vec<Link> = backend
        .impossible
        .iter()
        .map(|(link, _)| *link)
        .filter(|link| *link != Link::Vlan && !impossible.contains(link))
        .collect();
    assert!(
        now_possible.is_empty(),
        "{now_possible:?} can be: name them no longer"
    );
    links
}

fn check(backend: Backend) {
    in_namespace(move || {
        let start = Instant::now();
        let missing = lab::build();
        let links = links(backend, &missing);
        assert!(links.contains(&Link::Ethernet), "no backend fails on Ethernet");
        let cells: Vec<Cell> = links.iter().copied().flat_map(Cell::of).collect();
        let devices: Vec<&str> = links.iter().map(|link| link.device()).collect();
        tell_story(&cells, &Program::new(backend, &devices), backend.disarm);
        for cell in &cells {
            println!("{}: {cell} is enforced", backend.name);
        }
        println!(
            "{}: {} cells in {:.1?}",
            backend.name,
            cells.len(),
            start.elapsed()
        );
    });
}

fn tell_story(cells: &[Cell], program: &Program, disarm: &str) {
    let addresses: Vec<String> = cells.iter().map(|cell| cell.address().to_string()).collect();
    let words = |first: &[&'static str]| -> Vec<&str> {
        first
            .iter()
            .copied()
            .chain(addresses.iter().map(String::as_str))
            .collect()
    };
    program.say(&["setup"]);
    assert_pass(cells, "nobody is banned yet");
    let streams: Vec<Cell> = cells
        .iter()
        .copied()
        .filter(|cell| cell.protocol == Protocol::Tcp)
        .collect();
    let established = each(&streams, |cell| cell.connect(PATIENTLY).expect("a connection"));
    assert!(established.iter().all(|stream| echoes(stream, PATIENTLY)));

    program.say(&words(&["ban"]));
    assert_dropped(cells, "banned");
    let still: Vec<String> = streams
        .iter()
        .zip(&established)
        .filter(|(_, stream)| echoes(stream, BRIEFLY))
        .map(|(cell, _)| cell.to_string())
        .collect();
    assert!(still.is_empty(), "established flows go on: {still:#?}");

    // Were it not the rule that drops, this would change nothing.
    sh(disarm);
    assert_pass(cells, "banned, but without the drop rule");
    program.say(&["setup"]);
    assert_dropped(cells, "with the drop rule again");

    program.say(&words(&["unban"]));
    assert_pass(cells, "unbanned");

    let banned_at = Instant::now();
    program.say(&words(&["ban", "--ban-duration", BRIEF_BAN]));
    assert_dropped(cells, "banned briefly");
    assert_pass(cells, "after the time is over");
    assert!(banned_at.elapsed() > Duration::from_millis(4_900));

    let daemon = program.watch(&["--ban-duration", BRIEF_BAN, "--ban-target", "client"]);
    // All at once, because the bans are short. UDP cells are banned for a TCP flow of their host.
    each(cells, Cell::shake_hands);
    eventually("all bans are in the kernel", || {
        let held = program.say(&["bans"]);
        addresses
            .iter()
            .all(|address| held.contains(address))
            .then_some(())
    });
    daemon.kill();
    assert_dropped(cells, "the daemon that banned is killed");
    assert_pass(cells, "after the time is over, without a daemon");
    program.say(&["teardown"]);
}

/// Long enough for all cells to be asked on a busy machine.
const BRIEF_BAN: &str = "5s";

/// A kernel without the module 8021q.
const NO_VLAN: (Link, &str) = (Link::Vlan, "Unknown device type");

const NFTABLES: Backend = Backend {
    name: "nftables",
    options: &["--backend", "nftables"],
    disarm: "nft flush table inet btblocker",
    impossible: &[NO_VLAN],
};
const IPSET: Backend = Backend {
    name: "ipset",
    options: &["--backend", "ipset"],
    disarm: "nft flush table ip btblocker; nft flush table ip6 btblocker",
    impossible: &[NO_VLAN],
};
const PIN: &str = "/run/bpf/btblocker";
/// A link without its pin is detached when no process holds it.
const UNPIN: &str = "rm /run/bpf/btblocker/link*";
const XDP_GENERIC: Backend = Backend {
    name: "xdp generic",
    options: &["--backend", "xdp", "--xdp-mode", "generic", "--xdp-pin", PIN],
    disarm: UNPIN,
    impossible: &[NO_VLAN],
};
const XDP_NATIVE: Backend = Backend {
    name: "xdp native",
    options: &["--backend", "xdp", "--xdp-mode", "native", "--xdp-pin", PIN],
    disarm: UNPIN,
    impossible: &[
        NO_VLAN,
        (Link::Tunnel, "Operation not supported"),
        (Link::Bridge, "Operation not supported"),
        (Link::Vlan, "Operation not supported"),
    ],
};

#[test]
fn nftables_is_enforced() {
    check(NFTABLES);
}

#[test]
fn ipset_is_enforced() {
    check(IPSET);
}

#[test]
fn xdp_generic_is_enforced() {
    check(XDP_GENERIC);
}

#[test]
fn xdp_native_is_enforced() {
    check(XDP_NATIVE);
}
