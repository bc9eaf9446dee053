//! What a receiver lets its sender send (RFC 9293 section 3.8.6; scales: RFC 7323 section 2).
//!
//! A sender that always has more stops where the window of its receiver ends: then the receiver has chosen the size of the
//! segment. Where the scale is not known for certain, any is taken for it. Cannot see: windows among more than three others that
//! reach the monitor and not the sender.

/// Windows that are remembered.
const WINDOWS: usize = 4;
/// Largest shift of a window (RFC 7323 section 2.3).
pub(crate) const MAX_SCALE: u8 = 14;
/// Bytes from which on a segment may be a full one: what is shorter ends a message, or a window.
pub(crate) const SEGMENT_BYTES: u32 = 1_200;

/// The newest windows for one direction, by offsets in its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Windows {
    /// What was acknowledged with each.
    from: [u32; WINDOWS],
    /// Their sizes, unscaled; 0 for none.
    sizes: [u16; WINDOWS],
    next: u8,
}

impl Windows {
    /// Takes in that everything before the offset `from` has arrived and a window of `size`.
    pub(crate) fn open(&mut self, from: u32, size: u16) {
        let slot = usize::from(self.next) % WINDOWS;
        if let (Some(free), Some(window)) = (self.from.get_mut(slot), self.sizes.get_mut(slot)) {
            (*free, *window) = (from, size);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Whether one of them ends at the offset `end`.
    pub(crate) fn end_at(&self, end: u32, scale: Option<u8>) -> bool {
        let mut windows = self.from.iter().zip(&self.sizes);
        windows.any(|(from, size)| *size > 0 && edges(*from, *size, scale).any(|edge| edge == end))
    }
}

/// The offsets at which a window can end.
pub(crate) fn edges(from: u32, size: u16, scale: Option<u8>) -> impl Iterator<Item = u32> {
    let (least, most) = scale.map_or((0, MAX_SCALE), |scale| (scale, scale));
    (least..=most).map(move |scale| edge(from, size, scale))
}

/// The offset at which a window of a `scale` up to [`MAX_SCALE`] ends.
pub(crate) fn edge(from: u32, size: u16, scale: u8) -> u32 {
    from.wrapping_add(u32::from(size) << scale)
}

/// Whether so many bytes are room for less than a segment.
pub(crate) fn is_narrow(bytes: u32) -> bool {
    (1..SEGMENT_BYTES).contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_by_its_scale_or_by_any() {
        let mut windows = Windows::default();
        assert!(!windows.end_at(0, None));
        windows.open(1_000, 51);
        for (end, scale, expected) in [
            (1_051, None, true),
            (1_102, None, true),
            (1_000 + (51 << 14), None, true),
            (1_068, None, false),
            (1_000, None, false),
            (1_051, Some(0), true),
            (1_051, Some(7), false),
            (1_000 + (51 << 7), Some(7), true),
        ] {
            assert_eq!(windows.end_at(end, scale), expected, "{end}, {scale:?}");
        }
        for _ in 0..WINDOWS {
            windows.open(u32::MAX - 9, 17);
        }
        assert!(windows.end_at(7, None) && !windows.end_at(1_051, None));
    }
}
