//! Elements of a set: written in bulk, read back with their remaining time.

use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nftnl::nftnl_sys::libc;
use nftnl::{Batch, MsgType, NlMsg, nft_nlmsg_maxsize};

use super::sets::{SetSpec, request};
use crate::backend::Family;
use crate::backend::netlink::{Attributes, Channel, Message, QUESTIONS, be32, find, find_path};
use crate::backend::ruleset::TABLE;
use crate::ban::{Element, Held, Timeout};

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const DATA_VALUE: u16 = 1;
const INTERVAL_END: u32 = libc::NFT_SET_ELEM_INTERVAL_END as u32;

/// Changes of one set.
pub(super) struct ElementBatch<'a> {
    set: &'a SetSpec,
    /// Everything that is changed.
    all: Vec<(Element, Option<Timeout>)>,
    /// What is banned.
    bans: Vec<(Element, Option<Timeout>)>,
}

impl<'a> ElementBatch<'a> {
    /// Bans (with a timeout) and unbans (without) of elements that belong into `set`, at most 256.
    pub(super) fn new(
        set: &'a SetSpec,
        changes: impl IntoIterator<Item = (Element, Option<Timeout>)>,
    ) -> Self {
        let all: Vec<_> = changes.into_iter().collect();
        let bans = all
            .iter()
            .copied()
            .filter(|(_, timeout)| timeout.is_some())
            .collect();
        Self { set, all, bans }
    }

    /// Adds the changes to `batch`; `false` when there are none.
    ///
    /// Everything is added, deleted, and the bans added again: deleting what is absent would fail the batch,
    /// and adding what is there leaves its clock alone (always before Linux 6.12, later for equal timeouts).
    pub(super) fn write(&self, batch: &mut Batch) -> bool {
        if self.all.is_empty() {
            return false;
        }
        batch.add(
            &ElementMessage {
                set: self.set,
                elements: &self.all,
            },
            MsgType::Add,
        );
        self.write_deletion(batch);
        if !self.bans.is_empty() {
            batch.add(
                &ElementMessage {
                    set: self.set,
                    elements: &self.bans,
                },
                MsgType::Add,
            );
        }
        true
    }

    /// Adds only the deletion of everything to `batch`; the kernel refuses it when an element is absent.
    pub(super) fn write_deletion(&self, batch: &mut Batch) {
        batch.add(
            &ElementMessage {
                set: self.set,
                elements: &self.all,
            },
            MsgType::Del,
        );
    }
}

struct ElementMessage<'a> {
    set: &'a SetSpec,
    elements: &'a [(Element, Option<Timeout>)],
}

impl SetSpec {
    /// Appends which set is meant.
    fn put_names(&self, message: &mut Message) {
        message.put_name(LIST_TABLE, TABLE).put_name(LIST_SET, &self.name);
    }

    /// Appends an element's key: the last bytes of the address, as many as the set's family has.
    fn put_key(&self, item: &mut Message, address: u128) {
        let address = address.to_be_bytes();
        let key = match self.family {
            Family::V4 => address
                .last_chunk::<4>()
                .map_or(&address[..], <[u8; 4]>::as_slice),
            Family::V6 => &address,
        };
        item.nest(ELEMENT_KEY, |item| {
            item.put(DATA_VALUE, key);
        });
    }
}

impl ElementMessage<'_> {
    fn bytes(&self, sequence: u32, kind: MsgType) -> Vec<u8> {
        let adds = kind == MsgType::Add;
        let mut message = if adds {
            request(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE)
        } else {
            request(libc::NFT_MSG_DELSETELEM, 0)
        };
        self.set.put_names(&mut message);
        message.nest(LIST_ELEMENTS, |list| {
            for (element, timeout) in self.elements {
                let (first, end) = bounds(*element);
                list.nest(ELEMENT, |item| {
                    self.set.put_key(item, first);
                    if let Some(timeout) = timeout.filter(|_| adds) {
                        let millis = u64::from(timeout.secs()) * 1000;
                        item.put(ELEMENT_TIMEOUT, &millis.to_be_bytes());
                    }
                });
                let Some(end) = end.filter(|_| self.set.networks) else {
                    continue;
                };
                list.nest(ELEMENT, |item| {
                    self.set.put_key(item, end);
                    item.put(ELEMENT_FLAGS, &INTERVAL_END.to_be_bytes());
                });
            }
        });
        message.finish(sequence)
    }
}

// SAFETY: never more than `nft_nlmsg_maxsize` bytes are written; a longer message is cut to its header, which
// the kernel refuses.
unsafe impl NlMsg for ElementMessage<'_> {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
        let mut bytes = self.bytes(sequence, kind);
        if bytes.len() > nft_nlmsg_maxsize() as usize {
            bytes = request(libc::NFT_MSG_NEWSETELEM, 0).finish(sequence);
        }
        // SAFETY: the caller grants `nft_nlmsg_maxsize` writable bytes, and a fresh `Vec` cannot overlap them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>(), bytes.len()) };
    }
}

/// First address, and the first address after it, as numbers; `None` when the element reaches the last of all
/// addresses.
fn bounds(element: Element) -> (u128, Option<u128>) {
    let (first, bits) = match element.address() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), Ipv4Addr::BITS),
        IpAddr::V6(v6) => (v6.to_bits(), Ipv6Addr::BITS),
    };
    let end = 1_u128
        .checked_shl(bits - u32::from(element.prefix_len()))
        .and_then(|size| first.checked_add(size))
        .filter(|end| *end <= last_address(bits));
    (first, end)
}

fn last_address(bits: u32) -> u128 {
    u128::MAX >> (u128::BITS - bits)
}

/// One end of an interval as the kernel lists it; addresses as numbers of the family's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    address: u128,
    /// Orders the end of an interval before the start of the next at the same address.
    starts: bool,
    remaining: Option<Duration>,
}

/// All elements of `set`.
pub(super) fn read(channel: &mut Channel, set: &SetSpec) -> io::Result<Vec<Held>> {
    let mut edges = channel.dump(
        || {
            let mut message = request(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP);
            set.put_names(&mut message);
            message
        },
        |list, edges| {
            let elements = list.find(LIST_ELEMENTS).unwrap_or_default();
            edges.extend(Attributes::of(elements).filter_map(|(_, element)| edge(element)));
        },
    )?;
    edges.sort_unstable();
    edges.dedup_by_key(|edge| (edge.address, edge.starts));
    Ok(if set.networks {
        networks(&edges, set.address_bits())
    } else {
        let bits = set.address_bits();
        edges
            .iter()
            .filter_map(|edge| held(edge.address, bits, bits, edge.remaining))
            .collect()
    })
}

/// Those of `elements`, which belong into `set`, that the kernel does not hold. Asks for each: the kernel's list of a
/// set begins anew at the first element for every message of some 700, so listing costs the square of the number.
pub(super) fn missing(
    channel: &mut Channel,
    set: &SetSpec,
    elements: &[Element],
) -> io::Result<Vec<Element>> {
    let mut missing = Vec::new();
    for elements in elements.chunks(QUESTIONS) {
        let questions = elements.iter().map(|element| {
            let mut question = request(libc::NFT_MSG_GETSETELEM, 0).without_ack();
            set.put_names(&mut question);
            question.nest(LIST_ELEMENTS, |list| {
                list.nest(ELEMENT, |item| set.put_key(item, bounds(*element).0));
            });
            question
        });
        let mut asked = elements.iter();
        channel.ask_each(questions, |answer| {
            let Some(element) = asked.next() else { return };
            let found = answer
                .and_then(|answer| answer.find(LIST_ELEMENTS))
                .and_then(|list| edge(find(list, ELEMENT)?));
            // A network is answered with the interval that it lies in.
            if found.is_none_or(|found| found.address != bounds(*element).0) {
                missing.push(*element);
            }
        })?;
    }
    Ok(missing)
}

fn edge(element: &[u8]) -> Option<Edge> {
    let key = find_path(element, &[ELEMENT_KEY, DATA_VALUE])?;
    let flags = find(element, ELEMENT_FLAGS).and_then(be32).unwrap_or(0);
    Some(Edge {
        address: key.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)),
        starts: flags & INTERVAL_END == 0,
        remaining: find(element, ELEMENT_EXPIRATION).and_then(millis),
    })
}

fn millis(value: &[u8]) -> Option<Duration> {
    Some(Duration::from_millis(u64::from_be_bytes(value.try_into().ok()?)))
}

/// Intervals as networks. An interval that is no network, which only somebody else can have added, becomes
/// the fewest networks that cover it.
fn networks(edges: &[Edge], bits: u32) -> Vec<Held> {
    let last = last_address(bits);
    let mut held_networks = Vec::new();
    for (at, start) in edges.iter().enumerate().filter(|(_, edge)| edge.starts) {
        let mut first = start.address;
        let final_address = edges
            .get(at + 1)
            .map_or(last, |next| next.address.saturating_sub(1));
        while first <= final_address {
            let fits = |size_bits: &u32| {
                let mask = 1_u128.checked_shl(*size_bits).map_or(u128::MAX, |size| size - 1);
                first & mask == 0 && final_address - first >= mask
            };
            let size_bits = (0..=bits).rev().find(fits).unwrap_or(0);
            held_networks.extend(held(first, bits - size_bits, bits, start.remaining));
            let next = 1_u128
                .checked_shl(size_bits)
                .and_then(|size| first.checked_add(size));
            let Some(next) = next else { break };
            first = next;
        }
    }
    held_networks
}

fn held(address: u128, prefix_len: u32, bits: u32, remaining: Option<Duration>) -> Option<Held> {
    let family = if bits == Ipv4Addr::BITS {
        Family::V4
    } else {
        Family::V6
    };
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(address).ok()?)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(address)),
    };
    let element = Element::network(address, u8::try_from(prefix_len).ok()?)?;
    Some(Held { element, remaining })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &str) -> Element {
        let (address, len) = text.split_once('/').unwrap();
        Element::network(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn networks_survive_the_way_through_intervals() {
        for text in [
            "0.0.0.0/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "10.0.0.0/8",
            "192.0.2.128/25",
            "255.255.255.254/31",
            "::/0",
            "8000::/1",
            "2001:db8::/32",
            "2001:db8:1:2::/64",
            "ffff::/16",
        ] {
            let network = element(text);
            let (first, end) = bounds(network);
            let edge = |address, starts| Edge {
                address,
                starts,
                remaining: None,
            };
            let mut edges = vec![edge(first, true)];
            edges.extend(end.map(|end| edge(end, false)));
            let bits = if network.address().is_ipv4() { 32 } else { 128 };
            let back: Vec<_> = networks(&edges, bits).iter().map(|held| held.element).collect();
            assert_eq!(back, [network], "{text}");
        }
    }

    #[test]
    fn an_interval_that_is_no_network_becomes_several() {
        let edge = |address, starts| Edge {
            address,
            starts,
            remaining: Some(Duration::from_secs(9)),
        };
        let edges = [edge(0, false), edge(0x0a00_0001, true), edge(0x0a00_0004, false)];
        let back: Vec<_> = networks(&edges, 32)
            .iter()
            .map(|held| held.element.to_string())
            .collect();
        assert_eq!(back, ["10.0.0.1", "10.0.0.2/31"]);
    }
}
