//! The early exit: packets of flows of which nothing more is wanted end in the kernel.
//!
//! A socket filter (`contrib/early-exit/btblocker_early_exit.c`) looks each packet's flow up in a table that lies in memory
//! shared with this process, so telling it of a flow is no system call. There is one for each interface, because
//! captures without workers have a flow table each.
//!
//! Promise: a packet is left out only while the flow table, too, would say that its flow is settled. An entry ends by
//! itself, sooner than any flow ends by silence; segments with SYN, FIN or RST always arrive. What the filter does not
//! read as `packet` does, it lets pass. The one difference: a flow that a full flow table has given up goes on being
//! left out until its entry ends.
//!
//! Needs Linux 5.11, and CAP_BPF for [`EarlyExit::load`] only.

#![cfg_attr(
    not(feature = "early-exit"),
    expect(dead_code, reason = "nothing can be loaded then")
)]

mod memory;
#[cfg(feature = "early-exit")]
mod program;
mod slot;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use btblocker_detectors::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::LinkType;
use memory::{Shared, Value};
use slot::Slot;

/// Why packets do not end early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EarlyExitError {
    /// The kernel or libbpf refuses.
    #[error("{action} failed")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The embedded object lacks something.
    #[error("the program lacks {0}")]
    Lacks(&'static str),
    /// The filter does not read such frames.
    #[error("it reads Ethernet and raw IP, not frames of the kind {0:?}")]
    Link(LinkType),
    /// Left out when this program was built.
    #[error("this btblocker was built without it (feature early-exit)")]
    NotBuilt,
}

/// What ended early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Frames.
    pub frames: u64,
    /// Bytes of these frames, link layer included.
    pub bytes: u64,
}

/// The early exit of one interface. A clone is the same one.
#[derive(Clone)]
pub struct EarlyExit(Arc<Kernel>);

/// What the kernel holds for one interface.
struct Kernel {
    ethernet: OwnedFd,
    raw_ip: OwnedFd,
    flows: Shared<Slot>,
    left_out: Shared<Counters>,
    /// Chooses the slot of a flow.
    seed: u64,
}

/// What was left out on one processor, as the filter counts it.
#[repr(C)]
struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
    unused: [u64; 6],
}

const _: () = assert!(size_of::<Counters>() == 64);
// SAFETY: 64 bytes as `struct counters`, of which the atomics are read.
unsafe impl Value for Counters {}

impl EarlyExit {
    /// Loads the filter into the kernel, where it does nothing yet. `snaplen`: bytes that it leaves of a frame.
    ///
    /// # Errors
    /// When the kernel is older than 5.11, or CAP_BPF is missing.
    #[cfg(feature = "early-exit")]
    pub fn load(snaplen: u32) -> Result<Self, EarlyExitError> {
        Ok(Self(Arc::new(program::load(snaplen)?)))
    }
    /// Is not possible in this build.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "early-exit"))]
    pub fn load(_snaplen: u32) -> Result<Self, EarlyExitError> {
        Err(EarlyExitError::NotBuilt)
    }

    /// Takes the place of the filter that a packet socket has.
    pub(super) fn attach(&self, socket: BorrowedFd<'_>, link: LinkType) -> Result<(), EarlyExitError> {
        let program = match link {
            LinkType::Ethernet => self.0.ethernet.as_raw_fd(),
            LinkType::Raw => self.0.raw_ip.as_raw_fd(),
            other => return Err(EarlyExitError::Link(other)),
        };
        // SAFETY: the pointer and the length are those of a live integer.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                (&raw const program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(EarlyExitError::Kernel {
                action: "SO_ATTACH_BPF",
                source: io::Error::last_os_error(),
            })
        }
    }

    /// Says that nothing more is wanted of a flow, of which a packet was captured at `seen`. Its packets are left out
    /// until `lasts_micros` after that, from the second time on that it is said. `flow` is as the filter has it:
    /// lesser and greater address, each its upper half first, then ports and protocol.
    ///
    /// Neither a system call nor a lock; what another thread is about to say of the same place wins.
    pub fn settled(&self, flow: &[u64; 5], seen: Timestamp, lasts_micros: u64) {
        let place = slot::place(self.0.seed, flow, self.0.flows.len());
        if let Some((slot, seen)) = self.0.flows.get(place).zip(monotonic(seen)) {
            slot.settled(flow, seen, lasts_micros.saturating_mul(1_000), monotonic_now);
        }
    }

    /// What ended early so far.
    pub fn left_out(&self) -> LeftOut {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            let all = self.0.left_out.iter();
            all.map(|counters| of(counters).load(Ordering::Relaxed)).sum()
        };
        LeftOut {
            frames: sum(|counters| &counters.frames),
            bytes: sum(|counters| &counters.bytes),
        }
    }
}

impl fmt::Debug for EarlyExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EarlyExit").field(&self.left_out()).finish()
    }
}

/// Now, in nanoseconds of the clock that the filter reads in ticks.
fn monotonic_now() -> u64 {
    nanos(ClockId::Monotonic)
}

/// A capture time on that clock, or somewhat before. `None` for a time that has not come yet: the clock of capture times
/// was set back.
fn monotonic(seen: Timestamp) -> Option<u64> {
    let monotonic = monotonic_now();
    let age = nanos(ClockId::Realtime).checked_sub(seen.0.checked_mul(1_000)?)?;
    Some(monotonic.saturating_sub(age))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let [secs, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_times_are_told_on_the_clock_of_the_filter() {
        let real = nanos(ClockId::Realtime) / 1_000;
        let before = monotonic_now();
        let second = 1_000_000;
        let found = monotonic(Timestamp(real - second)).unwrap();
        assert!(
            found + 1_000_000_000 <= monotonic_now(),
            "never later than it was"
        );
        assert!(found + 1_100_000_000 > before, "and not much before");
        assert_eq!(monotonic(Timestamp(real + 60 * second)), None);
        assert_eq!(monotonic(Timestamp(u64::MAX)), None);
        assert_eq!(monotonic(Timestamp(0)), Some(0));
    }
}
