//! Hand-over, overload, shutdown and panics, without a clock: what must not happen is prevented by construction, and
//! threads are waited for by their channels.

use super::dispatch::{HandOver, Work};
use super::packets::{A, ACK, B, Host, SYN, batch, handshake, tcp, udp, udp_fragments};
use super::workers::run;
use super::{Dispatcher, Published, Settings, Workers};
use crate::capture::FrameBatch;
use crate::flow::FlowHasher;
use crate::judge::Report;
use crate::metrics::{Board, Counters};
use crate::network::Ingress;
use btblocker_detectors::Ends;
use crossbeam_channel::{Receiver, bounded};
use std::num::{NonZeroU32, NonZeroUsize};

/// Batches that wait for one worker: more than any of these tests sends.
const QUEUE: NonZeroUsize = NonZeroUsize::new(128).unwrap();

fn settings() -> Settings {
    Settings::new(NonZeroU32::new(10_000).unwrap())
}

/// Frames of `flows` proven BitTorrent flows, interleaved, four frames each.
fn conversations(flows: u8) -> Vec<Vec<u8>> {
    let client = |number: u8| -> Host { ([10, 0, 1, number], 50_000) };
    let step = |step: usize, number: u8| {
        let client = client(number);
        match step {
            0 => tcp(client, B, 100, 0, SYN, b""),
            1 => tcp(B, client, 500, 101, SYN | ACK, b""),
            2 => tcp(client, B, 101, 501, ACK, b""),
            _ => tcp(client, B, 101, 501, ACK, &handshake(number)),
        }
    };
    (0..4)
        .flat_map(|number| (0..flows).map(move |flow| (number, flow)))
        .map(|(number, flow)| step(number, flow))
        .collect()
}

/// Runs frames through workers to the end; reports and the sum of counters.
fn through(workers: usize, frames: &[Vec<u8>], reports: usize) -> (Vec<Report>, Counters) {
    let (sender, receiver) = bounded(reports);
    let board = Board::default();
    let ingress = Published::new(Ingress::default());
    let running = Workers::start(workers, QUEUE, settings(), ingress, sender, board.clone()).unwrap();
    let mut dispatcher = running.dispatcher();
    for (number, frames) in frames.chunks(37).enumerate() {
        let mut batch = batch(frames.iter().map(|frame| (number as u64, &frame[..])));
        // One by one, where they are taken so, is the same.
        let lone = number % 2 == 0 && batch.frames().all(|(meta, bytes)| dispatcher.frame(meta, bytes));
        assert_eq!(lone, number % 2 == 0 && workers != 1);
        if lone {
            dispatcher.rest();
        } else {
            dispatcher.dispatch(&mut batch);
            assert!(batch.is_empty());
        }
    }
    drop(dispatcher);
    running.finish().unwrap();
    (receiver.try_iter().collect(), board.total().untimed())
}

#[test]
fn any_number_of_workers_sees_the_same_and_a_stop_loses_nothing() {
    let frames = conversations(100);
    let (_, inline) = through(0, &frames, 10_000);
    assert_eq!(
        (inline.frames, inline.flows_created, inline.inspected),
        (400, 100, 100)
    );
    for workers in 0..=3 {
        let (reports, counters) = through(workers, &frames, 10_000);
        assert_eq!(counters, inline, "{workers} workers");
        assert!(reports.len() >= 100);
        for report in reports {
            let Report::Sighting(sighting) = report else {
                continue;
            };
            // Only in order, and with both directions in one place, a handshake proves.
            assert_eq!(sighting.proven, Ends::BOTH, "{workers} workers");
        }
    }
}

#[test]
fn a_full_report_queue_is_counted_and_holds_nobody_up() {
    for workers in 0..=2 {
        let (reports, counters) = through(workers, &conversations(100), 5);
        let seen = counters.reports_dropped as usize + reports.len();
        assert_eq!((reports.len(), counters.frames), (5, 400));
        assert!(seen >= 100, "{workers} workers");
    }
}

/// A hand-over to queues that nobody reads.
fn stuck(queues: usize, depth: usize) -> (Dispatcher, Vec<Receiver<Work>>, Board) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..queues).map(|_| bounded(depth)).unzip();
    let board = Board::default();
    let depth = NonZeroUsize::new(depth).unwrap();
    let hand_over = HandOver::new(FlowHasher::seeded(3), &senders, depth, board.register());
    (Dispatcher::hand_over(hand_over), receivers, board)
}

#[test]
fn overload_drops_whole_batches_and_counts_their_frames() {
    let (mut dispatcher, queues, board) = stuck(1, 4);
    let frame = udp(A, B, b"hello");
    for _ in 0..100 {
        dispatcher.dispatch(&mut batch([(0, &frame[..]); 10]));
    }
    let counters = board.total();
    assert_eq!(
        (counters.queue_dropped_batches, counters.queue_dropped_frames),
        (96, 960)
    );
    assert_eq!((counters.batch_missing_frames, queues[0].len()), (0, 4));
}

#[test]
fn batches_that_do_not_come_back_are_not_replaced() {
    let (mut dispatcher, queues, board) = stuck(1, 4);
    let frame = udp(A, B, b"hello");
    let mut kept = Vec::new();
    for _ in 0..100 {
        dispatcher.dispatch(&mut batch([(0, &frame[..]); 10]));
        kept.extend(queues[0].try_iter());
    }
    assert_eq!((kept.len(), board.total().batch_missing_frames), (6, 940));
    for Work { mut batch, home } in kept {
        batch.clear();
        home.try_send(batch).unwrap();
    }
    dispatcher.dispatch(&mut batch([(0, &frame[..])]));
    assert_eq!((queues[0].len(), board.total().batch_missing_frames), (1, 940));
}

#[test]
fn both_directions_and_fragments_go_to_the_same_worker_in_order() {
    let (mut dispatcher, queues, _) = stuck(3, 100);
    let mut used = [false; 3];
    for number in 0..50 {
        let peer: Host = ([203, 0, 113, number], 6881);
        let [first, second] = udp_fragments(A, peer, &[number; 100]);
        let frames = [
            udp(A, peer, b"one"),
            udp(peer, A, b"two"),
            second,
            first,
            tcp(peer, A, 1, 2, ACK, b"three"),
        ];
        dispatcher.dispatch(&mut batch(frames.iter().map(|frame| (0, &frame[..]))));
        let work: Vec<_> = queues
            .iter()
            .map(|queue| queue.try_iter().collect::<Vec<_>>())
            .collect();
        let owner = work.iter().position(|work| !work.is_empty()).unwrap();
        assert_eq!(work.iter().flatten().count(), 1, "one worker gets all");
        let arrived: Vec<_> = work[owner][0]
            .batch
            .frames()
            .map(|(_, bytes)| bytes.to_vec())
            .collect();
        assert_eq!(arrived, frames);
        used[owner] = true;
    }
    assert_eq!(used, [true; 3]);
}

#[test]
fn a_panic_is_noticed() {
    let (sender, work) = bounded(1);
    let (home, _returned) = bounded(1);
    let (exit, exits) = bounded(1);
    let (reports, _heard) = bounded(1);
    let ingress = Published::new(Ingress::default());
    let mut running = Workers::start(1, QUEUE, settings(), ingress, reports, Board::default()).unwrap();
    running.check().unwrap();
    running.exits = exits;
    let batch = FrameBatch::new();
    sender.try_send(Work { batch, home }).ok().unwrap();
    run(2, &work, &exit, |_| panic!("wrong by {}", 1));
    let error = running.check().unwrap_err();
    assert_eq!(error.to_string(), "worker 2 panicked: wrong by 1");
}
