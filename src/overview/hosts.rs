//! Which hosts speak BitTorrent, and what is known of them, for those who look.

use std::collections::HashMap;
use std::net::IpAddr;

use btblocker_detectors::{InfoHash, Side, Technique, Timestamp};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::ban::Outcome;
use crate::event::{InfoHashes, client_name, rfc3339};
use crate::judge::{BanVerdict, FlowVerdict};

/// Programs that are remembered of one host.
const CLIENTS: usize = 4;
/// Torrents that are remembered of one host.
const TORRENTS: usize = 8;

/// One host as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its address.
    pub address: String,
    /// What became of it: `banned`, `seen`, or why it is not banned.
    pub state: String,
    /// First evidence, RFC 3339.
    pub first: String,
    /// Latest evidence, RFC 3339.
    pub last: String,
    /// Flows that were judged BitTorrent.
    pub flows: u64,
    /// Techniques that decided on them.
    pub techniques: Vec<String>,
    /// Programs that it named itself, the first four.
    pub clients: Vec<String>,
    /// Torrents as the configuration lets them be shown, the first eight.
    pub torrents: Vec<String>,
    /// Where the latest evidence was seen: an interface or a file.
    pub origin: String,
    /// The latest evidence in words.
    pub evidence: String,
}

/// What was done about a host that was to be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The ban manager was asked, and answered this.
    Asked(Outcome),
    /// Nothing: where it was seen is only monitored.
    Monitored,
}

/// What is remembered of one host.
#[derive(Clone, Debug)]
struct Known {
    first: Timestamp,
    flows: u64,
    /// One bit for each technique.
    techniques: u64,
    clients: Vec<String>,
    torrents: Vec<InfoHash>,
    latest: FlowVerdict,
    /// What was done when it was last to be banned.
    treatment: Option<Treatment>,
}

/// Hosts that are remembered, in a bounded number: one that was never to be banned gives way first, then the one
/// whose evidence is oldest.
#[derive(Clone, Debug)]
pub struct Hosts {
    most: usize,
    known: HashMap<IpAddr, Known, RandomState>,
    forgotten: u64,
}

impl Hosts {
    /// Room for `most` hosts, at least one.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            known: HashMap::default(),
            forgotten: 0,
        }
    }

    /// Number of hosts that are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How often a host gave way.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// A flow was judged BitTorrent: it counts for the end that spoke, and for the other end if it is known.
    pub fn flow(&mut self, verdict: &FlowVerdict) {
        for side in [Side::Originator, Side::Responder] {
            let speaks = side == verdict.evidence.speaker;
            let address = verdict.flow.end(side).ip();
            if speaks || self.known.contains_key(&address) {
                let known = self.entry(address, verdict);
                known.flows += 1;
                known.learn(verdict, speaks);
            }
        }
    }

    /// A host was to be banned.
    pub fn ban(&mut self, verdict: &BanVerdict, treatment: Treatment) {
        let because = &verdict.because;
        let is_new = !self.known.contains_key(&verdict.address);
        let speaks = because.flow.end(because.evidence.speaker).ip() == verdict.address;
        let known = self.entry(verdict.address, because);
        known.flows += u64::from(is_new);
        known.learn(because, speaks);
        known.treatment = Some(treatment);
    }

    fn entry(&mut self, address: IpAddr, verdict: &FlowVerdict) -> &mut Known {
        if self.known.len() >= self.most && !self.known.contains_key(&address) {
            let rank = |(_, known): &(&IpAddr, &Known)| (known.treatment.is_some(), known.latest.at);
            let least = self.known.iter().min_by_key(rank).map(|(address, _)| *address);
            if let Some(least) = least {
                self.known.remove(&least);
                self.forgotten += 1;
            }
        }
        self.known.entry(address).or_insert_with(|| Known {
            first: verdict.at,
            flows: 0,
            techniques: 0,
            clients: Vec::new(),
            torrents: Vec::new(),
            latest: *verdict,
            treatment: None,
        })
    }

    /// At most `most` hosts as they are shown: those that were to be banned first, then by the time of their latest
    /// evidence, the newest first. `origin` names an interface or file by its number.
    pub fn view(
        &self,
        most: usize,
        info_hashes: &InfoHashes,
        origin: impl Fn(u16) -> String,
        is_banned: impl Fn(IpAddr) -> bool,
    ) -> Vec<Host> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(address, known)| {
            let wanted = known.treatment.is_some();
            std::cmp::Reverse((wanted, known.latest.at, **address))
        });
        let shown = all.into_iter().take(most);
        shown
            .map(|(address, known)| known.shown(*address, info_hashes, &origin, is_banned(*address)))
            .collect()
    }

    /// One host, if it is remembered, as [`Hosts::view`] shows it.
    pub fn get(
        &self,
        address: IpAddr,
        info_hashes: &InfoHashes,
        origin: impl Fn(u16) -> String,
        is_banned: bool,
    ) -> Option<Host> {
        let known = self.known.get(&address)?;
        Some(known.shown(address, info_hashes, &origin, is_banned))
    }
}

impl Known {
    fn shown(
        &self,
        address: IpAddr,
        info_hashes: &InfoHashes,
        origin: &impl Fn(u16) -> String,
        is_banned: bool,
    ) -> Host {
        let torrents = self.torrents.iter();
        Host {
            address: address.to_string(),
            state: self.state(is_banned),
            first: rfc3339(self.first),
            last: rfc3339(self.latest.at),
            flows: self.flows,
            techniques: self.technique_names(),
            clients: self.clients.clone(),
            torrents: torrents
                .filter_map(|torrent| info_hashes.show(Some(*torrent)))
                .collect(),
            origin: origin(self.latest.interface),
            evidence: BanVerdict {
                address,
                because: self.latest,
            }
            .reason(),
        }
    }

    fn learn(&mut self, verdict: &FlowVerdict, speaks: bool) {
        let evidence = &verdict.evidence;
        self.techniques |= 1 << (evidence.technique as u32);
        if verdict.at >= self.latest.at {
            self.latest = *verdict;
        }
        if let Some(torrent) = evidence.info_hash
            && self.torrents.len() < TORRENTS
            && !self.torrents.contains(&torrent)
        {
            self.torrents.push(torrent);
        }
        if speaks
            && self.clients.len() < CLIENTS
            && let Some(client) = client_name(&evidence.client)
            && !self.clients.contains(&client)
        {
            self.clients.push(client);
        }
    }

    fn technique_names(&self) -> Vec<String> {
        let all = Technique::ALL.iter();
        all.filter(|technique| self.techniques & (1 << (**technique as u32)) != 0)
            .map(|technique| technique.name().to_owned())
            .collect()
    }

    fn state(&self, is_banned: bool) -> String {
        let outcome = match self.treatment {
            _ if is_banned => return "banned".to_owned(),
            None => return "seen".to_owned(),
            Some(Treatment::Monitored) => return "not banned: monitor_only".to_owned(),
            Some(Treatment::Asked(outcome)) => outcome,
        };
        match outcome {
            Outcome::Banned | Outcome::Renewed | Outcome::Cached => "was banned".to_owned(),
            Outcome::Exempt(why) => format!("exempt: {}", why.name()),
            Outcome::Full => "not banned: max_bans".to_owned(),
            Outcome::Storm => "not banned: max_bans_per_minute".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use btblocker_detectors::{Client, Confidence, Endpoint, Evidence, Transport};

    use super::*;
    use crate::ban::Exemption;
    use crate::event::ShowInfoHash;
    use crate::judge::{Corroboration, FlowId};

    fn verdict(from: &str, to: &str, seconds: u64, technique: Technique) -> FlowVerdict {
        let end = |address: &str| Endpoint::new(address.parse().unwrap(), 6881);
        FlowVerdict {
            at: Timestamp(seconds * 1_000_000),
            interface: 1,
            flow: FlowId {
                transport: Transport::Tcp,
                originator: end(from),
                responder: end(to),
            },
            evidence: Evidence::new(technique, "rule", Confidence::Conclusive, Side::Originator)
                .by(Client::name(b"a\x01<b>"))
                .of_torrent([7; 20]),
            corroboration: Corroboration::None,
            payload_len: 68,
            reported: true,
        }
    }

    fn ban(address: &str, because: FlowVerdict) -> BanVerdict {
        BanVerdict {
            address: address.parse().unwrap(),
            because,
        }
    }

    fn view(hosts: &Hosts, most: usize) -> Vec<Host> {
        let info_hashes = InfoHashes::new(ShowInfoHash::Plain);
        let origin = |number: u16| format!("wg{number}");
        hosts.view(most, &info_hashes, origin, |address| {
            address == "10.0.0.2".parse::<IpAddr>().unwrap()
        })
    }

    #[test]
    fn what_is_known_of_a_host_is_shown() {
        let mut hosts = Hosts::new(10);
        let first = verdict("198.51.100.9", "10.0.0.2", 5, Technique::Handshake);
        hosts.flow(&first);
        hosts.ban(&ban("10.0.0.2", first), Treatment::Asked(Outcome::Banned));
        let second = verdict("10.0.0.2", "198.51.100.8", 6, Technique::Dht);
        hosts.flow(&second);
        hosts.ban(&ban("10.0.0.2", second), Treatment::Asked(Outcome::Cached));
        let shown = view(&hosts, 10);
        let states: Vec<_> = shown
            .iter()
            .map(|host| (host.address.as_str(), host.state.as_str(), host.flows))
            .collect();
        assert_eq!(states, [("10.0.0.2", "banned", 2), ("198.51.100.9", "seen", 1)]);
        let host = &shown[0];
        assert_eq!(host.techniques, ["handshake", "dht"]);
        // The first flow's program is the other end's.
        assert_eq!((host.clients.len(), host.clients[0].as_str()), (1, "a.<b>"));
        assert_eq!(host.torrents, ["07".repeat(20)]);
        assert_eq!(host.first, "1970-01-01T00:00:05.000000Z");
        assert_eq!(host.last, "1970-01-01T00:00:06.000000Z");
        assert_eq!(host.origin, "wg1");
        assert!(
            host.evidence
                .starts_with("dht rule (conclusive), tcp 10.0.0.2:6881 > ")
        );
    }

    #[test]
    fn states_say_why_a_host_is_not_banned() {
        for (treatment, state) in [
            (
                Treatment::Asked(Outcome::Exempt(Exemption::Gateway)),
                "exempt: gateway",
            ),
            (Treatment::Asked(Outcome::Full), "not banned: max_bans"),
            (
                Treatment::Asked(Outcome::Storm),
                "not banned: max_bans_per_minute",
            ),
            (Treatment::Asked(Outcome::Renewed), "was banned"),
            (Treatment::Monitored, "not banned: monitor_only"),
        ] {
            let mut hosts = Hosts::new(1);
            let because = verdict("192.0.2.1", "192.0.2.2", 1, Technique::Utp);
            hosts.ban(&ban("192.0.2.1", because), treatment);
            assert_eq!(view(&hosts, 1)[0].state, state);
        }
    }

    #[test]
    fn room_is_made_by_the_oldest_that_was_never_to_be_banned() {
        let mut hosts = Hosts::new(3);
        let banned = verdict("192.0.2.1", "192.0.2.2", 1, Technique::Utp);
        hosts.ban(&ban("192.0.2.1", banned), Treatment::Asked(Outcome::Banned));
        for number in 2..=9_u64 {
            let from = format!("192.0.2.{number}");
            hosts.flow(&verdict(&from, "198.51.100.1", number, Technique::Utp));
        }
        assert_eq!((hosts.len(), hosts.forgotten()), (3, 6));
        let addresses: Vec<_> = view(&hosts, 2).into_iter().map(|host| host.address).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.9"]);
    }

    #[test]
    fn of_one_host_a_bounded_number_of_names_is_kept() {
        let mut hosts = Hosts::new(1);
        for number in 0..20_u8 {
            let mut verdict = verdict("192.0.2.1", "192.0.2.2", 1, Technique::Http);
            verdict.evidence.client = Client::name(&[b'a' + number]);
            verdict.evidence.info_hash = Some([number; 20]);
            hosts.flow(&verdict);
        }
        let host = &view(&hosts, 1)[0];
        assert_eq!((host.clients.len(), host.torrents.len(), host.flows), (4, 8, 20));
    }
}
