//! The words of the crate: what is seen ([`Evidence`]), how sure it is ([`Confidence`]), by which
//! technique, who said it ([`Side`]) and who is proven by it ([`Ends`]).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::{NonZeroU16, NonZeroU64};

/// Packet time in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Microseconds from `earlier` to `self`; 0 when `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Transport {
    /// `"tcp"` or `"udp"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One end of a flow. The originator sent the first packet that was seen (or the SYN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The end that sent first.
    Originator,
    /// The other end.
    Responder,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Originator => Self::Responder,
            Self::Responder => Self::Originator,
        }
    }
    /// 0 for the originator, 1 for the responder.
    pub const fn index(self) -> usize {
        self as usize
    }
    /// This end's element of a pair that is ordered by [`Side::index`].
    pub const fn pick<T>(self, pair: &mut [T; 2]) -> &mut T {
        let [originator, responder] = pair;
        match self {
            Self::Originator => originator,
            Self::Responder => responder,
        }
    }
}

/// A set of ends of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ends(u8);

impl Ends {
    /// Neither end.
    pub const NONE: Self = Self(0);
    /// Both ends.
    pub const BOTH: Self = Self(3);

    /// The set of one end.
    pub const fn only(side: Side) -> Self {
        Self(1 << side.index())
    }
    /// Whether `side` is in the set.
    pub const fn contains(self, side: Side) -> bool {
        self.0 & (1 << side.index()) != 0
    }
    /// Ends in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Address and port. IPv4 addresses are kept in the IPv4-mapped form `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address, IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2), in host order.
    pub address: u128,
    /// Port in host order.
    pub port: u16,
}

impl Endpoint {
    /// Endpoint of an address and a port.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self {
            address: address.to_bits(),
            port,
        }
    }
    /// From the 6-byte compact form (BEP 23): address, port, both in network order.
    pub const fn compact4(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, p, q] = bytes;
        Self::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([p, q]))
    }
    /// From the 18-byte compact form (BEP 7): address, port, both in network order.
    pub fn compact6(bytes: [u8; 18]) -> Self {
        let mut address = [0; 16];
        address.copy_from_slice(&bytes[..16]);
        Self {
            address: u128::from_be_bytes(address),
            port: u16::from_be_bytes([bytes[16], bytes[17]]),
        }
    }
    /// The address in its own family.
    pub const fn ip(self) -> IpAddr {
        let v6 = Ipv6Addr::from_bits(self.address);
        match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(v6),
        }
    }
}

/// How sure an observation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Shape or statistics. Only adds to other evidence.
    Weak,
    /// Structure and state agree; one known thing could still imitate it. Needs a second observation.
    Strong,
    /// Structure of at least 50 effective bits that no other known protocol has. Wrong only if forged.
    Conclusive,
}

impl Confidence {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Strong => "strong",
            Self::Conclusive => "conclusive",
        }
    }
}

macro_rules! techniques {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A named way to recognise BitTorrent. Each can be reported, counted and switched off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Technique { $($(#[$doc])* $variant,)* }

        impl Technique {
            /// Every technique, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in reports, counters and options.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

techniques! {
    /// Plaintext peer handshake (BEP 3).
    Handshake = "handshake",
    /// Mid-stream peer messages: piece, request, cancel (BEP 3).
    PeerMessage = "peer-message",
    /// FAST extension messages (BEP 6).
    Fast = "fast",
    /// Extension protocol handshake and messages (BEP 10).
    Extension = "extension",
    /// Peer exchange (BEP 11).
    Pex = "pex",
    /// Metadata exchange (BEP 9).
    Metadata = "ut-metadata",
    /// Holepunch (BEP 55).
    Holepunch = "holepunch",
    /// BitTorrent v2 hash messages (BEP 52).
    V2 = "v2-hashes",
    /// Azureus messaging protocol.
    Azureus = "azureus",
    /// Message stream encryption.
    Mse = "mse",
    /// Statistics of encrypted streams.
    Entropy = "entropy",
    /// uTP (BEP 29).
    Utp = "utp",
    /// Mainline DHT (BEP 5) and the Vuze DHT.
    Dht = "dht",
    /// UDP tracker (BEP 15).
    UdpTracker = "udp-tracker",
    /// HTTP trackers, web seeds and client user agents (BEP 3, 17, 19).
    Http = "http",
    /// Local service discovery (BEP 14).
    Lsd = "lsd",
    /// SSL torrents: TLS to a server that is named by an info-hash.
    Tls = "tls",
    /// Use of a SOCKS proxy (RFC 1928).
    Socks = "socks",
    /// Table of byte signatures.
    Signature = "signature",
    /// An endpoint that the host's own plaintext traffic named as a peer.
    LearnedPeer = "learned-peer",
    /// Alike opaque flows to many remote hosts.
    FanOut = "fan-out",
}

/// What the traffic is, for policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// BitTorrent proper.
    BitTorrent,
    /// DHT traffic that only maintains a routing table (ping, find_node).
    DhtMaintenance,
    /// Microsoft Delivery Optimization.
    DeliveryOptimization,
    /// Ace Stream.
    AceStream,
    /// Resilio Sync.
    Resilio,
    /// Blizzard's downloader.
    Blizzard,
    /// Another swarm protocol that descends from BitTorrent (Pando, QVOD).
    OtherSwarm,
    /// Use of a SOCKS proxy, which is not BitTorrent.
    Socks,
}

impl Class {
    /// Every class, in declaration order.
    pub const ALL: &'static [Self] = &[
        Self::BitTorrent,
        Self::DhtMaintenance,
        Self::DeliveryOptimization,
        Self::AceStream,
        Self::Resilio,
        Self::Blizzard,
        Self::OtherSwarm,
        Self::Socks,
    ];

    /// The name in reports and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitTorrent => "bittorrent",
            Self::DhtMaintenance => "dht-maintenance",
            Self::DeliveryOptimization => "delivery-optimization",
            Self::AceStream => "ace-stream",
            Self::Resilio => "resilio",
            Self::Blizzard => "blizzard",
            Self::OtherSwarm => "other-swarm",
            Self::Socks => "socks",
        }
    }
}

/// A 20-byte info-hash (BEP 3; BEP 52 truncates SHA-256 to the same size).
pub type InfoHash = [u8; 20];

/// What the traffic says of the program that speaks. Spoofable; for reports only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Nothing seen.
    #[default]
    Unknown,
    /// The 20-byte peer-id of a handshake or tracker request.
    PeerId([u8; 20]),
    /// The `v` tag of a DHT message.
    DhtTag([u8; 4]),
    /// The first bytes of a user agent or of an extended handshake's `v`, padded with zero bytes.
    Name([u8; 32]),
}

impl Client {
    /// The name's first 32 bytes.
    pub fn name(bytes: &[u8]) -> Self {
        let mut name = [0; 32];
        let taken = bytes.len().min(32);
        if let (Some(to), Some(from)) = (name.get_mut(..taken), bytes.get(..taken)) {
            to.copy_from_slice(from);
        }
        Self::Name(name)
    }
}

/// One observation on one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// How it was recognised.
    pub technique: Technique,
    /// Which rule of the technique, for people: `"announce"`, `"get_peers"`.
    pub rule: &'static str,
    /// How sure it is.
    pub confidence: Confidence,
    /// What the traffic is.
    pub class: Class,
    /// The end whose bytes are the evidence.
    pub speaker: Side,
    /// Ends that cannot be the forged source of lone packets, because of this observation itself (an
    /// answer that carries what only a receiver could know). TCP flows are proven by their owner.
    pub proves: Ends,
    /// Ends whose own conduct the evidence shows: the speaker, and both where it takes both to bring it forth. Nobody is
    /// to answer for what only the other end has sent.
    pub involves: Ends,
    /// The responder only relays: the evidence was seen inside a proxy protocol.
    pub proxied: bool,
    /// The speaking program, where visible.
    pub client: Client,
    /// The info-hash, where visible.
    pub info_hash: Option<InfoHash>,
    /// The real remote endpoint, where the flow was unwrapped from a proxy protocol.
    pub target: Option<Endpoint>,
    /// A hash of the public key that the first speaker of an encrypted exchange sent: the same key to several
    /// hosts comes from one program.
    pub key: Option<NonZeroU64>,
    /// Bytes that the first speaker of an encrypted exchange began with: programs that pad at random seldom repeat them.
    pub opening: Option<NonZeroU16>,
}

impl Evidence {
    /// Evidence of class BitTorrent that involves its speaker, proves nobody and names nothing.
    pub const fn new(
        technique: Technique,
        rule: &'static str,
        confidence: Confidence,
        speaker: Side,
    ) -> Self {
        Self {
            technique,
            rule,
            confidence,
            class: Class::BitTorrent,
            speaker,
            proves: Ends::NONE,
            involves: Ends::only(speaker),
            proxied: false,
            client: Client::Unknown,
            info_hash: None,
            target: None,
            key: None,
            opening: None,
        }
    }
    /// The same with other proven ends.
    #[must_use]
    pub const fn proving(mut self, ends: Ends) -> Self {
        self.proves = ends;
        self
    }
    /// The same of a whole conversation.
    #[must_use]
    pub const fn of_both(mut self) -> Self {
        self.involves = Ends::BOTH;
        self
    }
    /// The same with another class.
    #[must_use]
    pub const fn of_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }
    /// The same with the client named.
    #[must_use]
    pub const fn by(mut self, client: Client) -> Self {
        self.client = client;
        self
    }
    /// The same with the info-hash named.
    #[must_use]
    pub const fn of_torrent(mut self, info_hash: InfoHash) -> Self {
        self.info_hash = Some(info_hash);
        self
    }
}
