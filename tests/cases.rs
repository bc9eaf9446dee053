//! The recordings of `tests/cases`: every BitTorrent flow is found, every host that must be banned is, and
//! nothing else is flagged or banned.
//!
//! Each case is a folder with `input.pcap`, a README that says where it comes from, and `expect.toml`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

/// What a case says of its recording.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// Networks that the operator answers for.
    local_networks: Vec<String>,
    /// Flows that are BitTorrent; all others are not.
    positive: Vec<Flow>,
    /// Flows that are BitTorrent by origin, but whose recording proves too little to flag them alone.
    #[serde(default)]
    unprovable: Vec<Flow>,
    /// Hosts that must be banned.
    banned: BTreeSet<IpAddr>,
    /// Hosts that may be banned; all others must not.
    may_be_banned: BTreeSet<IpAddr>,
}

/// A flow, in the direction of its first packet.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct Flow {
    proto: String,
    a: SocketAddr,
    b: SocketAddr,
}

impl Flow {
    /// The same flow whichever end is named first.
    fn ordered(mut self) -> Self {
        if self.b < self.a {
            std::mem::swap(&mut self.a, &mut self.b);
        }
        self
    }
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    folders
}

fn replay(folder: &Path, expectation: &Expectation, more: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args([
            "replay",
            "--format",
            "json",
            "--local-networks",
            &expectation.local_networks.join(","),
        ])
        .args(more)
        .arg(folder.join("input.pcap"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events<'a>(lines: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["event"] == kind)
}

fn flow(line: &Value) -> Flow {
    let end = |address: &str, port: &str| {
        let ip: IpAddr = line[address].as_str().unwrap().parse().unwrap();
        SocketAddr::new(ip, u16::try_from(line[port].as_u64().unwrap()).unwrap())
    };
    Flow {
        proto: line["proto"].as_str().unwrap().to_owned(),
        a: end("src", "sport"),
        b: end("dst", "dport"),
    }
    .ordered()
}

/// What is wrong with the outcome of a case.
fn complaints(folder: &Path) -> Vec<String> {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(folder.join("expect.toml")).unwrap();
    let expectation: Expectation = toml::from_str(&text).unwrap();
    let lines = replay(folder, &expectation, &[]);
    let found: BTreeSet<Flow> = events(&lines, "flow").map(flow).collect();
    let wanted: BTreeSet<Flow> = expectation.positive.iter().cloned().map(Flow::ordered).collect();
    let banned: BTreeSet<IpAddr> = events(&lines, "ban")
        .map(|line| line["address"].as_str().unwrap().parse().unwrap())
        .collect();
    let mut complaints = Vec::new();
    for flow in wanted.difference(&found) {
        complaints.push(format!("{name}: missed {flow:?}"));
    }
    let unprovable: BTreeSet<Flow> = expectation
        .unprovable
        .iter()
        .cloned()
        .map(Flow::ordered)
        .collect();
    for flow in found
        .difference(&wanted)
        .filter(|flow| !unprovable.contains(flow))
    {
        complaints.push(format!("{name}: flagged {flow:?}"));
    }
    for address in expectation.banned.difference(&banned) {
        complaints.push(format!("{name}: {address} is not banned"));
    }
    for address in banned
        .difference(&expectation.banned)
        .filter(|host| !expectation.may_be_banned.contains(host))
    {
        complaints.push(format!("{name}: {address} is banned"));
    }
    if !folder.join("README.md").exists() {
        complaints.push(format!(
            "{name}: no README.md says where the recording comes from"
        ));
    }
    complaints
}

#[test]
fn every_recording_is_judged_as_expected() {
    let folders = folders();
    assert!(folders.len() >= 50, "{} recordings", folders.len());
    let complaints: Vec<String> = folders.iter().flat_map(|folder| complaints(folder)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn nothing_is_found_when_every_technique_is_off() {
    let all: Vec<&str> = btblocker_detectors::Technique::ALL
        .iter()
        .map(|technique| technique.name())
        .collect();
    for folder in folders() {
        let text = fs::read_to_string(folder.join("expect.toml")).unwrap();
        let lines = replay(
            &folder,
            &toml::from_str(&text).unwrap(),
            &["--disable", &all.join(",")],
        );
        assert_eq!(events(&lines, "flow").count(), 0, "{}", folder.display());
    }
}
