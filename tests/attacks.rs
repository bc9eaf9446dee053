//! Attacks on what is remembered of packets: floods of flows, hosts and named peers, clocks that jump. Each time a real
//! download in between must lead to its ban, and nothing may grow without bound.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::Path;

use btblocker::capture::{FileSource, FrameBatch, LinkType};
use btblocker::flow::FlowHasher;
use btblocker::judge::{Addresses, FlowId, Judge, LearnedPeer, Policy, Report, Sighting, Verdict};
use btblocker::metrics::Counters;
use btblocker::network::Ingress;
use btblocker::pipeline::{Inspection, Published, Settings};
use btblocker_detectors::{
    Confidence, Endpoint, Ends, Evidence, LearnedFrom, Side, Technique, Timestamp, Transport,
};

/// Flows that are remembered at most.
const FLOWS: u32 = 4_096;
/// The host of the recorded download.
const HOST: &str = "10.77.1.11";

struct Nearby;

impl Addresses for Nearby {
    fn is_local(&self, address: IpAddr) -> bool {
        address.to_string().starts_with("10.77.")
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

/// The recorded download: time, link type and bytes of each frame.
fn download() -> Vec<(Timestamp, LinkType, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/bt-libtorrent-plain-v4/input.pcap");
    let mut source = FileSource::open(&path, 0).unwrap();
    let (mut batch, mut frames) = (FrameBatch::new(), Vec::new());
    while source.fill(&mut batch).unwrap() {
        frames.extend(
            batch
                .frames()
                .map(|(meta, bytes)| (meta.at, meta.link, bytes.to_vec())),
        );
    }
    frames
}

/// Plays frames to a fresh path; who is banned, and what was counted.
fn play(frames: impl Iterator<Item = (Timestamp, LinkType, Vec<u8>)>) -> (Vec<String>, Counters) {
    let ingress = Published::new(Ingress::default());
    let settings = Settings {
        hasher: FlowHasher::random(),
        ..Settings::new(NonZeroU32::new(FLOWS).unwrap())
    };
    let mut inspection = Inspection::new(&settings, ingress.reader());
    let (mut judge, mut verdicts) = (Judge::new(Policy::default()), Vec::new());
    let mut batch = FrameBatch::new();
    let mut inspect = |batch: &mut FrameBatch| {
        inspection.batch(batch, &mut |report| judge.hear(&report, &Nearby, &mut verdicts));
        assert!(inspection.counters().flows_active <= u64::from(FLOWS));
        batch.clear();
    };
    for (at, link, bytes) in frames {
        let len = u32::try_from(bytes.len()).unwrap();
        if !batch.push(at, link, 0, len, &bytes) {
            inspect(&mut batch);
            assert!(batch.push(at, link, 0, len, &bytes));
        }
    }
    inspect(&mut batch);
    let counters = inspection.counters().clone();
    (banned(&verdicts), counters)
}

fn banned(verdicts: &[Verdict]) -> Vec<String> {
    let mut hosts: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::Ban(ban) => Some(ban.address.to_string()),
            Verdict::Flow(_) => None,
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// A packet of a flow of its own, by number: a SYN, or a datagram of random bytes.
fn stranger(number: u32, transport: Transport) -> Vec<u8> {
    let source = Ipv4Addr::from_bits(0x0800_0000 + number);
    let (protocol, rest) = match transport {
        Transport::Tcp => (6, [&[0; 8][..], &[0x50, 2, 0xff, 0xff, 0, 0, 0, 0]].concat()),
        Transport::Udp => (
            17,
            [
                &[0, 40, 0, 0][..],
                &number.wrapping_mul(2_654_435_761).to_be_bytes().repeat(8),
            ]
            .concat(),
        ),
    };
    let mut packet = vec![0x45, 0];
    packet.extend((24 + u16::try_from(rest.len()).unwrap()).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend([10, 77, 1, 11]);
    packet.extend((number as u16).to_be_bytes());
    packet.extend([0xc8, 0xd5]);
    packet.extend(rest);
    packet
}

#[test]
fn a_flood_of_new_flows_hides_no_download() {
    for transport in [Transport::Tcp, Transport::Udp] {
        // A quarter of the table between any two packets of the download, from ever other sources.
        let flood = FLOWS / 4;
        let frames = download();
        let count = u64::try_from(frames.len()).unwrap();
        let mixed = (0_u32..).zip(frames).flat_map(|(place, frame)| {
            let at = frame.0;
            let flood = (place * flood..(place + 1) * flood)
                .map(move |number| (at, LinkType::Raw, stranger(number, transport)));
            flood.chain([frame])
        });
        let (banned, counters) = play(mixed);
        assert!(
            banned.iter().any(|host| host == HOST),
            "{transport:?}: {banned:?}"
        );
        assert!(!banned.iter().any(|host| host.starts_with("8.")), "{banned:?}");
        assert_eq!(counters.frames, count * u64::from(flood + 1));
        assert!(
            counters.flows_evicted > counters.flows_created * 9 / 10,
            "{counters:?}"
        );
        println!(
            "{transport:?}: {} flows through a table of {FLOWS}, {} evicted; banned {banned:?}",
            counters.flows_created, counters.flows_evicted
        );
    }
}

#[test]
fn a_clock_that_jumps_hides_no_download() {
    let year = 365 * 86_400 * 1_000_000_u64;
    let frames = download();
    let half = frames.len() / 2;
    for (name, before, after) in [
        ("forward", 0, year),
        ("back", year, 0),
        ("to the beginning", year, u64::MAX),
        ("to the end", 0, u64::MAX - year * 60),
    ] {
        // The first part tells of another time; the whole download follows in the new one.
        let early = frames.iter().take(half).cloned();
        let early = early.map(|(at, link, bytes)| (Timestamp(at.0.wrapping_add(before)), link, bytes));
        let late = frames.iter().cloned();
        let late = late.map(|(at, link, bytes)| match after {
            u64::MAX => (Timestamp(at.0 - frames[0].0.0), link, bytes),
            after => (Timestamp(at.0.wrapping_add(after)), link, bytes),
        });
        let (banned, _) = play(early.chain(late));
        assert!(banned.iter().any(|host| host == HOST), "{name}: {banned:?}");
    }
}

fn endpoint(bits: u32) -> Endpoint {
    Endpoint::new(Ipv4Addr::from_bits(bits).into(), 51_413)
}

/// Evidence between two hosts.
fn sighting(
    originator: u32,
    responder: u32,
    technique: Technique,
    confidence: Confidence,
    at: u64,
) -> Report {
    Report::Sighting(Sighting {
        at: Timestamp(at),
        interface: 0,
        flow: FlowId {
            transport: Transport::Tcp,
            originator: endpoint(originator),
            responder: endpoint(responder),
        },
        evidence: Evidence::new(technique, "rule", confidence, Side::Originator),
        proven: Ends::BOTH,
        payload_len: 100,
    })
}

/// Resident memory of this process in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// Says to the copy of this program that it is there to be measured.
const ALONE: &str = "BTBLOCKER_TEST_ATTACKS_ALONE";

#[test]
fn floods_of_hosts_and_of_named_peers_stay_bounded() {
    // In a process of its own: what is measured holds the memory of other tests, too, where they run beside it.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "alone_floods_of_hosts_and_of_named_peers",
            "--nocapture",
        ])
        .env(ALONE, "")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("resident after each"),
        "{said}"
    );
    println!("{said}");
}

/// Does nothing unless the test above starts it.
#[test]
fn alone_floods_of_hosts_and_of_named_peers() {
    const OURS: u32 = 0x0a4d_010b;
    const PEER: u32 = 0xc633_6407;
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let mut judge = Judge::new(Policy::default());
    let mut verdicts = Vec::new();
    let mut after = Vec::new();
    for round in 0..4_u32 {
        for number in round * 140_000..(round + 1) * 140_000 {
            let at = u64::from(number);
            let named = LearnedPeer {
                at: Timestamp(at),
                told: endpoint(0xcb00_7107).address,
                endpoint: endpoint(0x0800_0000 + number),
                from: LearnedFrom::DhtNodes,
            };
            judge.hear(&Report::Learned(named), &Nearby, &mut verdicts);
            let weak = sighting(
                0x1000_0000 + number,
                0x2000_0000 + number,
                Technique::Entropy,
                Confidence::Weak,
                at,
            );
            judge.hear(&weak, &Nearby, &mut verdicts);
        }
        after.push(memory());
    }
    println!("resident after each 140,000 hosts and peers: {after:?}");
    let most = |rounds: &[u64]| rounds.iter().copied().max().unwrap();
    assert!(
        most(&after[2..]) < most(&after[..2]) + 64 * 1_024 * 1_024,
        "{after:?}"
    );
    assert_eq!(banned(&verdicts), [""; 0]);

    // What a forger told one host says nothing of another, and real corroboration still counts.
    let at = 600_000;
    let poisoned = sighting(
        OURS,
        0x0800_0000 + 559_999,
        Technique::Mse,
        Confidence::Strong,
        at,
    );
    judge.hear(&poisoned, &Nearby, &mut verdicts);
    assert_eq!(banned(&verdicts), [""; 0]);
    let named = LearnedPeer {
        at: Timestamp(at),
        told: endpoint(OURS).address,
        endpoint: endpoint(PEER),
        from: LearnedFrom::Tracker,
    };
    judge.hear(&Report::Learned(named), &Nearby, &mut verdicts);
    judge.hear(
        &sighting(OURS, PEER, Technique::Mse, Confidence::Strong, at),
        &Nearby,
        &mut verdicts,
    );
    assert_eq!(banned(&verdicts), [HOST]);

    // What gave way is counted, also when the clock is set back and all is forgotten.
    let displaced = judge.displaced();
    assert!(displaced.hosts > 0 && displaced.flows > 0 && displaced.learned > 0);
    for at in [3_600_000_000, 0] {
        judge.hear(
            &Report::Learned(LearnedPeer {
                at: Timestamp(at),
                ..named
            }),
            &Nearby,
            &mut verdicts,
        );
    }
    assert_eq!(judge.displaced(), displaced);
}

/// A forged uTP connection attempt, by number: a flow of its own, strong evidence and two new hosts.
fn utp_syn(number: u32) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend((0x0800_0000 + number % 60_000).to_be_bytes());
    packet.extend((0x2000_0000 + number).to_be_bytes());
    packet.extend([0x1a, 0xe1, 0xc8, 0xd5, 0, 28, 0, 0, 0x41, 0]);
    packet.extend((number as u16).to_be_bytes());
    packet.extend(number.wrapping_mul(2_654_435_761).to_be_bytes());
    packet.extend([0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0]);
    packet
}

/// Forged uTP connection attempts as a capture file.
fn utp_flood(packets: u32) -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101];
    let mut file = words.map(u32::to_le_bytes).concat();
    for number in 0..packets {
        let packet = utp_syn(number);
        let length = u32::try_from(packet.len()).unwrap();
        let at = number * 200;
        let record = [1_790_000_000 + at / 1_000_000, at % 1_000_000, length, length];
        file.extend(record.map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}

#[test]
fn a_flood_of_evidence_hides_no_download() {
    // The judge's tables are full when the download begins, and between any two of its packets come more.
    let (first, between) = (300_000, 500);
    let frames = download();
    let begin = frames[0].0;
    let forged = move |numbers: std::ops::Range<u32>, at: Timestamp| {
        numbers.map(move |number| (at, LinkType::Raw, utp_syn(number)))
    };
    let mixed = (0_u32..).zip(frames).flat_map(|(place, frame)| {
        let number = first + place * between;
        forged(number..number + between, frame.0).chain([frame])
    });
    let (banned, counters) = play(forged(0..first, begin).chain(mixed));
    println!("{} frames; banned {banned:?}", counters.frames);
    assert!(banned.iter().any(|host| host == HOST), "{banned:?}");
    let strangers = |host: &&String| !host.starts_with("10.77.");
    assert_eq!(banned.iter().find(strangers), None);
}

#[test]
#[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
fn a_flood_that_fills_every_table_takes_the_memory_that_is_stated() {
    let capture = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
    std::fs::write(capture.path(), utp_flood(300_000)).unwrap();
    let mut replay = std::process::Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .arg("replay")
        .arg(capture.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::read_to_string(replay.stdout.take().unwrap()).unwrap();
    // SAFETY: the pointer is to a live value that any bytes make valid; the child has not been waited for, so its number is
    // its own.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        let waited = libc::wait4(replay.id().cast_signed(), std::ptr::null_mut(), 0, &raw mut used);
        assert_eq!(waited, replay.id().cast_signed());
        used
    };
    let expected = "300000 frames, 300000 flows, 0 of them BitTorrent, 0 hosts would be banned";
    assert!(said.contains(expected), "{said}");
    let mib = used.ru_maxrss / 1_024;
    println!("resident at most: {mib} MiB");
    assert!((300..640).contains(&mib), "{mib} MiB");
}
