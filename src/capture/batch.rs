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

/// Up to [`FrameBatch::MAX_FRAMES`] frames, in capture order, in one buffer that is reused.
#[derive(Debug)]
pub struct FrameBatch {
    bytes: Vec<u8>,
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
            bytes: Vec::with_capacity(Self::MAX_BYTES),
            frames: Vec::with_capacity(Self::MAX_FRAMES),
        }
    }
    /// Forgets all frames; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
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
        if self.frames.len() == Self::MAX_FRAMES || self.bytes.len() + frame.len() > Self::MAX_BYTES {
            return false;
        }
        let (start, len) = (self.bytes.len() as u32, frame.len() as u32);
        self.bytes.extend_from_slice(frame);
        self.frames.push(FrameMeta {
            at,
            link,
            interface,
            wire_len: wire_len.max(len),
            start,
            len,
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
