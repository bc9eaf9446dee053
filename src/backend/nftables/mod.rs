//! Native nftables: sets and drop rules in the own table `inet btblocker`.
//!
//! Hosts and networks live in separate sets, because a set that holds networks (flag `interval`) refuses an
//! element within another and looks up more slowly; a banned host within a banned network is ordinary here.
//! Networks within networks are refused by the kernel and reported, without harm to other changes.
//!
//! Needs Linux 5.6 (sets of intervals that refuse overlaps reliably) and `CAP_NET_ADMIN`. Deliberately left
//! alone: other tables, and sets of our names with other parameters.

mod elements;
mod sets;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;

use nftnl::nftnl_sys::libc;
use nftnl::{Batch, MsgType, ProtoFamily};

use super::netlink::Channel;
use super::ruleset::{self, Direction, RuleSpec, Step, TABLE, TableSpec};
use super::{BackendKind, Family, Options, refusal};
use crate::ban::{BackendError, Change, Element, Held, SetBackend, Timeout};
use elements::ElementBatch;
use sets::SetSpec;

const KIND: BackendKind = BackendKind::Nftables;
/// Changes per batch: messages stay below 16 KiB and a batch far below a socket's default send buffer
/// (208 KiB); 64 and 256 cost the same per element (measured), so a larger one would gain nothing.
const CHANGES_PER_BATCH: usize = 256;

/// Elements that are looked for at once: the judge waits so long for their answers.
const COMPARED_AT_ONCE: usize = 4_096;

/// Bans in native nftables sets.
pub(super) struct Nftables {
    channel: Channel,
    sets: Vec<SetSpec>,
    table: TableSpec,
    /// The number of the kernel's rule set while nobody else changes it; `None` before it was verified.
    generation: Option<u32>,
}

impl Nftables {
    /// Opens the socket and asks for tables, which shows whether the kernel knows nftables.
    pub(super) fn open(options: &Options) -> Result<Self, BackendError> {
        let sets = SetSpec::all(options);
        let rules = |direction| sets.iter().map(|set| rule(set, direction)).collect();
        let table = TableSpec::new(ProtoFamily::Inet, options.hooks, rules);
        let mut channel = Channel::new();
        channel
            .ask(sets::request(libc::NFT_MSG_GETTABLE, libc::NLM_F_DUMP), |_| ())
            .map_err(|source| {
                match source.raw_os_error() {
                    // nfnetlink answers EINVAL when nobody has registered for the subsystem.
                    Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
                        BackendError::Unsupported {
                            backend: KIND.name(),
                            facility: "nftables",
                            advice: "use --backend ipset",
                        }
                    }
                    _ => refusal(KIND, "asking for tables", "the kernel", source),
                }
            })?;
        Ok(Self {
            channel,
            sets,
            table,
            generation: None,
        })
    }

    /// Sends a batch, and keeps count of the changes that are our own: each batch that takes effect is a generation.
    fn send(&mut self, batch: Batch) -> io::Result<()> {
        let outcome = self.channel.commit(batch);
        self.generation = match &outcome {
            Ok(()) => self.generation.map(sets::next_generation),
            // A refused batch changes nothing; of any other error it is not known.
            Err(error) => self.generation.filter(|_| error.raw_os_error().is_some()),
        };
        outcome
    }

    fn set_for(&self, element: Element) -> Option<&SetSpec> {
        let family = Family::of(element);
        self.sets
            .iter()
            .find(|set| set.family == family && set.networks != element.is_host())
    }

    /// Checks the sets that exist and gives those that do not.
    fn missing_sets(&mut self) -> Result<Vec<SetSpec>, BackendError> {
        let found =
            sets::read(&mut self.channel).map_err(|source| refusal(KIND, "listing sets", TABLE, source))?;
        let mut missing = Vec::new();
        for set in &mut self.sets {
            match found.iter().find(|found| found.name == set.name) {
                None => missing.push(set.clone()),
                Some(found) => set.adopt(found)?,
            }
        }
        Ok(missing)
    }

    fn read_generation(&mut self) -> Result<u32, BackendError> {
        sets::read_generation(&mut self.channel)
            .map_err(|source| refusal(KIND, "reading the generation", "the rule set", source))
    }

    fn chains(&mut self) -> Result<Vec<ruleset::FoundChain>, BackendError> {
        ruleset::read(&mut self.channel, self.table.family())
            .map_err(|source| refusal(KIND, "listing rules", TABLE, source))
    }

    /// Applies changes of hosts, all or none.
    fn apply_hosts(&mut self, changes: &BTreeMap<Element, Option<Timeout>>) -> Result<(), BackendError> {
        match self.commit(changes) {
            // Deleting what may be absent means adding it first, for which a full set has no room.
            Err(BackendError::Full { .. }) if changes.values().any(Option::is_none) => {
                let (bans, unbans): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    changes.iter().partition(|(_, timeout)| timeout.is_some());
                for element in unbans.keys() {
                    match self.delete(*element) {
                        Err(BackendError::Missing { .. }) | Ok(()) => {}
                        Err(error) => return Err(error),
                    }
                }
                self.commit(&bans)
            }
            result => result,
        }
    }

    /// Applies one change of a network.
    fn apply_network(&mut self, network: Element, timeout: Option<Timeout>) -> Result<(), BackendError> {
        match self.commit(&BTreeMap::from([(network, timeout)])) {
            Err(BackendError::Kernel { source, backend, .. })
                if source.raw_os_error() == Some(libc::EEXIST) =>
            {
                match timeout {
                    // It overlaps another network, hence it is not in the set itself.
                    None => Ok(()),
                    Some(_) => Err(BackendError::Kernel {
                        backend,
                        action: "banning a network",
                        object: network.to_string(),
                        source: io::Error::new(
                            io::ErrorKind::AlreadyExists,
                            "it overlaps a network that is banned already",
                        ),
                    }),
                }
            }
            result => result,
        }
    }

    fn commit(&mut self, changes: &BTreeMap<Element, Option<Timeout>>) -> Result<(), BackendError> {
        let mut batch = Batch::new();
        let mut full = None;
        for set in &self.sets {
            let mine = changes.iter().filter(|(element, _)| set.holds(**element));
            let elements = ElementBatch::new(set, mine.map(|(element, timeout)| (*element, *timeout)));
            if elements.write(&mut batch) {
                full = full.or(Some((set.name.clone(), set.size)));
            }
        }
        let Some((set, max)) = full else { return Ok(()) };
        self.send(batch).map_err(|source| match source.raw_os_error() {
            Some(libc::ENFILE) => BackendError::Full {
                backend: KIND.name(),
                set,
                max,
            },
            _ => refusal(KIND, "changing elements", &set_in_table(&set), source),
        })
    }

    fn delete(&mut self, element: Element) -> Result<(), BackendError> {
        let Some(set) = self.set_for(element) else {
            return Ok(());
        };
        let mut batch = Batch::new();
        ElementBatch::new(set, [(element, None)]).write_deletion(&mut batch);
        let name = set.name.clone();
        self.send(batch)
            .map_err(|source| refusal(KIND, "deleting an element", &set_in_table(&name), source))
    }
}

impl SetBackend for Nftables {
    fn name(&self) -> &'static str {
        KIND.name()
    }

    fn ensure(&mut self) -> Result<(), BackendError> {
        let missing = self.missing_sets()?;
        let chains = self.chains()?;
        if missing.is_empty() && self.table.first_gap(&chains).is_none() {
            return Ok(());
        }
        let table = ruleset::table(self.table.family());
        let mut batch = Batch::new();
        batch.add(&table, MsgType::Add);
        for (id, set) in (1..).zip(&missing) {
            set.write(&table, id, &mut batch);
        }
        self.table.repair(&table, &chains, &mut batch);
        self.send(batch)
            .map_err(|source| refusal(KIND, "creating sets and rules", "table inet btblocker", source))
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        let missing = |object| {
            Err(BackendError::Missing {
                backend: KIND.name(),
                object,
            })
        };
        self.generation = None;
        let generation = self.read_generation()?;
        if let Some(set) = self.missing_sets()?.first() {
            return missing(set_in_table(&set.name));
        }
        let chains = self.chains()?;
        if let Some(gap) = self.table.first_gap(&chains) {
            return missing(gap);
        }
        self.generation = Some(generation);
        Ok(())
    }

    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        let generation = self.read_generation()?;
        Ok(self.generation == Some(generation))
    }

    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let some = expected.split_off(expected.len().saturating_sub(COMPARED_AT_ONCE));
        let mut missing = Vec::new();
        for set in &self.sets {
            let mine: Vec<Element> = some
                .iter()
                .copied()
                .filter(|element| set.holds(*element))
                .collect();
            let absent = elements::missing(&mut self.channel, set, &mine);
            missing.extend(
                absent.map_err(|source| {
                    refusal(KIND, "looking for elements", &set_in_table(&set.name), source)
                })?,
            );
        }
        Ok(missing)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let mut first_error = Ok(());
        for changes in changes.chunks(CHANGES_PER_BATCH) {
            // Within a batch only the last change of an element counts.
            let mut hosts = BTreeMap::new();
            let mut networks = BTreeMap::new();
            for change in changes {
                let (element, timeout) = match *change {
                    Change::Ban(element, timeout) => (element, Some(timeout)),
                    Change::Unban(element) => (element, None),
                };
                if element.is_host() {
                    &mut hosts
                } else {
                    &mut networks
                }
                .insert(element, timeout);
            }
            first_error = first_error.and(self.apply_hosts(&hosts));
            for (network, timeout) in networks {
                let result = self.apply_network(network, timeout);
                first_error = first_error.and(result);
            }
        }
        first_error
    }

    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let mut held = Vec::new();
        for set in &self.sets {
            let found = elements::read(&mut self.channel, set)
                .map_err(|source| refusal(KIND, "listing elements", &set_in_table(&set.name), source))?;
            held.extend(found);
        }
        Ok(held)
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        let mut batch = Batch::new();
        batch.add(&ruleset::table(self.table.family()), MsgType::Del);
        match self.send(batch) {
            Err(source) if source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|source| refusal(KIND, "deleting", "table inet btblocker", source)),
        }
    }
}

fn set_in_table(set: &str) -> String {
    format!("set {set} in table inet {TABLE}")
}

fn rule(set: &SetSpec, direction: Direction) -> RuleSpec {
    let side = match direction {
        Direction::Source => "from",
        Direction::Destination => "to",
    };
    let whom = if set.networks { "networks" } else { "hosts" };
    RuleSpec {
        comment: CString::new(format!("btblocker: {side} banned {whom}")).unwrap_or_default(),
        steps: vec![
            Step::LoadFamily,
            Step::FamilyIs(set.family),
            Step::LoadAddress(set.family, direction),
            Step::InSet(set.name.clone()),
            Step::Count,
            Step::Drop,
        ],
    }
}
