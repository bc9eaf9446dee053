//! Whether a driver runs XDP programs itself, as the kernel says it (generic netlink, family `netdev`).
//!
//! Minimum kernel: 6.3; older ones do not say. Nothing is attached: some drivers reset their link for a program.

use std::io;

use netlink_packet_core::{
    Emitable, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NlaBuffer, NlasIterator, parse_u16, parse_u64,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// `linux/genetlink.h`: the family that knows the numbers of the others.
const CONTROL: Family = Family {
    number: 0x10,
    version: 2,
};
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
/// `linux/netdev.h`.
const NETDEV_VERSION: u8 = 1;
const NETDEV_GET: u8 = 1;
const NETDEV_IFINDEX: u16 = 1;
const NETDEV_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: the driver passes, drops and aborts.
const BASIC: u64 = 1;

/// `nlmsghdr` and `genlmsghdr`.
const HEADERS: usize = 20;

#[derive(Clone, Copy)]
struct Family {
    number: u16,
    version: u8,
}

/// Whether the driver of an interface of the calling thread's namespace has native XDP.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn has_native(ifindex: u32) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = attribute(CONTROL_FAMILY_NAME, b"netdev\0");
    let number = ask(&socket, CONTROL, CONTROL_GET_FAMILY, &name, CONTROL_FAMILY_ID)?;
    let family = Family {
        number: parse_u16(&number).map_err(|_| io::ErrorKind::InvalidData)?,
        version: NETDEV_VERSION,
    };
    let index = attribute(NETDEV_IFINDEX, &ifindex.to_ne_bytes());
    let features = ask(&socket, family, NETDEV_GET, &index, NETDEV_XDP_FEATURES)?;
    Ok(parse_u64(&features).map_err(|_| io::ErrorKind::InvalidData)? & BASIC != 0)
}

/// The value of attribute `wanted` of the answer.
fn ask(socket: &Socket, family: Family, command: u8, attribute: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    let mut header = NetlinkHeader::default();
    header.message_type = family.number;
    header.flags = NLM_F_REQUEST;
    header.length = u32::try_from(HEADERS + attribute.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; HEADERS - 4];
    header.emit(&mut bytes);
    bytes.extend([command, family.version, 0, 0]);
    bytes.extend(attribute);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; 8_192];
    let len = socket.recv(&mut &mut answer[..], 0)?;
    let answer = answer.get(..len).unwrap_or_default();
    let answer = NetlinkBuffer::new_checked(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    // Whatever else is answered, an error number among it, says nothing of the wanted.
    if answer.message_type() != family.number {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let attributes = answer.payload().get(4..).unwrap_or_default();
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute: &NlaBuffer<&[u8]>| attribute.kind() == wanted)
        .map(|attribute| attribute.value().to_vec())
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Length, kind, value, padded to 4 bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
