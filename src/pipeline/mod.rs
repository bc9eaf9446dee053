//! From batches of frames to reports, on one thread or on many.
//!
//! Promise: nothing here waits for anybody but a worker for its next batch. What cannot be handed on is dropped and
//! counted. The packets of one flow, in both directions, are seen by one inspection in capture order.
//!
//! Deliberately not done: no clock, no judgement, no kernel.

mod dispatch;
mod inspection;
mod published;
mod recent;
mod workers;

#[cfg(test)]
mod inspection_tests;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod workers_tests;

pub use dispatch::Dispatcher;
pub use inspection::{Inspection, Settings};
pub use published::{Published, Reader};
pub use workers::{PipelineError, Workers};

/// Default number of batches that may wait for one worker: at 64-byte packets 16,000 packets, at 1,400 bytes 2,900.
/// A batch takes 72 KiB.
pub const QUEUE_BATCHES: usize = 64;
