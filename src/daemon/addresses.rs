//! Whom the operator answers for, and who is never banned, from configuration and network.

use std::net::IpAddr;

use crate::ban::{Element, Exemption, Exemptions};
use crate::config::Config;
use crate::judge::Addresses;
use crate::network::Network;

/// Local networks and exemptions at one moment.
#[derive(Clone, Debug)]
pub(super) struct Answerable {
    local: Vec<Element>,
    exemptions: Exemptions,
}

impl Answerable {
    /// `allowed` are those that commands have allowed.
    pub(super) fn new(config: &Config, network: &Network, allowed: &[Element]) -> Self {
        let found = || {
            let prefixes = network.local_networks().into_iter();
            prefixes
                .filter_map(|prefix| Element::network(prefix.address(), prefix.prefix_len()))
                .collect()
        };
        let local = if config.local_networks.is_empty() {
            found()
        } else {
            config.local_networks.clone()
        };
        let mut exemptions = config.exemptions(network);
        for element in allowed {
            exemptions.add(*element, Exemption::Allowed);
        }
        Self { local, exemptions }
    }

    pub(super) fn exemptions(&self) -> &Exemptions {
        &self.exemptions
    }

    /// The local networks in words, the first few of many.
    pub(super) fn local(&self) -> String {
        const TOLD: usize = 8;
        let told: Vec<String> = self.local.iter().take(TOLD).map(ToString::to_string).collect();
        match self.local.len().saturating_sub(TOLD) {
            0 if told.is_empty() => "none".to_owned(),
            0 => told.join(", "),
            more => format!("{} and {more} more", told.join(", ")),
        }
    }
}

impl Addresses for Answerable {
    fn is_local(&self, address: IpAddr) -> bool {
        self.local.iter().any(|network| network.contains(address))
    }
    fn may_be_banned(&self, address: IpAddr) -> bool {
        self.exemptions.of(address).is_none()
    }
}
