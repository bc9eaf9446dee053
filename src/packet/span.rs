//! Bytes that were captured, and how many there were on the wire.

/// A part of a frame. Purpose: lengths are checked here once, so no reader of headers can leave the frame.
/// The wire length is never less than the captured length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    bytes: &'a [u8],
    wire: u32,
}

impl<'a> Span<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8], wire: u32) -> Self {
        Self {
            bytes,
            wire: wire.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        }
    }
    /// The captured bytes.
    #[inline]
    pub(super) const fn bytes(self) -> &'a [u8] {
        self.bytes
    }
    /// Length on the wire.
    #[inline]
    pub(super) const fn wire(self) -> u32 {
        self.wire
    }
    /// Whether the capture ends before the packet does.
    #[inline]
    pub(super) const fn is_cut(self) -> bool {
        (self.bytes.len() as u64) < self.wire as u64
    }
    /// What follows the first `len` bytes; `None` when fewer were captured.
    #[inline]
    pub(super) fn after(self, len: usize) -> Option<Self> {
        let bytes = self.bytes.get(len..)?;
        Some(Self {
            bytes,
            wire: self.wire.saturating_sub(u32::try_from(len).ok()?),
        })
    }
    /// The first `N` bytes and what follows them.
    #[inline]
    pub(super) fn split<const N: usize>(self) -> Option<(&'a [u8; N], Self)> {
        Some((self.bytes.first_chunk::<N>()?, self.after(N)?))
    }
    /// The same, declared to be `wire` bytes long by a header: what is captured behind that is padding. A longer
    /// declaration is believed: the capture was cut and its file does not tell.
    #[inline]
    pub(super) fn declared(self, wire: u32) -> Self {
        let kept = self.bytes.len().min(usize::try_from(wire).unwrap_or(usize::MAX));
        Self {
            bytes: self.bytes.get(..kept).unwrap_or(self.bytes),
            wire,
        }
    }
}
