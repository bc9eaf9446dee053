//! Ends what the kernel tracks of newly banned hosts, after it has taken the bans.

use std::io;

use crate::backend::BackendKind;
#[cfg(any(feature = "ipset", feature = "nftables"))]
use crate::backend::Conntrack;
use crate::ban::Element;
use crate::config::Config;

/// Hosts that are remembered at most while the kernel takes no bans.
const MOST: usize = 4_096;

/// Hosts whose connections are to end; none while bans are on paper.
#[derive(Debug, Default)]
pub(super) struct Connections {
    #[cfg(any(feature = "ipset", feature = "nftables"))]
    conntrack: Option<Conntrack>,
    fresh: Vec<Element>,
}

impl Connections {
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        if config.monitor_only || config.backend == BackendKind::DryRun {
            return Ok(Self::default());
        }
        Ok(Self {
            #[cfg(any(feature = "ipset", feature = "nftables"))]
            conntrack: Some(Conntrack::start()?),
            fresh: Vec::new(),
        })
    }

    /// A host is banned, but the kernel need not have been told.
    pub(super) fn banned(&mut self, element: Element) {
        if self.fresh.len() < MOST {
            self.fresh.push(element);
        }
    }

    /// The kernel has taken all bans.
    pub(super) fn cut(&mut self) {
        for element in self.fresh.drain(..) {
            #[cfg(any(feature = "ipset", feature = "nftables"))]
            if let Some(conntrack) = &self.conntrack {
                conntrack.cut(element);
            }
            #[cfg(not(any(feature = "ipset", feature = "nftables")))]
            let _ = element;
        }
    }
}
