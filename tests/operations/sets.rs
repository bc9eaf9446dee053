//! Options of the kernel's sets and rules.

use std::process::Command;

use crate::lab::{Daemon, cable, play};
use crate::namespace::in_namespace;

fn ruleset() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_sets_have_the_name_and_the_rules_the_hooks_that_were_asked_for() {
    for (arguments, present, absent) in [
        (&[][..], "set torrent_block {", "hook prerouting"),
        (&["--set-name=seeders"], "set seeders {", "torrent_block"),
        (&["--prerouting"], "hook prerouting", "seeders"),
    ] {
        in_namespace(move || {
            cable();
            let _daemon = Daemon::start(&[&["--backend=nftables"], arguments].concat());
            let rules = ruleset();
            assert!(
                rules.contains(present) && !rules.contains(absent),
                "{arguments:?}: {rules}"
            );
        });
    }
}

#[test]
fn a_whole_prefix_is_banned_when_asked_for() {
    for (prefix, banned) in [("128", "banned fd77:1::11"), ("64", "banned fd77:1::/64")] {
        in_namespace(move || {
            cable();
            let mut daemon = Daemon::start(&["--monitor-only", "--ipv6-prefix", prefix]);
            play("bt-aria2-v6");
            daemon.wait_for(banned);
        });
    }
}
