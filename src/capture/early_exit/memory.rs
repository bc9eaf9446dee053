//! The memory of a BPF array, which the kernel's programs and this process read and write at the same time.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The values of an array, mapped for as long as this lives.
pub(super) struct Shared<T> {
    start: NonNull<T>,
    len: usize,
}

/// A value that others may write at any moment: made of atomics, for which every bit pattern is valid.
///
/// # Safety
/// Its size is that of the array's values, a multiple of 8; it has no member but atomics that is read, and no padding.
pub(super) unsafe trait Value: Sync {}

// SAFETY: the values are shared with the kernel anyway, and made of atomics.
unsafe impl<T: Value> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Value> Sync for Shared<T> {}

impl<T: Value> Shared<T> {
    /// Maps an array (with `BPF_F_MMAPABLE`) of `len` values.
    pub(super) fn map(array: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping is asked for, wherever there is room.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                array.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl<T: Value> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many values are mapped there, aligned to a page, for as long as `self` lives; they are atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}
