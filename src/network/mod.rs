//! What is known of the networks around the interfaces.

/// Which sources may enter by which interface.
#[derive(Debug, Default)]
pub struct Ingress {}

impl Ingress {
    /// Whether a packet of this source may arrive by this interface.
    pub fn plausible(&self, _interface: u16, _source_mac: Option<[u8; 6]>, _source: u128) -> bool {
        true
    }
}
