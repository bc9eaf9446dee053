//! The ordered beginning of both directions of a TCP stream.

/// Bytes kept of each direction.
pub const PREFIX_BYTES: usize = 4096;

/// Room for the first [`PREFIX_BYTES`] of both directions. Lent to an inspector while it asks for it.
#[derive(Clone, Debug)]
pub struct StreamBuffers {
    /// One buffer per [`Side`](crate::Side), by its index.
    pub bytes: [[u8; PREFIX_BYTES]; 2],
}

impl StreamBuffers {
    /// Zeroed buffers.
    pub const fn new() -> Self {
        Self {
            bytes: [[0; PREFIX_BYTES]; 2],
        }
    }
}

impl Default for StreamBuffers {
    fn default() -> Self {
        Self::new()
    }
}
