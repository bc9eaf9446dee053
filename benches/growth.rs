//! How the cost of a packet grows: with flows, packet size, the kind of traffic and workers.
//!
//! Everything behind the capture is measured: copy into a batch, parse, track, inspect; with workers also the hand-over.
//! CPU time, because wall time depends on what else the machine does.

#[path = "../examples/generate_capture/traffic.rs"]
#[allow(dead_code, reason = "the generator of captures uses the rest")]
mod traffic;

mod measure;

use btblocker::capture::{FileSource, FrameBatch, LinkType};
use btblocker::flow::FlowHasher;
use btblocker::metrics::Board;
use btblocker::network::Ingress;
use btblocker::pipeline::{Inspection, Published, Settings, Workers};
use btblocker_detectors::Timestamp;
use measure::{cpu_nanos, held, taken};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::time::Duration;
use traffic::{ACK, Mix, Numbers, Pair, Random, Recording, SYN, Traffic};

const START: u64 = 1_700_000_000_000_000;

fn main() {
    let recordings = recordings();
    flows();
    sizes();
    mixes(&recordings);
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

/// CPU time of the whole process per packet, by number of workers.
fn workers(recordings: &[Recording]) {
    println!("\nworkers   bulk ns/packet   short ns/packet");
    // As much as stays in the processor's caches, as live where batches are fresh.
    const BATCHES: usize = 32;
    for workers in [0, 1, 2] {
        let mut costs = [0.0; 2];
        for (cost, mix) in costs.iter_mut().zip([Mix::Bulk, Mix::Short]) {
            let mut traffic = Traffic::new(mix, 1000, recordings.to_vec());
            let (mut nanos, mut measured) = (0, 0);
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
            let mut spare: Vec<FrameBatch> = (0..BATCHES).map(|_| FrameBatch::new()).collect();
            for round in 0..100 {
                for batch in &mut spare {
                    while let Some((at, frame)) = traffic.next()
                        && batch.push(Timestamp(at), LinkType::Ethernet, 0, frame.len() as u32, frame)
                    {
                    }
                }
                let packets: u64 = spare.iter().map(|batch| batch.len() as u64).sum();
                sent += packets;
                let start = cpu_nanos(libc::CLOCK_PROCESS_CPUTIME_ID);
                for batch in &mut spare {
                    dispatcher.dispatch(batch);
                }
                while board.total().frames < sent {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // The first rounds fill the tables. Rounds are summed, because the clock of a process is behind for
                // threads that run on other processors.
                if round >= 20 {
                    nanos += cpu_nanos(libc::CLOCK_PROCESS_CPUTIME_ID) - start;
                    measured += packets;
                }
            }
            *cost = nanos as f64 / measured as f64;
            assert_eq!(board.total().queue_dropped_frames, 0);
            drop(dispatcher);
            let _ = running.finish();
        }
        println!("{workers:<9} {:>14.1} {:>17.1}", costs[0], costs[1]);
    }
}
