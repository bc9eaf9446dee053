//! The ban manager: a cache in front of the kernel set.
//!
//! It knows who is banned until when and why, so that a repeated ban costs no system call; it renews a ban while
//! evidence continues, lifts it, and puts back what somebody else removed from the kernel. Expiry itself is
//! the kernel's. Time is an argument: a monotonic duration since some fixed start.
//!
//! Policy, in the order in which it is applied to a host that is to be banned:
//! 1. exempt hosts are refused;
//! 2. a host whose ban has more than half of its time to run is left alone, otherwise its clock starts anew;
//! 3. when `max_bans` are in force, further hosts are refused (never does a ban displace another);
//! 4. when `max_bans_per_minute` hosts were newly to be banned within a minute, further ones are refused until
//!    fewer ask;
//! 5. the duration doubles with each earlier ban that is remembered.
//!
//! What the kernel is told (`manager/kernel.rs`) is not a list of changes but the state of the elements that changed,
//! so what waits is bounded by the number of bans, and one change that the kernel refuses keeps no other from being
//! made.

mod kernel;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use btblocker_detectors::Timestamp;

use super::active::Active;
use super::brake::Brake;
use super::history::{History, escalated};
use super::{BackendError, Element, Exemption, Exemptions, Past, Reason, Record, SetBackend};

/// What the ban manager decides by.
#[derive(Clone, Copy, Debug)]
pub struct BanPolicy {
    /// How long a host is banned for the first time.
    pub duration: Duration,
    /// Most hosts that are banned at once; further hosts are refused and counted.
    pub max_bans: usize,
    /// Most hosts that are newly banned within a minute; 0 sets no limit.
    pub max_bans_per_minute: u32,
    /// How long a ban is remembered after its end, so that the next one lasts twice as long; zero: not at all.
    pub escalation: Duration,
    /// Length of the IPv6 prefix that is banned for a host: 128, or 64 unless an exempt address lies in it.
    pub ipv6_prefix: u8,
    /// Whether sets and rules that are missing are made anew.
    pub setup: bool,
}

/// What became of a request to ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host is newly banned.
    Banned,
    /// The host was banned, and its clock starts anew.
    Renewed,
    /// The host is banned and its ban has long to run: nothing was done.
    Cached,
    /// The host is never banned.
    Exempt(Exemption),
    /// So many hosts are banned that no more are taken.
    Full,
    /// So many hosts were newly to be banned within a minute that no more are taken.
    Storm,
}

/// How often what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bans whose clock started anew.
    pub renewed: u64,
    /// Requests for which nothing was to do.
    pub cached: u64,
    /// Requests to ban an exempt host.
    pub exempt: u64,
    /// Requests refused because of `max_bans`.
    pub full: u64,
    /// Requests refused because of `max_bans_per_minute`.
    pub storm: u64,
    /// Bans given up because the kernel's set was full.
    pub kernel_full: u64,
    /// Bans lifted.
    pub unbanned: u64,
    /// Bans that ran out.
    pub expired: u64,
    /// Bans put back because the kernel did not hold them any more.
    pub restored: u64,
    /// Bans that had run out and were still in the kernel's maps.
    pub swept: u64,
}

impl Tally {
    /// Name and value of every counter.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("renewed", self.renewed),
            ("cached", self.cached),
            ("exempt", self.exempt),
            ("full", self.full),
            ("storm", self.storm),
            ("kernel_full", self.kernel_full),
            ("unbanned", self.unbanned),
            ("expired", self.expired),
            ("restored", self.restored),
            ("swept", self.swept),
        ]
    }
}

/// Bans in force, and the kernel set that holds them.
pub struct Manager {
    backend: Box<dyn SetBackend>,
    exemptions: Exemptions,
    policy: BanPolicy,
    active: Active,
    /// Elements whose state the kernel has not been told.
    dirty: BTreeSet<Element>,
    /// Elements that the kernel refused by themselves; tried again by the reconciliation.
    refused: BTreeSet<Element>,
    /// Bans that a reconciliation that has begun has not compared with the kernel yet.
    unchecked: Vec<Element>,
    /// Bans that it has put back.
    put_back: usize,
    /// Bans that the kernel may not have enforced for a while, and that nobody was told of.
    absent: BTreeSet<Element>,
    /// Bans that ran out and that nobody was told of.
    ended: Vec<Element>,
    history: History,
    brake: Brake,
    tally: Tally,
    /// Whether bans or their records changed since it was last asked.
    changed: bool,
}

impl Manager {
    /// A manager with no bans in force.
    pub fn new(backend: Box<dyn SetBackend>, exemptions: Exemptions, policy: BanPolicy) -> Self {
        Self {
            backend,
            exemptions,
            policy,
            active: Active::default(),
            dirty: BTreeSet::new(),
            refused: BTreeSet::new(),
            unchecked: Vec::new(),
            put_back: 0,
            absent: BTreeSet::new(),
            ended: Vec::new(),
            history: History::new(policy.escalation, policy.max_bans),
            brake: Brake::new(policy.max_bans_per_minute),
            tally: Tally::default(),
            changed: false,
        }
    }

    /// The kernel set.
    pub fn backend(&mut self) -> &mut dyn SetBackend {
        self.backend.as_mut()
    }

    /// Whom this manager never bans.
    pub fn exemptions(&self) -> &Exemptions {
        &self.exemptions
    }

    /// Hosts are banned for another time from now on; bans in force keep theirs.
    pub fn set_duration(&mut self, duration: Duration) {
        self.policy.duration = duration;
    }

    /// Bans so many hosts within a minute at most from now on; 0 sets no limit.
    pub fn set_max_bans_per_minute(&mut self, limit: u32) {
        self.policy.max_bans_per_minute = limit;
        self.brake.set_limit(limit);
    }

    /// How often what happened.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether `max_bans_per_minute` keeps hosts from being banned at this time.
    pub fn is_storm(&mut self, now: Duration) -> bool {
        self.brake.is_holding(now)
    }

    /// Whether bans were made, renewed or lifted since the last call. Counted flows are no change.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is banned for a host: itself, or its IPv6 prefix when no exempt address lies in that.
    pub fn element_for(&self, address: IpAddr) -> Element {
        if address.is_ipv6()
            && let Some(prefix) = Element::network(address, self.policy.ipv6_prefix)
            && self.exemptions.of_element(prefix).is_none()
        {
            return prefix;
        }
        Element::host(address)
    }

    /// Replaces the exemptions and lifts the bans that they forbid; returns the lifted ones.
    pub fn exempt(&mut self, exemptions: Exemptions) -> Vec<Element> {
        self.exemptions = exemptions;
        let forbidden = |element: &Element| self.exemptions.of_element(*element).is_some();
        let lifted: Vec<Element> = self.active.elements().filter(forbidden).collect();
        for element in &lifted {
            self.unban(*element);
        }
        lifted
    }

    /// Bans a host for evidence of packet time `since`; `because` is asked when the ban is new. The change waits
    /// for [`Manager::flush`].
    pub fn ban(
        &mut self,
        address: IpAddr,
        now: Duration,
        since: Timestamp,
        because: impl FnOnce() -> Reason,
    ) -> Outcome {
        self.ban_for(address, self.policy.duration, now, since, because)
    }

    /// The same, for another time than the policy's.
    pub fn ban_for(
        &mut self,
        address: IpAddr,
        duration: Duration,
        now: Duration,
        since: Timestamp,
        because: impl FnOnce() -> Reason,
    ) -> Outcome {
        if let Some(why) = self.exemptions.of(address) {
            self.tally.exempt += 1;
            return Outcome::Exempt(why);
        }
        let element = self.element_for(address);
        if self.active.has_long_to_run(&element, now) {
            self.tally.cached += 1;
            return Outcome::Cached;
        }
        if self
            .active
            .get(&element)
            .is_some_and(|record| record.deadline > now)
        {
            self.active
                .change(&element, |record| record.deadline = now + record.duration);
            self.mark(element);
            self.tally.renewed += 1;
            return Outcome::Renewed;
        }
        if !self.has_room(element, now) {
            self.tally.full += 1;
            return Outcome::Full;
        }
        if !self.brake.admits(element, now) {
            self.tally.storm += 1;
            return Outcome::Storm;
        }
        self.retire(element);
        let times = self.history.times(element, now).saturating_add(1);
        let duration = escalated(duration, times);
        self.active.insert(
            element,
            Record {
                reason: Arc::new(because()),
                since,
                deadline: now + duration,
                duration,
                flows: 1,
                times,
            },
        );
        self.mark(element);
        Outcome::Banned
    }

    /// Bans a host or network by command for `duration`, whatever its ban was before. It does not count for
    /// escalation. The change waits for [`Manager::flush`].
    pub fn ban_by_hand(
        &mut self,
        element: Element,
        duration: Duration,
        now: Duration,
        since: Timestamp,
    ) -> Outcome {
        if let Some(why) = self.exemptions.of_element(element) {
            self.tally.exempt += 1;
            return Outcome::Exempt(why);
        }
        if !self.has_room(element, now) {
            self.tally.full += 1;
            return Outcome::Full;
        }
        let before = self.active.remove(&element);
        let outcome = match before {
            None => Outcome::Banned,
            Some(_) => Outcome::Renewed,
        };
        let (flows, times) = before.map_or((0, 0), |record| (record.flows, record.times));
        self.active.insert(
            element,
            Record {
                reason: Arc::new(Reason::by_hand()),
                since,
                deadline: now + duration,
                duration,
                flows,
                times,
            },
        );
        self.mark(element);
        outcome
    }

    /// Counts one more flow of a host, if it is banned.
    pub fn count_flow(&mut self, address: IpAddr) {
        let element = self.element_for(address);
        self.active
            .change(&element, |record| record.flows = record.flows.saturating_add(1));
    }

    /// What is remembered of the ban of exactly this element.
    pub fn record(&self, element: Element) -> Option<&Record> {
        self.active.get(&element)
    }

    /// The ban in force that covers a host or network: its own, or for a host that of its IPv6 prefix.
    pub fn covering(&self, element: Element) -> Option<Element> {
        let known = |element: &Element| self.active.contains(element);
        let prefix = || element.is_host().then(|| self.element_for(element.address()));
        Some(element).filter(known).or_else(|| prefix().filter(known))
    }

    /// The same, and for a host any network that holds it; looks at all bans, so it is for commands.
    pub fn holding(&self, element: Element) -> Option<Element> {
        let own = self.covering(element);
        let around = || element.is_host().then(|| self.around(element)).flatten();
        own.or_else(around)
    }

    /// The smallest banned network in which a host or network lies; looks at all bans, so it is for commands.
    pub fn around(&self, element: Element) -> Option<Element> {
        element.smallest_around(self.active.elements())
    }

    /// Lifts a ban, and forgets that there was one; whether there was. The change waits for [`Manager::flush`].
    pub fn unban(&mut self, element: Element) -> bool {
        let known = self.active.remove(&element).is_some();
        self.history.forgive(element);
        self.mark(element);
        self.tally.unbanned += u64::from(known);
        known
    }

    /// Takes over what the kernel holds already, from an earlier run.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn adopt(&mut self, now: Duration, since: Timestamp) -> Result<usize, BackendError> {
        let held = self.backend.list()?;
        for entry in &held {
            let remaining = entry.remaining.unwrap_or(self.policy.duration);
            let record = Record {
                reason: Arc::new(Reason::unknown()),
                since,
                deadline: now + remaining,
                duration: remaining.max(self.policy.duration),
                flows: 0,
                times: 1,
            };
            self.active.insert(entry.element, record);
            // Its rules may have been missing.
            self.absent.insert(entry.element);
        }
        self.changed |= !held.is_empty();
        Ok(held.len())
    }

    /// Takes over bans that were remembered outside of the kernel. Of a ban that is in force already only what
    /// the kernel does not know is taken; others are made anew for the time that is left. Returns how many were
    /// made anew.
    pub fn restore(
        &mut self,
        remembered: impl IntoIterator<Item = (Element, Record)>,
        now: Duration,
    ) -> usize {
        let mut anew = 0;
        for (element, record) in remembered {
            if let Some(known) = self.active.get(&element) {
                let deadline = known.deadline;
                self.active.insert(element, Record { deadline, ..record });
            } else if record.deadline > now
                && self.exemptions.of_element(element).is_none()
                && self.active.len() < self.policy.max_bans
            {
                self.active.insert(element, record);
                self.mark(element);
                self.absent.insert(element);
                anew += 1;
            }
        }
        anew
    }

    /// Takes over what an earlier run remembered of bans that have ended.
    pub fn restore_past(&mut self, past: impl IntoIterator<Item = (Element, Past)>, now: Duration) {
        for (element, past) in past {
            self.history.restore(element, past, now);
        }
    }

    /// Bans that have ended and are remembered for `ban_escalation`, in no order.
    pub fn past(&self, now: Duration) -> impl ExactSizeIterator<Item = (Element, Past)> {
        self.history.all(now)
    }

    /// Forgets bans that the kernel has let run out.
    pub fn expire(&mut self, now: Duration) {
        for element in self.active.over(now) {
            self.retire(element);
        }
    }

    /// Bans that ran out since the last call.
    pub fn take_ended(&mut self) -> Vec<Element> {
        std::mem::take(&mut self.ended)
    }

    /// Bans that the kernel enforces again since the last call: what began before goes on unless it is ended.
    pub fn take_put_back(&mut self) -> Vec<Element> {
        let absent = std::mem::take(&mut self.absent).into_iter();
        let (waiting, back) = absent.partition(|element| self.is_waiting(*element));
        self.absent = waiting;
        let is_banned = |element: &Element| self.is_banned(*element);
        BTreeSet::into_iter(back).filter(is_banned).collect()
    }

    /// Whether the element is to be banned at this time, and the kernel may not know it yet.
    pub fn is_banned(&self, element: Element) -> bool {
        self.active.contains(&element)
    }

    /// Bans in force, in no order.
    pub fn active(&self) -> impl ExactSizeIterator<Item = (Element, &Record)> {
        self.active.iter()
    }

    fn mark(&mut self, element: Element) {
        self.dirty.insert(element);
        self.changed = true;
    }

    /// Whether one more may be banned; what has run out makes room.
    fn has_room(&mut self, element: Element, now: Duration) -> bool {
        let fits = |manager: &Self| {
            manager.active.len() < manager.policy.max_bans || manager.active.contains(&element)
        };
        if !fits(self) {
            self.expire(now);
        }
        fits(self)
    }

    /// Ends a ban whose time is over.
    fn retire(&mut self, element: Element) {
        if let Some(record) = self.active.remove(&element) {
            self.history.remember(element, record.times, record.deadline);
            self.tally.expired += 1;
            self.ended.push(element);
            self.changed = true;
        }
    }
}
