//! Addresses that are never banned.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Element;

/// Why an address is never banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exemption {
    /// The operator's allow list.
    Allowed,
    /// An address of this machine.
    Own,
    /// Loopback (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3).
    Loopback,
    /// Multicast, broadcast or unspecified.
    NotUnicast,
    /// IPv6 link-local addresses: router and neighbour discovery depend on them.
    LinkLocal,
    /// A gateway of this machine.
    Gateway,
    /// A resolver of this machine.
    Resolver,
    /// The remote end of a running SSH session to this machine.
    SshPeer,
}

impl Exemption {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Own => "own-address",
            Self::Loopback => "loopback",
            Self::NotUnicast => "not-unicast",
            Self::LinkLocal => "link-local",
            Self::Gateway => "gateway",
            Self::Resolver => "resolver",
            Self::SshPeer => "ssh-peer",
        }
    }
}

/// The addresses that are never banned, beside those that can never be: loopback and multicast.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    entries: BTreeMap<Element, Exemption>,
    /// Prefix lengths of the entries.
    prefix_lens: BTreeSet<u8>,
}

impl Exemptions {
    /// Exempts a host or network; of several reasons the first stays.
    pub fn add(&mut self, element: Element, why: Exemption) {
        self.entries.entry(element).or_insert(why);
        self.prefix_lens.insert(element.prefix_len());
    }

    /// Why the address is exempt, if it is: of several entries the most specific tells.
    pub fn of(&self, address: IpAddr) -> Option<Exemption> {
        let by_kind = match address {
            IpAddr::V4(v4) if v4.is_loopback() => Some(Exemption::Loopback),
            IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0 => {
                Some(Exemption::NotUnicast)
            }
            IpAddr::V6(v6) if v6.is_loopback() => Some(Exemption::Loopback),
            IpAddr::V6(v6) if v6.is_multicast() || v6.is_unspecified() => Some(Exemption::NotUnicast),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Exemption::LinkLocal),
            _ => None,
        };
        by_kind.or_else(|| {
            let networks = self.prefix_lens.iter().rev();
            networks
                .filter_map(|&prefix_len| Element::network(address, prefix_len))
                .find_map(|network| self.entries.get(&network).copied())
        })
    }

    /// Why the element must not be banned: it holds an exempt address or lies inside an exempt network.
    pub fn of_element(&self, element: Element) -> Option<Exemption> {
        self.of(element.address()).or_else(|| {
            // Entries are in order of their addresses, and none that begins where the element does is larger.
            let (entry, why) = self.entries.range(element..).next()?;
            element.contains(entry.address()).then_some(*why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_addresses_are_named_with_their_reason() {
        let mut exemptions = Exemptions::default();
        exemptions.add("192.0.2.0/24".parse().unwrap(), Exemption::Allowed);
        exemptions.add("2001:db8::53".parse().unwrap(), Exemption::Resolver);
        for (address, why) in [
            ("192.0.2.7", Some(Exemption::Allowed)),
            ("192.0.3.7", None),
            ("2001:db8::53", Some(Exemption::Resolver)),
            ("2001:db8::54", None),
            ("127.8.8.8", Some(Exemption::Loopback)),
            ("::1", Some(Exemption::Loopback)),
            ("239.192.152.143", Some(Exemption::NotUnicast)),
            ("255.255.255.255", Some(Exemption::NotUnicast)),
            ("0.0.0.0", Some(Exemption::NotUnicast)),
            ("ff15::efc0:988f", Some(Exemption::NotUnicast)),
            ("fe80::1", Some(Exemption::LinkLocal)),
        ] {
            assert_eq!(exemptions.of(address.parse().unwrap()), why, "{address}");
        }
        assert_eq!(
            exemptions.of_element("192.0.0.0/16".parse().unwrap()),
            Some(Exemption::Allowed)
        );
        assert_eq!(exemptions.of_element("198.51.100.0/24".parse().unwrap()), None);
    }

    #[test]
    fn the_most_specific_entry_tells() {
        let mut exemptions = Exemptions::default();
        for (element, why) in [
            ("0.0.0.0/0", Exemption::Allowed),
            ("192.0.2.0/24", Exemption::Gateway),
            ("192.0.2.7", Exemption::Own),
            ("192.0.2.7", Exemption::Resolver),
            ("2001:db8::/32", Exemption::Allowed),
        ] {
            exemptions.add(element.parse().unwrap(), why);
        }
        for (element, why) in [
            ("192.0.2.7", Some(Exemption::Own)),
            ("192.0.2.6", Some(Exemption::Gateway)),
            ("192.0.2.0/25", Some(Exemption::Gateway)),
            ("203.0.113.9", Some(Exemption::Allowed)),
            ("2001:db8::7", Some(Exemption::Allowed)),
            ("2001::/16", Some(Exemption::Allowed)),
            ("2001:db9::7", None),
            ("2001:db7::/32", None),
        ] {
            assert_eq!(exemptions.of_element(element.parse().unwrap()), why, "{element}");
        }
    }
}
