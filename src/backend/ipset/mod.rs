//! Kernel ipset: the sets `NAME` and `NAME6`, and rules of the compat kind that drop what they hold.
//!
//! The sets are of type hash:net, which holds hosts and networks alike; sets of type hash:ip that exist are
//! used as well and refuse networks. The crate `ipset` creates and destroys sets and makes single changes; its
//! listing cannot read sets with timeouts, its errors are texts and it adds one entry at a time, so listing,
//! checks and bulk changes are own messages ([`message`]).
//!
//! A native rule of nftables cannot look into an ipset. The rules here are those that `iptables-nft -m set`
//! would make, in own tables `ip btblocker` and `ip6 btblocker`. Where neither of these exists, rules that
//! somebody else made are enough: the kernel counts what refers to a set.
//!
//! Needs Linux 4.20 (index of a set by name), `ip_set_hash_net`, `xt_set`, `nft_compat`, and `CAP_NET_ADMIN`.
//! Deliberately left alone: rules of iptables, and sets of our names with other parameters.

mod message;
mod session;

use std::ffi::CString;
use std::io;
use std::time::Duration;

use nftnl::{Batch, MsgType, ProtoFamily};

use super::netlink::Channel;
use super::ruleset::{self, Direction, RuleSpec, Step, TABLE, TableSpec};
use super::{BackendKind, Family, Hooks, Options, refusal};
use crate::ban::{BackendError, Change, Element, Held, SetBackend, Timeout};
use message::{Code, Header, Ipsets};

const KIND: BackendKind = BackendKind::Ipset;
/// Entries per message: 256 cost 0.54 µs each, single messages 2.1 µs (measured).
const ENTRIES_PER_MESSAGE: usize = 256;
/// A set stays in use for a moment after its last rule is gone, because the kernel frees rules later.
const FREED_WITHIN: Duration = Duration::from_secs(2);
const FREED_POLL: Duration = Duration::from_millis(5);

/// Bans in kernel ipsets.
pub(super) struct Ipset {
    ipsets: Ipsets,
    rules: Channel,
    sets: [Set; 2],
    hooks: Hooks,
    max_elements: u32,
    default_timeout: Timeout,
}

struct Set {
    family: Family,
    name: String,
    /// Maximum that the kernel reports, or the wanted one.
    max: u32,
    session: session::Session,
}

impl Ipset {
    /// Opens the sockets and asks for the protocol version, which shows whether the kernel knows ipset.
    pub(super) fn open(options: &Options) -> Result<Self, BackendError> {
        let ipsets = Ipsets::open().map_err(|source| match source.raw_os_error() {
            // nfnetlink answers EINVAL when nobody has registered for the subsystem.
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
                unsupported("ipset")
            }
            _ => refusal(KIND, "asking for the protocol version", "the kernel", source),
        })?;
        let set = |family| {
            let name = options.set_name.of_family(family);
            let session = session::Session::new(&name, family);
            Set {
                family,
                name,
                max: options.max_elements.get(),
                session,
            }
        };
        Ok(Self {
            ipsets,
            rules: Channel::new(),
            sets: [set(Family::V4), set(Family::V6)],
            hooks: options.hooks,
            max_elements: options.max_elements.get(),
            default_timeout: options.default_timeout,
        })
    }

    /// Gives the header of a set, checked; `None` when there is no such set.
    fn header(&mut self, at: usize) -> Result<Option<Header>, BackendError> {
        let Some(set) = self.sets.get_mut(at) else {
            return Ok(None);
        };
        match self.ipsets.header(&set.name) {
            Ok(header) => {
                set.check(&header)?;
                set.max = header.max_elements;
                Ok(Some(header))
            }
            Err(source) if source.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(set.refusal("reading the header", source)),
        }
    }

    /// The table of rules for one set.
    fn table(&mut self, at: usize) -> Result<Option<TableSpec>, BackendError> {
        let Some(set) = self.sets.get(at) else {
            return Ok(None);
        };
        let index = self
            .ipsets
            .index(&set.name)
            .map_err(|source| set.refusal("finding the index", source))?;
        let family = match set.family {
            Family::V4 => ProtoFamily::Ipv4,
            Family::V6 => ProtoFamily::Ipv6,
        };
        Ok(Some(TableSpec::new(family, self.hooks, |direction| {
            vec![rule(&set.name, index, direction)]
        })))
    }

    fn chains(&mut self, table: &TableSpec) -> Result<Vec<ruleset::FoundChain>, BackendError> {
        match ruleset::read(&mut self.rules, table.family()) {
            // Without nftables the rules can only be those of somebody else.
            Err(source) if source.raw_os_error() == Some(libc::EINVAL) => Ok(Vec::new()),
            result => result.map_err(|source| refusal(KIND, "listing rules", TABLE, source)),
        }
    }

    fn ensure_rules(&mut self, at: usize) -> Result<(), BackendError> {
        let Some(spec) = self.table(at)? else {
            return Ok(());
        };
        let chains = self.chains(&spec)?;
        if spec.first_gap(&chains).is_none() {
            return Ok(());
        }
        let table = ruleset::table(spec.family());
        let mut batch = Batch::new();
        batch.add(&table, MsgType::Add);
        spec.repair(&table, &chains, &mut batch);
        self.rules
            .commit(batch)
            .map_err(|source| match source.raw_os_error() {
                // The table is made in the same batch and the set was just seen: what is missing is the match.
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL) => unsupported("nft_compat and xt_set"),
                _ => refusal(KIND, "creating rules", "table ip btblocker", source),
            })
    }

    /// Applies one change through the crate; `false` when it could not.
    fn apply_single(&mut self, change: Change) -> bool {
        let (Change::Ban(element, _) | Change::Unban(element)) = change;
        let set = self.sets.iter_mut().find(|set| set.family == Family::of(element));
        set.is_some_and(|set| set.session.apply(change))
    }

    /// Applies a run of changes that are all bans or all unbans of one family.
    fn apply_run(&mut self, run: &[Change]) -> Result<(), BackendError> {
        let Some(Change::Ban(first, _) | Change::Unban(first)) = run.first() else {
            return Ok(());
        };
        let Some(at) = self.position(*first) else {
            return Ok(());
        };
        for entries in run.chunks(ENTRIES_PER_MESSAGE) {
            let Some(set) = self.sets.get(at) else { continue };
            let Err(source) = self.ipsets.change(&set.name, set.family, entries) else {
                continue;
            };
            let full = |max| BackendError::Full {
                backend: KIND.name(),
                set: set.name.clone(),
                max,
            };
            let error = match source.raw_os_error().map(Code) {
                Some(Code::HASH_FULL) => full(set.max),
                Some(Code::PROTOCOL | Code::INVALID_FAMILY | Code::TIMEOUT) => {
                    let error = set.refusal("changing entries", source);
                    // Where the set itself is the reason, its header says so more clearly.
                    self.header(at)?;
                    error
                }
                _ => set.refusal("changing entries", source),
            };
            return Err(error);
        }
        Ok(())
    }

    fn position(&self, element: Element) -> Option<usize> {
        self.sets.iter().position(|set| set.family == Family::of(element))
    }

    fn destroy(&mut self, at: usize) -> Result<(), BackendError> {
        let Some(set) = self.sets.get_mut(at) else {
            return Ok(());
        };
        let attempts = FREED_WITHIN.as_millis() / FREED_POLL.as_millis();
        for _ in 0..attempts {
            if set.session.destroy() {
                return Ok(());
            }
            match self.ipsets.header(&set.name) {
                Err(source) if source.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                Err(source) => return Err(set.refusal("reading the header", source)),
                Ok(_) => std::thread::sleep(FREED_POLL),
            }
        }
        let busy = io::Error::new(
            io::ErrorKind::ResourceBusy,
            "rules that are not ours still use it",
        );
        Err(set.refusal("destroying", busy))
    }
}

impl SetBackend for Ipset {
    fn name(&self) -> &'static str {
        KIND.name()
    }

    fn ensure(&mut self) -> Result<(), BackendError> {
        for at in 0..self.sets.len() {
            if self.header(at)?.is_none()
                && let Some(set) = self.sets.get_mut(at)
                && let Err(text) = set.session.create(self.max_elements, self.default_timeout)
                // Somebody else may have made it meanwhile; the kernel's answer in numbers decides.
                && self.header(at)?.is_none()
                && let Some(set) = self.sets.get(at)
            {
                return Err(set.refusal("creating", io::Error::other(text)));
            }
            self.header(at)?;
            self.ensure_rules(at)?;
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        for at in 0..self.sets.len() {
            let header = self.header(at)?;
            let Some(set) = self.sets.get(at) else { continue };
            let Some(header) = header else {
                return Err(BackendError::Missing {
                    backend: KIND.name(),
                    object: set.object(),
                });
            };
            let rule_missing = BackendError::Missing {
                backend: KIND.name(),
                object: format!("a drop rule that uses {}", set.object()),
            };
            let Some(table) = self.table(at)? else { continue };
            let chains = self.chains(&table)?;
            match table.first_gap(&chains) {
                Some(_) if chains.is_empty() && header.references > 0 => {}
                Some(_) if chains.is_empty() => return Err(rule_missing),
                Some(object) => {
                    return Err(BackendError::Missing {
                        backend: KIND.name(),
                        object,
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        for change in changes {
            self.refuse_network_in_host_set(*change)?;
        }
        if let [change] = changes
            && self.apply_single(*change)
        {
            return Ok(());
        }
        for run in changes.chunk_by(|a, b| sort_of(a) == sort_of(b)) {
            self.apply_run(run)?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let mut held = Vec::new();
        for set in &self.sets {
            let found = self
                .ipsets
                .list(&set.name)
                .map_err(|source| set.refusal("listing", source))?;
            held.extend(found);
        }
        Ok(held)
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        for family in [ProtoFamily::Ipv4, ProtoFamily::Ipv6] {
            let mut batch = Batch::new();
            batch.add(&ruleset::table(family), MsgType::Del);
            match self.rules.commit(batch) {
                Err(source) if source.raw_os_error() == Some(libc::ENOENT) => {}
                result => result.map_err(|source| refusal(KIND, "deleting", "table btblocker", source))?,
            }
        }
        for at in 0..self.sets.len() {
            self.destroy(at)?;
        }
        Ok(())
    }
}

impl Ipset {
    /// A set of type hash:ip would take a network as each of its hosts.
    fn refuse_network_in_host_set(&mut self, change: Change) -> Result<(), BackendError> {
        let (Change::Ban(element, _) | Change::Unban(element)) = change;
        if element.is_host() {
            return Ok(());
        }
        let Some(at) = self.position(element) else {
            return Ok(());
        };
        match (self.header(at)?, self.sets.get(at)) {
            (Some(header), Some(set)) if header.kind != HOLDS_NETWORKS => Err(BackendError::Mismatch {
                backend: KIND.name(),
                set: set.name.clone(),
                found: header.kind,
                wanted: format!("{HOLDS_NETWORKS} for {element}"),
            }),
            _ => Ok(()),
        }
    }
}

impl Set {
    fn object(&self) -> String {
        format!("ipset {}", self.name)
    }

    fn refusal(&self, action: &'static str, source: io::Error) -> BackendError {
        let source = match source.raw_os_error().map(Code) {
            Some(code) if code.is_of_ipset() => io::Error::other(code.to_string()),
            _ => source,
        };
        refusal(KIND, action, &self.object(), source)
    }

    /// Refuses a set that could not hold what the contract asks for.
    fn check(&self, header: &Header) -> Result<(), BackendError> {
        let kind_fits = header.kind == HOLDS_NETWORKS || header.kind == HOLDS_HOSTS;
        let family_fits = header.family == self.family.nfproto();
        if kind_fits && family_fits && header.default_timeout.is_some() && header.netmask.is_none() {
            return Ok(());
        }
        Err(BackendError::Mismatch {
            backend: KIND.name(),
            set: self.name.clone(),
            found: header.to_string(),
            wanted: format!(
                "{HOLDS_NETWORKS} family {} with timeout",
                message::family_name(self.family.nfproto())
            ),
        })
    }
}

const HOLDS_NETWORKS: &str = "hash:net";
const HOLDS_HOSTS: &str = "hash:ip";

/// Changes that may share a message have the same sort: command and family.
fn sort_of(change: &Change) -> (bool, bool) {
    match change {
        Change::Ban(element, _) => (true, element.address().is_ipv4()),
        Change::Unban(element) => (false, element.address().is_ipv4()),
    }
}

fn unsupported(facility: &'static str) -> BackendError {
    BackendError::Unsupported {
        backend: KIND.name(),
        facility,
        advice: "use --backend nftables",
    }
}

fn rule(set: &str, index: u16, direction: Direction) -> RuleSpec {
    let side = match direction {
        Direction::Source => "from",
        Direction::Destination => "to",
    };
    RuleSpec {
        comment: CString::new(format!("btblocker: {side} ipset {set}")).unwrap_or_default(),
        steps: vec![Step::InIpset(index, direction), Step::Count, Step::Drop],
    }
}
