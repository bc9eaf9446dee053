//! A network address range in the one address form of the program.

use std::fmt;
use std::net::IpAddr;

/// A prefix over 128 bits: IPv4 addresses are IPv4-mapped, their prefix lengths 96 longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    first: u128,
    len: u8,
}

impl Prefix {
    /// The prefix of `address` that is `prefix_len` bits long in the address's own family; bits behind it are
    /// cleared. `None` when `prefix_len` exceeds 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let (bits, most, extra) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), 32, 96),
            IpAddr::V6(v6) => (v6.to_bits(), 128, 0),
        };
        if prefix_len > most {
            return None;
        }
        let len = prefix_len + extra;
        Some(Self {
            first: bits & !behind(len),
            len,
        })
    }
    /// One address.
    pub fn host(address: IpAddr) -> Self {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self {
            first: bits,
            len: 128,
        }
    }
    /// First address, IPv4 mapped.
    pub const fn first(self) -> u128 {
        self.first
    }
    /// Last address, IPv4 mapped.
    pub const fn last(self) -> u128 {
        self.first | behind(self.len)
    }
    /// Whether the address, IPv4 mapped, is in it.
    pub const fn contains(self, address: u128) -> bool {
        self.first == address & !behind(self.len)
    }
    /// Whether it is an IPv4 prefix.
    pub const fn is_ipv4(self) -> bool {
        self.len >= 96 && self.first >> 32 == 0xffff
    }
    /// First address in its own family.
    pub fn address(self) -> IpAddr {
        btblocker_detectors::Endpoint {
            address: self.first,
            port: 0,
        }
        .ip()
    }
    /// Length in bits, in its own family.
    pub const fn prefix_len(self) -> u8 {
        if self.is_ipv4() { self.len - 96 } else { self.len }
    }
    /// A default route, or a part of one as VPN programs set them to cover the whole address space without
    /// replacing the default route (`0.0.0.0/1`; `2000::/3`, all global unicast addresses).
    pub const fn is_default(self) -> bool {
        self.prefix_len() <= if self.is_ipv4() { 1 } else { 3 }
    }
    /// Addresses that every link has its own of (RFC 3927, RFC 4291 section 2.5.6).
    pub const fn is_link_local(self) -> bool {
        self.first >> 118 == 0xfe80 >> 6 || (self.first >> 16 == 0xffff_a9fe && self.len >= 112)
    }
}

/// The bits behind a prefix of `len` bits.
const fn behind(len: u8) -> u128 {
    match u128::MAX.checked_shr(len as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, len) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn keeps_both_families_apart() {
        for (text, shown, inside, outside) in [
            ("192.0.2.77/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::1/32", "2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("192.0.2.1/32", "192.0.2.1/32", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::1/128", "2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ] {
            let prefix = prefix(text);
            let bits = |text: &str| Prefix::host(text.parse().unwrap()).first();
            assert_eq!(prefix.to_string(), shown);
            assert!(
                prefix.contains(bits(inside)) && !prefix.contains(bits(outside)),
                "{text}"
            );
            assert!(
                prefix.first() <= bits(inside) && bits(inside) <= prefix.last(),
                "{text}"
            );
        }
        assert!(Prefix::new("1.2.3.4".parse().unwrap(), 33).is_none());
    }

    #[test]
    fn knows_default_routes_and_link_local_prefixes() {
        for (text, default, link_local) in [
            ("0.0.0.0/0", true, false),
            ("128.0.0.0/1", true, false),
            ("128.0.0.0/2", false, false),
            ("::/0", true, false),
            ("2000::/3", true, false),
            ("2000::/4", false, false),
            ("fe80::/64", false, true),
            ("fec0::/64", false, false),
            ("169.254.0.0/16", false, true),
            ("169.255.0.0/16", false, false),
        ] {
            assert_eq!(
                (prefix(text).is_default(), prefix(text).is_link_local()),
                (default, link_local),
                "{text}"
            );
        }
    }
}
