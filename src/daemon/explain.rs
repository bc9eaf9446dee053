//! What is held of one host.

use std::net::IpAddr;

use super::Daemon;
use crate::backend::BackendKind;
use crate::ban::Element;
use crate::overview::{Ban, Circumstances, Explanation};
use crate::state::wall_clock;

impl Daemon {
    /// Says what is held of a host, and what a ban of it would still need.
    pub(super) fn explain(&mut self, address: IpAddr) -> Explanation {
        let now = self.start.elapsed();
        let storm = self.manager.is_storm(now);
        // A network that was banned by hand covers hosts that have no ban of their own.
        let banned = self.manager.holding(Element::host(address));
        let waiting = banned.is_some_and(|element| self.manager.is_waiting(element));
        let ban = banned.and_then(|element| {
            let record = self.manager.record(element)?;
            Some(Ban::new(element, record, now))
        });
        let name = |number| self.tell.interface(number).to_string();
        let info_hashes = self.tell.info_hashes();
        let circumstances = Circumstances {
            waiting,
            exempt: self.manager.exemptions().of(address),
            on_paper: self.config.holder() == BackendKind::DryRun,
            full: self.manager.active().len() >= self.config.max_bans,
            storm,
            host: self
                .seen
                .hosts
                .get(address, info_hashes, name, ban.is_some() && !waiting),
            ban,
        };
        // Live packets bear the time of the wall clock.
        let dossier = self.judge.explain(address, &self.answerable, wall_clock());
        let origin = |number| (name(number), self.ban_rules.of(number).monitored);
        Explanation::new(address.to_string(), circumstances, &dossier, origin)
    }
}
