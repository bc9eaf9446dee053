//! Where frames come from: live interfaces and capture files, both as recycled [`FrameBatch`]es.

mod batch;

pub use crate::packet::LinkType;
pub use batch::{FrameBatch, FrameMeta};
