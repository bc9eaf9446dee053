//! Ends what the kernel tracks of hosts that are banned, or banned again, after it has taken the bans.

use std::io;

use crate::backend::BackendKind;
#[cfg(any(feature = "ipset", feature = "nftables"))]
use crate::backend::Conntrack;
use crate::ban::Element;
use crate::config::Config;

/// Whose connections are to end; nobody's while bans are on paper.
#[derive(Debug, Default)]
pub(super) struct Connections {
    #[cfg(any(feature = "ipset", feature = "nftables"))]
    conntrack: Option<Conntrack>,
}

impl Connections {
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        if config.holder() == BackendKind::DryRun {
            return Ok(Self::default());
        }
        Ok(Self {
            #[cfg(any(feature = "ipset", feature = "nftables"))]
            conntrack: Some(Conntrack::start()?),
        })
    }

    /// The kernel has taken a ban, or holds it again.
    pub(super) fn cut(&self, element: Element) {
        #[cfg(any(feature = "ipset", feature = "nftables"))]
        if let Some(conntrack) = &self.conntrack {
            conntrack.cut(element);
        }
        #[cfg(not(any(feature = "ipset", feature = "nftables")))]
        let _ = element;
    }
}
