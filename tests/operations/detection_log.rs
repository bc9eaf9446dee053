//! The detection log of a running daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lab::{Daemon, cable, play};
use crate::namespace::in_namespace;

#[test]
fn recognised_flows_are_written_with_their_payload() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detections");
        let log = path.to_str().unwrap();
        let mut daemon = Daemon::start(&["--monitor-only", "--detection-log", log]);
        play("bt-libtorrent-plain-v4");
        daemon.wait_for("banned");
        assert!(daemon.stop().1.success());
        let text = fs::read_to_string(&path).unwrap();
        for part in [
            "watched: tcp 10.77.1.11:",
            "  technique    handshake ",
            "|.BitTorrent prot|",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    });
}

#[test]
fn json_detections_have_the_payload_when_asked() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detections");
        let log = path.to_str().unwrap();
        for (more, with) in [(&[][..], false), (&["--detection-log-payload"], true)] {
            let arguments = [
                &[
                    "--monitor-only",
                    "--detection-log",
                    log,
                    "--detection-log-format=json",
                ],
                more,
            ];
            let mut daemon = Daemon::start(&arguments.concat());
            play("bt-libtorrent-plain-v4");
            daemon.wait_for("banned");
            daemon.stop();
            let text = fs::read_to_string(&path).unwrap();
            let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(
                (&last["event"], last["payload"].is_string()),
                (&"detection".into(), with),
                "{last}"
            );
        }
    });
}

#[test]
fn a_missing_folder_is_one_error_line_and_a_full_file_is_moved() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let path = missing.join("detections");
        let log = path.to_str().unwrap();
        let size = ["--detection-log-max-size=4096", "--detection-log-keep=1"];
        let arguments = [&["--monitor-only", "--detection-log", log][..], &size].concat();
        let mut daemon = Daemon::start(&arguments);
        play("bt-libtorrent-plain-v4");
        daemon.wait_for("detections cannot be written");
        fs::create_dir(&missing).unwrap();
        fs::write(&path, [b'x'; 4_096]).unwrap();
        // The daemon is not root any more.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&missing, fs::Permissions::from_mode(0o777)).unwrap();
        play("bt-transmission-v4");
        daemon.wait_for("written again");
        assert!(daemon.stop().1.success());
        assert_eq!(fs::read(missing.join("detections.1")).unwrap(), [b'x'; 4_096]);
        assert!(fs::read_to_string(&path).unwrap().contains("10.77.1."));
    });
}

#[test]
fn the_first_detections_of_a_host_are_left_out_when_asked() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        for (threshold, written) in [("1", true), ("2", false)] {
            let path = folder.path().join(threshold);
            let arguments = ["--monitor-only", "--report-threshold", threshold];
            let log = ["--detection-log", path.to_str().unwrap()];
            let mut daemon = Daemon::start(&[arguments.as_slice(), &log].concat());
            // One flow, for which its host is banned in any case.
            play("bt-libtorrent-plain-v4");
            daemon.wait_for("banned 10.77.1.11");
            daemon.stop();
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(text.contains("10.77.1.11"), written, "{threshold}: {text}");
        }
    });
}

#[test]
fn as_many_rotated_files_are_kept_as_asked_for() {
    for (option, kept) in [("--detection-log-keep=0", 0), ("--detection-log-keep=2", 2)] {
        in_namespace(move || {
            cable();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("detections");
            let log = path.to_str().unwrap();
            for _ in 0..3 {
                fs::write(&path, [b'x'; 4_096]).unwrap();
                let size = "--detection-log-max-size=4096";
                let mut daemon = Daemon::start(&["--monitor-only", "--detection-log", log, size, option]);
                play("bt-libtorrent-plain-v4");
                daemon.wait_for("banned");
                assert!(daemon.stop().1.success());
                assert!(
                    fs::read_to_string(&path).unwrap().starts_with('2'),
                    "it was begun anew"
                );
            }
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + kept, "{option}");
        });
    }
}
