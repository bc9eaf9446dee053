//! One cell: a host on a link that speaks one protocol of one family to one target.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::lab::{Link, PORT, eventually, in_space};

/// How long an answer that must not come is waited for. Inside one machine answers take a millisecond.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(300);
/// How long an answer that must come is waited for.
pub(crate) const PATIENTLY: Duration = Duration::from_secs(5);

/// A handshake (BEP 3) of a made-up client; the echo server answers it with the same.
const HANDSHAKE: &[u8; 68] = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05\
    \xd0\x8b\xe1\x02\x9f\xc6\x11\x83\xa4\x7e\xf5\x18\xb9\x6c\x93\x04\xea\x57\x80\xcd-TR4060-matrix-host-";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    /// To the router itself.
    Input,
    /// Through it, to the server.
    Forward,
}

/// A cell. No two have one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    pub(crate) link: Link,
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    pub(crate) path: Path,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            link,
            family,
            protocol,
            path,
        } = self;
        write!(f, "{link:?}/{family:?}/{protocol:?}/{path:?}")
    }
}

impl Cell {
    /// All cells of a link.
    pub(crate) fn of(link: Link) -> Vec<Self> {
        let mut cells = Vec::new();
        for family in [Family::Ipv4, Family::Ipv6] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for path in [Path::Input, Path::Forward] {
                    cells.push(Self {
                        link,
                        family,
                        protocol,
                        path,
                    });
                }
            }
        }
        cells
    }

    /// Of this family in network `network` of the lab.
    fn in_network(self, network: u8, host: u8) -> IpAddr {
        match self.family {
            Family::Ipv4 => Ipv4Addr::new(10, network, 0, host).into(),
            // Written in hexadecimal as the decimal digits of the host.
            Family::Ipv6 => format!("fd00:{network}::{host}")
                .parse::<Ipv6Addr>()
                .unwrap()
                .into(),
        }
    }

    /// The host that is banned.
    pub(crate) fn address(self) -> IpAddr {
        let host = match (self.protocol, self.path) {
            (Protocol::Tcp, Path::Input) => 10,
            (Protocol::Tcp, Path::Forward) => 11,
            (Protocol::Udp, Path::Input) => 12,
            (Protocol::Udp, Path::Forward) => 13,
        };
        self.in_network(self.link.number(), host)
    }

    fn target(self) -> SocketAddr {
        let address = match self.path {
            Path::Input => self.in_network(self.link.number(), 1),
            Path::Forward => self.in_network(9, 2),
        };
        SocketAddr::new(address, PORT)
    }

    /// A TCP connection of the cell's host with its target.
    pub(crate) fn connect(self, wait: Duration) -> Option<TcpStream> {
        in_space(self.link.space(), || {
            let domain = Domain::for_address(self.target());
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(self.address(), 0).into()).unwrap();
            socket.connect_timeout(&self.target().into(), wait).ok()?;
            Some(socket.into())
        })
    }

    /// Speaks BitTorrent, over TCP whatever the cell's protocol is.
    pub(crate) fn shake_hands(self) {
        // An interface that was just made may still be looking for its neighbours.
        let mut stream = eventually("a connection", || self.connect(PATIENTLY));
        stream.write_all(HANDSHAKE).unwrap();
        stream.set_read_timeout(Some(BRIEFLY)).unwrap();
        // The answer comes, unless the ban is faster.
        let _ = stream.read(&mut [0; 68]);
    }

    /// Whether an answer comes from the target in one try.
    pub(crate) fn passes(self, wait: Duration) -> bool {
        match self.protocol {
            Protocol::Tcp => self.connect(wait).is_some_and(|stream| echoes(&stream, wait)),
            Protocol::Udp => in_space(self.link.space(), || {
                let socket = UdpSocket::bind((self.address(), 0)).unwrap();
                socket.set_read_timeout(Some(wait)).unwrap();
                socket.send_to(b"echo", self.target()).is_ok() && socket.recv(&mut [0; 8]).is_ok()
            }),
        }
    }
}

/// Whether the other end of a stream answers.
pub(crate) fn echoes(mut stream: &TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    stream.write_all(b"echo").is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

/// Asks all cells at once.
pub(crate) fn each<T: Send>(cells: &[Cell], ask: impl Fn(Cell) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let asked: Vec<_> = cells.iter().map(|cell| scope.spawn(|| ask(*cell))).collect();
        asked
            .into_iter()
            .map(|asked| {
                asked
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// Those cells of which `holds` is not `wanted`, by name.
pub(crate) fn unlike(cells: &[Cell], wanted: bool, holds: impl Fn(Cell) -> bool + Sync) -> Vec<String> {
    let found = each(cells, holds);
    cells
        .iter()
        .zip(found)
        .filter(|(_, found)| *found != wanted)
        .map(|(cell, _)| cell.to_string())
        .collect()
}
