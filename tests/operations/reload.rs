//! SIGHUP: the configuration is read again.

use std::fs;
use std::path::{Path, PathBuf};

use btblocker::config::{Config, changes_at_runtime};
use serde_json::Value;

use crate::lab::{Daemon, cable, play, until};
use crate::namespace::in_namespace;

/// A configuration file and a daemon that reads it.
struct Configured {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Configured {
    fn start(text: &str) -> Self {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("btblocker.toml");
        fs::write(&file, format!("monitor_only = true\n{text}")).unwrap();
        let daemon = Daemon::start(&["--config", file.to_str().unwrap()]);
        Self { folder, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes another configuration and has it read; waits for the line about it.
    fn reload(&mut self, text: &str) -> String {
        fs::write(
            self.path("btblocker.toml"),
            format!("monitor_only = true\n{text}"),
        )
        .unwrap();
        self.daemon.signal(libc::SIGHUP);
        self.daemon.wait_for("read again")
    }
}

#[test]
fn an_allowed_host_is_unbanned_and_not_banned_again() {
    in_namespace(|| {
        let mut lab = Configured::start("");
        play("bt-libtorrent-plain-v4");
        lab.daemon.wait_for("banned 10.77.1.11");
        // The lifted ban is told before the line about the reading.
        let line = lab.reload("allow = [\"10.77.0.0/16\", \"203.0.113.0/24\"]");
        assert!(line.contains("changed: allow"), "{line}");
        play("bt-transmission-v4");
        let (seen, _) = lab.daemon.stop();
        let lifted = seen
            .iter()
            .position(|line| line.contains("unbanned 10.77.1.11"))
            .unwrap();
        let again = seen
            .iter()
            .skip(lifted)
            .find(|line| line.contains("watched: banned"));
        assert_eq!(again, None);
    });
}

#[test]
fn a_bad_file_keeps_the_former_configuration() {
    in_namespace(|| {
        let mut lab = Configured::start("");
        let line = lab.reload("ban_duration = \"soon\"\nallow = \"10.77.0.0/16\"");
        for part in ["ERROR", "ban_duration", "soon", "btblocker.toml:2"] {
            assert!(line.contains(part), "{line}");
        }
        play("bt-libtorrent-plain-v4");
        lab.daemon.wait_for("banned 10.77.1.11");
        assert!(lab.daemon.stop().1.success());
    });
}

#[test]
fn what_cannot_change_is_named() {
    in_namespace(|| {
        let mut lab = Configured::start("");
        lab.reload("workers = 2\nmetrics_listen = \"127.0.0.1:9475\"\nban_duration = 100");
        let line = lab.daemon.wait_for("needs a restart");
        assert!(
            line.ends_with("needs a restart: metrics_listen, workers"),
            "{line}"
        );
        // What was typed stays in force, whatever the file says.
        lab.reload("interface = [\"elsewhere0\"]");
        let (seen, _) = lab.daemon.stop();
        assert!(!seen.last().unwrap().contains("interface"), "{seen:#?}");
    });
}

#[test]
fn a_detection_log_that_cannot_follow_is_explained() {
    in_namespace(|| {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let setting =
            |folder: &tempfile::TempDir, name| format!("detection_log = {:?}", folder.path().join(name));
        let mut lab = Configured::start(&setting(&here, "log"));
        for (text, follows) in [
            (setting(&here, "other"), true),
            (setting(&there, "log"), false),
            (String::new(), false),
        ] {
            let line = lab.reload(&text);
            assert_eq!(line.contains("changed: detection_log"), follows, "{line}");
            if !follows {
                lab.daemon.wait_for("needs a restart: detection_log");
                let line = lab.daemon.wait_for("moves only within its folder");
                let stays = format!(
                    "until the restart it stays \"{}\"",
                    here.path().join("other").display()
                );
                assert!(line.ends_with(&stays), "{line}");
            }
        }
    });
}

#[test]
fn recognition_judge_and_bans_follow() {
    in_namespace(|| {
        let mut lab = Configured::start("classes = \"resilio\"\nban_duration = \"1h\"");
        play("bt-libtorrent-plain-v4");
        lab.reload(
            "disable = \"handshake,peer-wire,extension,signature,dht,entropy,mse\"\nban_duration = \"1s\"",
        );
        play("bt-transmission-v4");
        // The level shows which flows are recognised.
        lab.reload("ban_duration = \"1s\"\nlog_level = \"debug\"");
        play("bt-rtorrent-v4");
        let line = lab.daemon.wait_for("\"event\":\"flow\"");
        assert!(line.contains("DEBUG"), "{line}");
        lab.daemon.wait_for("watched: banned");
        lab.daemon.wait_for("the time is over");
        let (seen, _) = lab.daemon.stop();
        let last = seen
            .iter()
            .rposition(|line| line.contains("configuration read again"))
            .unwrap();
        let early = seen
            .iter()
            .take(last)
            .find(|line| line.contains("watched: banned"));
        assert_eq!(early, None);
    });
}

/// Another value than the default of a key, as TOML.
fn another(key: &str, default: &Value) -> String {
    match (key, default) {
        ("backend", _) => "\"nftables\"".to_owned(),
        ("xdp_mode", _) => "\"generic\"".to_owned(),
        ("log_format", _) => "\"json\"".to_owned(),
        ("ipv6_prefix", _) => "64".to_owned(),
        ("metrics_listen", _) => "\"127.0.0.1:9475\"".to_owned(),
        ("webhook_url", _) => "\"http://127.0.0.1/\"".to_owned(),
        ("webhook_headers", _) => "\"X-One: 1\"".to_owned(),
        ("user", _) => "\"root\"".to_owned(),
        ("capture_delay", _) => "\"7ms\"".to_owned(),
        ("ban_escalation" | "webhook_cooldown", _) => "\"7h\"".to_owned(),
        ("set_name", _) => "\"other\"".to_owned(),
        (_, Value::Bool(value)) => (!value).to_string(),
        (_, Value::Number(value)) => (value.as_u64().unwrap() + 1).to_string(),
        _ => "\"/srv/other\"".to_owned(),
    }
}

#[test]
fn every_key_that_needs_a_restart_is_told_and_stays() {
    in_namespace(|| {
        let mut lab = Configured::start("");
        // What was typed stays, and is not told.
        let typed = ["interface", "control_socket", "state_dir"];
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let keys: Vec<(&String, &Value)> = defaults
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| !changes_at_runtime(key) && !typed.contains(&key.as_str()))
            // The lab writes it.
            .filter(|(key, _)| *key != "monitor_only")
            .collect();
        let lines: Vec<String> = keys
            .iter()
            .map(|(key, value)| format!("{key} = {}", another(key, value)))
            .collect();
        let line = lab.reload(&lines.join("\n"));
        assert!(line.contains("nothing has changed"), "{line}");
        let line = lab.daemon.wait_for("needs a restart");
        let names: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
        let told = format!("needs a restart: {}", names.join(", "));
        assert!(line.ends_with(&told), "{line}, not {told}");
        play("bt-libtorrent-plain-v4");
        lab.daemon.wait_for("banned 10.77.1.11");
        assert!(lab.daemon.stop().1.success());
    });
}

#[test]
fn the_storm_brake_follows() {
    in_namespace(|| {
        let mut lab = Configured::start("max_bans_per_minute = 1");
        play("bt-libtorrent-plain-v4");
        lab.daemon.wait_for("further hosts are only reported");
        let line = lab.reload("max_bans_per_minute = 0");
        assert!(line.contains("changed: max_bans_per_minute"), "{line}");
        play("bt-aria2-v6");
        lab.daemon.wait_for("banned fd77:1::11");
    });
}

#[test]
fn the_detection_log_is_opened_anew() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let (log, moved) = (folder.path().join("log"), folder.path().join("moved"));
        let setting = format!("detection_log = {log:?}");
        let mut lab = Configured::start(&setting);
        let lines = |path: &Path| {
            fs::read_to_string(path)
                .ok()
                .filter(|text| text.contains("speaker"))
        };
        play("bt-libtorrent-plain-v4");
        until("a first detection", || lines(&log));
        fs::rename(&log, &moved).unwrap();
        assert!(lab.reload(&setting).contains("nothing has changed"));
        play("bt-transmission-v4");
        until("a detection in the new file", || lines(&log));
        assert!(lines(&moved).is_some());
    });
}
