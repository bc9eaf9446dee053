//! Own messages to the kernel's ipset (`linux/netfilter/ipset/ip_set.h`): headers, lists, bulk changes.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nftnl::nftnl_sys::libc;

use crate::backend::Family;
use crate::backend::netlink::{Attributes, Channel, Message, be32, find, find_path, text};
use crate::ban::{Change, Element, Held};

const COMMAND_PROTOCOL: u16 = 1;
const COMMAND_LIST: u16 = 7;
const COMMAND_ADD: u16 = 9;
const COMMAND_DEL: u16 = 10;
const COMMAND_GET_BYNAME: u16 = 14;

const PROTOCOL: u16 = 1;
const SET_NAME: u16 = 2;
const TYPE_NAME: u16 = 3;
const REVISION: u16 = 4;
const FAMILY: u16 = 5;
const FLAGS: u16 = 6;
const DATA: u16 = 7;
const ENTRIES: u16 = 8;
const LINE: u16 = 9;
const INDEX: u16 = 11;

const ADDRESS: u16 = 1;
const PREFIX_LEN: u16 = 3;
const TIMEOUT: u16 = 6;
const MAX_ELEMENTS: u16 = 19;
const NETMASK: u16 = 20;
const REFERENCES: u16 = 25;
const ADDRESS_V4: u16 = 1;
const ADDRESS_V6: u16 = 2;

const LIST_HEADER: u32 = 1 << 2;
const BIG_ENDIAN: u16 = libc::NLA_F_NET_BYTEORDER as u16;
/// `IPSET_PROTOCOL`: the newest that this program speaks.
const NEWEST_PROTOCOL: u8 = 7;

/// An error number in an answer of ipset; those of its own begin behind the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

impl Code {
    pub(super) const HASH_FULL: Self = Self(4352);

    /// Whether the system's list of errors does not know it.
    pub(super) fn is_of_ipset(self) -> bool {
        self.0 >= 4096
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            4097 => "the set's type or family does not take this",
            4098 => "the kernel lacks this type of set",
            4100 => "the set is in use",
            4104 => "the set's type does not take this prefix length",
            4106 => "wrong protocol family",
            4107 => "the set was created without timeouts",
            4352 => "the set is full",
            4353 => "the set's type does not take the zero address",
            _ => "refused",
        };
        write!(f, "{meaning} (ipset error {})", self.0)
    }
}

/// What the kernel says about a set.
#[derive(Debug)]
pub(super) struct Header {
    /// Type name, such as `hash:net`.
    pub(super) kind: String,
    revision: u8,
    /// `NFPROTO_*`.
    pub(super) family: u8,
    /// Seconds; `None` when the set cannot hold timeouts.
    pub(super) default_timeout: Option<u32>,
    /// Prefix length that all entries are cut to.
    pub(super) netmask: Option<u8>,
    pub(super) max_elements: u32,
    /// Rules (and lists of sets) that use the set.
    pub(super) references: u32,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} revision {} family {}",
            self.kind,
            self.revision,
            family_name(self.family)
        )?;
        if let Some(netmask) = self.netmask {
            write!(f, " netmask {netmask}")?;
        }
        f.write_str(if self.default_timeout.is_some() {
            " with timeout"
        } else {
            " without timeout"
        })
    }
}

/// A family as ipset names it.
pub(super) fn family_name(nfproto: u8) -> &'static str {
    match Family::from_nfproto(nfproto) {
        Some(Family::V4) => "inet",
        Some(Family::V6) => "inet6",
        None => "unspec",
    }
}

/// The kernel's ipset subsystem.
pub(super) struct Ipsets {
    channel: Channel,
    protocol: u8,
}

impl Ipsets {
    /// Asks for the newest protocol version that both sides speak.
    pub(super) fn open() -> io::Result<Self> {
        let mut this = Self {
            channel: Channel::new(),
            protocol: NEWEST_PROTOCOL,
        };
        let mut spoken = NEWEST_PROTOCOL;
        let message = this.message(COMMAND_PROTOCOL, 0, None);
        this.channel.ask(message, |reply| {
            if let Some(&[version]) = reply.find(PROTOCOL) {
                spoken = version;
            }
        })?;
        this.protocol = spoken.min(NEWEST_PROTOCOL);
        Ok(this)
    }

    /// Header of a set.
    pub(super) fn header(&mut self, set: &str) -> io::Result<Header> {
        let headers = self.dump(set, LIST_HEADER, |reply, found| found.extend(header(reply)))?;
        headers
            .into_iter()
            .next()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// All entries of a set.
    pub(super) fn list(&mut self, set: &str) -> io::Result<Vec<Held>> {
        self.dump(set, 0, |reply, found| found.extend(entries(reply)))
    }

    /// Begins to list a set in steps.
    pub(super) fn begin_list(&self, set: &str) -> io::Result<Listing> {
        let mut channel = Channel::new();
        channel.begin(list_request(self.protocol, set, 0))?;
        Ok(Listing(channel))
    }

    /// The kernel's index of a set, by which rules know it.
    pub(super) fn index(&mut self, set: &str) -> io::Result<u16> {
        let mut index = None;
        let message = self.message(COMMAND_GET_BYNAME, 0, Some(set));
        self.channel.ask(message, |reply| {
            index = reply
                .find(INDEX)
                .and_then(|value| value.try_into().ok())
                .map(u16::from_be_bytes);
        })?;
        index.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Makes changes that are all bans or all unbans, of one family, in one message. Entries that are there are
    /// renewed; entries to delete may be absent. After an error the entries before the refused one are changed.
    pub(super) fn change(&mut self, set: &str, family: Family, changes: &[Change]) -> io::Result<()> {
        let bans = matches!(changes.first(), Some(Change::Ban(..)));
        let mut message = self.message(if bans { COMMAND_ADD } else { COMMAND_DEL }, 0, Some(set));
        // The kernel takes several entries only together with a line number.
        message.put(LINE, &0_u32.to_ne_bytes());
        message.nest(ENTRIES, |entries| {
            for change in changes {
                let (element, timeout) = match *change {
                    Change::Ban(element, timeout) => (element, Some(timeout)),
                    Change::Unban(element) => (element, None),
                };
                entries.nest(DATA, |entry| {
                    entry.nest(ADDRESS, |address| put_address(address, element, family));
                    if !element.is_host() {
                        entry.put(PREFIX_LEN, &[element.prefix_len()]);
                    }
                    if let Some(timeout) = timeout {
                        entry.put(TIMEOUT | BIG_ENDIAN, &timeout.secs().to_be_bytes());
                    }
                });
            }
        });
        self.channel.ask(message, |_| ())
    }

    fn dump<T>(
        &mut self,
        set: &str,
        flags: u32,
        read: impl FnMut(Attributes<'_>, &mut Vec<T>),
    ) -> io::Result<Vec<T>> {
        let protocol = self.protocol;
        self.channel.dump(|| list_request(protocol, set, flags), read)
    }

    fn message(&self, command: u16, flags: i32, set: Option<&str>) -> Message {
        message(self.protocol, command, flags, set)
    }
}

/// A list that is read in steps while other messages are sent. The kernel keeps the set as long as this lives.
pub(super) struct Listing(Channel);

impl Listing {
    /// Reads some of the list and hands over the entries; whether there are no more.
    pub(super) fn more(&mut self, mut on_entry: impl FnMut(Held)) -> io::Result<bool> {
        self.0.more(|reply| entries(reply).for_each(&mut on_entry))
    }
}

fn message(protocol: u8, command: u16, flags: i32, set: Option<&str>) -> Message {
    let mut message = Message::new(libc::NFNL_SUBSYS_IPSET, command, flags, libc::NFPROTO_IPV4 as u8);
    message.put(PROTOCOL, &[protocol]);
    if let Some(set) = set {
        message.put_name(SET_NAME, set);
    }
    message
}

fn list_request(protocol: u8, set: &str, flags: u32) -> Message {
    let mut message = message(protocol, COMMAND_LIST, libc::NLM_F_DUMP, Some(set));
    message.put(FLAGS | BIG_ENDIAN, &flags.to_be_bytes());
    message
}

fn put_address(message: &mut Message, element: Element, family: Family) {
    match (element.address(), family) {
        (IpAddr::V4(v4), Family::V4) => message.put(ADDRESS_V4 | BIG_ENDIAN, &v4.octets()),
        (IpAddr::V6(v6), Family::V6) => message.put(ADDRESS_V6 | BIG_ENDIAN, &v6.octets()),
        // Left out, which the kernel refuses; changes are sorted by family before they come here.
        _ => message,
    };
}

fn header(reply: Attributes<'_>) -> Option<Header> {
    let byte = |value: &[u8]| value.first().copied();
    let data = reply.find(DATA)?;
    let number = |kind| find(data, kind).and_then(be32);
    Some(Header {
        kind: reply.find(TYPE_NAME).and_then(text)?.to_owned(),
        revision: reply.find(REVISION).and_then(byte)?,
        family: reply.find(FAMILY).and_then(byte)?,
        default_timeout: number(TIMEOUT),
        netmask: find(data, NETMASK).and_then(byte),
        max_elements: number(MAX_ELEMENTS).unwrap_or(0),
        references: number(REFERENCES).unwrap_or(0),
    })
}

fn entries(reply: Attributes<'_>) -> impl Iterator<Item = Held> {
    let entries = reply.find(ENTRIES).unwrap_or_default();
    Attributes::of(entries).filter_map(|(_, entry)| held(entry))
}

fn held(entry: &[u8]) -> Option<Held> {
    let v4 = find_path(entry, &[ADDRESS, ADDRESS_V4]).and_then(|value| <[u8; 4]>::try_from(value).ok());
    let v6 = find_path(entry, &[ADDRESS, ADDRESS_V6]).and_then(|value| <[u8; 16]>::try_from(value).ok());
    let address = match (v4, v6) {
        (Some(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (None, Some(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
        (None, None) => return None,
    };
    let prefix_len = find(entry, PREFIX_LEN).and_then(|value| value.first().copied());
    let element = prefix_len.map_or_else(
        || Some(Element::host(address)),
        |prefix_len| Element::network(address, prefix_len),
    )?;
    // Zero stands for an entry without an end.
    let seconds = find(entry, TIMEOUT).and_then(be32).filter(|seconds| *seconds > 0);
    Some(Held {
        element,
        remaining: seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
    })
}
