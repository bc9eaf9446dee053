//! What a kernel set holds, how it is changed, and the contract of those who hold it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// Prefix length of the network of IPv4-mapped addresses, `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// An address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    address: IpAddr,
    prefix_len: u8,
}

impl Element {
    /// One host.
    pub const fn host(address: IpAddr) -> Self {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix_len }
    }
    /// A network; bits of `address` behind the prefix are cleared. `None` when `prefix_len` exceeds 32
    /// (IPv4) or 128 (IPv6).
    pub const fn network(address: IpAddr, prefix_len: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if prefix_len <= 32 => {
                let mask = if prefix_len == 0 {
                    0
                } else {
                    u32::MAX << (32 - prefix_len)
                };
                IpAddr::V4(std::net::Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if prefix_len <= 128 => {
                let mask = if prefix_len == 0 {
                    0
                } else {
                    u128::MAX << (128 - prefix_len)
                };
                IpAddr::V6(std::net::Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, prefix_len })
    }
    /// First address.
    pub const fn address(self) -> IpAddr {
        self.address
    }
    /// Prefix length in bits.
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }
    /// Whether the address lies inside.
    pub const fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                self.prefix_len == 0 || differing >> (32 - self.prefix_len) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                self.prefix_len == 0 || differing >> (128 - self.prefix_len) == 0
            }
            _ => false,
        }
    }
    /// The smallest of `networks` in which this one lies, itself left out.
    pub fn smallest_around(self, networks: impl IntoIterator<Item = Self>) -> Option<Self> {
        let is_around =
            |network: &Self| network.prefix_len < self.prefix_len && network.contains(self.address);
        let around = networks.into_iter().filter(is_around);
        around.max_by_key(|network| network.prefix_len)
    }
    /// Whether it is one host.
    pub const fn is_host(self) -> bool {
        self.prefix_len == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.prefix_len)
        }
    }
}

impl FromStr for Element {
    type Err = String;

    /// An address, or an address and a prefix length: `192.0.2.1`, `2001:db8::/32`. IPv4-mapped addresses, as logs of
    /// sockets of both families show them, are read as IPv4: `::ffff:192.0.2.1` (RFC 4291, section 2.5.5.2).
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address and no network (192.0.2.1, 198.51.100.0/24, 2001:db8::/32)");
        let Some((address, prefix_len)) = text.split_once('/') else {
            let address: IpAddr = text.parse().map_err(|_| wrong())?;
            return Ok(Self::host(address.to_canonical()));
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let mut prefix_len: u8 = prefix_len.parse().map_err(|_| wrong())?;
        let canonical = address.to_canonical();
        if canonical != address {
            prefix_len = prefix_len.checked_sub(MAPPED_PREFIX).ok_or_else(|| {
                format!("{text:?} holds IPv4-mapped and other addresses: its prefix is shorter than {MAPPED_PREFIX}")
            })?;
        }
        Self::network(canonical, prefix_len).ok_or_else(wrong)
    }
}

/// How long an element stays in a kernel set: 1 to [`Timeout::MAX_SECS`] seconds. Zero would mean for
/// ever to the kernel and cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(NonZeroU32);

impl Timeout {
    /// The longest timeout that ipset holds (`ipset(8)`, "timeout"): 2,147,483 s, about 24.8 days.
    pub const MAX_SECS: u32 = 2_147_483;

    /// Rounded up to whole seconds, clamped to 1 ..= [`Timeout::MAX_SECS`].
    pub fn from_duration(duration: Duration) -> Self {
        let secs = duration
            .as_secs()
            .saturating_add(u64::from(duration.subsec_nanos() > 0));
        let secs = u32::try_from(secs).unwrap_or(Self::MAX_SECS).min(Self::MAX_SECS);
        Self(NonZeroU32::new(secs).unwrap_or(NonZeroU32::MIN))
    }
    /// Seconds.
    pub const fn secs(self) -> u32 {
        self.0.get()
    }
}

/// One change of a kernel set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The element is in the set and its clock starts now, whether it was there or not.
    Ban(Element, Timeout),
    /// The element is not in the set, whether it was there or not.
    Unban(Element),
}

impl Change {
    /// The element that changes.
    pub const fn element(&self) -> Element {
        match *self {
            Self::Ban(element, _) | Self::Unban(element) => element,
        }
    }
}

/// One element as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The element.
    pub element: Element,
    /// Time until the kernel removes it; `None`: it stays for ever (not added by us).
    pub remaining: Option<Duration>,
}

/// What a backend's own program in the kernel did with packets since it was loaded, over all interfaces and CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounters {
    /// Packets that passed.
    pub passed: u64,
    /// IPv4 packets dropped.
    pub dropped_v4: u64,
    /// IPv6 packets dropped.
    pub dropped_v6: u64,
    /// Bytes of dropped packets from the IP header on, as it says.
    pub dropped_bytes: u64,
}

impl PacketCounters {
    /// Name and value of every counter.
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("passed", self.passed),
            ("dropped_v4", self.dropped_v4),
            ("dropped_v6", self.dropped_v6),
            ("dropped_bytes", self.dropped_bytes),
        ]
    }
}

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The kernel lacks the facility.
    #[error("{backend}: this kernel has no {facility}; {advice}")]
    Unsupported {
        /// Name of the backend.
        backend: &'static str,
        /// What is missing.
        facility: &'static str,
        /// What to use instead.
        advice: &'static str,
    },
    /// The process may not do it.
    #[error("{backend}: {action} is not permitted (CAP_NET_ADMIN is needed)")]
    Permission {
        /// Name of the backend.
        backend: &'static str,
        /// What was tried.
        action: &'static str,
    },
    /// A set, table or rule is missing.
    #[error("{backend}: {object} does not exist; `btblocker setup` creates it")]
    Missing {
        /// Name of the backend.
        backend: &'static str,
        /// What is missing, by kind and name.
        object: String,
    },
    /// A set of that name exists, with other parameters.
    #[error("{backend}: set {set} exists as {found}, {wanted} is needed; remove it or choose another name")]
    Mismatch {
        /// Name of the backend.
        backend: &'static str,
        /// Name of the set.
        set: String,
        /// What is there.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// The set is full.
    #[error("{backend}: set {set} is full ({max} elements)")]
    Full {
        /// Name of the backend.
        backend: &'static str,
        /// Name of the set.
        set: String,
        /// Its maximum.
        max: u32,
    },
    /// Somebody else holds what is needed, and keeps it.
    #[error("{backend}: {object} is in use by {holder}; {advice}")]
    Busy {
        /// Name of the backend.
        backend: &'static str,
        /// What is held, by kind and name.
        object: String,
        /// Who holds it.
        holder: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// An interface does not take the program.
    #[error("{backend}: attaching to interface {interface} in {mode} mode failed; {advice}")]
    Attach {
        /// Name of the backend.
        backend: &'static str,
        /// Name of the interface.
        interface: String,
        /// The mode that was tried.
        mode: &'static str,
        /// What the operator can do.
        advice: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// Any other answer of the kernel.
    #[error("{backend}: {action} failed on {object}")]
    Kernel {
        /// Name of the backend.
        backend: &'static str,
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Who holds the bans: a kernel facility that drops packets of its elements by itself.
///
/// One contract test runs on every implementation.
pub trait SetBackend: Send {
    /// Name in reports and options.
    fn name(&self) -> &'static str;

    /// Creates sets and drop rules that are missing. Idempotent; what is there stays as it is.
    ///
    /// # Errors
    /// When the kernel refuses, or a set of the same name has other parameters.
    fn ensure(&mut self) -> Result<(), BackendError>;

    /// Checks that the sets exist with the right parameters and that drop rules use them.
    ///
    /// # Errors
    /// [`BackendError::Missing`] or [`BackendError::Mismatch`] naming the first thing that is wrong.
    fn verify(&mut self) -> Result<(), BackendError>;

    /// Applies changes in order.
    ///
    /// # Errors
    /// After an error the state of the set is unknown until [`SetBackend::list`].
    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError>;

    /// All elements with their remaining time.
    ///
    /// # Errors
    /// When the sets are missing or the kernel refuses.
    fn list(&mut self) -> Result<Vec<Held>, BackendError>;

    /// Whether nobody but this backend can have changed sets and rules since [`SetBackend::verify`] last succeeded, so
    /// that nothing has to be compared. `false` where that cannot be told.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        Ok(false)
    }

    /// A step of comparing with what the kernel holds: takes elements that are compared off `expected`, and returns
    /// those of them that the kernel does not hold. A step takes milliseconds; one that only reads takes nothing off. To be
    /// called, behind [`SetBackend::verify`], until the list is empty. Where the kernel cannot hold a network
    /// within another, the inner one may count as held with the outer one.
    ///
    /// # Errors
    /// When the sets are missing or the kernel refuses. The comparison is over then.
    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError>;

    /// Frees what the kernel still holds of bans that have run out, where it does not do so by itself; their number.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn sweep(&mut self) -> Result<usize, BackendError> {
        Ok(0)
    }

    /// What the backend's own program in the kernel counted; `None` where the kernel's firewall drops.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn packets(&mut self) -> Result<Option<PacketCounters>, BackendError> {
        Ok(None)
    }

    /// Removes rules and sets. Idempotent; nothing else is touched.
    ///
    /// # Errors
    /// When the kernel refuses, or somebody else's rule still uses a set.
    fn teardown(&mut self) -> Result<(), BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        for (text, element) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.9.0.7", "10.9.0.7"),
            ("::ffff:a09:7", "10.9.0.7"),
            ("::ffff:10.9.0.7/128", "10.9.0.7"),
            ("::ffff:10.9.0.7/120", "10.9.0.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::10.9.0.7", "::a09:7"),
        ] {
            assert_eq!(text.parse::<Element>().unwrap().to_string(), element, "{text}");
        }
        for (text, part) in [
            ("", "no address"),
            ("192.0.2.1/33", "no address"),
            ("2001:db8::/129", "no address"),
            ("::ffff:10.9.0.7/129", "no address"),
            ("::ffff:10.9.0.7/95", "shorter than 96"),
        ] {
            let error = text.parse::<Element>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
