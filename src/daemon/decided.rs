//! Bans and their ends that are decided, and told only when the kernel has taken them.

use std::collections::BTreeMap;

use crate::ban::{Element, Manager};
use crate::judge::BanVerdict;

/// What was decided about a host or network.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// To ban it for what was seen.
    Ban(Box<BanVerdict>),
    /// To ban it by command.
    BanByHand,
    /// To lift its ban by command.
    Unban,
    /// To lift its ban because it is never banned any more.
    Exempt,
    /// To lift its ban because the daemon stops.
    Stop,
}

impl Decision {
    /// Whether it is to be banned.
    pub(super) fn bans(&self) -> bool {
        matches!(self, Self::Ban(_) | Self::BanByHand)
    }
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The kernel has taken it.
    Taken,
    /// The kernel has refused it, and is asked again.
    Refused,
    /// The ban is given up: the kernel's set is full.
    GivenUp,
}

/// Decisions that are not told yet. As many as the manager has elements that wait for the kernel.
#[derive(Debug, Default)]
pub(super) struct Decided(BTreeMap<Element, Waiting>);

#[derive(Debug)]
struct Waiting {
    decision: Decision,
    /// Whether it is told that the kernel refused it.
    refused: bool,
}

impl Decided {
    /// Remembers a decision. Of one element only the last one is told; a ban that is lifted before the kernel has
    /// taken it was none.
    pub(super) fn add(&mut self, element: Element, decision: Decision) {
        let lifts = !decision.bans();
        let refused = false;
        let before = self.0.insert(element, Waiting { decision, refused });
        if lifts && before.is_some_and(|before| before.decision.bans()) {
            self.0.remove(&element);
        }
    }

    /// Whether anything is not told yet.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Forgets a ban that ran out before the kernel took it; whether there was one.
    pub(super) fn withdraw(&mut self, element: Element) -> bool {
        self.0.remove(&element).is_some()
    }

    /// What is to be told after the kernel was written to.
    pub(super) fn settle(&mut self, manager: &Manager) -> Vec<(Element, Decision, Fate)> {
        let mut settled = Vec::new();
        self.0.retain(|element, waiting| {
            let fate = if manager.is_waiting(*element) {
                if std::mem::replace(&mut waiting.refused, true) {
                    return true;
                }
                Fate::Refused
            } else if waiting.decision.bans() && !manager.is_banned(*element) {
                Fate::GivenUp
            } else {
                Fate::Taken
            };
            settled.push((*element, waiting.decision.clone(), fate));
            fate == Fate::Refused
        });
        settled
    }
}
