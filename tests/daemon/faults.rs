//! Faults from outside: a stop at any moment, disks that refuse.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::namespace::{in_namespace, ip};
use crate::program::{Lab, eventually, mount, own_mounts};

const CASE: &str = "bt-libtorrent-v4";
const BY_HAND: &str = "198.51.100.9";

#[test]
fn a_stop_at_any_moment_of_the_start_is_in_order() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&[]);
        lab.say(&["ban", BY_HAND]);
        daemon.terminate();
        for millis in (0..200).step_by(8) {
            let mut child = lab.launch();
            thread::sleep(Duration::from_millis(millis));
            // SAFETY: takes no pointer; the child has not been waited for, so its number is its own.
            assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
            let mut status = None;
            eventually(Duration::from_secs(20), || {
                status = child.try_wait().unwrap();
                status.is_some()
            });
            let status = status.unwrap_or_else(|| panic!("after {millis} ms it does not stop"));
            // Before its handlers are set up, the signal itself ends it.
            let good = status.success() || status.signal() == Some(libc::SIGTERM);
            assert!(good, "after {millis} ms: {status:?}");
        }
        // Nothing of it is in the way, and nothing is lost.
        let daemon = lab.start(&[]);
        assert!(lab.bans().iter().any(|ban| ban["address"] == BY_HAND));
        ip("link set bt0 down");
        daemon.wait_line("not capturing");
        daemon.terminate();
        ip("link set bt0 up");
        let daemon = lab.start(&["--webhook-url", "http://192.0.2.9/", "--workers=2"]);
        lab.replay(CASE);
        daemon.terminate();
    });
}

/// A disk of 64 KiB at a place, for this thread and its children.
fn small_disk(place: &Path) {
    own_mounts();
    mount(&format!("-t tmpfs -o size=64k,mode=777 none {}", place.display()));
}

#[test]
fn disks_that_are_full_or_read_only_cost_no_ban() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let disk = lab.path("disk");
        std::fs::create_dir(&disk).unwrap();
        small_disk(&disk);
        let path = |name: &str| disk.join(name).to_str().unwrap().to_owned();
        let (state, log, evidence) = (path("state"), path("log"), path("evidence"));
        for name in [&state, &evidence] {
            std::fs::create_dir(name).unwrap();
            std::fs::set_permissions(name, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        let options = [
            "--state-dir",
            &state,
            "--detection-log",
            &log,
            "--evidence-dir",
            &evidence,
        ];
        let filler = disk.join("filler");
        let fill = || std::fs::write(&filler, [0; 131_072]).is_ok();
        let remount = |how: &str| mount(&format!("-o remount,{how} {}", disk.display()));
        for full in [true, false] {
            if full {
                assert!(!fill(), "the disk is full");
            }
            let daemon = lab.start(&options);
            if !full {
                remount("ro");
            }
            lab.say(&["ban", BY_HAND]);
            lab.replay(CASE);
            for line in [
                ": banned ",
                "bans are in force, but not remembered",
                "detections cannot be written",
                "evidence files cannot be written",
            ] {
                daemon.wait_line(line);
            }
            assert!(lab.bans().len() >= 2);
            if full {
                std::fs::remove_file(&filler).unwrap();
            } else {
                remount("rw");
            }
            daemon.wait_line("are remembered again");
            lab.say(&["unban", "--all"]);
            daemon.terminate();
        }
    });
}

#[test]
fn a_report_that_finds_no_room_is_an_error_and_can_be_written_again() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let disk = lab.path("disk");
        std::fs::create_dir(&disk).unwrap();
        small_disk(&disk);
        let report = disk.join("report.html");
        let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{CASE}/input.pcap"));
        let words = [
            "replay",
            "--html",
            report.to_str().unwrap(),
            capture.to_str().unwrap(),
        ];
        let refused = |why: &str| {
            let output = lab.run(&words);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{error}");
            let place = format!("cannot write the report {}", report.display());
            assert!(error.contains(&place) && error.contains(why), "{error}");
            // What was judged is printed all the same.
            assert!(String::from_utf8_lossy(&output.stdout).contains("would be banned"));
        };
        let filler = disk.join("filler");
        assert!(std::fs::write(&filler, [0; 131_072]).is_err());
        refused("No space left on device");
        std::fs::remove_file(&filler).unwrap();
        lab.say(&words);
        mount(&format!("-o remount,ro {}", disk.display()));
        refused("Read-only file system");
    });
}

#[test]
fn an_output_that_is_full_is_an_error() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let _daemon = lab.start(&[]);
        lab.say(&["ban", BY_HAND]);
        for words in [
            &["bans"][..],
            &["status"],
            &["config"],
            &["replay", "tests/cases/honest-dns-trackers/input.pcap"],
        ] {
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            let output = lab
                .command(words)
                .stdout(full)
                .stderr(std::process::Stdio::piped())
                .output()
                .unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
            assert!(error.contains("No space left on device"), "{words:?}: {error}");
        }
    });
}
