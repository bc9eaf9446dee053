//! `btblocker replay` on several files, folders, standard input, and its exit status.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{name}/input.pcap"))
}

/// Replays as JSON; the lines, and the exit status.
fn replay(arguments: &[&str], stdin: Stdio) -> (Vec<Value>, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args(["replay", "--format", "json"])
        .args(arguments)
        .stdin(stdin)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines, output.status.code())
}

fn of_event<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Splits a capture into two: the frames by turns. The capture is classic pcap, little-endian.
fn split(capture: &Path, folder: &Path) -> [PathBuf; 2] {
    let bytes = fs::read(capture).unwrap();
    let (header, mut rest) = bytes.split_at(24);
    let mut halves = [header.to_vec(), header.to_vec()];
    let mut turn = 0;
    while let Some((record, _)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        let (frame, behind) = rest.split_at(16 + length);
        halves[turn % 2].extend(frame);
        (rest, turn) = (behind, turn + 1);
    }
    let [first, second] = halves;
    [("b-first.pcap", first), ("a-second.pcap", second)].map(|(name, half)| {
        fs::write(folder.join(name), half).unwrap();
        folder.join(name)
    })
}

/// The frames of a classic, little-endian pcap, after each was changed.
fn changed(capture: &Path, mut change: impl FnMut(&mut [u8])) -> Vec<u8> {
    let mut bytes = fs::read(capture).unwrap();
    let mut at = 24;
    while let Some(record) = bytes.get(at..at + 16) {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]) as usize;
        at += 16;
        change(&mut bytes[at..at + length]);
        at += length;
    }
    bytes
}

#[test]
fn flows_of_a_loopback_device_are_judged_and_nobody_is_banned() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("lo.pcap");
    // Both addresses of the IPv4 header behind 14 bytes of Ethernet.
    let local = changed(&case("bt-libtorrent-plain-v4"), |frame| {
        if frame[12..14] == [8, 0] {
            frame[26..34].copy_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
        }
    });
    fs::write(&capture, local).unwrap();
    let (lines, _) = replay(&[capture.to_str().unwrap()], Stdio::null());
    assert_eq!(of_event(&lines, "flow").len(), 1, "{lines:?}");
    assert!(of_event(&lines, "ban").is_empty(), "{lines:?}");
}

#[test]
fn merged_halves_are_judged_as_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let whole = case("bt-libtorrent-plain-v4");
    let halves = split(&whole, folder.path());
    let [first, second] = halves.each_ref().map(|path| path.to_str().unwrap());
    let facts = |lines: &[Value]| -> Vec<(Value, Value)> {
        let told = of_event(lines, "flow").into_iter().chain(of_event(lines, "ban"));
        told.map(|line| (line["time"].clone(), line["technique"].clone()))
            .collect()
    };
    let (of_whole, _) = replay(&[whole.to_str().unwrap()], Stdio::null());
    let (merged, status) = replay(&["--merge", first, second], Stdio::null());
    assert_eq!(status, Some(0));
    assert!(!facts(&of_whole).is_empty());
    assert_eq!(facts(&merged), facts(&of_whole));
    let (whole, merged) = (of_event(&of_whole, "summary"), of_event(&merged, "summary"));
    assert_eq!((merged.len(), &merged[0]["frames"]), (1, &whole[0]["frames"]));
    // Each half by itself is another capture.
    let (apart, _) = replay(&[first, second], Stdio::null());
    assert_eq!(of_event(&apart, "summary").len(), 2);
    assert_ne!(facts(&apart), facts(&of_whole));
}

#[test]
fn folders_are_searched_and_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    for (name, from) in [
        ("one.pcap", "bt-libtorrent-dht"),
        ("below/two.pcapng", "honest-tls-443"),
        ("below/three.cap", "bt-libtorrent-plain-v4"),
        ("notes.txt", "honest-irc-6881"),
    ] {
        fs::copy(case(from), folder.path().join(name)).unwrap();
    }
    let (lines, status) = replay(&[folder.path().to_str().unwrap()], Stdio::null());
    assert_eq!(status, Some(0));
    let summaries = of_event(&lines, "summary");
    let names: Vec<&str> = summaries
        .iter()
        .filter_map(|line| line["file"].as_str()?.rsplit('/').next())
        .collect();
    assert_eq!(names, ["three.cap", "two.pcapng", "one.pcap"]);
    let total = lines.last().unwrap();
    let sum = |key: &str| {
        summaries
            .iter()
            .filter_map(|line| line[key].as_u64())
            .sum::<u64>()
    };
    assert_eq!(total["event"], "total");
    for key in ["frames", "bytes", "flows", "bittorrent_flows"] {
        assert_eq!(total[key].as_u64(), Some(sum(key)), "{key}");
    }
    assert_eq!((&total["files"], &total["unreadable"]), (&3.into(), &0.into()));
}

#[test]
fn standard_input_is_read() {
    let path = case("bt-libtorrent-plain-v4");
    let (from_file, _) = replay(&[path.to_str().unwrap()], Stdio::null());
    let (from_input, status) = replay(&["-"], File::open(&path).unwrap().into());
    assert_eq!(status, Some(0));
    let frames = |lines: &[Value]| of_event(lines, "summary")[0]["frames"].clone();
    assert_eq!(frames(&from_input), frames(&from_file));
    assert!(!of_event(&from_input, "flow").is_empty());
}

#[test]
fn the_exit_status_tells_what_was_found_when_asked() {
    let (found, clean) = (case("bt-libtorrent-plain-v4"), case("honest-tls-443"));
    let (found, clean) = (found.to_str().unwrap(), clean.to_str().unwrap());
    for (arguments, status) in [
        (&["--exit-code", found][..], 3),
        (&["--exit-code", clean], 0),
        (&["--exit-code", clean, found], 3),
        (&[found], 0),
        (&["--exit-code", found, "missing.pcap"], 1),
    ] {
        assert_eq!(replay(arguments, Stdio::null()).1, Some(status), "{arguments:?}");
    }
}

#[test]
fn the_table_sums_up_hosts_techniques_programs_and_torrents() {
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args(["replay", "--info-hash", "plain"])
        .arg(case("bt-libtorrent-plain-v4"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |parts: &[&str]| {
        let found = text
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "no line has {parts:?}: {text}");
    };
    line(&["of them BitTorrent", "would be banned"]);
    line(&["TIME", "ADDRESS", "TECHNIQUE", "WHY"]);
    line(&["Z ", "10.77.1.11", "handshake", "[libtorrent (Rasterbar) 2.0.8]"]);
    line(&["HOST", "FLOWS", "TECHNIQUES", "PROGRAMS", "TORRENTS"]);
    let mut host = text
        .lines()
        .filter(|line| line.trim_start().starts_with("10.77.1.11 "));
    let torrent = host
        .next_back()
        .and_then(|line| line.split_whitespace().last())
        .unwrap();
    assert!(
        torrent.len() == 40 && torrent.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{text}"
    );
}

/// The data inside of a report.
fn data(report: &Path) -> Value {
    let text = fs::read_to_string(report).unwrap();
    assert!(text.starts_with("<!doctype html>"));
    let data = text.split_once("id=\"data\">").unwrap().1;
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_report_shows_every_file_and_when_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.html");
    let (bad, good) = (case("bt-libtorrent-plain-v4"), case("honest-tls-443"));
    let arguments = [
        "--html",
        report.to_str().unwrap(),
        bad.to_str().unwrap(),
        good.to_str().unwrap(),
    ];
    let (lines, status) = replay(&arguments, Stdio::null());
    assert_eq!(status, Some(0));
    let shown = data(&report);
    assert_eq!(shown["live"], false);
    let captures = shown["captures"].as_array().unwrap();
    assert_eq!(captures.len(), 2);
    for (capture, summary) in captures.iter().zip(of_event(&lines, "summary")) {
        assert_eq!(capture["source"], summary["file"]);
        let column = |index: usize| -> u64 {
            let samples = capture["history"].as_array().unwrap().iter();
            samples.filter_map(|sample| sample[index].as_u64()).sum()
        };
        for (index, total, told) in [
            (1, "packets", "frames"),
            (2, "bytes", "bytes"),
            (4, "bittorrent", "bittorrent_flows"),
            (5, "bans", "bans"),
        ] {
            assert_eq!(column(index), summary[told].as_u64().unwrap(), "{total}");
            assert_eq!(capture["totals"][total], summary[told], "{total}");
        }
        assert_eq!(capture["totals"]["flows"], summary["flows"]);
        assert_eq!(
            capture["bans"].as_array().unwrap().len() as u64,
            summary["bans"].as_u64().unwrap()
        );
    }
    let [ban, ..] = &of_event(&lines, "ban")[..] else {
        panic!("{lines:?}")
    };
    let shown = &captures[0]["bans"][0];
    assert_eq!(
        (&shown["address"], &shown["since"], &shown["reason"]),
        (&ban["address"], &ban["time"], &ban["reason"])
    );
    assert_eq!(shown["remaining_seconds"], 18_000);
    let host = &captures[0]["hosts"][0];
    assert_eq!(host["state"], "banned");
    assert!(host["torrents"][0].as_str().unwrap().starts_with('#'), "{host}");
    assert_eq!(captures[1]["hosts"].as_array().unwrap().len(), 0);
}

#[test]
fn a_report_is_written_of_damaged_captures_too_but_over_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.html");
    let cut = folder.path().join("cut.pcap");
    let mut bytes = fs::read(case("bt-libtorrent-plain-v4")).unwrap();
    bytes.truncate(bytes.len() - 5);
    fs::write(&cut, &bytes).unwrap();
    let (html, capture) = (report.to_str().unwrap(), cut.to_str().unwrap());
    // The second time it overwrites its own report.
    for _ in 0..2 {
        let (_, status) = replay(&["--html", html, capture], Stdio::null());
        assert_eq!(status, Some(1));
        let troubles = data(&report)["captures"][0]["troubles"].clone();
        assert!(
            troubles[0].as_str().unwrap().contains("damaged or cut"),
            "{troubles}"
        );
    }
    let whole = case("honest-tls-443");
    let (_, status) = replay(&["--html", capture, whole.to_str().unwrap()], Stdio::null());
    assert_eq!(status, Some(1));
    assert_eq!(fs::read(&cut).unwrap(), bytes, "a capture is not overwritten");
    let (_, status) = replay(
        &["--html", "/nonexistent/report.html", whole.to_str().unwrap()],
        Stdio::null(),
    );
    assert_eq!(status, Some(1));
}

#[test]
fn merged_captures_are_one_part_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.html");
    let [one, two] = split(&case("bt-libtorrent-plain-v4"), folder.path());
    let arguments = [
        "--merge",
        "--html",
        report.to_str().unwrap(),
        one.to_str().unwrap(),
        two.to_str().unwrap(),
    ];
    let (lines, _) = replay(&arguments, Stdio::null());
    let shown = data(&report);
    let captures = shown["captures"].as_array().unwrap();
    assert_eq!(
        (captures.len(), &captures[0]["source"]),
        (1, &"2 files, merged".into())
    );
    assert_eq!(
        captures[0]["totals"]["packets"],
        of_event(&lines, "summary")[0]["frames"]
    );
}
