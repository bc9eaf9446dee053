//! Numbers of what was done, for people and for tests.

mod counters;
mod daemon;
mod exposition;

pub use counters::{BATCH_MICROS, Board, Counters, SharedCounters, TECHNIQUES};
pub use daemon::{DaemonCounters, Number};
pub use exposition::{CONTENT_TYPE, Snapshot, exposition};
