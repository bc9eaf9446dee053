//! Why a frame gives no [`super::PacketView`].

macro_rules! skips {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a frame is not looked at. Malformed and foreign traffic is normal: a skip is an answer, not an
        /// error. Each reason has its own counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Skip { $($(#[$doc])* $variant,)* }

        impl Skip {
            /// Every reason, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in counters, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Position in [`Skip::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

skips! {
    /// A link type that is not read.
    UnknownLink = "unknown-link",
    /// The capture ends inside the link layer.
    TruncatedLink = "truncated-link",
    /// ARP, control frames and whatever else is not IP.
    NotIp = "not-ip",
    /// The capture ends inside the IP headers.
    TruncatedIp = "truncated-ip",
    /// IP headers that contradict themselves, or an IPv4-mapped address in IPv6.
    BadIp = "bad-ip",
    /// A fragment behind the first one of its datagram.
    Fragment = "fragment",
    /// IP that carries neither TCP nor UDP.
    NotTransport = "not-transport",
    /// The capture ends inside the TCP or UDP header.
    TruncatedTransport = "truncated-transport",
    /// TCP or UDP headers that contradict the length of their packet.
    BadTransport = "bad-transport",
    /// More than [`super::MAX_TUNNELS`] tunnels in each other, or more tags, labels or extension headers than
    /// are followed.
    TooDeep = "too-deep",
}
