//! CPU time of this thread, and what it takes from the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn note(calls: u64, bytes: i64) {
    TAKEN.set(TAKEN.get() + calls);
    HELD.set(HELD.get() + bytes);
}

// SAFETY: every call is passed to the system's allocator unchanged; constant thread-locals never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: `memory` was given out by `System` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        // SAFETY: `memory` was given out by `System` with this layout.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls to the allocator that took memory, by this thread, so far.
pub(crate) fn taken() -> u64 {
    TAKEN.get()
}

/// Bytes that this thread holds.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn held() -> i64 {
    HELD.get()
}

/// CPU time in nanoseconds: of the thread, or of the process.
pub(crate) fn cpu_nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clocks exist on Linux, and `time` outlives the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds and allocations per call of the quickest of `rounds` rounds of `calls` calls: what disturbs a round
/// only makes it longer. One round before them warms up.
#[allow(dead_code, reason = "not every benchmark asks for it")]
pub(crate) fn quickest(rounds: u32, calls: u32, mut call: impl FnMut(u32)) -> (f64, f64) {
    let mut best = (f64::MAX, 0.0);
    for round in 0..=rounds {
        let (start, before) = (cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID), taken());
        (0..calls).for_each(&mut call);
        let nanos = (cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID) - start) as f64 / f64::from(calls);
        if round > 0 && nanos < best.0 {
            best = (nanos, (taken() - before) as f64 / f64::from(calls));
        }
    }
    best
}
