//! A short text without heap.

use core::fmt;

/// Longest version text in bytes.
const CAPACITY: usize = 16;

/// ASCII text of at most [`CAPACITY`] bytes; what is written beyond is dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Text {
    bytes: [u8; CAPACITY],
    length: u8,
}

impl Text {
    /// The longest beginning of `bytes` that consists of letters, digits, and any of `.+~`.
    pub(crate) fn word(bytes: &[u8]) -> Self {
        let mut text = Self::default();
        for byte in bytes {
            if !byte.is_ascii_alphanumeric() && !b".+~".contains(byte) {
                break;
            }
            text.push(*byte);
        }
        text
    }

    /// Appends one ASCII character.
    pub(crate) fn push(&mut self, byte: u8) {
        if byte.is_ascii()
            && let Some(slot) = self.bytes.get_mut(usize::from(self.length))
        {
            *slot = byte;
            self.length += 1;
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
