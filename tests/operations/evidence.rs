//! Evidence files of a running daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Daemon, cable, play, until};
use crate::metrics::{ADDRESS, get, value};
use crate::namespace::in_namespace;

const HOST: &str = "10.77.1.11";

#[test]
fn the_packets_of_a_ban_are_written_and_give_it_again() {
    // Through the capture threads alone, and through workers.
    for workers in ["--workers=0", "--workers=2"] {
        in_namespace(move || {
            cable();
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("evidence");
            let arguments = [
                "--monitor-only",
                workers,
                "--evidence-dir",
                folder.to_str().unwrap(),
            ];
            let mut daemon = Daemon::start(&arguments);
            play("bt-libtorrent-plain-v4");
            daemon.wait_for(&format!("banned {HOST}"));
            assert!(daemon.stop().1.success());
            let files = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            let file = files().find(|path| path.to_str().unwrap().ends_with("-10.77.1.11.pcapng"));
            let file = file.expect("the host has a file");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let replay = Command::new(env!("CARGO_BIN_EXE_btblocker"))
                .arg("replay")
                .arg(&file)
                .output()
                .unwrap();
            let text = String::from_utf8(replay.stdout).unwrap();
            assert!(
                text.lines()
                    .any(|line| line.contains(HOST) && line.contains("handshake")),
                "{text}"
            );
        });
    }
}

#[test]
fn evidence_files_are_bounded_in_number() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let arguments = [
            "--monitor-only",
            "--evidence-dir",
            folder.path().to_str().unwrap(),
        ];
        let mut daemon = Daemon::start(&[&arguments[..], &["--evidence-keep=1"]].concat());
        for case in ["bt-libtorrent-plain-v4", "bt-libtorrent-dht", "bt-aria2-v6"] {
            play(case);
        }
        daemon.wait_for("banned fd77:1::11");
        daemon.stop();
        let files: Vec<PathBuf> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
    });
}

#[test]
fn evidence_files_are_bounded_in_size() {
    for (option, fits) in [
        ("--evidence-max-size=16384", true),
        ("--evidence-max-size=131072", false),
    ] {
        in_namespace(move || {
            cable();
            let folder = tempfile::tempdir().unwrap();
            let arguments = [
                "--monitor-only",
                option,
                "--evidence-dir",
                folder.path().to_str().unwrap(),
            ];
            let mut daemon = Daemon::start(&[&arguments[..], &["--local-networks=10.77.0.0/16"]].concat());
            // Encrypted connections to several peers: only together do they lead to a ban.
            for client in ["deluge", "ktorrent", "libtorrent", "biglybt"] {
                play(&format!("bt-{client}-rc4-v4"));
            }
            daemon.wait_for(&format!("banned {HOST}"));
            assert!(daemon.stop().1.success());
            let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
            let size = file.metadata().unwrap().len();
            assert_eq!((500..=16_384).contains(&size), fits, "{option}: {size} bytes");
        });
    }
}

/// Mounts a disk of 8 KiB for this thread and its children.
fn small_disk(place: &Path) {
    // SAFETY: unshare takes no pointer; only this thread changes its namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    for arguments in [
        "--make-rprivate /".to_owned(),
        format!("-t tmpfs -o size=8k none {}", place.display()),
    ] {
        let status = Command::new("mount").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "mount {arguments}");
    }
}

#[test]
fn a_full_disk_costs_evidence_only() {
    in_namespace(|| {
        cable();
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("disk");
        fs::create_dir(&folder).unwrap();
        small_disk(&folder);
        fs::write(folder.join("filler"), [0; 8_192]).unwrap();
        let arguments = ["--monitor-only", "--evidence-dir", folder.to_str().unwrap()];
        let mut daemon = Daemon::start(&[&arguments[..], &["--metrics-listen", ADDRESS]].concat());
        play("bt-libtorrent-plain-v4");
        daemon.wait_for("evidence files cannot be written");
        let sample = "btblocker_dropped_events_total{place=\"evidence-files\"}";
        until("the counter", || {
            value(&get("/metrics"), sample).filter(|lost| *lost >= 1.0)
        });
        // Nothing is left of a file that did not fit; when there is room again, files are written.
        let left = || fs::read_dir(&folder).unwrap().count();
        assert_eq!(left(), 1);
        fs::remove_file(folder.join("filler")).unwrap();
        // Of a host that is not banned yet.
        play("bt-aria2-v6");
        daemon.wait_for("written again");
        assert!(left() > 0);
        assert!(daemon.stop().1.success());
    });
}
