//! One map of the kernel as bytes: written and read many elements at a time.
//!
//! libbpf-rs has batches as well; its reader ends at an error as if the map ended there, which would look like lost
//! bans, and its writer does not say how far it came. Batches need Linux 5.6; tries have them from 5.13 only, hold
//! few elements, and are walked one by one.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{MapCore, MapHandle, MapType};

use super::link::check;

/// Elements per system call. A batch may lack memory in the kernel when it is large.
const BATCH: u32 = 4096;
/// Room for the place at which a batch ended: the kernel asks for 4 bytes at least.
const CURSOR_LEN: usize = 32;

/// An open map of any kind that takes single elements.
#[derive(Debug)]
pub(super) struct Table(MapHandle);

/// Where writing ended.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Elements that are not written.
    pub(super) rest: usize,
    /// Why.
    pub(super) error: io::Error,
}

/// Keys and values of a map, one behind the other.
#[derive(Debug)]
pub(super) struct Read {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_len: usize,
    value_len: usize,
}

impl Read {
    /// Each key with its value.
    pub(super) fn elements(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let values = self.values.chunks_exact(self.value_len);
        self.keys.chunks_exact(self.key_len).zip(values)
    }
}

impl Table {
    pub(super) fn new(map: MapHandle) -> Self {
        Self(map)
    }

    /// The map itself.
    pub(super) fn handle(&mut self) -> &mut MapHandle {
        &mut self.0
    }

    /// Name of the map.
    pub(super) fn name(&self) -> String {
        self.0.name().display().to_string()
    }

    /// Elements that it may hold.
    pub(super) fn capacity(&self) -> u32 {
        self.0.max_entries()
    }

    /// Bytes of a key.
    pub(super) fn key_len(&self) -> usize {
        self.0.key_size() as usize
    }

    /// Bytes of a value.
    pub(super) fn value_len(&self) -> usize {
        self.0.value_size() as usize
    }

    fn fd(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    fn has_batches(&self) -> bool {
        self.0.map_type() == MapType::Hash
    }

    /// Adds or overwrites elements in order; keys and values stand one behind the other.
    pub(super) fn write(&self, keys: &[u8], values: &[u8]) -> Result<(), Unwritten> {
        let mut rest = keys.len() / self.key_len();
        if rest * self.key_len() != keys.len() || rest * self.value_len() != values.len() {
            return Err(Unwritten {
                rest,
                error: io::ErrorKind::InvalidInput.into(),
            });
        }
        let batch = if self.has_batches() { BATCH as usize } else { 1 };
        let batches = keys
            .chunks(batch * self.key_len())
            .zip(values.chunks(batch * self.value_len()));
        for (keys, values) in batches {
            let (written, result) = if self.has_batches() {
                self.write_batch(keys, values)
            } else {
                (0, self.write_one(keys, values))
            };
            if let Err(error) = result {
                return Err(Unwritten {
                    rest: rest.saturating_sub(written),
                    error,
                });
            }
            rest = rest.saturating_sub(keys.len() / self.key_len());
        }
        Ok(())
    }

    /// Number of elements written, and why not more. The caller has checked the lengths.
    fn write_batch(&self, keys: &[u8], values: &[u8]) -> (usize, io::Result<()>) {
        let Ok(mut count) = u32::try_from(keys.len() / self.key_len()) else {
            return (0, Err(io::ErrorKind::InvalidInput.into()));
        };
        // SAFETY: there are `count` keys and values of the map's sizes, and all outlives the call.
        let ret = unsafe {
            sys::bpf_map_update_batch(
                self.fd(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                &mut count,
                &batch_opts(),
            )
        };
        (count as usize, check(ret))
    }

    /// The caller has checked the lengths.
    fn write_one(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let (key, value) = (key.as_ptr().cast(), value.as_ptr().cast());
        // SAFETY: key and value have the map's sizes and outlive the call.
        let ret = unsafe { sys::bpf_map_update_elem(self.fd(), key, value, sys::BPF_ANY.into()) };
        check(ret)
    }

    /// Fills `value` with that of a key, if there is one.
    pub(super) fn look_up(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        if key.len() != self.key_len() || value.len() != self.value_len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (key, value) = (key.as_ptr().cast(), value.as_mut_ptr().cast());
        // SAFETY: key and value have the map's sizes and outlive the call.
        let ret = unsafe { sys::bpf_map_lookup_elem(self.fd(), key, value) };
        match check(ret) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Removes an element; one that is absent is fine.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        if key.len() != self.key_len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the key has the map's size and outlives the call.
        let ret = unsafe { sys::bpf_map_delete_elem(self.fd(), key.as_ptr().cast()) };
        match check(ret) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All elements.
    pub(super) fn read(&self) -> io::Result<Read> {
        let mut read = Read {
            keys: Vec::new(),
            values: Vec::new(),
            key_len: self.key_len(),
            value_len: self.value_len(),
        };
        if self.has_batches() {
            self.read_batches(&mut read)?;
        } else {
            self.walk(&mut read)?;
        }
        Ok(read)
    }

    fn read_batches(&self, read: &mut Read) -> io::Result<()> {
        let mut batch = BATCH.min(self.capacity());
        let (mut cursor, mut next) = ([0_u8; CURSOR_LEN], [0_u8; CURSOR_LEN]);
        let mut started = false;
        loop {
            let (keys_before, values_before) = (read.keys.len(), read.values.len());
            read.keys.resize(keys_before + batch as usize * read.key_len, 0);
            read.values
                .resize(values_before + batch as usize * read.value_len, 0);
            let from = if started {
                cursor.as_mut_ptr()
            } else {
                ptr::null_mut()
            };
            let keys = read.keys.get_mut(keys_before..).unwrap_or_default();
            let values = read.values.get_mut(values_before..).unwrap_or_default();
            let mut count = batch;
            // SAFETY: keys and values have room for `count` elements, and the cursors of a hash are shorter than
            // CURSOR_LEN.
            let ret = unsafe {
                sys::bpf_map_lookup_batch(
                    self.fd(),
                    from.cast(),
                    next.as_mut_ptr().cast(),
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    &mut count,
                    &batch_opts(),
                )
            };
            let (taken, end) = match -ret {
                0 => (count, false),
                libc::ENOENT => (count, true),
                libc::EINTR => (0, false),
                // One bucket of the hash holds more than fits.
                libc::ENOSPC if batch < self.capacity() => {
                    batch = batch.saturating_mul(4).min(self.capacity());
                    (0, false)
                }
                errno => return Err(io::Error::from_raw_os_error(errno)),
            };
            read.keys.truncate(keys_before + taken as usize * read.key_len);
            read.values
                .truncate(values_before + taken as usize * read.value_len);
            if end {
                return Ok(());
            }
            if ret == 0 {
                cursor = next;
                started = true;
            }
        }
    }

    fn walk(&self, read: &mut Read) -> io::Result<()> {
        let mut key = vec![0_u8; read.key_len];
        let mut next = vec![0_u8; read.key_len];
        let mut value = vec![0_u8; read.value_len];
        let mut from = ptr::null();
        // Bounded, because the kernel starts again at the first when somebody removes the key that it was given.
        for _ in 0..self.capacity() {
            // SAFETY: both keys have the map's size and outlive the call; null stands for the beginning.
            let ret = unsafe { sys::bpf_map_get_next_key(self.fd(), from, next.as_mut_ptr().cast()) };
            match check(ret) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => result?,
            }
            std::mem::swap(&mut key, &mut next);
            from = key.as_ptr().cast();
            if self.look_up(&key, &mut value)? {
                read.keys.extend_from_slice(&key);
                read.values.extend_from_slice(&value);
            }
        }
        Ok(())
    }
}

fn batch_opts() -> sys::bpf_map_batch_opts {
    sys::bpf_map_batch_opts {
        sz: size_of::<sys::bpf_map_batch_opts>() as sys::size_t,
        ..Default::default()
    }
}
