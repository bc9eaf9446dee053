//! The drop rules: which there must be, which there are, and the batch that closes the gap.
//!
//! All rules live in base chains of own tables named [`TABLE`], so nobody else's chain is ever edited, and all
//! of them drop: a packet that matches nothing goes on to the host's own chains unseen. A drop in a base chain
//! is final, and these chains come before connection tracking state is looked at by the usual filter chains,
//! so flows that are already established stop as well.
//!
//! | chain      | hook       | priority | drops packets          | when               |
//! |------------|------------|----------|------------------------|--------------------|
//! | prerouting | prerouting | -310     | from and to the banned | [`Hooks::prerouting`] |
//! | input      | input      | -10      | from the banned        | [`Hooks::input`]   |
//! | output     | output     | -10      | to the banned          | either of these    |
//! | forward    | forward    | -10      | from and to the banned | [`Hooks::forward`] |
//!
//! -310 comes before connection tracking (-200) and even before the raw table (-300); -10 comes after
//! destination NAT (-100), so that forwarded packets are seen with their real ends, and before the filter
//! chains (0).

mod expression;
mod read;

use std::ffi::CString;

use nftnl::{Batch, Chain, ChainType, Hook, MsgType, Policy, ProtoFamily, Rule, Table};

use super::{Family, Hooks};
pub(super) use read::{FoundChain, read};

/// Name of every table of ours, whatever its family.
pub(super) const TABLE: &str = "btblocker";
const FILTER_PRIORITY: i32 = -10;
const PREROUTING_PRIORITY: i32 = -310;

/// Which address of a packet is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Source,
    Destination,
}

/// One step of a rule, as it is written and as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Loads the packet's protocol family.
    LoadFamily,
    /// Goes on when the loaded family is this one.
    FamilyIs(Family),
    /// Loads an address of the packet.
    LoadAddress(Family, Direction),
    /// Goes on when the loaded address is in this set of the same table.
    InSet(String),
    /// Goes on when an address of the packet is in the ipset of this kernel index.
    InIpset(u16, Direction),
    /// Counts packets and bytes.
    Count,
    /// Drops the packet.
    Drop,
    /// Anything that this program does not write.
    Foreign(String),
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct RuleSpec {
    pub(super) comment: CString,
    pub(super) steps: Vec<Step>,
}

/// One base chain and all its rules, in order.
#[derive(Clone, Debug)]
pub(super) struct ChainSpec {
    name: &'static str,
    hook: Hook,
    priority: i32,
    rules: Vec<RuleSpec>,
}

/// One table and all its chains.
#[derive(Clone, Debug)]
pub(super) struct TableSpec {
    family: ProtoFamily,
    chains: Vec<ChainSpec>,
}

impl TableSpec {
    /// The chains that `hooks` ask for, filled with the rules that `rules` gives for each direction.
    pub(super) fn new(family: ProtoFamily, hooks: Hooks, rules: impl Fn(Direction) -> Vec<RuleSpec>) -> Self {
        use Direction::{Destination, Source};
        let chain = |name, hook, priority, directions: &[Direction]| ChainSpec {
            name,
            hook,
            priority,
            rules: directions
                .iter()
                .flat_map(|direction| rules(*direction))
                .collect(),
        };
        let mut chains = Vec::new();
        if hooks.prerouting {
            let both = [Source, Destination];
            chains.push(chain("prerouting", Hook::PreRouting, PREROUTING_PRIORITY, &both));
        }
        if hooks.input {
            chains.push(chain("input", Hook::In, FILTER_PRIORITY, &[Source]));
        }
        if hooks.input || hooks.prerouting {
            chains.push(chain("output", Hook::Out, FILTER_PRIORITY, &[Destination]));
        }
        if hooks.forward {
            chains.push(chain(
                "forward",
                Hook::Forward,
                FILTER_PRIORITY,
                &[Source, Destination],
            ));
        }
        Self { family, chains }
    }

    /// The table's family.
    pub(super) fn family(&self) -> ProtoFamily {
        self.family
    }

    /// Names the first chain or rule that is missing or altered.
    pub(super) fn first_gap(&self, found: &[FoundChain]) -> Option<String> {
        self.chains.iter().find_map(|chain| {
            let name = format!("{} {TABLE} {}", family_name(self.family), chain.name);
            match chain.find_in(found) {
                None => Some(format!("base chain {name}")),
                Some(found) if !chain.has_rules_of(found) => Some(format!("drop rule in chain {name}")),
                Some(_) => None,
            }
        })
    }

    /// Adds to `batch` what makes the table as specified: missing chains, and chains whose rules differ
    /// anew. Chains of other names stay.
    pub(super) fn repair(&self, table: &Table, found: &[FoundChain], batch: &mut Batch) {
        for spec in &self.chains {
            let name = CString::new(spec.name).unwrap_or_default();
            let mut chain = Chain::new(name, table);
            let same_name = found.iter().any(|chain| chain.name == spec.name);
            match spec.find_in(found) {
                Some(found) if spec.has_rules_of(found) => continue,
                Some(_) => batch.add(&Rule::new(&chain), MsgType::Del),
                None => {
                    if same_name {
                        batch.add(&Rule::new(&chain), MsgType::Del);
                        batch.add(&Chain::new(chain.get_name(), table), MsgType::Del);
                    }
                    chain.set_hook(spec.hook, spec.priority);
                    chain.set_type(ChainType::Filter);
                    chain.set_policy(Policy::Accept);
                    batch.add(&chain, MsgType::Add);
                }
            }
            for rule in &spec.rules {
                batch.add(&expression::rule(rule, &chain, table), MsgType::Add);
            }
        }
    }
}

impl ChainSpec {
    fn find_in<'a>(&self, found: &'a [FoundChain]) -> Option<&'a FoundChain> {
        found.iter().find(|chain| {
            chain.name == self.name
                && chain.hook == Some((self.hook as u32, self.priority))
                && chain.filters_and_accepts
        })
    }

    fn has_rules_of(&self, found: &FoundChain) -> bool {
        found.rules.iter().eq(self.rules.iter().map(|rule| &rule.steps))
    }
}

/// A table of ours.
pub(super) fn table(family: ProtoFamily) -> Table {
    Table::new(CString::new(TABLE).unwrap_or_default(), family)
}

fn family_name(family: ProtoFamily) -> &'static str {
    match family {
        ProtoFamily::Ipv4 => "ip",
        ProtoFamily::Ipv6 => "ip6",
        _ => "inet",
    }
}
