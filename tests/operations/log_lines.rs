//! Log lines of a running daemon, by where standard error goes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::lab::{Daemon, WATCHED, cable, play};
use crate::namespace::in_namespace;

#[test]
fn text_lines_name_the_interface_and_have_no_colours_in_a_file() {
    in_namespace(|| {
        cable();
        let mut daemon = Daemon::start(&["--monitor-only"]);
        play("bt-libtorrent-plain-v4");
        let line = daemon.wait_for("banned");
        assert!(
            line.starts_with('[')
                && line.contains("INFO ] watched: banned ")
                && line.contains(" on paper only: "),
            "{line}"
        );
        let (seen, _) = daemon.stop();
        assert!(seen.iter().all(|line| !line.contains('\x1b')), "{seen:#?}");
        assert!(
            seen.iter()
                .any(|line| line.contains("watched: capturing on watched")),
            "{seen:#?}"
        );
    });
}

#[test]
fn json_lines_have_time_level_interface_host_and_message() {
    in_namespace(|| {
        cable();
        let mut daemon = Daemon::start(&["--monitor-only", "--log-format=json"]);
        play("bt-libtorrent-plain-v4");
        let line = daemon.wait_for("banned");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        for (key, value) in [
            ("level", "info"),
            ("interface", WATCHED),
            ("technique", "handshake"),
        ] {
            assert_eq!(read[key], value, "{line}");
        }
        assert!(read["host"].as_str().unwrap().contains('.'), "{line}");
        assert!(read["message"].as_str().unwrap().starts_with("banned "), "{line}");
        for line in daemon.stop().0 {
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    });
}

#[test]
fn a_journal_gets_priorities_instead_of_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    for (format, own, start) in [
        ("text", true, "<3>"),
        ("json", true, "<3>{"),
        ("text", false, "["),
        ("json", false, "{"),
    ] {
        let journal = File::create(&path).unwrap();
        assert!(journal.as_raw_fd() >= 0);
        let metadata = journal.metadata().unwrap();
        let inode = metadata.ino() + u64::from(!own);
        // A capture that cannot be read is an error line.
        let status = Command::new(env!("CARGO_BIN_EXE_btblocker"))
            .args(["replay", "missing.pcap", "--log-format", format])
            .env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()))
            .stderr(Stdio::from(journal))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(start), "{format}, {own}: {text}");
    }
}

#[test]
fn a_terminal_gets_colours_unless_they_are_unwanted() {
    // util-linux' script gives the program a terminal of its own.
    for (unwanted, coloured) in [(None, true), (Some("1"), false)] {
        let program = env!("CARGO_BIN_EXE_btblocker");
        let mut script = Command::new("script");
        script
            .args([
                "--quiet",
                "--command",
                &format!("{program} replay missing.pcap"),
                "/dev/null",
            ])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(unwanted.map(|value| ("NO_COLOR", value)));
        let output = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("missing.pcap"), "{text}");
        assert_eq!(text.contains("\x1b["), coloured, "{text:?}");
    }
}
