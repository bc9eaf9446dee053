//! Many frames in one recycled buffer.

use crate::packet::LinkType;
use btblocker_detectors::Timestamp;

/// What is known of one frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameMeta {
    /// Capture time.
    pub at: Timestamp,
    /// Link type of this frame.
    pub link: LinkType,
    /// Index of the interface or file in the capture's list.
    pub interface: u16,
    /// Length on the wire in bytes, at least the captured length.
    pub wire_len: u32,
    start: u32,
    len: u32,
}

impl FrameMeta {
    /// Of a frame of `len` captured bytes in no batch.
    pub(super) fn lone(at: Timestamp, link: LinkType, interface: u16, wire_len: u32, len: usize) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self {
            at,
            link,
            interface,
            wire_len: wire_len.max(len),
            start: 0,
            len,
        }
    }
}

/// Up to [`FrameBatch::MAX_FRAMES`] frames, in capture order, in one buffer that is reused.
#[derive(Debug)]
pub struct FrameBatch {
    bytes: Box<[u8]>,
    used: usize,
    frames: Vec<FrameMeta>,
}

impl FrameBatch {
    /// Most frames of a batch.
    pub const MAX_FRAMES: usize = 256;
    /// Bytes of a batch. One frame larger than this is cut to it.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// An empty batch with all its memory.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; Self::MAX_BYTES].into_boxed_slice(),
            used: 0,
            frames: Vec::with_capacity(Self::MAX_FRAMES),
        }
    }
    /// Forgets all frames; keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.frames.clear();
    }
    /// Appends a frame. `false`: there is no room, hand the batch on and use another. A frame that is
    /// larger than a whole batch is cut to [`FrameBatch::MAX_BYTES`].
    #[must_use]
    pub fn push(
        &mut self,
        at: Timestamp,
        link: LinkType,
        interface: u16,
        wire_len: u32,
        frame: &[u8],
    ) -> bool {
        let frame = &frame[..frame.len().min(Self::MAX_BYTES)];
        let start = self.used;
        let room = self.bytes.get_mut(start..start + frame.len());
        let Some(room) = room.filter(|_| self.frames.len() < Self::MAX_FRAMES) else {
            return false;
        };
        room.copy_from_slice(frame);
        self.used += frame.len();
        self.mark(at, link, interface, wire_len, [start, frame.len()])
    }

    /// Empties the batch and has `read` put bytes into the first `room` of its buffer; it gives their number. Frames
    /// among them are then named with [`FrameBatch::mark`].
    pub(super) fn load<E>(
        &mut self,
        room: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.clear();
        let buffer = self
            .bytes
            .get_mut(..room.min(Self::MAX_BYTES))
            .unwrap_or_default();
        self.used = read(buffer)?.min(Self::MAX_BYTES);
        Ok(())
    }
    /// What is in the buffer.
    pub(super) fn loaded(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
    /// Makes the next frame out of `len` loaded bytes from `start` on. `false`: there is no room for one more, or not
    /// so much is loaded.
    #[must_use]
    pub(super) fn mark(
        &mut self,
        at: Timestamp,
        link: LinkType,
        interface: u16,
        wire_len: u32,
        [start, len]: [usize; 2],
    ) -> bool {
        if self.frames.len() == Self::MAX_FRAMES || start + len > self.used {
            return false;
        }
        self.frames.push(FrameMeta {
            start: start as u32,
            ..FrameMeta::lone(at, link, interface, wire_len, len)
        });
        true
    }
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
    /// One frame by its position, from 0.
    pub fn frame(&self, index: usize) -> Option<(&FrameMeta, &[u8])> {
        let meta = self.frames.get(index)?;
        let bytes = self
            .bytes
            .get(meta.start as usize..(meta.start + meta.len) as usize);
        Some((meta, bytes.unwrap_or(&[])))
    }
    /// The frames in capture order.
    pub fn frames(&self) -> impl Iterator<Item = (&FrameMeta, &[u8])> {
        self.frames.iter().map(|meta| {
            (
                meta,
                self.bytes
                    .get(meta.start as usize..(meta.start + meta.len) as usize)
                    .unwrap_or(&[]),
            )
        })
    }
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self::new()
    }
}
