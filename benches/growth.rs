//! How the cost of a packet grows: with flows, packet size, the kind of traffic and workers; and that of a piece of
//! evidence, with hosts and bans.
//!
//! Everything behind the capture is measured: copy into a batch, parse, track, inspect; with workers also the hand-over.
//! CPU time, because wall time depends on what else the machine does; of workers both.

#[path = "../examples/generate_capture/traffic.rs"]
#[allow(dead_code, reason = "the generator of captures uses the rest")]
mod traffic;

mod measure;

use btblocker::backend::DryRun;
use btblocker::ban::{BanPolicy, Exemptions, Manager, Reason};
use btblocker::capture::{FileSource, FrameBatch, LinkType};
use btblocker::flow::FlowHasher;
use btblocker::judge::{Addresses, FlowId, Judge, Policy, Report, Sighting};
use btblocker::metrics::Board;
use btblocker::network::Ingress;
use btblocker::pipeline::{Inspection, Published, Settings, Workers};
use btblocker_detectors::{Confidence, Endpoint, Ends, Evidence, Side, Technique, Timestamp, Transport};
use measure::{cpu_nanos, held, quickest, taken};
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::time::{Duration, Instant};
use traffic::{ACK, Mix, Numbers, Pair, Random, Recording, SYN, Traffic};

const START: u64 = 1_700_000_000_000_000;

fn main() {
    let recordings = recordings();
    flows();
    sizes();
    mixes(&recordings);
    hosts();
    bans();
    workers(&recordings);
}

fn settings() -> Settings {
    Settings {
        hasher: FlowHasher::seeded(1),
        ..Settings::new(NonZeroU32::new(1 << 20).unwrap_or(NonZeroU32::MIN))
    }
}

/// An inspection with its batch, and what it cost.
struct Bench {
    inspection: Inspection,
    batch: FrameBatch,
    nanos: u64,
    packets: u64,
}

impl Bench {
    fn new() -> Self {
        let ingress = Published::new(Ingress::default());
        Self {
            inspection: Inspection::new(&settings(), ingress.reader()),
            batch: FrameBatch::new(),
            nanos: 0,
            packets: 0,
        }
    }
    fn push(&mut self, at: u64, frame: &[u8]) {
        if !self
            .batch
            .push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame)
        {
            self.inspect();
            let _ = self
                .batch
                .push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame);
        }
    }
    fn inspect(&mut self) {
        let start = cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID);
        self.inspection.batch(&self.batch, &mut |_| {});
        self.nanos += cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID) - start;
        self.packets += self.batch.len() as u64;
        self.batch.clear();
    }
    /// Nanoseconds per packet since the last call.
    fn cost(&mut self) -> f64 {
        self.inspect();
        let cost = self.nanos as f64 / self.packets.max(1) as f64;
        (self.nanos, self.packets) = (0, 0);
        cost
    }
}

/// The beginning of a TLS connection: handshake, then one record of each end and two more, which settle the flow.
fn open(frame: &mut Vec<u8>, flow: u32, until: usize, mut push: impl FnMut(&[u8])) {
    let (pair, mut numbers) = (Pair::number(flow, 443), Numbers([flow, !flow]));
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 hello of the client".as_slice();
    let answer = b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03 hello of the server".as_slice();
    let data = b"\x17\x03\x03\0\x20 opaque".as_slice();
    let steps = [
        (0, SYN, &[][..]),
        (1, SYN | ACK, &[]),
        (0, ACK, &[]),
        (0, ACK, hello),
        (1, ACK, answer),
        (0, ACK, data),
        (1, ACK, data),
    ];
    for (from, flags, payload) in steps.into_iter().take(until) {
        traffic::tcp(frame, &pair, &mut numbers, from, flags, payload);
        push(frame);
    }
}

/// Cost and memory by number of flows, settled and not.
fn flows() {
    println!("flows      stage       ns/packet  bytes/flow  allocations/packet");
    for (stage, until, payload) in [("settled", 7, 64), ("undecided", 4, 0)] {
        for flows in [1_000, 10_000, 100_000, 1_000_000_u32] {
            let before = held();
            let mut bench = Bench::new();
            let empty = held();
            let mut frame = Vec::new();
            for flow in 0..flows {
                open(&mut frame, flow, until, |frame| bench.push(START, frame));
            }
            bench.cost();
            let bytes = held() - empty;
            let mut random = Random::new(2);
            let (payload, mut best) = (vec![0x55; payload], f64::MAX);
            let mut allocations = 0;
            for _ in 0..5 {
                let calls = taken();
                for _ in 0..200_000 {
                    let flow = (random.next() % u64::from(flows)) as u32;
                    let mut numbers = Numbers([flow.wrapping_add(90), flow]);
                    traffic::tcp(
                        &mut frame,
                        &Pair::number(flow, 443),
                        &mut numbers,
                        0,
                        ACK,
                        &payload,
                    );
                    bench.push(START + 1, &frame);
                }
                best = best.min(bench.cost());
                allocations = taken() - calls;
            }
            println!(
                "{flows:<10} {stage:<10} {best:>10.1} {:>11.0} {:>19.4}",
                bytes as f64 / f64::from(flows),
                allocations as f64 / 200_000.0
            );
            drop(bench);
            assert!(held() - before < 1 << 20, "memory is given back");
        }
    }
}

/// Cost by size of the packet, of a settled flow and of one that is read to the end.
fn sizes() {
    println!("\npayload bytes   settled ns/packet   opaque flow ns/packet");
    for size in [0, 64, 256, 512, 1024, 1400, 4096, 8192_usize] {
        let mut costs = [f64::MAX; 2];
        for (cost, settles) in costs.iter_mut().zip([true, false]) {
            for _ in 0..5 {
                let (mut bench, mut frame, mut payload) = (Bench::new(), Vec::new(), Vec::new());
                // Flows anew, so that an opaque one is read all the time.
                for flow in 0..100 {
                    let mut numbers = Numbers([flow + 90, flow]);
                    open(&mut frame, flow, if settles { 7 } else { 3 }, |frame| {
                        bench.push(START, frame)
                    });
                    if settles {
                        bench.cost();
                    }
                    Random::new(u64::from(flow)).bytes(size, &mut payload);
                    for n in 0..300_u64 {
                        traffic::tcp(
                            &mut frame,
                            &Pair::number(flow, 443),
                            &mut numbers,
                            n as usize % 2,
                            ACK,
                            &payload,
                        );
                        bench.push(START + n, &frame);
                    }
                    payload.clear();
                }
                *cost = cost.min(bench.cost());
            }
        }
        println!("{size:<15} {:>17.1} {:>23.1}", costs[0], costs[1]);
    }
}

/// Recorded conversations of the test cases.
fn recordings() -> Vec<Recording> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = std::fs::read_dir(&cases).map_or(Vec::new(), |all| all.flatten().collect());
    paths.sort_by_key(std::fs::DirEntry::path);
    let mut recordings = Vec::new();
    for case in paths {
        let Ok(mut source) = FileSource::open(&case.path().join("input.pcap"), 0) else {
            continue;
        };
        if source.link() != LinkType::Ethernet {
            continue;
        }
        let (mut frames, mut batch) = (Vec::new(), FrameBatch::new());
        while let Ok(true) = source.fill(&mut batch) {
            frames.extend(batch.frames().map(|(meta, bytes)| (meta.at.0, bytes.to_vec())));
        }
        recordings.push(frames);
    }
    assert!(!recordings.is_empty(), "the recorded cases are missing");
    recordings
}

/// Cost by kind of traffic, with new flows all the time.
fn mixes(recordings: &[Recording]) {
    println!("\ntraffic      ns/packet   flows  reports/1000 packets  allocations/packet  evicted");
    for (name, mix) in Mix::ALL {
        let (mut best, mut told, mut counters) = (f64::MAX, 0_u64, None);
        let mut allocations = 0;
        for _ in 0..3 {
            let mut traffic = Traffic::new(mix, 1000, recordings.to_vec());
            let mut bench = Bench::new();
            (told, allocations) = (0, 0);
            for n in 0..400_000 {
                if let Some((at, frame)) = traffic.next()
                    && !bench
                        .batch
                        .push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame)
                {
                    let (start, calls) = (cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID), taken());
                    bench.inspection.batch(&bench.batch, &mut |_| told += 1);
                    // The first half fills the tables.
                    if n > 200_000 {
                        bench.nanos += cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID) - start;
                        bench.packets += bench.batch.len() as u64;
                        allocations += taken() - calls;
                    }
                    bench.batch.clear();
                    let _ = bench
                        .batch
                        .push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame);
                }
            }
            best = best.min(bench.nanos as f64 / bench.packets.max(1) as f64);
            counters = Some(bench.inspection.counters().clone());
        }
        let (created, evicted) = counters.map_or((0, 0), |all| (all.flows_created, all.flows_evicted));
        println!(
            "{name:<12} {best:>9.1} {created:>7} {:>21.1} {:>19.4} {evicted:>8}",
            told as f64 / 400.0,
            allocations as f64 / 200_000.0,
        );
    }
}

/// Addresses that nobody is responsible for.
struct Anybody;

impl Addresses for Anybody {
    fn is_local(&self, _: IpAddr) -> bool {
        false
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

fn host(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

/// Cost of judging a piece of evidence by number of hosts that give it, drawn at random.
fn hosts() {
    println!("\nhosts      ns/evidence  bytes/host");
    let evidence = Evidence::new(
        Technique::Handshake,
        "handshake",
        Confidence::Conclusive,
        Side::Originator,
    );
    let remote = Endpoint::new(Ipv4Addr::new(198, 51, 100, 7).into(), 51_413);
    for hosts in [1_000, 10_000, 100_000, 1_000_000_u32] {
        let empty = held();
        let (mut judge, mut verdicts) = (Judge::new(Policy::default()), Vec::new());
        let mut hear = |number: u32| {
            verdicts.clear();
            let sighting = Sighting {
                at: Timestamp(START),
                interface: 0,
                flow: FlowId {
                    transport: Transport::Tcp,
                    originator: Endpoint::new(host(number), 6881),
                    responder: remote,
                },
                evidence,
                proven: Ends::BOTH,
                payload_len: 68,
            };
            judge.hear(&Report::Sighting(sighting), &Anybody, &mut verdicts);
        };
        (0..hosts).for_each(&mut hear);
        let bytes = held() - empty;
        let mut random = Random::new(4);
        let (cost, _) = quickest(5, 200_000, |_| hear((random.next() % u64::from(hosts)) as u32));
        println!(
            "{hosts:<10} {cost:>11.1} {:>11.0}",
            bytes as f64 / f64::from(hosts)
        );
    }
}

/// Cost of a ban, and of another reason to ban a host that is banned, drawn at random, by number of bans.
fn bans() {
    println!("\nbans       ns/new ban   ns/ban again  bytes/ban");
    for bans in [1_000, 10_000, 100_000, 1_000_000_u32] {
        let policy = BanPolicy {
            duration: Duration::from_secs(18_000),
            max_bans: 1 << 20,
            max_bans_per_minute: 0,
            escalation: Duration::ZERO,
            ipv6_prefix: 128,
            setup: false,
        };
        let empty = held();
        let mut manager = Manager::new(Box::new(DryRun::default()), Exemptions::default(), policy);
        let mut ban = |number, seconds| {
            let reason = || Reason {
                technique: Reason::BY_HAND.to_owned(),
                text: String::new(),
                client: None,
            };
            let at = Timestamp(START + seconds * 1_000_000);
            std::hint::black_box(manager.ban(host(number), Duration::from_secs(seconds), at, reason));
        };
        let start = cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID);
        (0..bans).for_each(|number| ban(number, 0));
        let new = (cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID) - start) as f64 / f64::from(bans);
        let bytes = held() - empty;
        let mut random = Random::new(9);
        let (again, _) = quickest(5, 200_000, |_| ban((random.next() % u64::from(bans)) as u32, 1));
        println!(
            "{bans:<10} {new:>11.1} {again:>14.1} {:>10.0}",
            bytes as f64 / f64::from(bans)
        );
    }
}

/// What a packet costs by number of workers: CPU time of the whole process, of the thread that captures, and of the worker
/// that has most to do; and the time until a packet is done with when the next follows at once. Where there is a core
/// for each thread, the busiest one is the limit.
fn workers(recordings: &[Recording]) {
    println!("\ntraffic    workers   CPU ns/packet   capture   busiest worker   wall ns/packet");
    // 16 MiB: enough to keep two workers at work for milliseconds, and less than the last cache holds.
    const BATCHES: usize = 256;
    const ROUNDS: usize = 60;
    // 256 KiB, as libpcap has blocks of the kernel's ring.
    const BLOCK: usize = 4;
    let ordinary =
        |(_, mix): &(&str, Mix)| matches!(mix, Mix::Bulk | Mix::Short | Mix::Recorded | Mix::Opaque);
    for (name, mix) in Mix::ALL.into_iter().filter(ordinary) {
        for workers in [0, 1, 2] {
            let mut traffic = Traffic::new(mix, 1000, recordings.to_vec());
            let (mut capture, mut measured, mut wall) = (0, 0, f64::MAX);
            let (reports, _read) = crossbeam_channel::bounded(1 << 20);
            let (board, queue) = (
                Board::default(),
                NonZeroUsize::new(BATCHES * 2).unwrap_or(NonZeroUsize::MIN),
            );
            let ingress = Published::new(Ingress::default());
            let Ok(running) = Workers::start(workers, queue, settings(), ingress, reports, board.clone())
            else {
                continue;
            };
            let (mut dispatcher, mut sent) = (running.dispatcher(), 0);
            let mut batches: Vec<FrameBatch> = (0..BATCHES).map(|_| FrameBatch::new()).collect();
            let mut before = Vec::new();
            for round in 0..ROUNDS {
                // The first rounds fill the tables.
                if round == ROUNDS / 5 {
                    (capture, measured, wall, before) = (0, 0, f64::MAX, worker_nanos());
                }
                for batch in &mut batches {
                    while let Some((at, frame)) = traffic.next()
                        && batch.push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame)
                    {
                    }
                }
                let packets: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
                sent += packets;
                let start = (cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID), Instant::now());
                // As live: frames are taken one by one where they lie if they can be, and a rest follows each block.
                for block in batches.chunks_mut(BLOCK) {
                    for batch in block {
                        if batch.frames().all(|(meta, bytes)| dispatcher.frame(meta, bytes)) {
                            batch.clear();
                        } else {
                            dispatcher.dispatch(batch);
                        }
                    }
                    dispatcher.rest();
                }
                capture += cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID) - start.0;
                while board.total().frames < sent {
                    std::thread::sleep(Duration::from_micros(50));
                }
                measured += packets;
                wall = wall.min(start.1.elapsed().as_nanos() as f64 / packets as f64);
            }
            let taken = worker_nanos()
                .into_iter()
                .zip(before)
                .map(|(now, before)| now - before);
            let taken: Vec<u64> = taken.collect();
            assert_eq!(board.total().queue_dropped_frames, 0);
            drop(dispatcher);
            let _ = running.finish();
            let each = |nanos: u64| nanos as f64 / measured as f64;
            let (all, busiest) = (
                capture + taken.iter().sum::<u64>(),
                taken.into_iter().max().unwrap_or(0),
            );
            println!(
                "{name:<10} {workers:<9} {:>13.1} {:>9.1} {:>16.1} {wall:>16.1}",
                each(all),
                each(capture),
                each(busiest)
            );
        }
    }
}

/// CPU time of each worker's thread so far, in the order of their numbers.
fn worker_nanos() -> Vec<u64> {
    let mut workers = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let name = read("comm");
        if name.starts_with("inspect-")
            && let Some(nanos) = read("schedstat")
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
        {
            workers.push((name, nanos));
        }
    }
    workers.sort();
    workers.into_iter().map(|(_, nanos)| nanos).collect()
}
