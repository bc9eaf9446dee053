//! Proxy negotiations in front of a stream.           Spec: RFC 1928, RFC 1929, SOCKS 4 and 4a, RFC 9110 CONNECT.
//!
//! | protocol | client | server |
//! |---|---|---|
//! | SOCKS 5 | `05 n methods`, `05 cmd 00 atyp address port` | `05 method`, `05 00 00 atyp address port` |
//! | with a password | `01 n user n password` in between | `01 00` |
//! | SOCKS 4, 4a | `04 cmd port address user 00 [name 00]` | `00 5A` and 6 bytes |
//! | HTTP | `CONNECT host:port HTTP/1.` to an empty line | `HTTP/1.` with status 2xx to an empty line |
//!
//! Only a negotiation that both sides completed counts: what follows is then a new stream with its own start.
//! The shape of one side alone proves nothing (SQL servers imitate SOCKS 4). A SOCKS 5 request that the server
//! refuses (reply 1 to 8) is use of a proxy, too, and ends there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memmem;

use crate::Endpoint;
use crate::wire::array_at;

/// A completed negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// `"socks5"`, `"socks4"` or `"connect"`.
    pub(crate) name: &'static str,
    /// Where the inner stream begins in the client's and in the server's direction.
    pub(crate) starts: [usize; 2],
    /// The real remote endpoint, when it was named by address.
    pub(crate) target: Option<Endpoint>,
}

/// What the beginnings of both directions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Negotiation {
    /// No proxy protocol, or a refusal of another one than SOCKS 5.
    None,
    /// The whole negotiation of SOCKS 5, and a refusal.
    Refused,
    /// So far it fits; more bytes are needed.
    Unfinished,
    /// Done.
    Complete(Tunnel),
}

/// Reads the negotiation that the client's and the server's bytes begin with.
pub(crate) fn negotiation(client: &[u8], server: &[u8]) -> Negotiation {
    let read = match client.first() {
        Some(5) => socks5(client, server),
        Some(4) => socks4(client, server),
        Some(b'C') if client.starts_with(b"CONNECT ") => connect(client, server),
        _ => Err(Negotiation::None),
    };
    match read {
        Ok(tunnel) => Negotiation::Complete(tunnel),
        Err(stopped) => stopped,
    }
}

type Read<T> = Result<T, Negotiation>;

/// Bytes read from the front, one direction.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        self.at += len;
        taken.ok_or(Negotiation::Unfinished)
    }
    fn byte(&mut self) -> Read<u8> {
        self.take(1)?.first().copied().ok_or(Negotiation::Unfinished)
    }
    fn expect(&mut self, value: u8) -> Read<()> {
        if self.byte()? == value {
            Ok(())
        } else {
            Err(Negotiation::None)
        }
    }
    /// A string of which the length is in front.
    fn counted(&mut self) -> Read<&'a [u8]> {
        let len = self.byte()?;
        self.take(usize::from(len))
    }
    /// A string up to a zero byte, which is read, too.
    fn terminated(&mut self) -> Read<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        match rest.iter().position(|&byte| byte == 0) {
            Some(end) => {
                let taken = self.take(end)?;
                self.at += 1;
                Ok(taken)
            }
            // RFC 1929 and SOCKS 4a name no limit; 255 is a domain name's.
            None if rest.len() > 255 => Err(Negotiation::None),
            None => Err(Negotiation::Unfinished),
        }
    }
    fn port(&mut self) -> Read<u16> {
        let bytes = self.take(2)?;
        Ok(array_at(bytes, 0).map_or(0, u16::from_be_bytes))
    }
    /// RFC 1928 section 5: type, address, port.
    fn address(&mut self) -> Read<Option<Endpoint>> {
        let address = match self.byte()? {
            1 => array_at(self.take(4)?, 0).map(|octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))),
            3 => text_address(self.counted()?),
            4 => array_at(self.take(16)?, 0).map(|octets: [u8; 16]| IpAddr::V6(Ipv6Addr::from(octets))),
            _ => return Err(Negotiation::None),
        };
        let port = self.port()?;
        Ok(address.map(|address| Endpoint::new(address, port)))
    }
}

fn socks5(client: &[u8], server: &[u8]) -> Read<Tunnel> {
    let (mut client, mut server) = (Reader::new(client), Reader::new(server));
    client.expect(5)?;
    if client.counted()?.is_empty() {
        return Err(Negotiation::None);
    }
    server.expect(5)?;
    match server.byte()? {
        0 => {}
        2 => {
            client.expect(1)?;
            client.counted()?;
            client.counted()?;
            server.byte()?;
            server.expect(0)?;
        }
        _ => return Err(Negotiation::None),
    }
    client.expect(5)?;
    let command = client.byte()?;
    client.expect(0)?;
    if !(1..=3).contains(&command) {
        return Err(Negotiation::None);
    }
    let target = client.address()?;
    server.expect(5)?;
    let reply = server.byte()?;
    server.expect(0)?;
    server.address()?;
    match reply {
        0 => {}
        1..=8 => return Err(Negotiation::Refused),
        _ => return Err(Negotiation::None),
    }
    let target = target.filter(|_| command == 1);
    Ok(Tunnel {
        name: "socks5",
        starts: [client.at, server.at],
        target,
    })
}

fn socks4(client: &[u8], server: &[u8]) -> Read<Tunnel> {
    let (mut client, mut server) = (Reader::new(client), Reader::new(server));
    client.expect(4)?;
    if !(1..=2).contains(&client.byte()?) {
        return Err(Negotiation::None);
    }
    let port = client.port()?;
    let address: Option<[u8; 4]> = array_at(client.take(4)?, 0);
    client.terminated()?;
    let target = match address {
        // SOCKS 4a: 0.0.0.x says that a name follows.
        Some([0, 0, 0, last]) if last != 0 => text_address(client.terminated()?),
        other => other.map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
    };
    server.expect(0)?;
    server.expect(0x5A)?;
    server.take(6)?;
    let target = target.map(|address| Endpoint::new(address, port));
    Ok(Tunnel {
        name: "socks4",
        starts: [client.at, server.at],
        target,
    })
}

fn connect(client: &[u8], server: &[u8]) -> Read<Tunnel> {
    let request_end = head_end(client)?;
    let authority = client.strip_prefix(b"CONNECT ").unwrap_or(client);
    let authority = authority.split(|&byte| byte == b' ').next().unwrap_or(&[]);
    if server.len() >= 7 && !server.starts_with(b"HTTP/1.") {
        return Err(Negotiation::None);
    }
    let response_end = head_end(server)?;
    if server.get(8..10) != Some(b" 2") {
        return Err(Negotiation::None);
    }
    Ok(Tunnel {
        name: "connect",
        starts: [request_end, response_end],
        target: authority_endpoint(authority),
    })
}

/// Offset behind the empty line that ends an HTTP head.
fn head_end(bytes: &[u8]) -> Read<usize> {
    memmem::find(bytes, b"\r\n\r\n")
        .map(|at| at + 4)
        .ok_or(Negotiation::Unfinished)
}

fn text_address(bytes: &[u8]) -> Option<IpAddr> {
    core::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `192.0.2.1:6881` or `[2001:db8::1]:6881`.
fn authority_endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let address: core::net::SocketAddr = core::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(Endpoint::new(address.ip(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn peer() -> Option<Endpoint> {
        Some(Endpoint::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 6881))
    }

    const CLIENT5: &[u8] = b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x07\x1a\xe1";
    const SERVER5: &[u8] = b"\x05\x00\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38";

    fn check(
        name: &str,
        client: &[u8],
        server: &[u8],
        expected: Option<(&'static str, [usize; 2], Option<Endpoint>)>,
    ) {
        let found = match negotiation(client, server) {
            Negotiation::Complete(tunnel) => Some((tunnel.name, tunnel.starts, tunnel.target)),
            Negotiation::None | Negotiation::Unfinished | Negotiation::Refused => None,
        };
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn complete_negotiations_are_unwrapped() {
        check(
            "socks 5",
            &[CLIENT5, b"inner"].concat(),
            SERVER5,
            Some(("socks5", [13, 12], peer())),
        );
        let with_password: Vec<u8> = [&b"\x05\x02\x00\x02\x01\x01u\x02pw"[..], &CLIENT5[3..]].concat();
        let server: Vec<u8> = [&b"\x05\x02\x01\x00"[..], &SERVER5[2..]].concat();
        check(
            "password",
            &with_password,
            &server,
            Some(("socks5", [20, 14], peer())),
        );
        let named = b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x1a\xe1";
        check(
            "by name",
            named,
            SERVER5,
            Some(("socks5", [named.len(), 12], None)),
        );
        let granted = b"\0\x5a\x1a\xe1\xc0\0\x02\x07";
        check(
            "socks 4",
            b"\x04\x01\x1a\xe1\xc0\0\x02\x07me\0",
            granted,
            Some(("socks4", [11, 8], peer())),
        );
        check(
            "socks 4a",
            b"\x04\x01\x1a\xe1\0\0\0\x01\x00192.0.2.7\0",
            granted,
            Some(("socks4", [19, 8], peer())),
        );
        let request = b"CONNECT 192.0.2.7:6881 HTTP/1.1\r\nHost: x\r\n\r\n";
        let response = b"HTTP/1.1 200 Connection established\r\n\r\n";
        check(
            "connect",
            request,
            response,
            Some(("connect", [request.len(), response.len()], peer())),
        );
    }

    #[test]
    fn refusals_and_lookalikes_are_not() {
        check("no method", CLIENT5, b"\x05\xff", None);
        check("one side only", CLIENT5, b"", None);
        check(
            "sql server",
            b"\x04\x01\x00\x25\0\0\x01\0\0\0",
            b"\x04\x01\x00\x2b",
            None,
        );
        check(
            "denied",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            None,
        );
        check(
            "other text",
            b"COPY a b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            None,
        );
    }

    #[test]
    fn a_refusal_is_use_of_socks_5_when_the_whole_negotiation_fits() {
        let associate = b"\x05\x01\0\x05\x03\0\x01\0\0\0\0\0\0";
        for (name, client, reply, expected) in [
            ("refused", CLIENT5, 5, Negotiation::Refused),
            ("not supported", associate, 7, Negotiation::Refused),
            ("unassigned reply", CLIENT5, 9, Negotiation::None),
        ] {
            let server = [5, 0, 5, reply, 0, 1, 0, 0, 0, 0, 0, 0];
            assert_eq!(negotiation(client, &server), expected, "{name}");
            for end in 0..server.len() {
                assert_eq!(
                    negotiation(client, &server[..end]),
                    Negotiation::Unfinished,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_cut_negotiation_is_unfinished() {
        for end in 1..CLIENT5.len() {
            assert_eq!(
                negotiation(&CLIENT5[..end], SERVER5),
                Negotiation::Unfinished,
                "{end}"
            );
        }
        for end in 0..SERVER5.len() {
            assert_eq!(
                negotiation(CLIENT5, &SERVER5[..end]),
                Negotiation::Unfinished,
                "{end}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut client in prop::collection::vec(any::<u8>(), 0..80), server in prop::collection::vec(any::<u8>(), 0..80), kind in prop::sample::select(vec![4u8, 5, b'C'])) {
            client.insert(0, kind);
            let _ = negotiation(&client, &server);
        }
    }
}
