//! The packet path takes no memory per packet once its tables are filled: neither where the capture thread inspects
//! itself, nor where it hands batches to workers.

use btblocker::capture::{FrameBatch, LinkType};
use btblocker::metrics::Board;
use btblocker::network::Ingress;
use btblocker::pipeline::{Dispatcher, Published, Settings, Workers};
use btblocker_detectors::Timestamp;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::{NonZeroU32, NonZeroUsize};

/// Batches that wait for one worker.
const QUEUE: NonZeroUsize = NonZeroUsize::new(128).unwrap();

struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: every call is passed to the system's allocator unchanged; counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` was given out by `System` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `memory` was given out by `System` with this layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn ipv4(protocol: u8, offset: u16, ends: [u8; 8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x45, 0];
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([7, 7]);
    frame.extend(offset.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend(ends);
    frame.extend(payload);
    frame
}

/// The frames of one host pair: TCP with a peer handshake, UDP with a DHT query, a fragmented datagram, noise.
fn frames(pair: u16) -> Vec<Vec<u8>> {
    let [high, low] = pair.to_be_bytes();
    let there = [10, 0, high, low, 203, 0, 113, 9];
    let back = [203, 0, 113, 9, 10, 0, high, low];
    let tcp = |ends, ports: [u8; 4], sequence: u32, acknowledgement: u32, flags, payload: &[u8]| {
        let mut segment = ports.to_vec();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledgement.to_be_bytes());
        segment.extend([0x50, flags, 255, 255, 0, 0, 0, 0]);
        segment.extend(payload);
        ipv4(6, 0, ends, &segment)
    };
    let udp = |payload: &[u8]| {
        let mut datagram = vec![0x1a, 0xe1, 0x1a, 0xe2];
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    };
    let (out, home) = ([0xc3, 0x50, 0xc8, 0xd5], [0xc8, 0xd5, 0xc3, 0x50]);
    let hello = [
        &b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05"[..],
        &[pair as u8 ^ 0x5a; 20],
        b"-TR4050-abcdefghijkl",
    ]
    .concat();
    let query =
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe";
    let whole = udp(&[9; 100]);
    vec![
        tcp(there, out, 100, 0, 2, b""),
        tcp(back, home, 500, 101, 18, b""),
        tcp(there, out, 101, 501, 16, b""),
        tcp(there, out, 101, 501, 24, &hello),
        tcp(back, home, 501, 169, 24, &hello),
        tcp(there, out, 169, 569, 24, &[0xaa; 700]),
        ipv4(17, 0, there, &udp(query)),
        ipv4(17, 0x2000, back, &whole[..40]),
        ipv4(17, 5, back, &whole[40..]),
        ipv4(1, 0, back, &[8, 0, 0, 0]),
    ]
}

/// Sends the frames of `pairs` host pairs, a second of packet time between rounds; frames sent.
fn traffic(
    dispatcher: &mut Dispatcher,
    batch: &mut FrameBatch,
    frames: &[Vec<u8>],
    seconds: std::ops::Range<u64>,
) -> u64 {
    let mut sent = 0;
    for second in seconds {
        let at = Timestamp(1_700_000_000_000_000 + second * 1_000_000);
        for frame in frames {
            if !batch.push(at, LinkType::Raw, 0, frame.len() as u32, frame) {
                hand_over(dispatcher, batch, second % 2 == 0);
                assert!(batch.push(at, LinkType::Raw, 0, frame.len() as u32, frame));
            }
            sent += 1;
        }
        hand_over(dispatcher, batch, second % 2 == 0);
    }
    sent
}

/// A whole batch, or its frames one by one where the dispatcher takes them so.
fn hand_over(dispatcher: &mut Dispatcher, batch: &mut FrameBatch, whole: bool) {
    if whole || !batch.frames().all(|(meta, bytes)| dispatcher.frame(meta, bytes)) {
        dispatcher.dispatch(batch);
    } else {
        dispatcher.rest();
        batch.clear();
    }
}

#[test]
fn no_packet_takes_memory_once_the_tables_are_filled() {
    for count in [0, 2] {
        // More flows than places, so that flows begin, expire and are evicted all the time.
        let mut settings = Settings::new(NonZeroU32::new(150).unwrap());
        settings.stream_buffers = 50;
        let (sample, _samples) = btblocker::event::samples(64);
        settings.samples = Some(sample);
        let (packet, _packets) = btblocker::event::packets(64);
        settings.packets = Some(packet);
        let (reports, read) = crossbeam_channel::bounded(1000);
        let board = Board::default();
        let ingress = Published::new(Ingress::default());
        let workers = Workers::start(count, QUEUE, settings, ingress, reports, board.clone()).unwrap();
        let mut dispatcher = workers.dispatcher();
        let mut batch = FrameBatch::new();
        let frames: Vec<_> = (0..100).flat_map(frames).collect();
        let mut sent = traffic(&mut dispatcher, &mut batch, &frames, 0..20);
        let before = TAKEN.with(Cell::get);
        sent += traffic(&mut dispatcher, &mut batch, &frames, 20..100);
        assert_eq!(TAKEN.with(Cell::get) - before, 0);
        drop(dispatcher);
        workers.finish().unwrap();
        let total = board.total();
        assert_eq!(
            total.frames + total.queue_dropped_frames + total.batch_missing_frames,
            sent
        );
        // On a busy machine workers may be handed few of the frames; inline nothing is dropped.
        assert!(total.inspected > 0);
        assert!(count > 0 || (total.flows_evicted > 0 && total.reassembled > 0));
        assert!(!read.is_empty());
    }
}
