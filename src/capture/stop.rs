//! The signal that ends captures.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Ends every capture that runs with a clone of it, at once and for good. Safe to use from a signal handler's
/// thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// One that has not been given.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Gives the signal. It stays given: the descriptor is never read.
    pub fn stop(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the pointer and the length are those of a live array. The only failure is a counter that is
        // full, and then the signal has been given.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Whether the signal has been given.
    pub fn is_stopped(&self) -> bool {
        wait([Some(self.as_fd()), None], Duration::ZERO).is_ok_and(|[stopped, _]| stopped)
    }
}

impl AsFd for Stop {
    /// Readable from the signal on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until a descriptor is readable or in error, at most `most`; answers which. An interrupted wait answers
/// that none is.
pub(super) fn wait(fds: [Option<BorrowedFd<'_>>; 2], most: Duration) -> io::Result<[bool; 2]> {
    // poll(2) ignores negative descriptors.
    let mut polled = fds.map(|fd| libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let millis = i32::try_from(most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer and the count are those of a live array.
    if unsafe { libc::poll(polled.as_mut_ptr(), 2, millis) } < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::Interrupted => Ok([false, false]),
            _ => Err(error),
        };
    }
    Ok(polled.map(|fd| fd.revents != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_sees_the_signal_and_it_stays() {
        let stop = Stop::new().unwrap();
        let other = stop.clone();
        assert!(!other.is_stopped());
        stop.stop();
        stop.stop();
        assert!(stop.is_stopped() && other.is_stopped() && other.is_stopped());
    }
}
