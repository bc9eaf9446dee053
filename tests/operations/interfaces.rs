//! Sections of the configuration hold on their interface only.

use std::fs;

use crate::lab::{Daemon, WATCHED, play, play_into};
use crate::namespace::{in_namespace, veth};

/// A second interface, beside [`WATCHED`].
const SECOND: &str = "second0.7";
const SECOND_PEER: &str = "secondpeer";

/// A daemon on both interfaces, with this in the second one's section.
fn daemon(section: &str, arguments: &[&str]) -> (tempfile::TempDir, Daemon) {
    veth(WATCHED, "peer");
    veth(SECOND, SECOND_PEER);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("btblocker.toml");
    fs::write(&file, format!("[interfaces.\"{SECOND}\"]\n{section}")).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let mut daemon = Daemon::spawn_on(&[WATCHED, SECOND], &[&config, arguments].concat(), &[]);
    daemon.wait_for("ready");
    (folder, daemon)
}

#[test]
fn an_interface_that_is_only_monitored_bans_nobody() {
    in_namespace(|| {
        let (_folder, mut daemon) = daemon("monitor_only = true", &["--backend=nftables"]);
        play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
        let line = daemon.wait_for("10.77.1.11 would be banned");
        assert!(line.contains(SECOND) && line.contains("handshake"), "{line}");
        play("bt-transmission-v4");
        daemon.wait_for(&format!("{WATCHED}: banned 10.77.1.11"));
        let (seen, _) = daemon.stop();
        assert!(
            !seen
                .iter()
                .any(|line| line.contains(&format!("{SECOND}: banned"))),
            "{seen:#?}"
        );
    });
}

#[test]
fn one_interface_bans_while_the_others_are_only_monitored() {
    in_namespace(|| {
        let section = "monitor_only = false";
        let (_folder, mut daemon) = daemon(section, &["--monitor-only", "--backend=nftables"]);
        play("bt-aria2-v6");
        daemon.wait_for(&format!("{WATCHED}: fd77:1::11 would be banned"));
        play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
        daemon.wait_for(&format!("{SECOND}: banned 10.77.1.11"));
        let rules = std::process::Command::new("nft")
            .args(["list", "ruleset"])
            .output()
            .unwrap();
        let rules = String::from_utf8(rules.stdout).unwrap();
        assert!(
            rules.contains("10.77.1.11 expires") && !rules.contains("fd77:1::11"),
            "{rules}"
        );
    });
}

#[test]
fn an_interface_has_its_own_ban_duration() {
    in_namespace(|| {
        let (_folder, mut daemon) = daemon("ban_duration = \"1s\"", &["--monitor-only"]);
        play("bt-aria2-v6");
        daemon.wait_for(&format!("{WATCHED}: banned fd77:1::11"));
        play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
        daemon.wait_for("unbanned 10.77.1.11: the time is over");
        let (seen, _) = daemon.stop();
        assert!(
            !seen.iter().any(|line| line.contains("unbanned fd77")),
            "{seen:#?}"
        );
    });
}

#[test]
fn an_interface_has_its_own_ban_target() {
    in_namespace(|| {
        let (_folder, mut daemon) = daemon("ban_target = \"remote\"", &["--monitor-only"]);
        play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
        daemon.wait_for(&format!("{SECOND}: banned 203.0.113.11"));
        play("bt-aria2-v6");
        daemon.wait_for(&format!("{WATCHED}: banned fd77:1::11"));
        let (seen, _) = daemon.stop();
        assert!(
            !seen.iter().any(|line| line.contains("banned 10.77.1.11")),
            "{seen:#?}"
        );
    });
}

#[test]
fn an_interface_has_its_own_sensitivity_and_exempt_ports() {
    // Each of them keeps the encrypted flow from being recognised, on the second interface only.
    for (section, case) in [
        ("sensitivity = \"strict\"", "bt-libtorrent-rc4"),
        ("exempt_ports = \"6881\"", "bt-libtorrent-rc4-http-tracker"),
    ] {
        in_namespace(move || {
            let (_folder, mut daemon) = daemon(section, &["--monitor-only", "--log-level=debug"]);
            play_into(SECOND_PEER, &format!("{case}-v4"));
            play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
            daemon.wait_for("\"technique\":\"handshake\"");
            play(&format!("{case}-v6"));
            let line = daemon.wait_for("\"technique\":\"mse\"");
            assert!(line.contains(WATCHED), "{line}");
            let (seen, _) = daemon.stop();
            let encrypted = |line: &&String| line.contains("\"technique\":\"mse\"");
            let second = seen.iter().filter(encrypted).find(|line| line.contains(SECOND));
            assert_eq!(second, None);
        });
    }
}

#[test]
fn a_section_of_an_interface_that_is_not_watched_is_an_error() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("btblocker.toml");
        fs::write(&file, "[interfaces.wg9]\nmonitor_only = true").unwrap();
        let daemon = Daemon::spawn_on(&[WATCHED], &["--config", file.to_str().unwrap()], &[]);
        let (seen, status) = daemon.end();
        assert_eq!(status.code(), Some(2), "{seen:#?}");
        let error = seen.join("\n");
        for part in [
            "interfaces.wg9: wg9 is not watched, only watched",
            "btblocker.toml:1",
        ] {
            assert!(error.contains(part), "{error}");
        }
    });
}

#[test]
fn sections_are_shown_with_their_sources_and_read_again() {
    in_namespace(|| {
        let (folder, mut daemon) = daemon(
            "ban_target = \"remote\"\nban_duration = \"1s\"",
            &["--monitor-only"],
        );
        let file = folder.path().join("btblocker.toml");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_btblocker"))
            .args([
                "--interface",
                SECOND,
                "--config",
                file.to_str().unwrap(),
                "config",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for (key, value, line) in [("ban_target", "remote", 2), ("ban_duration", "1s", 3)] {
            let wanted = format!(
                "interfaces.\"{SECOND}\".{key} = \"{value}\"  # file {}:{line}",
                file.display()
            );
            assert!(
                text.lines().any(|found| found == wanted),
                "{wanted} is not in {text}"
            );
        }
        fs::write(
            &file,
            format!("[interfaces.\"{SECOND}\"]\nban_target = \"client\""),
        )
        .unwrap();
        daemon.signal(libc::SIGHUP);
        let line = daemon.wait_for("read again");
        assert!(line.contains("changed: interfaces"), "{line}");
        play_into(SECOND_PEER, "bt-libtorrent-plain-v4");
        daemon.wait_for(&format!("{SECOND}: banned 10.77.1.11"));
        fs::write(
            &file,
            "interface = \"auto\"\n[interfaces.wg9]\nmonitor_only = true",
        )
        .unwrap();
        daemon.signal(libc::SIGHUP);
        let line = daemon.wait_for("was not read again");
        assert!(line.contains("wg9"), "{line}");
    });
}
