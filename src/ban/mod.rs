//! Who is banned until when, who is never banned, and the contract of the kernel sets that hold the bans.

mod element;
mod exempt;
mod manager;

pub use element::{BackendError, Change, Element, Held, SetBackend, Timeout};
pub use exempt::{Exemption, Exemptions};
pub use manager::{BanPolicy, Manager, Outcome};
