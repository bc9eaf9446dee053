//! What is held of one host, in words, and what a ban of it would still need.

use serde::{Deserialize, Serialize};

use super::{Ban, Host};
use crate::ban::Exemption;
use crate::judge::{Dossier, FlowNote, Lack};

/// One host, explained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Its address.
    pub address: String,
    /// What becomes of it, in words.
    pub state: String,
    /// Its ban, or that of its network.
    pub ban: Option<Ban>,
    /// What was seen of it since the start, if a flow of it was judged BitTorrent.
    pub host: Option<Host>,
    /// What is remembered of it, in words.
    pub held: Vec<String>,
    /// Its weightiest flows with evidence, in words, at most 16.
    pub flows: Vec<String>,
    /// Flows of it with evidence that are remembered.
    pub flows_known: usize,
    /// What a ban would still need, in words: each line by itself, but for what keeps it from being banned at all, which
    /// comes first.
    pub needed: Vec<String>,
}

/// What is known of a host beside the evidence.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Its ban, or that of its network.
    pub ban: Option<Ban>,
    /// The kernel has not taken the ban.
    pub waiting: bool,
    /// Why it is never banned.
    pub exempt: Option<Exemption>,
    /// Bans are kept on paper, on every interface.
    pub on_paper: bool,
    /// As many hosts are banned as `max_bans` allows.
    pub full: bool,
    /// `max_bans_per_minute` is exceeded.
    pub storm: bool,
    /// What was seen of it since the start.
    pub host: Option<Host>,
}

impl Explanation {
    /// Puts into words what is held of a host. `origin` gives the name of an interface by its number, and whether it is
    /// only monitored while others lead to bans.
    pub fn new(
        address: String,
        circumstances: Circumstances,
        dossier: &Dossier,
        origin: impl Fn(u16) -> (String, bool),
    ) -> Self {
        let flows = dossier.flows.iter();
        let told = flows.map(|flow| flow_in_words(flow, &origin(flow.best.interface).0));
        Self {
            address,
            state: state(&circumstances),
            held: held(dossier),
            flows: told.collect(),
            flows_known: dossier.flows_known,
            needed: needed(&circumstances, dossier, origin),
            ban: circumstances.ban,
            host: circumstances.host,
        }
    }
}

fn state(circumstances: &Circumstances) -> String {
    let Circumstances {
        ban,
        waiting,
        exempt,
        on_paper,
        ..
    } = circumstances;
    match (ban, exempt) {
        (Some(_), _) if *waiting => "to be banned, but the kernel has not taken it".to_owned(),
        (Some(_), _) if *on_paper => "would be banned (monitor_only, or a dry run)".to_owned(),
        (Some(_), _) => "banned".to_owned(),
        (None, Some(why)) => format!("exempt: {}", why.name()),
        (None, None) => "not banned".to_owned(),
    }
}

/// What the judge remembers of the host's remotes.
fn held(dossier: &Dossier) -> Vec<String> {
    let counted = [
        (
            dossier.confirmed,
            "with which it spoke BitTorrent for certain, within 30 minutes",
        ),
        (
            dossier.dht,
            "with which DHT maintenance is proven, within 30 minutes",
        ),
        (
            dossier.mse,
            "to which it opened encrypted flows of BitTorrent's kind, within 10 minutes",
        ),
        (
            dossier.mse_inbound,
            "that opened encrypted flows of BitTorrent's kind to it, within 10 minutes",
        ),
        (dossier.utp, "to which it spoke uTP, within a minute"),
        (dossier.weak, "of weak evidence, within 10 minutes"),
    ];
    let mut held: Vec<String> = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", remotes(count)))
        .collect();
    if dossier.learned > 0 {
        let peers = if dossier.learned == 1 { "peer" } else { "peers" };
        held.push(format!("{} {peers} that its own traffic named", dossier.learned));
    }
    if held.is_empty() && dossier.flows_known == 0 {
        held.push("nothing was seen of this host lately".to_owned());
    }
    held
}

fn flow_in_words(flow: &FlowNote, interface: &str) -> String {
    let judged = match flow.judged {
        Some(corroboration) => format!("judged BitTorrent: {corroboration}"),
        None => "not judged BitTorrent".to_owned(),
    };
    format!("{interface}: {}; {judged}", flow.best)
}

fn needed(
    circumstances: &Circumstances,
    dossier: &Dossier,
    origin: impl Fn(u16) -> (String, bool),
) -> Vec<String> {
    if circumstances.ban.is_some() {
        return Vec::new();
    }
    if let Some(why) = circumstances.exempt {
        return vec![format!("it is never banned: exempt ({})", why.name())];
    }
    let mut needed = Vec::new();
    for (holds, why) in [
        (
            circumstances.on_paper,
            "nobody is really banned: monitor_only is on, or the backend is a dry run",
        ),
        (
            circumstances.full,
            "no further host is banned: as many are as max_bans allows",
        ),
        (
            circumstances.storm,
            "no further host is banned for now: max_bans_per_minute is exceeded",
        ),
    ] {
        if holds {
            needed.push(why.to_owned());
        }
    }
    if dossier.flows_known == 0 {
        needed.push("evidence: none is held".to_owned());
    }
    for flow in &dossier.flows {
        let words = match origin(flow.best.interface) {
            (name, true) if flow.lack == Lack::Nothing => {
                format!("nothing, if {name} were not only monitored (monitor_only)")
            }
            _ => lack_in_words(flow.lack),
        };
        if !needed.contains(&words) {
            needed.push(words);
        }
    }
    needed
}

fn lack_in_words(lack: Lack) -> String {
    match lack {
        Lack::Nothing => "nothing: the next evidence on a judged flow leads to a ban".to_owned(),
        Lack::Class(class) => format!("{} leads to no ban: it is not among `classes`", class.name()),
        Lack::Strict => "conclusive evidence: nothing else counts with sensitivity = \"strict\"".to_owned(),
        Lack::ExemptPort => {
            "conclusive evidence: nothing else counts on a port that is among `exempt_ports`".to_owned()
        }
        Lack::Socks => "BitTorrent on another flow through the same SOCKS proxy, or `block_socks`".to_owned(),
        Lack::Weak {
            remotes: count,
            enough: Some(enough),
        } => format!(
            "stronger evidence, or weak evidence with {enough} remote hosts; so far {}",
            remotes(count)
        ),
        Lack::Weak { enough: None, .. } => "stronger evidence: what is held is weak".to_owned(),
        Lack::Corroboration {
            utp,
            remotes: count,
            enough,
            exact,
        } => {
            let what = if utp {
                "uTP"
            } else {
                "encrypted flows of BitTorrent's kind"
            };
            let exact = if exact {
                ""
            } else {
                ", most of them with exact sizes, which they have not"
            };
            format!(
                "conclusive evidence, a second technique on the same flow, or {what} with {enough} remote hosts{exact}; so \
                 far {}",
                remotes(count)
            )
        }
        Lack::SecondTechnique => {
            "conclusive evidence, or a second technique on the same flow: what is held is strong".to_owned()
        }
        Lack::Target(target) => format!("nothing helps: ban_target = \"{target}\" names the other end"),
        Lack::Proof => "recognised, but not proven to take part: a lone packet can be forged, and it has not answered yet"
            .to_owned(),
        Lack::OtherEnd => "evidence against this host: what is held speaks for the other end of the flow".to_owned(),
        Lack::Dht {
            remotes: count,
            enough,
        } => format!(
            "DHT maintenance with {enough} remote hosts, or other BitTorrent beside it; so far {}",
            remotes(count)
        ),
        Lack::Detections { count, enough } => format!(
            "{enough} detections within ten minutes (ban_threshold); so far {count}"
        ),
    }
}

fn remotes(count: usize) -> String {
    match count {
        1 => "1 remote host".to_owned(),
        count => format!("{count} remote hosts"),
    }
}

#[cfg(test)]
mod tests {
    use btblocker_detectors::{
        Class, Confidence, Endpoint, Ends, Evidence, Side, Technique, Timestamp, Transport,
    };

    use super::*;
    use crate::judge::{BanTarget, Corroboration, FlowId, Sighting};

    fn flow(lack: Lack) -> FlowNote {
        let end = |address: &str| Endpoint::new(address.parse().unwrap(), 6881);
        FlowNote {
            best: Sighting {
                at: Timestamp(0),
                interface: 0,
                flow: FlowId {
                    transport: Transport::Tcp,
                    originator: end("10.0.0.2"),
                    responder: end("198.51.100.9"),
                },
                evidence: Evidence::new(Technique::Mse, "rule", Confidence::Strong, Side::Originator),
                proven: Ends::NONE,
                payload_len: 68,
            },
            judged: (lack == Lack::Nothing).then_some(Corroboration::SameHost),
            lack,
        }
    }

    fn explained(circumstances: Circumstances, lacks: &[Lack], monitored: bool) -> Explanation {
        let dossier = Dossier {
            mse: lacks.len(),
            flows_known: lacks.len(),
            flows: lacks.iter().copied().map(flow).collect(),
            ..Dossier::default()
        };
        Explanation::new("10.0.0.2".to_owned(), circumstances, &dossier, |_| {
            ("wg0".to_owned(), monitored)
        })
    }

    #[test]
    fn a_host_of_which_nothing_is_known_is_told_as_such() {
        let told = explained(Circumstances::default(), &[], false);
        assert_eq!(told.state, "not banned");
        assert_eq!(told.held, ["nothing was seen of this host lately"]);
        assert_eq!(told.needed, ["evidence: none is held"]);
    }

    #[test]
    fn circumstances_come_before_the_evidence() {
        let of = |change: fn(&mut Circumstances)| {
            let mut circumstances = Circumstances::default();
            change(&mut circumstances);
            circumstances
        };
        for (circumstances, monitored, state, needed) in [
            (of(|c| c.ban = Some(Ban::default())), false, "banned", None),
            (
                of(|c| (c.ban, c.waiting) = (Some(Ban::default()), true)),
                false,
                "to be banned, but the kernel has not taken it",
                None,
            ),
            (
                of(|c| (c.ban, c.on_paper) = (Some(Ban::default()), true)),
                false,
                "would be banned (monitor_only, or a dry run)",
                None,
            ),
            (
                of(|c| c.exempt = Some(Exemption::Gateway)),
                false,
                "exempt: gateway",
                Some("it is never banned: exempt (gateway)"),
            ),
            (
                of(|c| c.on_paper = true),
                false,
                "not banned",
                Some("nobody is really banned: monitor_only is on, or the backend is a dry run"),
            ),
            (
                of(|c| c.full = true),
                false,
                "not banned",
                Some("no further host is banned: as many are as max_bans allows"),
            ),
            (
                of(|c| c.storm = true),
                false,
                "not banned",
                Some("no further host is banned for now: max_bans_per_minute is exceeded"),
            ),
            (
                of(|_| ()),
                true,
                "not banned",
                Some("nothing, if wg0 were not only monitored (monitor_only)"),
            ),
        ] {
            let told = explained(circumstances, &[Lack::Nothing], monitored);
            assert_eq!(
                (told.state.as_str(), told.needed.first().map(String::as_str)),
                (state, needed)
            );
        }
    }

    #[test]
    fn what_a_flow_lacks_is_said_once() {
        let corroboration = |utp, exact| Lack::Corroboration {
            utp,
            remotes: 2,
            enough: 3,
            exact,
        };
        for (lack, words) in [
            (
                Lack::Nothing,
                "nothing: the next evidence on a judged flow leads to a ban",
            ),
            (
                corroboration(false, true),
                "conclusive evidence, a second technique on the same flow, or encrypted flows of BitTorrent's kind with \
                 3 remote hosts; so far 2 remote hosts",
            ),
            (
                corroboration(true, true),
                "conclusive evidence, a second technique on the same flow, or uTP with 3 remote hosts; so far 2 remote hosts",
            ),
            (
                Lack::Dht {
                    remotes: 1,
                    enough: 2,
                },
                "DHT maintenance with 2 remote hosts, or other BitTorrent beside it; so far 1 remote host",
            ),
            (
                Lack::Detections { count: 1, enough: 3 },
                "3 detections within ten minutes (ban_threshold); so far 1",
            ),
            (
                Lack::Class(Class::Resilio),
                "resilio leads to no ban: it is not among `classes`",
            ),
            (
                Lack::Target(BanTarget::Remote),
                "nothing helps: ban_target = \"remote\" names the other end",
            ),
            (
                Lack::Proof,
                "recognised, but not proven to take part: a lone packet can be forged, and it has not answered yet",
            ),
            (
                Lack::Weak {
                    remotes: 4,
                    enough: Some(8),
                },
                "stronger evidence, or weak evidence with 8 remote hosts; so far 4 remote hosts",
            ),
        ] {
            let told = explained(Circumstances::default(), &[lack, lack], false);
            assert_eq!(told.needed, [words]);
            assert_eq!(told.flows.len(), 2);
        }
        let inexact = explained(Circumstances::default(), &[corroboration(false, false)], false);
        assert!(inexact.needed[0].contains("with exact sizes, which they have not"));
        assert_eq!(
            inexact.held,
            ["1 remote host to which it opened encrypted flows of BitTorrent's kind, within 10 minutes"]
        );
        assert_eq!(
            inexact.flows,
            [
                "wg0: mse rule (strong, bittorrent) by 10.0.0.2:6881, 68 bytes; tcp 10.0.0.2:6881 > 198.51.100.9:6881, \
              unproven > unproven; not judged BitTorrent"
            ]
        );
    }
}
