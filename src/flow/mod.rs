//! What is remembered between packets: one bounded table of flows per worker.
//!
//! Promise: all memory is bounded at construction and grows only by whole chunks up to that bound; a flow that is
//! settled costs one look-up per packet; time is packet time. Which interface a packet came from is no part of a
//! flow, so that two interfaces that see one direction each are put together.
//!
//! Deliberately not done: no reassembly of streams (an inspector keeps what it needs in buffers that are lent to
//! it), no judgement, no clock.

mod inspect;
mod key;
pub mod limits;
mod slab;
mod table;
mod tcp_state;
mod watch;

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tcp_state_tests;

pub use inspect::Inspected;
pub use key::{FlowHasher, FlowKey};
pub use slab::Handle;
pub use table::{FlowCounts, FlowTable, Touched};
pub use watch::Remembered;
