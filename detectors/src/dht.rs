//! Mainline DHT: Kademlia messages in bencode, one per datagram (KRPC).
//!
//! Spec: BEP 5; BEP 32 (IPv6), BEP 43 (read-only), BEP 44 (get, put), BEP 51 (sample_infohashes).
//!
//! | key      | type            | where                     | value                        | source |
//! |----------|-----------------|---------------------------|------------------------------|--------|
//! | `y`      | 1 byte          | all                       | `q`, `r` or `e`              | BEP 5  |
//! | `t`      | bytes           | all                       | chosen by the querier, echoed| BEP 5  |
//! | `q`      | bytes           | query                     | method                       | BEP 5  |
//! | `a`      | dictionary      | query                     | `id` of 20 bytes, arguments  | BEP 5  |
//! | `r`      | dictionary      | response                  | `id` of 20 bytes, results    | BEP 5  |
//! | `e`      | integer, bytes  | error                     | code, text                   | BEP 5  |
//! | `v`      | 4 bytes         | any                       | client tag                   | BEP 5  |
//! | `values` | list            | answer to get_peers       | 6 or 18 bytes each           | BEP 5, BEP 32 |
//! | `nodes`  | 26 n bytes      | answer                    | id 20, address 4, port 2     | BEP 5  |
//! | `nodes6` | 38 n bytes      | answer                    | id 20, address 16, port 2    | BEP 32 |
//!
//! Certain: the datagram is one complete dictionary without a byte left over, with the mandatory keys of
//! the right size: more than 80 fixed bits. Key order is not demanded (bs, cas and others sort before id).
//! Proves nobody by itself, because a sender can be forged; [`Exchange`] finds who is proven. A message that the
//! capture cut behind its `id` has 96 fixed bits, but no `t`: it proves nobody. A whole one without `t`, or of an
//! unknown method, is only strong.
//!
//! Deliberately not done: checking a node id against its address (BEP 42), as most nodes do not comply;
//! DHT over TCP, which does not exist.

use crate::bencode::{self, Dict, List, Stop, Value};
use crate::datagram::UdpDatagram;
use crate::recent::{Recent, digest};
use crate::reported::Sink;
use crate::{
    Class, Client, Confidence, Endpoint, Ends, Evidence, InfoHash, Learned, LearnedFrom, Side, Technique,
};

/// How long an answer may take, in milliseconds. Clients give up after 10 to 20 s.
const ANSWER_MS: u32 = 10_000;
/// How long a token is honoured, in milliseconds (BEP 5: "up to ten minutes").
const TOKEN_MS: u32 = 600_000;
/// Shortest token, in bytes, that proves its bearer: 32 bits.
const TOKEN_BYTES: usize = 4;
/// Answers to nothing after which short transaction ids stop proving: somebody guesses.
const GUESSES: u8 = 32;

/// One KRPC message.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    rule: &'static str,
    kind: Kind,
    confidence: Confidence,
    class: Class,
    transaction: Option<&'a [u8]>,
    version: Option<[u8; 4]>,
    info_hash: Option<InfoHash>,
    body: Body<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Query,
    Response,
    Error,
    Cut,
}

/// The arguments or results that matter, of either `a` or `r`.
#[derive(Clone, Copy, Debug, Default)]
struct Body<'a> {
    id: bool,
    target: bool,
    info_hash: Option<InfoHash>,
    token: Option<&'a [u8]>,
    values: Option<List<'a>>,
    nodes: Option<&'a [u8]>,
    nodes6: Option<&'a [u8]>,
    samples: bool,
    item: bool,
}

impl<'a> Body<'a> {
    fn read(dict: Dict<'a>) -> Self {
        let mut body = Self::default();
        for (key, value) in dict.entries() {
            match (key, value) {
                (b"id", Value::Bytes(id)) => body.id = id.len() == 20,
                (b"target", Value::Bytes(target)) => body.target = target.len() == 20,
                (b"info_hash", Value::Bytes(hash)) => body.info_hash = hash.try_into().ok(),
                (b"token", Value::Bytes(token)) => body.token = Some(token),
                (b"values", Value::List(values)) => body.values = Some(values),
                (b"nodes", Value::Bytes(nodes)) => body.nodes = Some(nodes),
                (b"nodes6", Value::Bytes(nodes)) => body.nodes6 = Some(nodes),
                (b"samples", Value::Bytes(_)) => body.samples = true,
                (b"v" | b"k" | b"sig", _) => body.item = true,
                _ => {}
            }
        }
        body
    }
}

/// Reads the message that is exactly these bytes. `cut` says that the capture ends before the datagram.
fn parse(bytes: &[u8], cut: bool) -> Option<Message<'_>> {
    let (mut kind, mut method, mut transaction, mut version) = (None, None, None, None);
    let (mut arguments, mut results, mut error) = (None, None, false);
    let end = bencode::visit(bytes, |key, value| match (key, value) {
        (b"y", Value::Bytes(b"q")) => kind = Some(Kind::Query),
        (b"y", Value::Bytes(b"r")) => kind = Some(Kind::Response),
        (b"y", Value::Bytes(b"e")) => kind = Some(Kind::Error),
        (b"q", Value::Bytes(name)) => method = Some(name),
        (b"t", Value::Bytes(id)) => transaction = Some(id),
        (b"v", Value::Bytes(tag)) => version = tag.try_into().ok(),
        (b"a", Value::Dict(dict)) => arguments = Some(dict),
        (b"r", Value::Dict(dict)) => results = Some(dict),
        (b"e", Value::List(list)) => {
            let mut items = list.items();
            error = matches!(
                (items.next(), items.next()),
                (Some(Value::Int(_)), Some(Value::Bytes(_)))
            );
        }
        _ => {}
    });
    match end {
        Ok(()) => {}
        Err(Stop::Incomplete) if cut => kind = Some(Kind::Cut),
        Err(_) => return None,
    }
    let kind = kind?;
    let dict = match kind {
        Kind::Query => arguments,
        Kind::Response => results,
        Kind::Error => None,
        Kind::Cut => arguments.or(results),
    };
    let body = dict.map(Body::read).unwrap_or_default();
    let sound = match kind {
        Kind::Query => body.id && method.is_some(),
        Kind::Response | Kind::Cut => body.id,
        Kind::Error => error,
    };
    if !sound {
        return None;
    }
    let known = match kind {
        Kind::Query => query_rule(method.unwrap_or_default(), &body),
        Kind::Response => Some(response_rule(&body)),
        Kind::Error => Some(("error", Class::DhtMaintenance)),
        Kind::Cut => None,
    };
    let (rule, class, confidence) = match (known, kind, transaction) {
        (_, Kind::Cut, _) if body.info_hash.is_some() || body.values.is_some() => {
            ("cut-message", Class::BitTorrent, Confidence::Conclusive)
        }
        (_, Kind::Cut, _) => ("cut-message", Class::DhtMaintenance, Confidence::Conclusive),
        (None, ..) => ("unknown-query", Class::DhtMaintenance, Confidence::Strong),
        (Some((_, class)), _, None) => ("no-transaction", class, Confidence::Strong),
        (Some((rule, class)), ..) => (rule, class, Confidence::Conclusive),
    };
    Some(Message {
        rule,
        kind,
        confidence,
        class,
        transaction,
        version,
        info_hash: body.info_hash,
        body,
    })
}

/// Rule and class of a query whose mandatory arguments are there.
fn query_rule(method: &[u8], body: &Body<'_>) -> Option<(&'static str, Class)> {
    match method {
        b"ping" => Some(("ping", Class::DhtMaintenance)),
        b"find_node" if body.target => Some(("find_node", Class::DhtMaintenance)),
        b"get_peers" if body.info_hash.is_some() => Some(("get_peers", Class::BitTorrent)),
        b"announce_peer" if body.info_hash.is_some() && body.token.is_some() => {
            Some(("announce_peer", Class::BitTorrent))
        }
        b"get" if body.target => Some(("get", Class::DhtMaintenance)),
        b"put" if body.token.is_some() => Some(("put", Class::DhtMaintenance)),
        b"sample_infohashes" if body.target => Some(("sample_infohashes", Class::BitTorrent)),
        _ => None,
    }
}

/// Rule and class of a response, by what only get_peers and sample_infohashes are answered with.
fn response_rule(body: &Body<'_>) -> (&'static str, Class) {
    match body {
        Body { samples: true, .. } => ("samples", Class::BitTorrent),
        Body { item: true, .. } => ("item", Class::DhtMaintenance),
        Body { values: Some(_), .. } => ("values", Class::BitTorrent),
        Body { token: Some(_), .. } => ("token", Class::BitTorrent),
        _ => ("response", Class::DhtMaintenance),
    }
}

/// Open questions and issued tokens of one flow, per [`Side`].
///
/// | proven    | by                                                                     | bits |
/// |-----------|------------------------------------------------------------------------|------|
/// | responder | a `t` of at least 4 bytes of the other side's query, within 10 s       | 32   |
/// | responder | two different `t` of 2 or 3 bytes                                      | 32   |
/// | querier   | announce_peer with a token of at least 4 bytes that was issued to it   | 32   |
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    queries: [Recent<8>; 2],
    tokens: [Recent<4>; 2],
    /// Digest of the last short `t` that each side answered; 0 for none.
    short: [u32; 2],
    /// Answers to nothing.
    guesses: [u8; 2],
    /// Sides whose short transaction ids have proven them.
    proven: Ends,
}

impl Exchange {
    /// Nothing seen.
    pub(crate) const fn new() -> Self {
        Self {
            queries: [Recent::new(); 2],
            tokens: [Recent::new(); 2],
            short: [0; 2],
            guesses: [0; 2],
            proven: Ends::NONE,
        }
    }

    /// Forgives old guesses.
    pub(crate) const fn rearm(&mut self) {
        self.guesses = [0; 2];
    }

    /// Inspects one datagram at `now_ms` of the flow's life.
    pub(crate) fn inspect(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        if !sink.options.enabled(Technique::Dht) || datagram.payload.first() != Some(&b'd') {
            return;
        }
        let Some(message) = parse(datagram.payload, datagram.is_cut()) else {
            return;
        };
        let speaker = datagram.from;
        let mut evidence =
            Evidence::new(Technique::Dht, message.rule, message.confidence, speaker).of_class(message.class);
        evidence.info_hash = message.info_hash;
        if let Some(tag) = message.version {
            evidence = evidence.by(Client::DhtTag(tag));
        }
        match message.kind {
            Kind::Query => evidence = evidence.proving(self.query(&message, speaker, now_ms)),
            Kind::Response | Kind::Error => {
                let (answers, proves) = self.answer(&message, speaker, now_ms);
                evidence = evidence.proving(proves);
                if answers {
                    learn(&message.body, speaker, sink);
                }
                if !proves.is_empty() {
                    sink.learn(Technique::Dht, Learned::speaker(LearnedFrom::DhtNodes, speaker));
                }
            }
            Kind::Cut => {}
        }
        sink.report(evidence);
    }

    fn query(&mut self, message: &Message<'_>, speaker: Side, now_ms: u32) -> Ends {
        if let Some(id) = message.transaction {
            speaker.pick(&mut self.queries).remember(digest(&[id]), now_ms);
        }
        let tokens = speaker.pick(&mut self.tokens);
        let bearer = message.rule == "announce_peer"
            && message.body.token.is_some_and(|token| {
                token.len() >= TOKEN_BYTES && tokens.contains(digest(&[token]), now_ms, TOKEN_MS)
            });
        if bearer { Ends::only(speaker) } else { Ends::NONE }
    }

    /// Whether this answers a question of the other side, and whom that proves.
    fn answer(&mut self, message: &Message<'_>, speaker: Side, now_ms: u32) -> (bool, Ends) {
        let Some(id) = message.transaction else {
            return (false, Ends::NONE);
        };
        let asked = speaker.other();
        let asked_digest = digest(&[id]);
        let guesses = speaker.pick(&mut self.guesses);
        if !asked
            .pick(&mut self.queries)
            .take(asked_digest, now_ms, ANSWER_MS)
        {
            *guesses = guesses.saturating_add(1);
            return (false, Ends::NONE);
        }
        if let Some(token) = message.body.token {
            asked.pick(&mut self.tokens).remember(digest(&[token]), now_ms);
        }
        let short = speaker.pick(&mut self.short);
        match id.len() {
            0 | 1 => return (true, Ends::NONE),
            2 | 3 if *guesses >= GUESSES => return (true, Ends::NONE),
            2 | 3 => {
                if *short != 0 && *short != asked_digest {
                    self.proven = self.proven.union(Ends::only(speaker));
                }
                *short = asked_digest;
            }
            _ => self.proven = self.proven.union(Ends::only(speaker)),
        }
        let proves = if self.proven.contains(speaker) {
            Ends::only(speaker)
        } else {
            Ends::NONE
        };
        (true, proves)
    }
}

/// Teaches the endpoints that an answer names to the side that asked.
fn learn(body: &Body<'_>, speaker: Side, sink: &mut Sink<'_>) {
    let told = speaker.other();
    let mut teach = |endpoint, from| sink.learn(Technique::Dht, Learned { endpoint, from, told });
    for value in body.values.into_iter().flat_map(List::items) {
        if let Some(endpoint) = value.bytes().and_then(compact) {
            teach(endpoint, LearnedFrom::DhtValues);
        }
    }
    for (nodes, size) in [(body.nodes, 26), (body.nodes6, 38)] {
        for node in nodes.unwrap_or_default().chunks_exact(size) {
            if let Some(endpoint) = node.get(20..).and_then(compact) {
                teach(endpoint, LearnedFrom::DhtNodes);
            }
        }
    }
}

/// The endpoint of a compact form of either family.
fn compact(bytes: &[u8]) -> Option<Endpoint> {
    match bytes.len() {
        6 => bytes.try_into().ok().map(Endpoint::compact4),
        18 => bytes.try_into().ok().map(Endpoint::compact6),
        _ => None,
    }
}
