//! Numbered places for values of one kind: taken in chunks, never moved, given back and used again.

use std::num::NonZeroU32;

/// Bytes of a chunk: small enough not to stall a worker, large enough to be rare.
const CHUNK_BYTES: usize = 64 * 1024;

/// The number of a place, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(NonZeroU32);

impl Handle {
    /// From a position, from 0.
    pub(super) const fn at(position: u32) -> Option<Self> {
        match NonZeroU32::new(position.wrapping_add(1)) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
    /// Position, from 0.
    pub(super) const fn position(self) -> u32 {
        self.0.get() - 1
    }
}

/// Up to `capacity` values. A place keeps its old value until its next owner overwrites it.
pub(super) struct Slab<T> {
    chunks: Vec<Box<[T]>>,
    free: Vec<Handle>,
    len: u32,
    capacity: u32,
    make: fn() -> T,
}

impl<T> Slab<T> {
    /// Values per chunk, as a power of two.
    const BITS: u32 = {
        match CHUNK_BYTES.checked_div(size_of::<T>()) {
            None | Some(0..8) => 3,
            Some(fitting) => fitting.ilog2(),
        }
    };

    pub(super) const fn new(capacity: u32, make: fn() -> T) -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
            capacity,
            make,
        }
    }
    /// A place, with what its last owner left there. `None`: all are taken.
    pub(super) fn claim(&mut self) -> Option<Handle> {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop()
    }
    /// Gives a place back. Its owner must forget the handle.
    pub(super) fn release(&mut self, handle: Handle) {
        self.free.push(handle);
    }
    pub(super) fn get(&self, handle: Handle) -> Option<&T> {
        let position = handle.position() as usize;
        self.chunks
            .get(position >> Self::BITS)?
            .get(position & ((1 << Self::BITS) - 1))
    }
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let position = handle.position() as usize;
        self.chunks
            .get_mut(position >> Self::BITS)?
            .get_mut(position & ((1 << Self::BITS) - 1))
    }
    /// Places that exist, taken or not.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }
    /// Places that are taken.
    pub(super) fn taken(&self) -> u32 {
        self.len.saturating_sub(self.free.len() as u32)
    }

    fn grow(&mut self) {
        let more = (1_u32 << Self::BITS).min(self.capacity - self.len);
        if more == 0 {
            return;
        }
        self.chunks.push((0..more).map(|_| (self.make)()).collect());
        let end = self.len + more;
        self.free.reserve(end as usize);
        self.free.extend((self.len..end).rev().filter_map(Handle::at));
        self.len = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_distinct_and_used_again() {
        let mut slab = Slab::new(5000, || 0_u64);
        let handles: Vec<_> = (0..5000).map(|_| slab.claim().unwrap()).collect();
        assert_eq!((slab.claim(), slab.len(), slab.taken()), (None, 5000, 5000));
        for (value, handle) in handles.iter().enumerate() {
            *slab.get_mut(*handle).unwrap() = value as u64;
        }
        assert!(
            handles
                .iter()
                .enumerate()
                .all(|(value, handle)| slab.get(*handle) == Some(&(value as u64)))
        );
        slab.release(handles[17]);
        assert_eq!(
            (slab.taken(), slab.claim(), slab.claim()),
            (4999, Some(handles[17]), None)
        );
    }

    #[test]
    fn memory_comes_in_chunks() {
        let mut slab = Slab::new(1 << 20, || [0_u8; 1024]);
        assert_eq!(slab.len(), 0);
        slab.claim().unwrap();
        assert_eq!(slab.len(), 64);
    }
}
