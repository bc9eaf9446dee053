//! The closed vocabularies of the tables: anchors, transports, confidences, version styles.
//!
//! This file is compiled twice: into the library, and into the build script, which refuses entries that
//! use another word. It therefore depends on nothing but `core`.

macro_rules! words {
    ($(#[$doc:meta])* $word:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $word { $($(#[$variant_doc])* $variant,)* }

        impl $word {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the data files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The value of a word, `None` for any other text.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.name() == name)
            }
        }
    };
}

words! {
    /// Where in which message the bytes of a signature stand. The caller cuts the field out of the
    /// message; a signature is compared with the field's beginning, or with the whole field where
    /// [`Anchor::is_whole`] says so.
    Anchor {
        /// First bytes of one direction of a TCP stream, or of the data of a uTP stream.
        StreamStart = "stream-start",
        /// First bytes of a UDP payload.
        DatagramStart = "datagram-start",
        /// A message of a peer connection, from its `u32` length on (BEP 3), at a message boundary.
        PeerMessage = "peer-message",
        /// The 8 reserved bytes of a peer handshake (BEP 3, offset 20).
        HandshakeReserved = "handshake-reserved",
        /// The 20-byte peer-id of a peer handshake or of a tracker request (BEP 3, BEP 20).
        PeerId = "peer-id",
        /// Message id of the Azureus messaging protocol: `id` in `u32 length | u32 id length | id`.
        AzureusMessageId = "azureus-message-id",
        /// Key of dictionary `m` of an extended handshake (BEP 10).
        ExtensionKey = "extension-key",
        /// Top-level key of the dictionary of an extended handshake (BEP 10).
        ExtensionField = "extension-field",
        /// Value of `v` of an extended handshake (BEP 10).
        ExtensionName = "extension-name",
        /// Path and query of the request line of an HTTP request at the start of a TCP stream (of an
        /// absolute URI, what follows the authority).
        HttpTarget = "http-target",
        /// Last segment of the path of that request line, without the query.
        HttpPathEnd = "http-path-end",
        /// Name of one parameter of the query of that request line.
        HttpQueryKey = "http-query-key",
        /// Names of all parameters of that query in their order, each followed by `=`; see
        /// `parameter_order`.
        HttpParameterOrder = "http-parameter-order",
        /// Value of the header field `User-Agent` of an HTTP request.
        HttpUserAgent = "http-user-agent",
        /// Value of the header field `Content-Type` of an HTTP answer.
        HttpContentType = "http-content-type",
        /// Body of an HTTP answer, not compressed.
        HttpBody = "http-body",
        /// Value of `q` in a datagram that is one complete DHT message (BEP 5).
        DhtMethod = "dht-method",
        /// Value of `v` in a datagram that is one complete DHT message (BEP 5).
        DhtVersion = "dht-version",
    }
}

impl Anchor {
    /// Whether the whole field must equal the signature. Otherwise its beginning is compared.
    pub const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::AzureusMessageId
                | Self::ExtensionKey
                | Self::ExtensionField
                | Self::HttpPathEnd
                | Self::HttpQueryKey
                | Self::DhtMethod
        )
    }
}

words! {
    /// Transport protocol of a packet.
    Transport {
        /// RFC 9293.
        Tcp = "tcp",
        /// RFC 768; also what a uTP stream (BEP 29) runs on.
        Udp = "udp",
    }
}

words! {
    /// Transports on which a signature holds.
    Transports {
        /// TCP only.
        Tcp = "tcp",
        /// UDP only.
        Udp = "udp",
        /// TCP, and uTP streams on UDP.
        Any = "any",
    }
}

impl Transports {
    /// Whether a signature of these transports holds on `transport`.
    pub const fn contains(self, transport: Transport) -> bool {
        match self {
            Self::Tcp => matches!(transport, Transport::Tcp),
            Self::Udp => matches!(transport, Transport::Udp),
            Self::Any => true,
        }
    }
}

words! {
    /// How sure a match is, taken alone.
    Confidence {
        /// A name, a shape or a number that others use too. Only adds to other evidence.
        Weak = "weak",
        /// Known in no other protocol but one that could imitate it. Needs a second observation.
        Strong = "strong",
        /// At least 50 fixed bits, or a name inside a structure that was parsed completely.
        Conclusive = "conclusive",
    }
}

words! {
    /// How the version is written in a peer-id or in a DHT tag.
    VersionStyle {
        /// No version is written.
        None = "none",
        /// One digit or capital letter (A is 10) per number: `13F0` is 1.3.15.
        Dotted = "dotted",
        /// Three digits, then a letter for the kind of build: `355W` is 3.5.5W.
        Triple = "triple",
        /// Two decimal numbers of two digits: `0102` is 1.2.
        Pairs = "pairs",
        /// A decimal number with two digits after the point: `0165` is 1.65.
        Hundredths = "hundredths",
        /// Transmission: `2920` is 2.92, from 4 on `4060` is 4.0.6; a last letter is a development build.
        Transmission = "transmission",
        /// Decimal numbers divided by dashes: `1-36-0-` is 1.36.0.
        Dashes = "dashes",
        /// The text itself, to the first character that is neither a letter, a digit nor a point.
        Text = "text",
        /// Two bytes: major, and minor with two digits.
        Bytes = "bytes",
        /// Two bytes: major, then minor and tiny in four bits each.
        Nibbles = "nibbles",
        /// Two bytes: minor, then tiny in the upper four bits; major is 0.
        ZeroNibbles = "zero-nibbles",
        /// Two bytes: big-endian build number.
        Build = "build",
    }
}
