//! The kernel sets that hold the bans, each behind [`SetBackend`].
//!
//! | backend  | sets                               | who drops                                              |
//! |----------|------------------------------------|--------------------------------------------------------|
//! | ipset    | `NAME`, `NAME6` (hash:net)         | own tables `ip btblocker`, `ip6 btblocker`, or any rule of iptables that uses the sets |
//! | nftables | `NAME`, `NAME6`, `NAME_net`, `NAME6_net` in table `inet btblocker` | the same table          |
//! | xdp      | maps of a BPF program              | the program on each interface                          |
//! | dry-run  | memory of this process             | nobody                                                 |
//!
//! Promise: only sets of these names and tables named `btblocker` are ever written; nothing is ever accepted,
//! only dropped. Expiry is the kernel's: bans end without this process. Deliberately not here: who is banned
//! and for how long (`ban`), and when to look whether the kernel still holds it.

#[cfg(any(feature = "ipset", feature = "nftables"))]
mod chains;
#[cfg(any(feature = "ipset", feature = "nftables"))]
mod conntrack;
mod dry_run;
#[cfg(any(feature = "ipset", feature = "nftables"))]
mod family;
#[cfg(feature = "ipset")]
mod ipset;
#[cfg(any(feature = "ipset", feature = "nftables"))]
mod netlink;
#[cfg(feature = "nftables")]
mod nftables;
mod proof;
#[cfg(any(feature = "ipset", feature = "nftables"))]
mod ruleset;
#[cfg(feature = "xdp")]
mod xdp;
mod xdp_options;

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::ban::{BackendError, SetBackend, Timeout};
#[cfg(any(feature = "ipset", feature = "nftables"))]
use family::Family;

#[cfg(any(feature = "ipset", feature = "nftables"))]
pub use chains::{BaseChain, base_chains};
#[cfg(any(feature = "ipset", feature = "nftables"))]
pub use conntrack::Conntrack;
pub use dry_run::DryRun;
pub use proof::{ProofError, prove};
#[cfg(feature = "xdp")]
pub use xdp::{Xdp, XdpSupport};
pub use xdp_options::{BadXdpPin, UnknownXdpMode, XdpMode, XdpPin};

/// Which kernel facility holds the bans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Kernel ipset (`ipset`).
    #[default]
    Ipset,
    /// Native sets of nftables (`nftables`).
    Nftables,
    /// A program on the interface (`xdp`).
    Xdp,
    /// None: changes are logged and remembered (`dry-run`).
    DryRun,
}

impl BackendKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Ipset, Self::Nftables, Self::Xdp, Self::DryRun];

    /// Name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipset => "ipset",
            Self::Nftables => "nftables",
            Self::Xdp => "xdp",
            Self::DryRun => "dry-run",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// A name that is no backend's.
#[derive(Debug, thiserror::Error)]
#[error("unknown backend {0:?}, expected ipset, nftables, xdp or dry-run")]
pub struct UnknownBackend(String);

/// Name of the sets: the IPv4 set bears it, the others add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetName(String);

impl SetName {
    /// Longest name in bytes: ipset and the longest suffix leave 31 − 5 (`IPSET_MAXNAMELEN`).
    pub const MAX_LEN: usize = 26;

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SetName {
    /// `torrent_block`
    fn default() -> Self {
        Self("torrent_block".to_owned())
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SetName {
    type Err = BadSetName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let all_well = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if starts_well && all_well && name.len() <= Self::MAX_LEN {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadSetName(name.to_owned()))
        }
    }
}

/// A set name that the kernel's tools would not take everywhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "set name {0:?} must start with a letter, hold only letters, digits, '_', '-' and '.', and be at most {max} long",
    max = SetName::MAX_LEN
)]
pub struct BadSetName(String);

/// Where packets of banned hosts are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Packets to this machine, and what it sends itself.
    pub input: bool,
    /// Packets that are routed through.
    pub forward: bool,
    /// Everything that comes in, before connection tracking and routing, and what this machine sends itself.
    pub prerouting: bool,
}

impl Default for Hooks {
    /// Input and forward.
    fn default() -> Self {
        Self {
            input: true,
            forward: true,
            prerouting: false,
        }
    }
}

/// What all backends are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the sets.
    pub set_name: SetName,
    /// Where packets are dropped. At least one hook is needed. XDP comes before all hooks and drops for each.
    pub hooks: Hooks,
    /// Elements that one set may hold, when it is created. A set that exists keeps its size.
    pub max_elements: NonZeroU32,
    /// Timeout of elements that somebody adds by hand without one.
    pub default_timeout: Timeout,
    /// Interfaces whose incoming packets the XDP program drops; the other backends drop on all.
    pub interfaces: Vec<String>,
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Where the state of XDP outlives the process.
    pub xdp_pin: XdpPin,
}

impl Options {
    /// Elements per set by default: 2^20. A set costs memory only for what it holds: in
    /// an ipset of 100,000 hosts 42 bytes each for IPv4 and 56 for IPv6 (`ipset list -t`, Linux 6.18).
    pub const MAX_ELEMENTS: NonZeroU32 = NonZeroU32::MIN.saturating_add((1 << 20) - 1);
    /// Default timeout in seconds: five hours, as the predecessor's sets had it.
    pub const DEFAULT_TIMEOUT_SECS: u32 = 18_000;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            set_name: SetName::default(),
            hooks: Hooks::default(),
            max_elements: Self::MAX_ELEMENTS,
            default_timeout: Timeout::from_duration(std::time::Duration::from_secs(u64::from(
                Self::DEFAULT_TIMEOUT_SECS,
            ))),
            interfaces: Vec::new(),
            xdp_mode: XdpMode::default(),
            xdp_pin: XdpPin::default(),
        }
    }
}

/// Opens a backend in the calling thread's network namespace. Asks the kernel whether it has the facility;
/// changes nothing.
///
/// # Errors
/// [`BackendError::Unsupported`] when the kernel or this build lacks the facility, [`BackendError::Permission`]
/// without `CAP_NET_ADMIN`, [`BackendError::Kernel`] when no hook is chosen.
pub fn open(kind: BackendKind, options: &Options) -> Result<Box<dyn SetBackend>, BackendError> {
    let Hooks {
        input,
        forward,
        prerouting,
    } = options.hooks;
    if !(input || forward || prerouting) {
        return Err(BackendError::Kernel {
            backend: kind.name(),
            action: "choosing hooks",
            object: "none of input, forward and prerouting".to_owned(),
            source: io::ErrorKind::InvalidInput.into(),
        });
    }
    match kind {
        #[cfg(feature = "ipset")]
        BackendKind::Ipset => Ok(Box::new(ipset::Ipset::open(options)?)),
        #[cfg(feature = "nftables")]
        BackendKind::Nftables => Ok(Box::new(nftables::Nftables::open(options)?)),
        #[cfg(feature = "xdp")]
        BackendKind::Xdp => Ok(Box::new(Xdp::open(options)?)),
        BackendKind::DryRun => Ok(Box::new(DryRun::default())),
        #[cfg(not(all(feature = "ipset", feature = "nftables", feature = "xdp")))]
        absent => Err(BackendError::Unsupported {
            backend: absent.name(),
            facility: "support compiled into this program",
            advice: "build it with the cargo feature of that name or choose another backend",
        }),
    }
}

/// Whether sets, drop rules and bans of a backend stay when the process ends.
///
/// # Errors
/// [`BackendError::Unsupported`] when pins of XDP are asked for where there can be none.
pub fn outlives_process(kind: BackendKind, options: &Options) -> Result<bool, BackendError> {
    match kind {
        BackendKind::Ipset | BackendKind::Nftables => Ok(true),
        #[cfg(feature = "xdp")]
        BackendKind::Xdp => xdp::outlives_process(options),
        // What is not compiled in is refused when it is opened.
        #[cfg(not(feature = "xdp"))]
        BackendKind::Xdp => {
            let _ = options;
            Ok(true)
        }
        BackendKind::DryRun => Ok(false),
    }
}

/// Whether a backend can be used, as far as the kernel tells without anything being changed: beyond [`open`], the XDP
/// program is loaded, and goes again at once.
///
/// # Errors
/// As [`open`], and what loading says.
pub fn examine(kind: BackendKind, options: &Options) -> Result<(), BackendError> {
    open(kind, options)?;
    #[cfg(feature = "xdp")]
    if kind == BackendKind::Xdp {
        xdp::load(options)?;
    }
    Ok(())
}

/// Backends of other kinds than `kind` whose sets and drop rules of these options are in place, as a run with another
/// configuration leaves them: what they hold is dropped, whoever asks `kind`. Kinds that cannot be asked are left out.
pub fn others_in_place(kind: BackendKind, options: &Options) -> Vec<Box<dyn SetBackend>> {
    let others = [BackendKind::Ipset, BackendKind::Nftables, BackendKind::Xdp];
    let opened = others.into_iter().filter(|other| *other != kind).map(|other| {
        // Pins may be those of another network namespace.
        if other == BackendKind::Xdp && !is_attached(options) {
            return None;
        }
        let mut backend = open(other, options).ok()?;
        backend.verify().is_ok().then_some(backend)
    });
    opened.flatten().collect()
}

/// Whether the XDP program is on one of the interfaces.
#[cfg(feature = "xdp")]
fn is_attached(options: &Options) -> bool {
    let support = |name: &String| XdpSupport::of(name);
    let mut found = options.interfaces.iter().filter_map(support);
    found.any(|support| matches!(support, XdpSupport::Attached { .. }))
}

/// Without XDP there is none.
#[cfg(not(feature = "xdp"))]
fn is_attached(_options: &Options) -> bool {
    false
}

/// The error for an answer of the kernel about `object`, told apart where the contract does.
#[cfg(any(feature = "ipset", feature = "nftables"))]
fn refusal(backend: BackendKind, action: &'static str, object: &str, source: io::Error) -> BackendError {
    let backend = backend.name();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => BackendError::Permission { backend, action },
        Some(libc::ENOENT) => BackendError::Missing {
            backend,
            object: object.to_owned(),
        },
        _ => BackendError::Kernel {
            backend,
            action,
            object: object.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backends_are_read_as_they_are_written() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.to_string().parse::<BackendKind>().unwrap(), kind);
        }
        assert!("pf".parse::<BackendKind>().is_err());
    }

    #[test]
    fn set_names_fit_every_tool() {
        let longest = "a".repeat(SetName::MAX_LEN);
        for (name, good) in [
            ("torrent_block", true),
            ("a", true),
            ("bt-2.x", true),
            (longest.as_str(), true),
            ("", false),
            ("6bt", false),
            ("-bt", false),
            ("bt block", false),
            ("bt;drop", false),
            ("bläh", false),
            ("bt\0", false),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(name.parse::<SetName>().is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn a_backend_without_hooks_is_refused() {
        let hooks = Hooks {
            input: false,
            forward: false,
            prerouting: false,
        };
        for kind in BackendKind::ALL {
            assert!(
                open(
                    kind,
                    &Options {
                        hooks,
                        ..Options::default()
                    }
                )
                .is_err(),
                "{kind}"
            );
        }
    }
}
