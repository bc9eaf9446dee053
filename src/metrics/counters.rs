//! Counters of the packet path: plain numbers in each thread, published once per batch.
//!
//! Every reason why something is not looked at or not delivered has its own counter; none is ever added into
//! another. Drops by the kernel are the capture's and are not here.

use crate::packet::Skip;
use btblocker_detectors::{Confidence, Technique};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Number of techniques.
pub const TECHNIQUES: usize = Technique::ALL.len();
const SKIPS: usize = Skip::ALL.len();
const CONFIDENCES: usize = 3;
/// Upper ends of the classes that batches are counted in by their time, in microseconds; above the last is one more.
pub const BATCH_MICROS: [u32; 9] = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one thread has counted, or the sum over threads.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// Frames that hold nothing to look at, by [`Skip::index`].
            pub skipped: [u64; SKIPS],
            /// Pieces of evidence, by technique in the order of [`Technique::ALL`], then by confidence, weak first.
            pub evidence: [[u64; CONFIDENCES]; TECHNIQUES],
            /// Batches by the time that looking at them took, in the classes of [`BATCH_MICROS`].
            pub batches: [u64; BATCH_MICROS.len() + 1],
        }

        /// Counters of one thread as others may read them.
        #[derive(Debug, Default)]
        pub struct SharedCounters {
            $($name: AtomicU64,)*
            skipped: [AtomicU64; SKIPS],
            evidence: [[AtomicU64; CONFIDENCES]; TECHNIQUES],
            batches: [AtomicU64; BATCH_MICROS.len() + 1],
        }

        impl Counters {
            /// Name and value of every counter that is one number.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
            /// Adds another thread's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                for (sum, more) in self.skipped.iter_mut().zip(&other.skipped) {
                    *sum += more;
                }
                for (sum, more) in self.evidence.as_flattened_mut().iter_mut().zip(other.evidence.as_flattened()) {
                    *sum += more;
                }
                for (sum, more) in self.batches.iter_mut().zip(&other.batches) {
                    *sum += more;
                }
            }
        }

        impl SharedCounters {
            /// Shows `counters` to readers. To be called by one thread only, which owns them.
            pub fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Ordering::Relaxed);)*
                for (shown, value) in self.skipped.iter().zip(&counters.skipped) {
                    shown.store(*value, Ordering::Relaxed);
                }
                let evidence = self.evidence.as_flattened().iter();
                for (shown, value) in evidence.zip(counters.evidence.as_flattened()) {
                    shown.store(*value, Ordering::Relaxed);
                }
                for (shown, value) in self.batches.iter().zip(&counters.batches) {
                    shown.store(*value, Ordering::Relaxed);
                }
            }
            /// What was published last.
            pub fn snapshot(&self) -> Counters {
                let mut counters = Counters::default();
                $(counters.$name = self.$name.load(Ordering::Relaxed);)*
                for (value, shown) in counters.skipped.iter_mut().zip(&self.skipped) {
                    *value = shown.load(Ordering::Relaxed);
                }
                let evidence = counters.evidence.as_flattened_mut().iter_mut();
                for (value, shown) in evidence.zip(self.evidence.as_flattened()) {
                    *value = shown.load(Ordering::Relaxed);
                }
                for (value, shown) in counters.batches.iter_mut().zip(&self.batches) {
                    *value = shown.load(Ordering::Relaxed);
                }
                counters
            }
        }
    };
}

counters! {
    /// Frames that reached an inspection.
    frames,
    /// Bytes of these frames on the wire.
    bytes,
    /// Datagrams that were put together from fragments.
    reassembled,
    /// Packets whose source cannot come from where they arrived.
    martian,
    /// Packets that no flow could be made for.
    flow_missing,
    /// Flows that began.
    flows_created,
    /// Flows that ended by silence.
    flows_expired,
    /// Flows that ended because the table was full.
    flows_evicted,
    /// Flows that ended because their ports were used anew.
    flows_reused,
    /// Flows that are remembered at this time.
    flows_active,
    /// Flows that were read without stream buffers because none was free.
    buffers_missing,
    /// Packets that an inspector has seen.
    inspected,
    /// Packets without payload.
    empty,
    /// Packets of flows that are settled, or rest until their evidence is due again.
    settled,
    /// Endpoints that plaintext traffic has named.
    learned,
    /// Evidence reported once more because more is proven.
    reproven,
    /// Findings of single packets beyond what one packet may give.
    findings_overflow,
    /// Nanoseconds that looking at batches took.
    batch_nanos,
    /// Reports that the judge had no room for.
    reports_dropped,
    /// Batches that a worker had no room for.
    queue_dropped_batches,
    /// Frames in these batches.
    queue_dropped_frames,
    /// Frames that were dropped because every batch was under way.
    batch_missing_frames,
}

impl Counters {
    /// Counts a frame that holds nothing to look at.
    pub const fn skip(&mut self, reason: Skip) {
        self.skipped[reason.index()] += 1;
    }
    /// Without what two runs of the same do not have in common: the times.
    #[cfg(test)]
    pub(crate) fn untimed(self) -> Self {
        Self {
            batch_nanos: 0,
            batches: Default::default(),
            ..self
        }
    }
    /// Counts one piece of evidence.
    pub const fn see(&mut self, technique: Technique, confidence: Confidence) {
        self.evidence[technique as usize][confidence as usize] += 1;
    }
    /// Counts a batch by the time that looking at it took.
    pub fn batch(&mut self, took: Duration) {
        let micros = took.as_micros();
        let class = BATCH_MICROS.partition_point(|end| u128::from(*end) < micros);
        self.batches[class] += 1;
        self.batch_nanos += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    }
    /// Pieces of evidence by one technique with one confidence.
    pub const fn evidence(&self, technique: Technique, confidence: Confidence) -> u64 {
        self.evidence[technique as usize][confidence as usize]
    }
}

/// The counters of all threads of the packet path.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Arc<SharedCounters>>>>);

impl Board {
    /// A place for one more thread.
    pub fn register(&self) -> Arc<SharedCounters> {
        let shared = Arc::new(SharedCounters::default());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&shared));
        shared
    }
    /// The sum over all threads, each as of its last batch.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for shared in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            total.add(&shared.snapshot());
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counters_are_summed_and_kept_apart() {
        let board = Board::default();
        let (one, two) = (board.register(), board.register());
        let mut counters = Counters {
            frames: 3,
            queue_dropped_frames: 2,
            ..Counters::default()
        };
        counters.skip(Skip::Fragment);
        counters.see(Technique::FanOut, Confidence::Conclusive);
        for micros in [10, 11, 99_999, 100_001] {
            counters.batch(Duration::from_micros(micros));
        }
        one.publish(&counters);
        one.publish(&counters);
        assert_eq!(one.snapshot(), counters);
        counters.see(Technique::Handshake, Confidence::Weak);
        two.publish(&counters);
        let total = board.total();
        assert_eq!(
            (
                total.frames,
                total.queue_dropped_frames,
                total.queue_dropped_batches
            ),
            (6, 4, 0)
        );
        assert_eq!(total.batches, [2, 2, 0, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(total.batch_nanos, 2 * 200_021_000);
        assert_eq!(total.skipped[Skip::Fragment.index()], 2);
        assert_eq!(total.evidence(Technique::FanOut, Confidence::Conclusive), 2);
        assert_eq!(total.evidence(Technique::Handshake, Confidence::Weak), 1);
        assert_eq!(
            total.named().find(|(name, _)| *name == "frames"),
            Some(("frames", 6))
        );
    }
}
