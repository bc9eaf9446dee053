//! The four sets: what they must be, and what the kernel has.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use nftnl::nftnl_sys::{self as sys, libc};
use nftnl::set::{Set, SetKey};
use nftnl::{Batch, MsgType, ProtoFamily, Table};

use super::KIND;
use crate::backend::netlink::{Attributes, Channel, Message, be32, find, text};
use crate::backend::ruleset::TABLE;
use crate::backend::{Family, Options};
use crate::ban::{BackendError, Element};

const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_DESCRIPTION: u16 = 9;
const DESCRIPTION_SIZE: u16 = 1;

const GENERATION: u16 = 1;

const INTERVAL: u32 = libc::NFT_SET_INTERVAL as u32;
const TIMEOUT: u32 = libc::NFT_SET_TIMEOUT as u32;
const MAP: u32 = libc::NFT_SET_MAP as u32;
const CONSTANT: u32 = libc::NFT_SET_CONSTANT as u32;

/// What one set must be.
#[derive(Clone, Debug)]
pub(super) struct SetSpec {
    pub(super) name: String,
    pub(super) family: Family,
    /// Whether it holds networks instead of hosts.
    pub(super) networks: bool,
    /// Elements that it holds at most.
    pub(super) size: u32,
    timeout_ms: u64,
}

impl SetSpec {
    /// Hosts and networks of both families.
    pub(super) fn all(options: &Options) -> Vec<Self> {
        let set = |family: Family, networks| {
            let name = family.set_name(&options.set_name);
            Self {
                name: if networks { format!("{name}_net") } else { name },
                family,
                networks,
                size: options.max_elements.get(),
                timeout_ms: u64::from(options.default_timeout.secs()) * 1000,
            }
        };
        Family::BOTH
            .into_iter()
            .flat_map(|family| [set(family, false), set(family, true)])
            .collect()
    }

    /// Whether `element` belongs into this set.
    pub(super) fn holds(&self, element: Element) -> bool {
        self.family == Family::of(element) && self.networks != element.is_host()
    }

    /// Bits of an address.
    pub(super) fn address_bits(&self) -> u32 {
        match self.family {
            Family::V4 => Ipv4Addr::BITS,
            Family::V6 => Ipv6Addr::BITS,
        }
    }

    fn flags(&self) -> u32 {
        TIMEOUT | if self.networks { INTERVAL } else { 0 }
    }

    /// Type number by which nft shows the elements (`ipv4_addr`, `ipv6_addr`).
    fn key_type(&self) -> u32 {
        match self.family {
            Family::V4 => Ipv4Addr::TYPE,
            Family::V6 => Ipv6Addr::TYPE,
        }
    }

    /// Takes over the size of a set that exists; refuses one of another kind.
    pub(super) fn adopt(&mut self, found: &FoundSet) -> Result<(), BackendError> {
        let flags = found.flags & (TIMEOUT | INTERVAL | MAP | CONSTANT);
        if found.key_type == self.key_type() && flags == self.flags() {
            // Size 0 is no limit.
            self.size = if found.size == 0 { u32::MAX } else { found.size };
            return Ok(());
        }
        Err(BackendError::Mismatch {
            backend: KIND.name(),
            set: self.name.clone(),
            found: describe(found.key_type, flags),
            wanted: describe(self.key_type(), self.flags()),
        })
    }

    /// Adds the creation of the set to `batch`.
    pub(super) fn write(&self, table: &Table, id: u32, batch: &mut Batch) {
        match self.family {
            Family::V4 => self.write_keyed::<Ipv4Addr>(table, id, batch),
            Family::V6 => self.write_keyed::<Ipv6Addr>(table, id, batch),
        }
    }

    fn write_keyed<K: SetKey>(&self, table: &Table, id: u32, batch: &mut Batch) {
        let name = CString::new(self.name.as_str()).unwrap_or_default();
        let set = Set::<K>::new_named(&name, id, table, table.get_family());
        let raw = set.as_ptr().as_ptr();
        // SAFETY: `raw` belongs to `set`, which is alive.
        unsafe { sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_FLAGS as u16, self.flags()) };
        // SAFETY: as above.
        unsafe { sys::nftnl_set_set_u64(raw, sys::NFTNL_SET_TIMEOUT as u16, self.timeout_ms) };
        // SAFETY: as above.
        unsafe { sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_DESC_SIZE as u16, self.size) };
        batch.add(&set, MsgType::Add);
    }
}

fn describe(key_type: u32, flags: u32) -> String {
    let key = match key_type {
        Ipv4Addr::TYPE => "ipv4_addr".to_owned(),
        Ipv6Addr::TYPE => "ipv6_addr".to_owned(),
        other => format!("key type {other}"),
    };
    let names = [
        (TIMEOUT, "timeout"),
        (INTERVAL, "interval"),
        (MAP, "map"),
        (CONSTANT, "constant"),
    ];
    let names: Vec<_> = names
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        key
    } else {
        format!("{key} with flags {}", names.join(","))
    }
}

/// What the kernel says about a set of our table.
#[derive(Debug)]
pub(super) struct FoundSet {
    pub(super) name: String,
    flags: u32,
    key_type: u32,
    size: u32,
}

/// All named sets of our table. Empty when there is no such table.
pub(super) fn read(channel: &mut Channel) -> io::Result<Vec<FoundSet>> {
    channel.dump(
        || request(libc::NFT_MSG_GETSET, libc::NLM_F_DUMP),
        |set, found| {
            if set.find(SET_TABLE).and_then(text) == Some(TABLE) {
                found.extend(found_set(set));
            }
        },
    )
}

/// The number of the network namespace's rule set, one more after each batch that took effect, whoever sent it.
pub(super) fn read_generation(channel: &mut Channel) -> io::Result<u32> {
    let mut generation = None;
    channel.ask(request(libc::NFT_MSG_GETGEN, 0), |reply| {
        generation = reply.find(GENERATION).and_then(be32);
    })?;
    generation.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The number after the next batch: zero is left out.
pub(super) fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

fn found_set(set: Attributes<'_>) -> Option<FoundSet> {
    let number = |kind| set.find(kind).and_then(be32);
    let size = set
        .find(SET_DESCRIPTION)
        .and_then(|value| find(value, DESCRIPTION_SIZE))
        .and_then(be32);
    Some(FoundSet {
        name: set.find(SET_NAME).and_then(text)?.to_owned(),
        flags: number(SET_FLAGS).unwrap_or(0),
        key_type: number(SET_KEY_TYPE).unwrap_or(0),
        size: size.unwrap_or(0),
    })
}

/// A request to nftables about the family inet.
pub(super) fn request(command: i32, flags: i32) -> Message {
    Message::new(
        libc::NFNL_SUBSYS_NFTABLES,
        command as u16,
        flags,
        ProtoFamily::Inet as u16 as u8,
    )
}
