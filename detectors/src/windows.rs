//! What a receiver lets its sender send (RFC 9293 section 3.8.6; scales: RFC 7323 section 2).
//!
//! A sender that always has more stops where the window of its receiver ends: then the receiver has chosen the size of the
//! segment. The last windows are remembered with every scale they can have, as a scale is the receiver's word, too. Cannot
//! see: windows among more than three others that reach the monitor and not the sender.

/// Windows that are remembered.
const WINDOWS: usize = 4;
/// Largest shift of a window (RFC 7323 section 2.3).
pub(crate) const MAX_SCALE: u8 = 14;
/// Room for less than a segment.
const NARROW_BYTES: u32 = 1_200;

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
    pub(crate) fn end_at(&self, end: u32) -> bool {
        let mut windows = self.from.iter().zip(&self.sizes);
        windows.any(|(from, size)| {
            let room = end.wrapping_sub(*from);
            *size > 0 && (0..=MAX_SCALE).any(|scale| u32::from(*size) << scale == room)
        })
    }
}

/// The offset at which a window ends.
pub(crate) fn edge(from: u32, size: u16, scale: u8) -> u32 {
    from.wrapping_add(u32::from(size) << scale.min(MAX_SCALE))
}

/// Whether so many bytes are room for less than a segment.
pub(crate) fn is_narrow(bytes: u32) -> bool {
    (1..NARROW_BYTES).contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_by_any_scale() {
        let mut windows = Windows::default();
        assert!(!windows.end_at(0));
        windows.open(1_000, 51);
        for (end, expected) in [
            (1_051, true),
            (1_102, true),
            (1_000 + (51 << 14), true),
            (1_068, false),
            (1_000, false),
        ] {
            assert_eq!(windows.end_at(end), expected, "{end}");
        }
        for _ in 0..WINDOWS {
            windows.open(u32::MAX - 9, 17);
        }
        assert!(windows.end_at(7) && !windows.end_at(1_051));
    }
}
