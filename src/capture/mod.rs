//! Where frames come from: live interfaces and capture files, both as recycled [`FrameBatch`]es.
//!
//! libpcap opens both; the records of files in the classic format are read past it ([`FileSource`]). What a frame
//! contains is not looked at here.
//! Frames that the kernel drops are counted here; frames that a full queue drops are counted by its owner.

mod batch;
mod early_exit;
mod file;
mod interface;
mod live;
mod options;
mod records;
mod status;
mod stop;

pub use crate::packet::LinkType;
pub use batch::{FrameBatch, FrameMeta};
pub use early_exit::{EarlyExit, EarlyExitError, LeftOut};
pub use file::{FileError, FileSource};
pub use interface::interface_names;
pub use live::LiveCapture;
pub use options::{CaptureError, KERNEL_FILTER, LiveOptions};
pub use status::{CaptureStatus, FrameSink, KernelCounters, KernelStats, WaitReason};
pub use stop::Stop;

use btblocker_detectors::Timestamp;

/// Capture time of a frame. Files hold it as 32 bits without a sign, which libpcap takes for a time before 1970 from 2038
/// on.
fn timestamp(header: &pcap::PacketHeader) -> Timestamp {
    let secs = header.ts.tv_sec;
    let secs = u64::try_from(secs).unwrap_or(u64::from(secs as u32));
    let micros = u64::try_from(header.ts.tv_usec).unwrap_or(0);
    Timestamp(secs.saturating_mul(1_000_000).saturating_add(micros))
}

#[cfg(test)]
mod file_tests;
