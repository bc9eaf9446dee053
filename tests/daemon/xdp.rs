//! What only the XDP backend has.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::namespace::{in_namespace, ip};
use crate::program::{Daemon, Lab, eventually, mount, own_mounts, sh, wait_for};

/// All of its packets are from or to 10.77.1.11.
const CASE: &str = "bt-libtorrent-v4";

fn start(lab: &Lab, words: &[&str]) -> Daemon {
    lab.start(&[&["--xdp-pin", "off", "--xdp-mode", "generic"], words].concat())
}

/// A lab and a folder for pins, on a bpf filesystem that only the calling thread and its programs see.
fn with_pins() -> (Lab, PathBuf) {
    own_mounts();
    let lab = Lab::with_mode("xdp", 0o755);
    let folder = lab.path("bpf");
    std::fs::create_dir(&folder).unwrap();
    mount(&format!("-t bpf none {}", folder.display()));
    (lab, folder.join("pins"))
}

fn status(lab: &Lab) -> Value {
    serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap()
}

#[test]
fn packets_are_counted_in_status_and_metrics() {
    in_namespace(|| {
        let lab = Lab::new("xdp");
        // Nobody is banned for what is sent.
        let words = ["--classes", "blizzard", "--metrics-listen", "127.0.0.1:9475"];
        let _daemon = start(&lab, &words);
        let counter = |name: &str| status(&lab)["xdp"][name].as_u64().unwrap();
        lab.say(&["ban", "10.77.1.11", "2001:db8::/32"]);
        let before = counter("passed");
        let sent = lab.replay(CASE);
        wait_for("all IPv4 packets are dropped", || counter("dropped_v4") >= sent);
        assert!(counter("dropped_bytes") > 20 * sent);
        lab.say(&["unban", "--all"]);
        let dropped = counter("dropped_v4");
        lab.replay(CASE);
        wait_for("all pass", || counter("passed") >= before + sent);
        assert_eq!((counter("dropped_v4"), counter("dropped_v6")), (dropped, 0));

        let text = lab.say(&["status"]);
        let row = format!("{:<24} {dropped}", "xdp.dropped_v4");
        assert!(text.lines().any(|line| line == row), "{row:?} is not in {text}");
        wait_for("metrics are served", || {
            let mut stream = TcpStream::connect("127.0.0.1:9475").unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let wanted = format!("btblocker_xdp_packets_total{{outcome=\"dropped-v4\"}} {dropped}");
            text.lines().any(|line| line == wanted)
        });
    });
}

#[test]
fn a_driver_without_xdp_is_said_and_the_stack_runs_the_program() {
    in_namespace(|| {
        let lab = Lab::new("xdp");
        ip("tuntap add dev bt9 mode tun");
        ip("link set bt9 up");
        let words = ["--interface", "bt9", "--xdp-pin", "off", "--xdp-mode"];
        let daemon = lab.start(&[&words[..], &["auto"]].concat());
        let line = daemon.wait_line("the driver of bt9 does not take the program");
        assert!(line.contains("WARN") && line.contains("generic"), "{line}");
        sh("ip link show bt9 | grep ' xdpgeneric '");
        daemon.terminate();
        let refused = lab.run(&[&words[..], &["native"]].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains("its driver has no native XDP: choose the mode generic or auto"),
            "{said}"
        );
    });
}

#[test]
fn cleanup_interval_says_when_maps_are_swept() {
    for (interval, swept) in [("1s", true), ("1h", false)] {
        in_namespace(move || {
            let lab = Lab::new("xdp");
            let daemon = start(&lab, &["--cleanup-interval", interval]);
            lab.say(&["ban", "198.51.100.9", "--for", "1s"]);
            daemon.wait_line("unbanned 198.51.100.9: the time is over");
            let is_swept = || status(&lab)["bans"]["swept"] == 1;
            let took = eventually(Duration::from_secs(if swept { 20 } else { 5 }), is_swept);
            assert_eq!(took.is_some(), swept, "{interval}: {took:?}");
        });
    }
}

#[test]
fn the_program_is_attached_as_asked() {
    for (mode, shown) in [("generic", "xdpgeneric"), ("native", "xdp")] {
        in_namespace(move || {
            let lab = Lab::new("xdp");
            let _daemon = lab.start(&["--xdp-pin=off", "--xdp-mode", mode]);
            sh(&format!("ip link show bt0 | grep ' {shown} '"));
        });
    }
}

#[test]
fn bans_outlive_the_daemon_where_maps_are_pinned() {
    for (pinned, left) in [(true, 1), (false, 0)] {
        in_namespace(move || {
            let (lab, pins) = with_pins();
            let pin = if pinned { pins.to_str().unwrap() } else { "off" };
            let options = ["--state-dir=", "--xdp-mode=generic", "--xdp-pin", pin];
            let daemon = lab.start(&options);
            lab.say(&["ban", "198.51.100.9"]);
            daemon.terminate();
            let daemon = lab.start(&options);
            assert_eq!(lab.bans().len(), left, "{pin}");
            daemon.terminate();
        });
    }
}

#[test]
fn cleanup_on_stop_leaves_no_program_and_no_pins() {
    in_namespace(|| {
        let (lab, pins) = with_pins();
        let pin = ["--xdp-mode", "generic", "--xdp-pin", pins.to_str().unwrap()];
        let is_attached = || sh("ip -details link show bt0").contains("prog/xdp");
        for (words, stays) in [(&[][..], true), (&["--cleanup-on-stop"][..], false)] {
            let daemon = lab.start(&[&pin, words].concat());
            lab.say(&[&["ban", "198.51.100.9"], &pin[..]].concat());
            assert!(is_attached());
            daemon.terminate();
            assert_eq!((is_attached(), pins.exists()), (stays, stays), "{words:?}");
        }
        assert_eq!(lab.start(&pin).lines("bans of an earlier run"), 0);
    });
}
