//! Settled flows end in the kernel, also for a daemon with few rights; without CAP_BPF all works as before.

use serde_json::Value;

use crate::namespace::in_namespace;
use crate::program::{Daemon, Lab, wait_for};

/// A datagram of no interest, in an Ethernet frame.
fn junk() -> Vec<u8> {
    let mut frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0].to_vec();
    frame.extend([
        0x45, 0, 0, 128, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1,
    ]);
    frame.extend([0x4e, 0x20, 0x11, 0x94, 0, 108, 0, 0]);
    frame.extend([0xee; 100]);
    frame
}

fn status(lab: &Lab) -> Value {
    serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap()
}

/// Sends until so many frames have come to the daemon or ended before; its status.
fn send(lab: &Lab, until: impl Fn(&Value) -> bool) -> Value {
    let mut wire = pcap::Capture::from_device("bt1").unwrap().open().unwrap();
    let mut now = Value::Null;
    wait_for("frames arrive", || {
        for _ in 0..100 {
            wire.sendpacket(junk()).unwrap();
        }
        now = status(lab);
        until(&now)
    });
    now
}

fn left_out(status: &Value) -> u64 {
    status["interfaces"][0]["left_out"].as_u64().unwrap()
}

/// The daemon bans whoever speaks BitTorrent.
fn still_bans(lab: &Lab, daemon: &Daemon) {
    lab.replay("bt-libtorrent-v4");
    daemon.wait_line(": banned ");
}

#[test]
fn settled_flows_end_early_though_rights_are_given_up() {
    for workers in ["--workers=0", "--workers=2"] {
        in_namespace(move || {
            let lab = Lab::with_mode("nftables", 0o755);
            let daemon = lab.start(&["--early-exit", "--user=65533", workers]);
            let held = daemon.fields("CapEff");
            assert!(held.iter().all(|held| held == "0000000000003000"), "{held:?}");
            let status = send(&lab, |status| left_out(status) > 100);
            assert_eq!(status["early_exit"], "on");
            let bytes = status["interfaces"][0]["left_out_bytes"].as_u64().unwrap();
            assert_eq!(bytes, left_out(&status) * junk().len() as u64);
            still_bans(&lab, &daemon);
            daemon.terminate();
        });
    }
}

#[test]
fn nothing_ends_early_unless_asked_for() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        let status = send(&lab, |status| status["counters"]["settled"].as_u64() > Some(500));
        assert_eq!(
            (&status["early_exit"], left_out(&status)),
            (&Value::from("off"), 0)
        );
        let said = lab.say(&["check"]);
        assert!(!said.contains("early exit"), "{said}");
        daemon.terminate();
    });
}

#[test]
fn without_the_right_to_load_it_all_works_as_before() {
    const LACKING: &[&str] = &[
        "setpriv",
        "--bounding-set=-bpf,-sys_admin",
        "--inh-caps=-bpf,-sys_admin",
    ];
    in_namespace(|| {
        let lab = Lab::with_mode("nftables", 0o755);
        let daemon = lab.start_under(LACKING, &["--early-exit"]);
        let warning = daemon.wait_line("no early exit");
        for part in ["WARN", "CAP_BPF", "Operation not permitted"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(daemon.lines("early exit"), 1);
        let status = send(&lab, |status| status["counters"]["settled"].as_u64() > Some(500));
        let state = status["early_exit"].as_str().unwrap();
        assert!(
            state.starts_with("not possible: ") && left_out(&status) == 0,
            "{state}"
        );
        still_bans(&lab, &daemon);
        daemon.terminate();

        let said = lab.say(&["check", "--early-exit"]);
        assert!(said.contains("ok    early exit of settled flows"), "{said}");
        let output = lab
            .command_under(LACKING, &["check", "--early-exit"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let line = said.lines().find(|line| line.contains("early exit")).unwrap();
        assert!(line.starts_with("warn") && line.contains("CAP_BPF"), "{line}");
    });
}
