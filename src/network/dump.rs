//! Interfaces, addresses and routes by rtnetlink dumps (`rtnetlink(7)`), in the calling thread's namespace.

use super::{Interface, InterfaceKind, NetworkError, Prefix, Route};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kernel splits dumps into messages of at most 32 KiB (`netlink_dump` in `net/netlink/af_netlink.c`).
const BUFFER: usize = 64 * 1024;
/// The kernel marks a dump during which something changed; then it is repeated.
const ATTEMPTS: u32 = 5;
/// NLM_F_DUMP_INTR of `linux/netlink.h`.
const INTERRUPTED: u16 = 0x10;
/// Routes beyond this number are left out: an interior router has hundreds.
const MAX_ROUTES: usize = 65_536;

/// Interfaces and routes.
pub(super) fn read() -> Result<(Vec<Interface>, Vec<Route>), NetworkError> {
    let socket = open()?;
    let mut interfaces = Vec::new();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in dump(&socket, "list interfaces", links)? {
        if let RouteNetlinkMessage::NewLink(link) = message {
            interfaces.extend(interface(link));
        }
    }
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for message in dump(&socket, "list addresses", addresses)? {
        if let RouteNetlinkMessage::NewAddress(message) = message
            && let Some(address) = address(&message)
            && let Some(owner) = interfaces
                .iter_mut()
                .find(|owner| owner.index == message.header.index)
        {
            owner.addresses.push(address);
        }
    }
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in dump(&socket, "list routes", RouteNetlinkMessage::GetRoute(request))? {
            if let RouteNetlinkMessage::NewRoute(message) = message {
                add_routes(&message, &mut routes);
            }
        }
    }
    if routes.len() > MAX_ROUTES {
        log::warn!(
            "only the first {MAX_ROUTES} of {} routes are considered",
            routes.len()
        );
        routes.truncate(MAX_ROUTES);
    }
    Ok((interfaces, routes))
}

fn open() -> Result<Socket, NetworkError> {
    let open = || {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(socket)
    };
    open().map_err(|source| NetworkError::Kernel {
        action: "open a socket",
        source,
    })
}

fn dump(
    socket: &Socket,
    action: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, NetworkError> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(request));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let mut buffer = vec![0; BUFFER];
    for _ in 0..ATTEMPTS {
        let answers = send_and_collect(socket, &bytes, &mut buffer);
        if let Some(answers) = answers.map_err(|source| NetworkError::Kernel { action, source })? {
            return Ok(answers);
        }
    }
    Err(NetworkError::Unsteady {
        action,
        attempts: ATTEMPTS,
    })
}

/// `None`: something changed meanwhile, the answers do not fit together.
fn send_and_collect(
    socket: &Socket,
    request: &[u8],
    buffer: &mut [u8],
) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
    socket.send(request, 0)?;
    let (mut answers, mut steady) = (Vec::new(), true);
    loop {
        let received = match socket.recv(&mut &mut *buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let mut rest = buffer.get(..received).ok_or(io::ErrorKind::InvalidData)?;
        while let Some(len) = rest.first_chunk::<4>() {
            let len = usize::try_from(u32::from_ne_bytes(*len)).unwrap_or(usize::MAX);
            let Some(one) = rest.get(..len).filter(|_| len >= 16) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(one) {
                Ok(message) => {
                    steady &= message.header.flags & INTERRUPTED == 0;
                    match message.payload {
                        NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                        NetlinkPayload::Done(_) => return Ok(steady.then_some(answers)),
                        NetlinkPayload::Error(error) => return Err(error.to_io()),
                        _ => {}
                    }
                }
                // One attribute of a newer kernel must not hide all others.
                Err(error) => log::warn!("rtnetlink: a message was not understood: {error}"),
            }
        }
    }
}

fn interface(link: LinkMessage) -> Option<Interface> {
    let kind = match link.header.link_layer_type {
        LinkLayerType::Ether => InterfaceKind::Ethernet,
        LinkLayerType::Loopback => InterfaceKind::Loopback,
        LinkLayerType::Ppp => InterfaceKind::Ppp,
        _ => InterfaceKind::Other,
    };
    let mut interface = Interface {
        name: String::new(),
        index: link.header.index,
        kind,
        mac: None,
        up: link.header.flags.contains(LinkFlags::Up),
        master: None,
        lower: None,
        addresses: Vec::new(),
    };
    let mut foreign = false;
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Address(bytes)
                if matches!(kind, InterfaceKind::Ethernet | InterfaceKind::Loopback) =>
            {
                interface.mac = bytes.try_into().ok();
            }
            LinkAttribute::Controller(index) => interface.master = Some(index),
            LinkAttribute::Link(index) => interface.lower = Some(index),
            // The number of the device below is one of another namespace.
            LinkAttribute::LinkNetNsId(_) => foreign = true,
            _ => {}
        }
    }
    if foreign || interface.lower == Some(interface.index) {
        interface.lower = None;
    }
    (!interface.name.is_empty()).then_some(interface)
}

fn address(message: &AddressMessage) -> Option<(IpAddr, Prefix)> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    // On a point-to-point link the prefix is that of the other end.
    let own = local.or(peer)?;
    Some((own, Prefix::new(peer.unwrap_or(own), message.header.prefix_len)?))
}

fn add_routes(message: &RouteMessage, routes: &mut Vec<Route>) {
    let header = &message.header;
    let imported = matches!(
        header.protocol,
        RouteProtocol::Bgp | RouteProtocol::Bird | RouteProtocol::Zebra | RouteProtocol::Xorp
    );
    if header.kind != RouteType::Unicast || header.flags.contains(RouteFlags::Cloned) || imported {
        return;
    }
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let (mut destination, mut table) = (unspecified, u32::from(header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address).unwrap_or(unspecified),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let Some(destination) = Prefix::new(destination, header.destination_prefix_length) else {
        return;
    };
    let mut add = |interface: Option<u32>, attributes: &[RouteAttribute]| {
        let gateway = attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip(address),
            RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        });
        routes.extend(interface.map(|interface| Route {
            destination,
            interface,
            gateway,
            table,
        }));
    };
    let out = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    add(out, &message.attributes);
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            for hop in hops.iter().filter(|hop| Some(hop.interface_index) != out) {
                add(Some(hop.interface_index), &hop.attributes);
            }
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
