//! What this machine is in its network: interfaces, addresses, routes, and the hosts it depends on.
//!
//! Promise: one reading is a consistent picture of the calling thread's network namespace; [`Watcher`] tells
//! when it is out of date. Everything here runs at the start and after changes, except [`Ingress::plausible`],
//! which runs per packet and neither allocates nor calls the kernel.
//!
//! Deliberately not done: nothing is changed in the kernel; policy rules are not evaluated (routes of all
//! tables count); routes that routing daemons bring in from elsewhere (BGP, BIRD, Zebra) are left out, because
//! they are neither local nor few.

#![forbid(unsafe_code)]

mod dump;
mod ingress;
mod namespace;
mod neighbours;
mod per_interface;
mod prefix;
mod watcher;

pub use ingress::Ingress;
pub use namespace::{own_namespace, separate_namespace};
pub use neighbours::unread_ssh_configuration;
pub use per_interface::PerInterface;
pub use prefix::Prefix;
pub use watcher::Watcher;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Why the network cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The kernel refuses.
    #[error("cannot {action} over rtnetlink")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The network changed during each of several readings.
    #[error("the network keeps changing while it is read: {action} was interrupted {attempts} times")]
    Unsteady {
        /// What was tried.
        action: &'static str,
        /// How often.
        attempts: u32,
    },
}

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// Frames with Ethernet headers.
    Ethernet,
    /// The loopback device.
    Loopback,
    /// PPP, mostly over an Ethernet device that does not know of it.
    Ppp,
    /// Anything else: layer-3 tunnels such as WireGuard and tun.
    Other,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// The kernel's number.
    pub index: u32,
    /// What it carries.
    pub kind: InterfaceKind,
    /// Ethernet address, also that of loopback (zero).
    pub mac: Option<[u8; 6]>,
    /// Whether it is up.
    pub up: bool,
    /// Number of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Number of the device in the same namespace that it lies on (of a VLAN: its trunk).
    pub lower: Option<u32>,
    /// Own addresses, each with the prefix that is attached through it.
    pub addresses: Vec<(IpAddr, Prefix)>,
}

/// A unicast route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// Number of the interface.
    pub interface: u32,
    /// The next router.
    pub gateway: Option<IpAddr>,
    /// Number of the routing table; 254 is the main one.
    pub table: u32,
}

/// One reading of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Interfaces in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Routes of all tables but the local one; one entry per next hop.
    pub routes: Vec<Route>,
    /// Hosts that this machine depends on; no change of these is told by [`Watcher`].
    pub hosts: Hosts,
}

/// Hosts that this machine depends on, beside its gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Name servers of `resolv.conf(5)`.
    pub resolvers: Vec<IpAddr>,
    /// Remote ends of SSH sessions to this machine.
    pub ssh_peers: Vec<IpAddr>,
}

impl Hosts {
    /// Reads them. Takes milliseconds: the kernel walks through all of its table of connections. Files that are missing
    /// count as empty.
    pub fn read() -> Self {
        Self {
            resolvers: neighbours::resolvers(),
            ssh_peers: neighbours::ssh_peers(),
        }
    }
}

const MAIN_TABLE: u32 = 254;

impl Network {
    /// Reads it all.
    ///
    /// # Errors
    /// When the kernel refuses or the network does not come to rest. Files that are missing count as empty.
    pub fn read() -> Result<Self, NetworkError> {
        let (interfaces, routes) = dump::read()?;
        Ok(Self {
            interfaces,
            routes,
            hosts: Hosts::read(),
        })
    }

    /// Takes over a newer reading of the hosts that this machine depends on; whether they are others.
    pub fn follow(&mut self, hosts: Hosts) -> bool {
        std::mem::replace(&mut self.hosts, hosts) != self.hosts
    }

    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Names of the interfaces that hold a default route: those of the main table, or of any table when the main
    /// one has none. Without duplicates, in the kernel's order.
    pub fn default_interfaces(&self) -> Vec<&str> {
        let holders = |main_only: bool| -> BTreeSet<u32> {
            let routes = self.routes.iter().filter(|route| route.destination.is_default());
            routes
                .filter(|route| !main_only || route.table == MAIN_TABLE)
                .map(|route| route.interface)
                .collect()
        };
        let main = holders(true);
        let chosen = if main.is_empty() { holders(false) } else { main };
        let interfaces = self
            .interfaces
            .iter()
            .filter(|interface| chosen.contains(&interface.index));
        interfaces.map(|interface| interface.name.as_str()).collect()
    }

    /// Every address of this machine, loopback's included.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let addresses = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        unique(addresses.map(|(own, _)| *own))
    }

    /// Next routers of all default routes.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let defaults = self.routes.iter().filter(|route| route.destination.is_default());
        unique(defaults.filter_map(|route| route.gateway))
    }

    /// The networks whose hosts this machine serves: what is attached to or routed through interfaces that hold
    /// no default route, and this machine's own addresses. Without loopback, link-local prefixes and default
    /// routes. A neighbour on the interface of the default route is not local: on a rented server it is a
    /// stranger.
    pub fn local_networks(&self) -> Vec<Prefix> {
        let uplinks: BTreeSet<u32> = self
            .routes
            .iter()
            .filter(|route| route.destination.is_default())
            .map(|route| route.interface)
            .collect();
        let mut networks = BTreeSet::new();
        for interface in self
            .interfaces
            .iter()
            .filter(|interface| interface.kind != InterfaceKind::Loopback)
        {
            networks.extend(interface.addresses.iter().map(|(own, _)| Prefix::host(*own)));
            if !uplinks.contains(&interface.index) {
                networks.extend(interface.addresses.iter().map(|(_, attached)| *attached));
                let routes = self
                    .routes
                    .iter()
                    .filter(|route| route.interface == interface.index);
                networks.extend(routes.map(|route| route.destination));
            }
        }
        networks.retain(|prefix| !prefix.is_link_local() && !prefix.is_default());
        networks.into_iter().collect()
    }
}

fn unique(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}
