//! Bans on disk, so that they survive a restart and a reboot with their reasons.
//!
//! One file per set name, `NAME.json` in the state folder, is replaced as a whole: written beside, flushed to the
//! disk, renamed, and the folder flushed. Deadlines in it are times of the wall clock; while the program runs it
//! uses a monotonic clock only, so a step of the wall clock shortens or lengthens no ban of a running program.
//!
//! Promise: a file that cannot be read is set aside and said so, never fatal; a disk that cannot be written costs
//! one log line and is tried again, and bans go on. Of bans that have ended the file keeps how many and until when, as
//! long as `ban_escalation` asks for it. Deliberately not kept: what was banned in the last moments before a crash;
//! the kernel still holds those, without a reason.

mod file;
mod writer;

use std::time::SystemTime;

use btblocker_detectors::Timestamp;

pub use file::{Picture, Restored, StateError, Store};
pub use writer::Writer;

/// The wall clock's time.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
