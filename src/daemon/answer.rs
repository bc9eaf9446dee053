//! What the daemon answers to commands.

use std::time::Duration;

use log::info;
use serde_json::{Map, Value, json};

use super::Daemon;
use super::capture::Captures;
use super::decided::Decision;
use super::memory::all;
use crate::ban::{Element, Manager, Outcome, Timeout};
use crate::control::{Reply, Request, unban_words};
use crate::network::Hosts;
use crate::state::wall_clock;

/// Hosts and networks that commands may allow at most: what is remembered has a bound.
const MAX_ALLOWED: usize = 1_024;

impl Daemon {
    /// Does what is asked and says what came of it.
    pub(super) fn answer(&mut self, request: Request, captures: &Captures) -> Reply {
        let now = self.start.elapsed();
        match request {
            Request::Bans {} => Reply::Bans {
                bans: all(&self.manager),
                now,
            },
            Request::Ban { address, seconds } => self.ban_by_hand(address, seconds),
            Request::Unban { address } => {
                let address = self.manager.holding(address).unwrap_or(address);
                let was_banned = self.manager.unban(address);
                if was_banned {
                    self.decided.add(address, Decision::Unban);
                }
                let said = unban_words(address, was_banned, self.manager.around(address));
                self.tell_kernel(said, &[address])
            }
            Request::UnbanAll {} => {
                let banned: Vec<Element> = self.manager.active().map(|(element, _)| element).collect();
                for element in &banned {
                    self.manager.unban(*element);
                    self.decided.add(*element, Decision::Unban);
                }
                let done = match banned.len() {
                    0 => "nobody is banned".to_owned(),
                    count => format!("{count} unbanned"),
                };
                self.tell_kernel(done, &banned)
            }
            Request::Allow { address } => self.allow(address),
            Request::Explain { address } => Reply::Explained(Box::new(self.explain(address.to_canonical()))),
            Request::Status {} => Reply::Status(self.status(captures)),
            Request::Overview {} => Reply::Overview(Box::new(self.overview(captures))),
        }
    }

    fn ban_by_hand(&mut self, address: Element, seconds: Option<u32>) -> Reply {
        let wanted = seconds.map_or(self.config.ban_duration, |secs| Duration::from_secs(secs.into()));
        let timeout = Timeout::from_duration(wanted);
        let duration = Duration::from_secs(timeout.secs().into());
        let now = self.start.elapsed();
        self.follow_hosts(Hosts::read());
        match self.manager.ban_by_hand(address, duration, now, wall_clock()) {
            Outcome::Exempt(why) => Reply::Refused(format!("{address} is never banned ({})", why.name())),
            Outcome::Full | Outcome::Storm => Reply::Refused(format!(
                "{address} not banned: {} hosts are banned already (max_bans)",
                self.config.max_bans
            )),
            Outcome::Banned | Outcome::Renewed | Outcome::Cached => {
                self.decided.add(address, Decision::BanByHand);
                let behind = self.tell.behind();
                let done = format!("{address} banned{behind} for {} s", timeout.secs());
                self.tell_kernel(done, &[address])
            }
        }
    }

    fn allow(&mut self, address: Element) -> Reply {
        if self.allowed.len() >= MAX_ALLOWED {
            return Reply::Refused(format!(
                "{MAX_ALLOWED} hosts are allowed by command already; write them into the configuration"
            ));
        }
        if !self.allowed.contains(&address) {
            self.allowed.push(address);
        }
        info!("allowed {address}: by command");
        let before = self.manager.active().len();
        self.exempt();
        let lifted = before - self.manager.active().len();
        let bans = if lifted == 1 { "ban" } else { "bans" };
        Reply::Done(format!(
            "{address} is not banned until btblocker ends; add it to `allow` in the configuration to keep it so \
             ({lifted} {bans} lifted)"
        ))
    }

    /// Writes to the kernel; says `done` when it took what was asked for these elements.
    fn tell_kernel(&mut self, done: String, asked: &[Element]) -> Reply {
        let banned = |manager: &Manager| asked.iter().filter(|one| manager.is_banned(**one)).count();
        let before = banned(&self.manager);
        self.flush();
        let is_given_up = banned(&self.manager) < before;
        let is_waiting = asked.iter().any(|element| self.manager.is_waiting(*element));
        match self.refused.as_ref().filter(|_| is_waiting || is_given_up) {
            None => {
                self.memory.keep(&mut self.manager, self.start.elapsed());
                Reply::Done(done)
            }
            Some(error) => Reply::Refused(format!("{done}, but the kernel does not take it: {error}")),
        }
    }

    fn status(&mut self, captures: &Captures) -> Value {
        let now = self.start.elapsed();
        let interfaces: Vec<Value> = captures
            .states()
            .map(|interface| {
                json!({
                    "name": interface.name,
                    "state": interface.state,
                    "received": interface.stats.received,
                    "dropped": interface.stats.dropped,
                    "if_dropped": interface.stats.if_dropped,
                    "left_out": interface.stats.left_out,
                    "left_out_bytes": interface.stats.left_out_bytes,
                })
            })
            .collect();
        let counters: Map<String, Value> = self
            .board
            .total()
            .named()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let counts = self.tell.counts();
        let banned = ("banned", counts.banned());
        let bans: Map<String, Value> = [banned]
            .into_iter()
            .chain(self.manager.tally().named())
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let mut status = json!({
            "event": "status",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": now.as_secs(),
            "backend": self.manager.backend().name(),
            "kernel_accepts": self.refused.is_none(),
            "storm": self.manager.is_storm(now),
            "active_bans": self.in_force(),
            "waiting_bans": self.manager.waiting(),
            "allowed_by_command": self.allowed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "user": self.confinement.user,
            "capabilities": self.confinement.capabilities,
            "system_calls": self.confinement.system_calls.name(),
            "files": self.confinement.files.name(),
            "early_exit": self.early_exits.state,
            "interfaces": interfaces,
            "bans": bans,
            "lost": {
                "detections": counts.detections_dropped.get(),
                "payloads": counts.payloads_dropped.get(),
                "evidence_files": counts.evidence_files_dropped.get(),
                "evidence_packets": counts.evidence_packets_dropped.get(),
                "notices": counts.notices_dropped.get(),
            },
            "counters": counters,
        });
        if let (Ok(Some(packets)), Some(status)) = (self.manager.backend().packets(), status.as_object_mut())
        {
            let named = packets.named().into_iter();
            let named = named.map(|(name, value)| (name.to_owned(), json!(value)));
            status.insert("xdp".to_owned(), named.collect::<Map<_, _>>().into());
        }
        status
    }
}
