//! What a live capture tells: frames, whether more can come, and how many the kernel lost.

use super::{FrameBatch, FrameMeta, LeftOut};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether frames can come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureStatus {
    /// The interface is open and up.
    Running,
    /// It is not; capture goes on by itself when it is again.
    Waiting {
        /// Why.
        reason: WaitReason,
    },
}

/// Why a capture waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// No interface of that name: deleted, renamed, moved to another namespace, or not made yet.
    Missing,
    /// The interface is down.
    Down,
    /// It exists, but cannot be opened.
    Refused(String),
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the interface does not exist"),
            Self::Down => f.write_str("the interface is down"),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

/// Who takes the frames.
pub trait FrameSink {
    /// Takes the frames of a batch, at the latest at the end of each ring block; the batch is never empty. It
    /// may be swapped for another one. What is left in it is cleared.
    fn frames(&mut self, batch: &mut FrameBatch);

    /// Takes one frame where it lies in the ring, before it is copied into a batch. `false`: it is to be copied.
    fn frame(&mut self, _meta: &FrameMeta, _bytes: &[u8]) -> bool {
        false
    }

    /// Told at the end of each ring block.
    fn end_of_block(&mut self) {}

    /// Told at the start and at each change.
    fn status(&mut self, status: &CaptureStatus);
}

/// The kernel's counters of one capture since its start, re-opened interfaces included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Frames that passed the filter, dropped ones included.
    pub received: u64,
    /// Frames dropped because the ring was full.
    pub dropped: u64,
    /// Frames dropped by the interface or its driver.
    pub if_dropped: u64,
    /// Frames of settled flows that ended in the kernel: the early exit.
    pub left_out: u64,
    /// Bytes of these frames.
    pub left_out_bytes: u64,
}

/// [`KernelStats`] that other threads can read; brought up to date twice a second.
#[derive(Debug, Default)]
pub struct KernelCounters {
    received: AtomicU64,
    dropped: AtomicU64,
    if_dropped: AtomicU64,
    left_out: AtomicU64,
    left_out_bytes: AtomicU64,
}

impl KernelCounters {
    /// The counters now.
    pub fn stats(&self) -> KernelStats {
        KernelStats {
            received: self.received.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            if_dropped: self.if_dropped.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            left_out_bytes: self.left_out_bytes.load(Ordering::Relaxed),
        }
    }

    /// Adds what libpcap's 32-bit counters grew by, a wrap included.
    pub(super) fn add(&self, before: &pcap::Stat, now: &pcap::Stat) {
        let grown = |before: u32, now: u32| u64::from(now.wrapping_sub(before));
        self.received
            .fetch_add(grown(before.received, now.received), Ordering::Relaxed);
        self.dropped
            .fetch_add(grown(before.dropped, now.dropped), Ordering::Relaxed);
        self.if_dropped
            .fetch_add(grown(before.if_dropped, now.if_dropped), Ordering::Relaxed);
    }

    /// Shows what ended early since the start.
    pub(super) fn show(&self, LeftOut { frames, bytes }: LeftOut) {
        self.left_out.store(frames, Ordering::Relaxed);
        self.left_out_bytes.store(bytes, Ordering::Relaxed);
    }
}
