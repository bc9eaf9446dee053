//! Kernel ipset: the sets `NAME` and `NAME6`, and rules of the compat kind that drop what they hold.
//!
//! The sets are of type hash:net, which holds hosts and networks alike (but not a network of length 0); sets
//! of type hash:ip that exist are used as well and refuse bans of networks. The crate `ipset` creates and destroys
//! sets and makes single changes; its listing cannot read sets with timeouts, its errors are texts and it adds
//! one entry at a time, so listing, checks and bulk changes are own messages (`message`).
//!
//! A native rule of nftables cannot look into an ipset. The rules here are those that `iptables-nft -m set`
//! would make, in own tables `ip btblocker` and `ip6 btblocker`. Where these do not exist, rules that somebody
//! else made are enough: the kernel counts what refers to a set.
//!
//! Needs Linux 4.20 (index of a set by name), `ip_set_hash_net`, `xt_set`, `nft_compat`, and `CAP_NET_ADMIN`.
//! Deliberately left alone: rules of iptables, and sets of our names with other parameters.

mod comparison;
mod message;
mod session;
mod set;

use std::io;

use nftnl::{Batch, MsgType, ProtoFamily};

use super::netlink::Channel;
use super::ruleset::{self, FoundChain, TABLE, TableSpec};
use super::{BackendKind, Family, Options, refusal};
use crate::ban::{BackendError, Change, Element, Held, SetBackend};
use comparison::Comparison;
use message::Ipsets;
use set::Set;

const KIND: BackendKind = BackendKind::Ipset;

/// Bans in kernel ipsets.
pub(super) struct Ipset {
    options: Options,
    ipsets: Ipsets,
    rules: Channel,
    sets: [Set; 2],
    comparison: Comparison,
}

impl Ipset {
    /// Opens the sockets and asks for the protocol version, which shows whether the kernel knows ipset.
    pub(super) fn open(options: &Options) -> Result<Self, BackendError> {
        let ipsets = Ipsets::open().map_err(|source| match source.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => unsupported("netfilter netlink"),
            _ if is_unknown_subsystem(&source) => unsupported("ipset"),
            _ => refusal(KIND, "asking for the protocol version", "the kernel", source),
        })?;
        Ok(Self {
            ipsets,
            rules: Channel::new(),
            sets: Family::BOTH.map(|family| Set::new(family, options)),
            options: options.clone(),
            comparison: Comparison::default(),
        })
    }
}

impl SetBackend for Ipset {
    fn name(&self) -> &'static str {
        KIND.name()
    }

    fn ensure(&mut self) -> Result<(), BackendError> {
        for set in &mut self.sets {
            set.ensure(&mut self.ipsets, &self.options)?;
            ensure_rules(&mut self.rules, &set.table(&mut self.ipsets, &self.options)?)?;
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        self.comparison = Comparison::default();
        let missing = |object| {
            Err(BackendError::Missing {
                backend: KIND.name(),
                object,
            })
        };
        for set in &self.sets {
            let Some(header) = set.header(&mut self.ipsets)? else {
                return missing(set.object());
            };
            let table = set.table(&mut self.ipsets, &self.options)?;
            let chains = chains(&mut self.rules, &table)?;
            match table.first_gap(&chains) {
                None => {}
                Some(_) if chains.is_empty() && header.references > 0 => {}
                Some(_) if chains.is_empty() => {
                    return missing(format!("a drop rule that uses {}", set.object()));
                }
                Some(object) => return missing(object),
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let mut fitting = changes.to_vec();
        for set in &self.sets {
            set.fit(&mut self.ipsets, &mut fitting)?;
        }
        let changes = fitting.as_slice();
        if let [change] = changes {
            let mut sets = self.sets.iter_mut().filter(|set| set.holds(change.element()));
            if sets.all(|set| set.apply_single(*change)) {
                return Ok(());
            }
        }
        // Changes that share a message have the command and the family in common.
        let sort = |change: &Change| (matches!(change, Change::Ban(..)), Family::of(change.element()));
        for run in changes.chunk_by(|a, b| sort(a) == sort(b)) {
            for set in self
                .sets
                .iter()
                .filter(|set| run.first().is_some_and(|c| set.holds(c.element())))
            {
                set.apply_run(&mut self.ipsets, run)?;
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let mut held = Vec::new();
        for set in &self.sets {
            held.extend(set.list(&mut self.ipsets)?);
        }
        Ok(held)
    }

    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let step = self.comparison.step(&self.ipsets, &self.sets, expected);
        if step.is_err() || expected.is_empty() {
            self.comparison = Comparison::default();
        }
        step
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        self.comparison = Comparison::default();
        for family in [ProtoFamily::Ipv4, ProtoFamily::Ipv6] {
            let mut batch = Batch::new();
            batch.add(&ruleset::table(family), MsgType::Del);
            match self.rules.commit(batch) {
                Err(source) if source.raw_os_error() == Some(libc::ENOENT) => {}
                Err(source) if is_unknown_subsystem(&source) => {}
                result => result.map_err(|source| refusal(KIND, "deleting", "table btblocker", source))?,
            }
        }
        for set in &mut self.sets {
            set.destroy(&mut self.ipsets)?;
        }
        Ok(())
    }
}

fn ensure_rules(rules: &mut Channel, spec: &TableSpec) -> Result<(), BackendError> {
    let chains = chains(rules, spec)?;
    if spec.first_gap(&chains).is_none() {
        return Ok(());
    }
    let table = ruleset::table(spec.family());
    let mut batch = Batch::new();
    batch.add(&table, MsgType::Add);
    spec.repair(&table, &chains, &mut batch);
    rules.commit(batch).map_err(|source| match source.raw_os_error() {
        // The table is made in the same batch and the set was just seen: what is missing is the match.
        Some(libc::ENOENT) => unsupported("nft_compat with xt_set"),
        _ if is_unknown_subsystem(&source) => unsupported("nftables for the rules"),
        _ => refusal(KIND, "creating rules", "table btblocker", source),
    })
}

/// What there is of our table. Without nftables that is nothing: rules can only be those of somebody else.
fn chains(rules: &mut Channel, table: &TableSpec) -> Result<Vec<FoundChain>, BackendError> {
    match ruleset::read(rules, table.family()) {
        Err(source) if is_unknown_subsystem(&source) => Ok(Vec::new()),
        result => result.map_err(|source| refusal(KIND, "listing rules", TABLE, source)),
    }
}

/// nfnetlink answers so when nobody has registered for the subsystem or the family.
fn is_unknown_subsystem(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn unsupported(facility: &'static str) -> BackendError {
    BackendError::Unsupported {
        backend: KIND.name(),
        facility,
        advice: "use --backend nftables",
    }
}
