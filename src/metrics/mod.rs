//! Numbers of what was done, for people and for tests.

mod counters;

pub use counters::{Board, Counters, SharedCounters, TECHNIQUES};
