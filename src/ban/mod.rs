//! Who is banned until when and why, who is never banned, and the contract of the kernel sets that hold the bans.

mod active;
mod brake;
mod element;
mod exempt;
mod history;
mod manager;
#[cfg(test)]
mod manager_tests;
#[cfg(test)]
mod model_tests;
mod record;

pub use element::{BackendError, Change, Element, Held, PacketCounters, SetBackend, Timeout};
pub use exempt::{Exemption, Exemptions};
pub use history::Past;
pub use manager::{BanPolicy, Manager, Outcome, Tally};
pub use record::{Reason, Record};
