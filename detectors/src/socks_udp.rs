//! The header that a SOCKS5 relay puts in front of each datagram.
//!
//! Spec: RFC 1928 section 7.
//!
//! | offset | size          | field    | value                       | source         |
//! |--------|---------------|----------|-----------------------------|----------------|
//! | 0      | 2             | reserved | 0                           | RFC 1928 sec 7 |
//! | 2      | 1             | fragment | 0 (others are not reassembled) | RFC 1928 sec 7 |
//! | 3      | 1             | type     | 1 IPv4, 3 name, 4 IPv6      | RFC 1928 sec 5 |
//! | 4      | 4, 1 + n or 16| address  | any                         | RFC 1928 sec 5 |
//! |        | 2             | port     | any                         | RFC 1928 sec 7 |
//!
//! Certain: nothing, 30 fixed bits at most; a tracker's announce answer and error begin the same way. So a
//! datagram is unwrapped only when the raw bytes gave nothing, and only conclusive inner evidence counts.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Endpoint;

/// The remote endpoint, where it is an address, and the length of the header.
pub(crate) fn header(bytes: &[u8]) -> Option<(Option<Endpoint>, usize)> {
    let (ip, port, len) = match bytes {
        [0, 0, 0, 1, a, b, c, d, rest @ ..] => (
            Some(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))),
            rest.first_chunk()?,
            10,
        ),
        [0, 0, 0, 3, length, rest @ ..] => {
            let length = usize::from(*length);
            let name = rest.get(..length).filter(|name| is_host_name(name))?;
            (None, rest.get(name.len()..)?.first_chunk()?, 7 + length)
        }
        [0, 0, 0, 4, rest @ ..] => {
            let (address, rest) = rest.split_first_chunk::<16>()?;
            (
                Some(IpAddr::V6(Ipv6Addr::from(*address))),
                rest.first_chunk()?,
                22,
            )
        }
        _ => return None,
    };
    Some((ip.map(|ip| Endpoint::new(ip, u16::from_be_bytes(*port))), len))
}

fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic())
}
