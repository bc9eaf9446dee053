//! Who is banned until when, and the contract of the kernel sets that hold the bans.

mod element;

pub use element::{BackendError, Change, Element, Held, SetBackend, Timeout};
