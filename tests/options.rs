//! Options of the recognition and of the judgement change what a replay says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The lines of a replay of one recording.
fn replay(case: &str, options: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args(["replay", "--format", "json"])
        .args(options)
        .arg(root.join(case).join("input.pcap"))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{case} {options:?}: {error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Number of flows that are reported, and the hosts that would be banned.
fn outcome(case: &str, options: &[&str]) -> (usize, Vec<String>) {
    let lines = replay(case, options);
    let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    let mut hosts: Vec<String> = of("ban")
        .map(|line| line["address"].as_str().unwrap().to_owned())
        .collect();
    hosts.sort();
    (of("flow").count(), hosts)
}

const CLIENT: &str = "10.77.1.11";
const PEER: &str = "203.0.113.11";

#[test]
fn each_option_changes_what_is_found_or_banned() {
    let plain = "bt-libtorrent-plain-v4";
    let both = &[CLIENT, PEER][..];
    let tracked = &[CLIENT, "203.0.113.13"][..];
    for (case, options, flows, hosts) in [
        (plain, &[][..], 1, both),
        (plain, &["--ban-target=client"], 1, &[CLIENT]),
        (plain, &["--ban-target=remote"], 1, &[PEER]),
        (plain, &["--local-networks=10.77.0.0/16"], 1, &[CLIENT]),
        (plain, &["--local-networks=203.0.113.0/24"], 1, &[PEER]),
        (plain, &["--allow=203.0.113.0/24"], 1, &[CLIENT]),
        (plain, &["--classes=resilio"], 0, &[]),
        (plain, &["--ban-threshold=2"], 1, &[]),
        (plain, &["--report-threshold=2"], 0, both),
        ("bt-libtorrent-rc4-v4", &[], 1, both),
        ("bt-libtorrent-rc4-v4", &["--sensitivity=strict"], 0, &[]),
        ("bt-libtorrent-rc4-v4", &["--entropy-threshold=6.58"], 0, &[]),
        ("bt-libtorrent-rc4-udp-tracker-v4", &[], 2, tracked),
        (
            "bt-libtorrent-rc4-udp-tracker-v4",
            &["--exempt-ports=6881"],
            1,
            tracked,
        ),
        (plain, &["--max-bans=1"], 1, &[PEER]),
        (plain, &["--max-bans-per-minute=1"], 1, &[PEER]),
    ] {
        let (found, banned) = outcome(case, options);
        assert_eq!(
            (found, banned.as_slice()),
            (
                flows,
                hosts
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice()
            ),
            "{case} {options:?}"
        );
    }
}

#[test]
fn info_hashes_are_shown_as_the_operator_wishes() {
    let shown = |how: &str| {
        let lines = replay("bt-libtorrent-plain-v4", &["--info-hash", how]);
        let flow = lines.iter().find(|line| line["event"] == "flow").unwrap();
        flow["info_hash"].as_str().map(str::to_owned)
    };
    assert_eq!(shown("none"), None);
    let (plain, hashed) = (shown("plain").unwrap(), shown("hashed").unwrap());
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(plain.len() == 40 && is_hex(&plain), "{plain}");
    assert!(
        hashed.starts_with('#') && !hashed.contains(&plain[..8]),
        "{hashed}"
    );
}

#[test]
fn one_direction_of_a_flow_is_enough_when_the_capture_has_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let bytes = std::fs::read(root.join("bt-libtorrent-plain-v4/input.pcap")).unwrap();
    // Classic pcap, little-endian, Ethernet: the frames that the client sent.
    let (header, mut rest) = bytes.split_at(24);
    let mut half = header.to_vec();
    while let Some((record, _)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let (frame, behind) = rest.split_at(16 + length);
        if frame[16 + 26..16 + 30] == [10, 77, 1, 11] {
            half.extend(frame);
        }
        rest = behind;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input.pcap"), half).unwrap();
    let half = folder.path().to_str().unwrap();
    assert_eq!(outcome(half, &[]), (1, Vec::new()));
    assert_eq!(outcome(half, &["--one-sided"]), (1, vec![CLIENT.to_owned()]));
}
