//! What an operator can tune of the recognition itself.

use crate::Technique;

/// How much certainty statistical tests demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sensitivity {
    /// Only structure; statistical techniques stay silent.
    Strict,
    /// Structure, and statistics with tight limits.
    #[default]
    Balanced,
    /// Structure, and statistics with wide limits.
    Aggressive,
}

/// Tunables of the inspectors. One value serves all flows of an interface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    enabled: u32,
    /// How much certainty statistical tests demand.
    pub sensitivity: Sensitivity,
    /// Least Shannon entropy of 96 bytes, in bits per byte, for a block to look random. 96 uniform bytes
    /// have a median of 6.24 and never exceed log2 96 = 6.585.
    pub entropy_threshold: f32,
    /// Least payload on the wire, in bytes, that the statistical tests look at.
    pub min_payload: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: u32::MAX,
            sensitivity: Sensitivity::Balanced,
            entropy_threshold: 5.9,
            min_payload: 60,
        }
    }
}

impl Options {
    /// Switches one technique on or off.
    pub const fn set(&mut self, technique: Technique, on: bool) {
        let bit = 1 << technique as u8;
        if on {
            self.enabled |= bit;
        } else {
            self.enabled &= !bit;
        }
    }
    /// Whether a technique is on.
    pub const fn enabled(&self, technique: Technique) -> bool {
        self.enabled & (1 << technique as u8) != 0
    }
}
