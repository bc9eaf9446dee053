//! What runs per frame takes no memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use btblocker::capture::{FrameBatch, LinkType};
use btblocker::network::{Ingress, Network};
use btblocker::packet::{Reassembler, fragment, parse};
use btblocker_detectors::Timestamp;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged; a constant thread-local without destructor never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn ip4(id: u16, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let words = [20 + payload.len() as u16, id, fragment]
        .map(u16::to_be_bytes)
        .concat();
    [
        &[0x45, 0][..],
        &words,
        &[64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2],
        payload,
    ]
    .concat()
}

#[test]
fn nothing_per_frame_allocates() {
    let udp = [&[0x1a, 0xe1, 0x1a, 0xe2, 0x0b, 0xc0, 0, 0][..], &[7; 3000]].concat();
    let whole = ip4(1, 0, 17, &udp);
    let tunnelled = ip4(1, 0, 4, &whole);
    let halves: Vec<[Vec<u8>; 2]> = (0..300)
        .map(|id| [ip4(id, 0x2000, 17, &udp[..1480]), ip4(id, 185, 17, &udp[1480..])])
        .collect();
    let network = Network::read().expect("network is read");
    let ingress = Ingress::new(&network, &["lo"]);
    let (mut reassembler, mut batch) = (Reassembler::new(), FrameBatch::new());
    let mut done = 0;

    TAKEN.set(0);
    for (number, [first, second]) in halves.iter().enumerate() {
        for packet in [&whole, &tunnelled, first, second] {
            if !batch.push(Timestamp(1), LinkType::Raw, 0, packet.len() as u32, packet) {
                batch.clear();
            }
            if let Ok(view) = parse(LinkType::Raw, packet, packet.len() as u32) {
                black_box(ingress.plausible(0, Some([1; 6]), view.outer_source()));
            }
        }
        // Every third datagram stays incomplete, so that old ones have to give way.
        for packet in [second, first].into_iter().skip(usize::from(number % 3 == 2)) {
            let piece = fragment(LinkType::Raw, packet, packet.len() as u32).expect("a fragment");
            done += usize::from(reassembler.insert(Timestamp(1), &piece).is_some());
        }
    }
    assert_eq!((TAKEN.get(), done), (0, 200));
}
