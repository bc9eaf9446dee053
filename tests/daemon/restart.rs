//! What survives the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::namespace::{in_namespace, ip};
use crate::program::{Lab, sh, wait_for};

const BY_HAND: &str = "198.51.100.9";
const CASE: &str = "bt-libtorrent-v4";
const EMPTY_NETFILTER: &str = "nft flush ruleset; ipset destroy";

/// What another backend holds from an earlier run is told, can be ended, and goes with all the rest.
#[test]
fn bans_that_another_backend_has_kept_are_told_and_can_be_ended() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let told = "ipset still drops for 1 bans of an earlier run";
        let hold = || {
            let daemon = lab.start(&[]);
            lab.say(&["ban", BY_HAND]);
            daemon.terminate();
        };
        for other in [&["--backend", "nftables"][..], &["--monitor-only"]] {
            hold();
            let daemon = lab.start(other);
            daemon.wait_line(told);
            let check = lab.say(&[&["check"], other].concat());
            assert!(check.contains(told), "{check}");
            assert!(
                !lab.run(&[&["teardown"], other].concat()).status.success() || other == ["--monitor-only"]
            );
            lab.say(&["teardown", "--backend", "ipset"]);
            assert_eq!(sh("ipset list -name"), "");
            daemon.terminate();
            let daemon = lab.start(other);
            assert_eq!(daemon.lines("ipset still drops"), 0);
            daemon.terminate();
        }
        hold();
        lab.start(&["--backend", "nftables"]).terminate();
        let said = lab.say(&["teardown"]);
        assert!(
            said.starts_with("ipset: sets") && said.contains("\nnftables: sets"),
            "{said}"
        );
        assert_eq!(sh("ipset list -name; nft list tables"), "");
    });
}

/// Address, technique and reason of each ban.
fn known(lab: &Lab) -> Vec<(String, String, String)> {
    let mut known: Vec<_> = lab
        .bans()
        .iter()
        .map(|ban| {
            let text = |key| ban[key].as_str().unwrap_or("nobody knows").to_owned();
            (text("address"), text("technique"), text("reason"))
        })
        .collect();
    known.sort();
    known
}

/// `reboot` empties the kernel.
fn check_kill_and_reboot(lab: impl FnOnce() -> Lab + Send + 'static, reboot: &'static str) {
    in_namespace(move || {
        let lab = lab();
        let daemon = lab.start(&[]);
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        lab.say(&["ban", BY_HAND, "--for", "2h"]);
        let before = known(&lab);
        assert!(before.len() >= 2, "{before:?}");
        assert!(
            before.iter().any(|(_, technique, _)| technique == "by-hand"),
            "{before:?}"
        );
        assert!(
            before.iter().all(|(_, technique, _)| technique != "unknown"),
            "{before:?}"
        );
        let is_written = || {
            let text = fs::read_to_string(lab.state_file()).unwrap_or_default();
            before.iter().all(|(address, ..)| text.contains(address))
        };
        wait_for("all bans are written", is_written);
        let mode = |name| fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("state"), mode("run/control.sock")), (0o700, 0o600));

        daemon.kill();
        assert_eq!(known(&lab), before, "without a daemon");
        let daemon = lab.start(&[]);
        assert_eq!(known(&lab), before, "after kill -9");

        daemon.kill();
        sh(reboot);
        let daemon = lab.start(&[]);
        daemon.wait_line("are put back");
        assert_eq!(known(&lab), before, "after a reboot");
        let left = |ban: &serde_json::Value| ban["remaining_seconds"].as_u64().unwrap();
        let by_hand = lab
            .bans()
            .into_iter()
            .find(|ban| ban["address"] == BY_HAND)
            .unwrap();
        assert!((6_900..=7_200).contains(&left(&by_hand)), "{by_hand}");
        daemon.terminate();

        // What is lifted while nobody runs stays lifted.
        assert!(lab.say(&["unban", BY_HAND]).contains("unbanned"));
        without_a_daemon(&lab);
        assert_eq!(known(&lab).len(), before.len() - 1);
        let daemon = lab.start(&["--cleanup-on-stop"]);
        assert_eq!(known(&lab).len(), before.len() - 1);
        daemon.terminate();
        // Nobody is listed, whether sets are left or were removed with their bans.
        assert_eq!(lab.run(&["bans", "--format", "json"]).stdout, b"");
        assert!(!lab.state_file().exists());
    });
}

/// Bans made while nobody runs are remembered; they end with what is allowed or lifted.
fn without_a_daemon(lab: &Lab) {
    let before = known(lab);
    lab.say(&["ban", "192.0.2.7", "192.0.2.8", "2001:db8:7::/64", "--for", "2h"]);
    let daemon = lab.start(&[]);
    assert_eq!(known(lab).len(), before.len() + 3);
    daemon.kill();
    sh("nft flush ruleset; ipset destroy");
    lab.start(&[]).terminate();
    let by_hand = |ban: &&(String, String, String)| ban.1 == "by-hand";
    assert_eq!(known(lab).iter().filter(by_hand).count(), 3, "after a reboot");

    let said = lab.say(&["allow", "192.0.2.0/29"]);
    assert!(
        said.contains("no btblocker is running: 1 ban lifted") && said.contains("`allow`"),
        "{said}"
    );
    lab.say(&["ban", "192.0.2.8/31"]);
    let said = lab.say(&["unban", "192.0.2.8"]);
    assert_eq!(said, "192.0.2.8 unbanned, but still banned with 192.0.2.8/31\n");
    lab.say(&["ban", "192.0.2.8"]);
    lab.say(&["unban", "192.0.2.8/31"]);
    let said = lab.say(&["unban", "2001:db8:7::9", "192.0.2.8", "192.0.2.9"]);
    assert_eq!(
        said,
        "2001:db8:7::/64 unbanned\n192.0.2.8 unbanned\n192.0.2.9 was not banned\n"
    );
    lab.start(&[]).terminate();
    assert_eq!(known(lab), before, "nothing comes back");
}

/// Commands without a daemon when the kernel has lost the sets that they would write to.
#[test]
fn what_is_remembered_is_lifted_without_sets_as_well() {
    in_namespace(|| {
        for backend in ["ipset", "nftables"] {
            let lab = Lab::new(backend);
            let daemon = lab.start(&[]);
            lab.say(&["ban", "198.51.100.0/24", "192.0.2.7", "192.0.2.8", "2001:db8::9"]);
            daemon.terminate();
            sh(EMPTY_NETFILTER);
            let said = lab.say(&["unban", "198.51.100.9", "192.0.2.1"]);
            let lines: Vec<&str> = said.lines().collect();
            assert!(
                lines.len() == 3 && lines[0].contains("does not exist: bans that the next start"),
                "{said}"
            );
            assert_eq!(
                lines[1..],
                ["198.51.100.0/24 unbanned", "192.0.2.1 was not banned"]
            );
            assert!(lab.say(&["allow", "192.0.2.7"]).contains("1 ban lifted"));
            let daemon = lab.start(&[]);
            let left: Vec<String> = known(&lab).into_iter().map(|(address, ..)| address).collect();
            assert_eq!(left, ["192.0.2.8", "2001:db8::9"]);
            daemon.terminate();
            if backend == "ipset" {
                // One of two sets.
                sh("nft delete table ip6 btblocker; ipset destroy torrent_block6");
            } else {
                sh(EMPTY_NETFILTER);
            }
            let said = lab.say(&["unban", "--all"]);
            assert!(
                said.contains("192.0.2.8 unbanned") && said.contains("2001:db8::9 unbanned"),
                "{said}"
            );
            assert!(!lab.state_file().exists());
            lab.start(&[]).terminate();
            assert_eq!(known(&lab), []);
            sh(EMPTY_NETFILTER);
            sh("ip link delete bt0");
        }
    });
}

#[test]
fn a_backend_that_keeps_nothing_claims_nothing() {
    in_namespace(|| {
        let lab = Lab::new("dry-run");
        let said = lab.say(&["setup"]);
        assert!(
            said.contains("on paper only") && !said.contains("in place"),
            "{said}"
        );
        assert_eq!(lab.say(&["teardown"]), "");
        let refused = lab.run(&["ban", BY_HAND]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("dry-run bans nobody without one"), "{error}");
        #[cfg(feature = "xdp")]
        {
            let xdp = ["--backend", "xdp", "--xdp-pin", "off", "--xdp-mode", "generic"];
            let refused = lab.run(&[&["setup"], &xdp[..]].concat());
            let error = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(
                !refused.status.success() && error.contains("nothing is pinned"),
                "{error}"
            );
        }
    });
}

#[test]
fn a_remembered_ban_that_the_kernel_refuses_keeps_it_not_from_starting() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.0/24"]);
        // A network within another, which nftables does not take.
        let refused = lab.run(&["ban", "198.51.100.16/28"]);
        assert_eq!(refused.status.code(), Some(1));
        daemon.terminate();
        assert!(
            fs::read_to_string(lab.state_file())
                .unwrap()
                .contains("198.51.100.16/28")
        );

        let daemon = lab.start(&[]);
        daemon.wait_line("it overlaps a network that is banned already");
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        assert_eq!(
            lab.say(&["unban", "198.51.100.16/28"]),
            "198.51.100.16/28 unbanned, but still banned with 198.51.100.0/24\n"
        );
        assert!(lab.bans().iter().any(|ban| ban["address"] == "198.51.100.0/24"));
        daemon.terminate();
    });
}

#[test]
fn nobody_is_banned_without_a_daemon_whom_it_would_not_ban() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        ip("addr add 192.0.2.1/24 dev bt0");
        ip("route add default via 192.0.2.254");
        ip("addr add 2001:db8::1/64 dev bt0 nodad");
        ip("route add default via 2001:db8::fe");
        lab.say(&["setup"]);
        for (address, why) in [
            ("192.0.2.1", "own-address"),
            ("192.0.2.254", "gateway"),
            ("2001:db8::1", "own-address"),
            ("2001:db8::fe", "gateway"),
            ("2001:db8::/64", "own-address"),
            ("127.0.0.1", "loopback"),
        ] {
            let refused = lab.run(&["ban", address]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1));
            assert!(
                said.contains(&format!("is never banned ({why})")),
                "{address}: {said}"
            );
        }
        assert_eq!(known(&lab), []);
        lab.say(&["ban", "192.0.2.7", "2001:db8:7::7"]);
        assert_eq!(lab.say(&["unban", "--all"]).lines().count(), 2);
        assert_eq!(lab.say(&["unban", "--all"]), "nobody is banned\n");
        assert_eq!(known(&lab), []);
    });
}

#[test]
fn bans_survive_kill_and_reboot_with_their_reasons_in_ipset() {
    check_kill_and_reboot(|| Lab::new("ipset"), EMPTY_NETFILTER);
}

#[test]
fn bans_survive_kill_and_reboot_with_their_reasons_in_nftables() {
    check_kill_and_reboot(|| Lab::new("nftables"), EMPTY_NETFILTER);
}

#[cfg(feature = "xdp")]
#[test]
fn bans_survive_kill_and_reboot_with_their_reasons_in_xdp() {
    let lab = || {
        let pins = crate::program::bpf_filesystem();
        let mut lab = Lab::new("xdp");
        lab.variables = vec![
            ("BTBLOCKER_XDP_PIN", pins.to_owned()),
            ("BTBLOCKER_XDP_MODE", "generic".to_owned()),
        ];
        lab
    };
    check_kill_and_reboot(lab, "rm -r /run/bpf/btblocker");
}

#[test]
fn a_torn_state_file_is_set_aside_and_nothing_else_happens() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&[]);
        lab.say(&["ban", BY_HAND]);
        let text = || fs::read_to_string(lab.state_file()).unwrap_or_default();
        wait_for("the ban is written", || text().contains(BY_HAND));
        daemon.kill();
        let whole = text();
        fs::write(lab.state_file(), &whole[..whole.len() / 2]).unwrap();
        let daemon = lab.start(&[]);
        assert!(daemon.wait_line("set aside as").contains("ERROR"));
        assert_eq!(known(&lab).len(), 1, "the kernel still holds it");
        wait_for("the file is made anew", || text().contains(BY_HAND));
        let aside = fs::read_dir(lab.path("state")).unwrap().flatten();
        assert_eq!(
            aside
                .filter(|entry| entry.file_name().to_string_lossy().contains(".bad-"))
                .count(),
            1
        );
    });
}

#[test]
fn a_kill_while_the_file_is_written_loses_nothing() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let mut banned = 0;
        for round in 0..8 {
            let daemon = lab.start(&[]);
            let hosts: Vec<String> = (0..100).map(|last| format!("198.51.{round}.{last}")).collect();
            let words: Vec<&str> = ["ban"]
                .into_iter()
                .chain(hosts.iter().map(String::as_str))
                .collect();
            // Each has the file written anew.
            lab.say(&words);
            banned += hosts.len();
            daemon.kill();
            // Whenever that was, the file is whole, old or new, and the kernel holds the rest.
            let text = fs::read_to_string(lab.state_file()).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
            assert_eq!(known(&lab).len(), banned, "round {round}");
        }
        let daemon = lab.start(&[]);
        assert_eq!((known(&lab).len(), daemon.lines("set aside")), (banned, 0));
    });
}

#[test]
fn a_disk_that_refuses_costs_one_line_and_no_ban() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&["--state-dir", "/dev/null/state"]);
        let line = daemon.wait_line("bans are in force, but not remembered");
        assert!(line.contains("/dev/null/state"), "{line}");
        for last in 1..5 {
            lab.say(&["ban", &format!("198.51.100.{last}")]);
        }
        assert_eq!(known(&lab).len(), 4);
        assert_eq!(daemon.lines("not remembered"), 1);
        daemon.terminate();
    });
}

#[test]
fn the_next_ban_lasts_twice_as_long_after_a_restart_too() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let options = ["--ban-escalation", "1h", "--ban-duration", "2s"];
        let daemon = lab.start(&options);
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        daemon.wait_line("the time is over");
        daemon.terminate();
        let daemon = lab.start(&options);
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        let ban = lab.bans().remove(0);
        assert_eq!(ban["times"], 2, "{ban}");
        assert!(ban["remaining_seconds"].as_u64() >= Some(2), "{ban}");
    });
}

#[test]
fn nothing_is_remembered_of_bans_on_paper() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&["--monitor-only"]);
        lab.say(&["ban", BY_HAND]);
        assert_eq!(known(&lab).len(), 1);
        daemon.terminate();
        assert!(!lab.path("state").exists());
    });
}
