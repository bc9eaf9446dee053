//! Where frames come from: live interfaces and capture files, both as recycled [`FrameBatch`]es.

mod batch;

pub use batch::{FrameBatch, FrameMeta, LinkType};
