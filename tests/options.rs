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
        ("bt-libtorrent-rc4-v4", &["--min-payload-size=65535"], 0, &[]),
        ("bt-libtorrent-rc4-v4", &["--disable=mse,entropy"], 0, &[]),
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

/// A classic pcap of a TCP connection over IPv4 that the client opens, and of what the ends say in turn, the client
/// first.
fn conversation(turns: &[&[u8]]) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let mut file: Vec<u8> = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, RAW_IP]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut sequences = [1_000_u32, 2_000];
    let mut packet = |side: usize, flags: u8, payload: &[u8]| {
        let ends = [[10, 77, 1, 11, 0x9c, 0x40], [203, 0, 113, 11, 0x1a, 0xe1]];
        let (from, to): ([u8; 6], [u8; 6]) = (ends[side], ends[1 - side]);
        let length = 40 + payload.len() as u16;
        let mut bytes = [
            &[0x45, 0][..],
            &length.to_be_bytes(),
            &[0, 0, 0x40, 0, 64, 6, 0, 0],
        ]
        .concat();
        bytes.extend([&from[..4], &to[..4], &from[4..], &to[4..]].concat());
        let acknowledged = if flags & ACK == 0 { 0 } else { sequences[1 - side] };
        bytes.extend([sequences[side].to_be_bytes(), acknowledged.to_be_bytes()].concat());
        bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        sequences[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
        let length = bytes.len() as u32;
        file.extend(
            [1_700_000_000_u32, 0, length, length]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        file.extend(bytes);
    };
    packet(0, SYN, &[]);
    packet(1, SYN | ACK, &[]);
    packet(0, ACK, &[]);
    for (number, payload) in turns.iter().enumerate() {
        packet(number % 2, ACK, payload);
    }
    packet(turns.len() % 2, ACK, &[]);
    file
}

#[test]
fn use_of_a_proxy_counts_when_the_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let capture = conversation(&[
        &[5, 1, 0],
        &[5, 0],
        &[5, 1, 0, 1, 198, 51, 100, 7, 1, 187],
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b"SSH-2.0-OpenSSH_9.2",
    ]);
    std::fs::write(folder.path().join("input.pcap"), capture).unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(outcome(path, &[]), (0, Vec::new()));
    assert_eq!(outcome(path, &["--block-socks"]), (1, vec![CLIENT.to_owned()]));
}

#[test]
fn signatures_are_switched_off_one_by_one() {
    // A datagram that only a signature knows, from a host that speaks BitTorrent otherwise.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut capture = std::fs::read(root.join("bt-libtorrent-plain-v4/input.pcap")).unwrap();
    let payload = b"BSYNC\x00d1:m4:ping4:peer20:abcdefghij01234567895:share4:xxxxe";
    let length = |of: usize| u16::try_from(of).unwrap().to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(length(28 + payload.len()));
    frame.extend([
        0, 0, 0x40, 0, 64, 17, 0, 0, 10, 77, 1, 11, 203, 0, 113, 11, 0x9c, 0x40, 0x0b, 0xb8,
    ]);
    frame.extend(length(8 + payload.len()));
    frame.extend([0, 0]);
    frame.extend(payload);
    let second = u32::from_le_bytes(capture[24..28].try_into().unwrap()) + 2;
    let size = frame.len() as u32;
    capture.extend([second, 0, size, size].iter().flat_map(|word| word.to_le_bytes()));
    capture.extend(frame);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input.pcap"), capture).unwrap();
    let found = |option: &str| {
        let options = ["--classes=bittorrent,resilio", option];
        outcome(folder.path().to_str().unwrap(), &options).0
    };
    assert_eq!(
        (
            found("--disable-signatures="),
            found("--disable-signatures=resilio")
        ),
        (2, 1)
    );
}

/// Tests that fail when an option has no effect: file, name, and the keys whose effect it shows.
const TESTS: [(&str, &str, &[&str]); 41] = [
    (
        "daemon/interfaces.rs",
        "one_that_is_missing_beside_others_is_waited_for_and_a_lone_one_is_an_error",
        &["interface"],
    ),
    ("matrix/main.rs", "xdp_generic_is_enforced", &["backend"]),
    (
        "operations/sets.rs",
        "the_sets_have_the_name_and_the_rules_the_hooks_that_were_asked_for",
        &["set_name", "prerouting"],
    ),
    (
        "operations/sets.rs",
        "a_whole_prefix_is_banned_when_asked_for",
        &["ipv6_prefix"],
    ),
    (
        "daemon/commands.rs",
        "a_ban_is_told_when_the_kernel_has_taken_it_and_not_before",
        &["setup"],
    ),
    ("daemon/xdp.rs", "the_program_is_attached_as_asked", &["xdp_mode"]),
    (
        "daemon/xdp.rs",
        "bans_outlive_the_daemon_where_maps_are_pinned",
        &["xdp_pin"],
    ),
    (
        "daemon/xdp.rs",
        "cleanup_interval_says_when_maps_are_swept",
        &["cleanup_interval"],
    ),
    (
        "daemon/restart.rs",
        "the_next_ban_lasts_twice_as_long_after_a_restart_too",
        &["ban_escalation", "ban_duration"],
    ),
    (
        "daemon/restart.rs",
        "bans_survive_kill_and_reboot_with_their_reasons_in_ipset",
        &["cleanup_on_stop"],
    ),
    (
        "daemon/restart.rs",
        "a_disk_that_refuses_costs_one_line_and_no_ban",
        &["state_dir"],
    ),
    (
        "daemon/rights.rs",
        "a_daemon_with_few_rights_in_a_namespace_of_its_own_is_found_by_root",
        &["control_socket"],
    ),
    (
        "daemon/rights.rs",
        "root_is_kept_when_that_is_asked_for",
        &["user"],
    ),
    (
        "daemon/rights.rs",
        "files_outside_are_refused_even_to_root",
        &["sandbox"],
    ),
    (
        "options.rs",
        "each_option_changes_what_is_found_or_banned",
        &[
            "allow",
            "ban_target",
            "ban_threshold",
            "classes",
            "disable",
            "entropy_threshold",
            "exempt_ports",
            "local_networks",
            "max_bans",
            "max_bans_per_minute",
            "min_payload_size",
            "report_threshold",
            "sensitivity",
        ],
    ),
    (
        "options.rs",
        "use_of_a_proxy_counts_when_the_operator_says_so",
        &["block_socks"],
    ),
    (
        "options.rs",
        "signatures_are_switched_off_one_by_one",
        &["disable_signatures"],
    ),
    (
        "options.rs",
        "info_hashes_are_shown_as_the_operator_wishes",
        &["info_hash"],
    ),
    (
        "options.rs",
        "one_direction_of_a_flow_is_enough_when_the_capture_has_no_other",
        &["one_sided"],
    ),
    (
        "operations/capture.rs",
        "there_are_as_many_workers_as_asked_for",
        &["workers"],
    ),
    (
        "operations/capture.rs",
        "a_short_queue_loses_what_a_long_one_holds",
        &["queue_batches"],
    ),
    (
        "operations/capture.rs",
        "no_more_flows_are_tracked_than_allowed",
        &["max_flows"],
    ),
    (
        "operations/capture.rs",
        "frames_are_cut_at_the_snap_length",
        &["snaplen"],
    ),
    (
        "operations/capture.rs",
        "a_small_ring_loses_what_a_large_one_holds",
        &["buffer_size"],
    ),
    (
        "operations/capture.rs",
        "the_kernel_keeps_packets_for_no_longer_than_allowed",
        &["capture_delay"],
    ),
    (
        "daemon/early_exit.rs",
        "settled_flows_end_early_though_rights_are_given_up",
        &["early_exit"],
    ),
    (
        "operations/detection_log.rs",
        "recognised_flows_are_written_with_their_payload",
        &["detection_log"],
    ),
    (
        "operations/detection_log.rs",
        "json_detections_have_the_payload_when_asked",
        &["detection_log_format", "detection_log_payload"],
    ),
    (
        "operations/detection_log.rs",
        "as_many_rotated_files_are_kept_as_asked_for",
        &["detection_log_keep", "detection_log_max_size"],
    ),
    (
        "operations/evidence.rs",
        "the_packets_of_a_ban_are_written_and_give_it_again",
        &["evidence_dir"],
    ),
    (
        "operations/evidence.rs",
        "evidence_files_are_bounded_in_number",
        &["evidence_keep"],
    ),
    (
        "operations/evidence.rs",
        "evidence_files_are_bounded_in_size",
        &["evidence_max_size"],
    ),
    (
        "operations/interfaces.rs",
        "one_interface_bans_while_the_others_are_only_monitored",
        &["interfaces", "monitor_only"],
    ),
    (
        "operations/notices.rs",
        "programs_are_run_without_a_shell",
        &["on_ban", "on_unban"],
    ),
    (
        "operations/notices.rs",
        "a_web_hook_gets_ban_and_unban_with_its_headers",
        &["webhook_url", "webhook_headers"],
    ),
    (
        "operations/notices.rs",
        "a_busy_server_is_asked_again_and_a_refusal_is_not",
        &["webhook_body"],
    ),
    (
        "operations/notices.rs",
        "notices_about_one_host_come_once_in_a_while",
        &["webhook_cooldown"],
    ),
    (
        "operations/metrics.rs",
        "nothing_is_served_unless_asked_for",
        &["metrics_listen"],
    ),
    (
        "operations/web.rs",
        "bans_are_lifted_with_the_token_only",
        &["web_token_file"],
    ),
    (
        "operations/log_lines.rs",
        "json_lines_have_time_level_interface_host_and_message",
        &["log_format"],
    ),
    (
        "operations/reload.rs",
        "recognition_judge_and_bans_follow",
        &["log_level"],
    ),
];

#[test]
fn each_option_has_a_test_of_its_effect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (file, test, keys) in TESTS {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            text.contains(&format!("#[test]\nfn {test}()")),
            "{file} has no test {test}"
        );
        let text = text.to_lowercase().replace('-', "_");
        for key in keys {
            assert!(text.contains(key), "{file} does not set {key}");
        }
    }
    let mut tested: Vec<&str> = TESTS.iter().flat_map(|(_, _, keys)| *keys).copied().collect();
    tested.sort_unstable();
    let values = serde_json::to_value(btblocker::config::Config::default()).unwrap();
    let known: Vec<&str> = values.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(tested, known);
}
