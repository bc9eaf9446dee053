//! How to capture live, and why it cannot be done.

use super::EarlyExit;
use std::io;
use std::time::Duration;

/// The kernel filter. It drops what is certainly of no use and passes everything else, so VLAN, QinQ, PPPoE,
/// MPLS, tunnels, fragments and extension headers need no word here, and it compiles on every link type that is read;
/// on others all is captured, with a warning. The filter of the early exit drops the same.
pub const KERNEL_FILTER: &str = "not (arp or icmp or icmp6 or ip proto 50 or ip6 proto 50)";

/// How to capture. One value serves all interfaces.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Ring shared with the kernel, in bytes. Default 16 MiB: about 80,000 small or 11,000 full frames, a tenth
    /// of a second at 1 Gbit/s.
    pub ring_bytes: u32,
    /// Bytes kept of a frame. Default 4352: 4 KiB of payload, as much as is kept of a stream's beginning, behind
    /// all headers; so frames of an MTU up to 4 KiB are whole, as reassembly of fragments needs. Only frames of
    /// receive offload (up to 64 KiB) and jumbo frames are cut. Blocks of TPACKET_V3 hold frames of any size, so
    /// a larger value costs no ring space.
    pub snaplen: u32,
    /// Longest time that the kernel keeps a frame before it hands its block over; at least 1 ms. Default 2 ms:
    /// the mean delay of a ban is half of it, and a quiet link costs at most 500 wake-ups a second.
    pub timeout: Duration,
    /// Group of captures on one interface that share its frames by a symmetric hash of the flow
    /// (PACKET_FANOUT_HASH of `packet(7)`), so that both directions come to one of them. Default none.
    pub fanout: Option<u16>,
    /// An interface that does not exist at the start is waited for. Default off: it is an error, mostly a typing
    /// error.
    pub wait_for_interface: bool,
    /// Where flows end in the kernel, by the number of the interface; those without one get all frames. Loaded for
    /// `snaplen`. Default none.
    pub early_exit: Vec<EarlyExit>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            ring_bytes: 16 * 1024 * 1024,
            snaplen: 4352,
            timeout: Duration::from_millis(2),
            fanout: None,
            wait_for_interface: false,
            early_exit: Vec::new(),
        }
    }
}

/// Why an interface cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// No interface of that name.
    #[error("interface {interface} does not exist; there are: {}", existing.join(", "))]
    Unknown {
        /// The name.
        interface: String,
        /// Names that exist.
        existing: Vec<String>,
    },
    /// The process may not capture.
    #[error("capturing on {interface} is not permitted (CAP_NET_RAW is needed; run as root or grant it)")]
    Permission {
        /// The interface.
        interface: String,
    },
    /// libpcap refuses.
    #[error("cannot capture on {interface}")]
    Open {
        /// The interface.
        interface: String,
        /// libpcap's reason.
        #[source]
        source: pcap::Error,
    },
    /// The kernel refuses something else.
    #[error("{action} failed on {interface}")]
    Kernel {
        /// The interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap::{Capture, Linktype};

    #[test]
    fn the_kernel_filter_compiles_on_every_link_type_that_is_read() {
        for number in [0, 1, 9, 12, 50, 51, 108, 113, 276] {
            let link = Capture::dead(Linktype(number)).unwrap();
            assert!(link.compile(KERNEL_FILTER, true).is_ok(), "{number}");
        }
    }
}
