//! Ends the connection tracking entries of banned hosts, so that nothing that is decided once per connection
//! (address translation, flow offload, accepted states) goes on for them.
//!
//! Over ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`, Linux 2.6.14, `nf_conntrack_netlink`), in a thread of
//! its own: the kernel has no deletion by address, so the table is listed, at most four times a second for however
//! many, and what matches deleted one by one. Bans do not depend on it: where connections are not tracked nothing is
//! done, and a failure is a debug line.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use nftnl::nftnl_sys::libc;

use super::netlink::{Attributes, Channel, Message, find};
use crate::ban::Element;

const SUBSYSTEM: i32 = libc::NFNL_SUBSYS_CTNETLINK;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// Elements that wait at most, as many as are banned by default: all of them, when all are put back. More are left out.
const WAITING: usize = 65_536;
/// Least time between two listings of the table.
const PAUSE: Duration = Duration::from_millis(250);
/// Number of tracked connections; absent where nothing is tracked.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// The thread that ends entries.
#[derive(Debug)]
pub struct Conntrack {
    waiting: Arc<Mutex<Banned>>,
    wake: Sender<()>,
}

impl Conntrack {
    /// Starts the thread, which works in the calling thread's network namespace and ends after this is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let waiting = Arc::<Mutex<Banned>>::default();
        let theirs = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || work(&woken, &theirs))?;
        Ok(Self { waiting, wake })
    }

    /// Has the entries of a host or network ended soon. Never waits for the kernel; what there is no room for is left
    /// out.
    pub fn cut(&self, element: Element) {
        if !lock(&self.waiting).add(element) {
            log::debug!("conntrack: entries of {element} are left to run out");
        }
        // If it is woken already, it takes this one as well.
        let _ = self.wake.try_send(());
    }
}

fn lock(waiting: &Mutex<Banned>) -> MutexGuard<'_, Banned> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(woken: &Receiver<()>, waiting: &Mutex<Banned>) {
    let mut channel = Channel::new();
    while let Ok(()) = woken.recv() {
        let banned = std::mem::take(&mut *lock(waiting));
        match cut(&mut channel, &banned) {
            Ok(0) => {}
            Ok(count) => log::debug!("conntrack: {count} entries ended"),
            Err(error) => log::debug!("conntrack: entries stay: {error}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whose entries are to end.
#[derive(Debug, Default)]
struct Banned {
    elements: HashSet<Element>,
    /// The prefix lengths among them, which are few however many they are.
    lengths: BTreeSet<u8>,
}

impl Banned {
    /// Whether there was room.
    fn add(&mut self, element: Element) -> bool {
        let has_room = self.elements.len() < WAITING;
        if has_room {
            self.elements.insert(element);
            self.lengths.insert(element.prefix_len());
        }
        has_room
    }
    fn contains(&self, address: IpAddr) -> bool {
        let mut around = self
            .lengths
            .iter()
            .filter_map(|len| Element::network(address, *len));
        around.any(|element| self.elements.contains(&element))
    }
}

/// What the kernel needs to find one entry again.
struct Entry {
    family: u8,
    original: Vec<u8>,
    id: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
}

/// Deletes the entries; their number.
fn cut(channel: &mut Channel, banned: &Banned) -> io::Result<usize> {
    let tracked = std::fs::read_to_string(COUNT).ok();
    if tracked.is_none_or(|count| count.trim() == "0") {
        return Ok(0);
    }
    let list = || Message::new(SUBSYSTEM, GET, libc::NLM_F_DUMP, libc::AF_UNSPEC as u8);
    let entries = channel.dump(list, |entry, found| found.extend(matching(entry, banned)))?;
    let mut deleted = 0;
    for entry in &entries {
        let mut message = Message::new(SUBSYSTEM, DELETE, 0, entry.family);
        message.put(TUPLE_ORIGINAL | NESTED, &entry.original);
        // With the id, an entry that has taken the place of this one stays.
        for (kind, value) in [(ID, &entry.id), (ZONE, &entry.zone)] {
            if let Some(value) = value {
                message.put(kind, value);
            }
        }
        match channel.ask(message, |_| {}) {
            Ok(()) => deleted += 1,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

/// The entry, if an end of either direction is banned: with address translation the directions differ.
fn matching(entry: Attributes<'_>, banned: &Banned) -> Option<Entry> {
    let original = entry.find(TUPLE_ORIGINAL)?;
    let mut ends = [Some(original), entry.find(TUPLE_REPLY)]
        .into_iter()
        .flatten()
        .flat_map(ends);
    ends.any(|end| banned.contains(end)).then(|| Entry {
        family: family(original),
        original: original.to_vec(),
        id: entry.find(ID).map(<[u8]>::to_vec),
        zone: entry.find(ZONE).map(<[u8]>::to_vec),
    })
}

fn ends(tuple: &[u8]) -> impl Iterator<Item = IpAddr> {
    let ip = find(tuple, TUPLE_IP).unwrap_or_default();
    let kinds = [V4_SOURCE, V4_DESTINATION, V6_SOURCE, V6_DESTINATION];
    kinds.into_iter().filter_map(|kind| address(find(ip, kind)?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn family(tuple: &[u8]) -> u8 {
    let family = match ends(tuple).next() {
        Some(IpAddr::V6(_)) => libc::AF_INET6,
        _ => libc::AF_INET,
    };
    family as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(message: &mut Message, kind: u16, source: [u8; 4], destination: [u8; 4]) {
        message.nest(kind, |tuple| {
            tuple.nest(TUPLE_IP, |ip| {
                ip.put(V4_SOURCE, &source).put(V4_DESTINATION, &destination);
            });
        });
    }

    #[test]
    fn as_many_as_are_banned_wait_and_no_more() {
        let mut banned = Banned::default();
        let network = |number: usize| {
            let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) + ((number as u128) << 64));
            Element::network(address.into(), 64).unwrap()
        };
        assert!((0..WAITING).all(|number| banned.add(network(number))));
        assert!(!banned.add(network(WAITING)));
        for (address, is_in) in [
            ("2001:db8::1", true),
            ("2001:db8:0:ffff::1", true),
            ("2001:db8:1::1", false),
            ("32.1.13.184", false),
        ] {
            assert_eq!(banned.contains(address.parse().unwrap()), is_in, "{address}");
        }
    }

    #[test]
    fn entries_match_by_either_end_of_either_direction() {
        let mut message = Message::new(SUBSYSTEM, GET, 0, 2);
        tuple(&mut message, TUPLE_ORIGINAL, [10, 8, 0, 7], [192, 0, 2, 1]);
        tuple(&mut message, TUPLE_REPLY, [192, 0, 2, 1], [203, 0, 113, 1]);
        message.put(ID, &[1, 2, 3, 4]);
        let bytes = message.finish(0);
        for (element, matches) in [
            ("10.8.0.7", true),
            ("192.0.2.1", true),
            ("203.0.113.1", true),
            ("203.0.113.0/24", true),
            ("10.8.0.8", false),
            ("2001:db8::/32", false),
        ] {
            let mut banned = Banned::default();
            assert!(banned.add(element.parse().unwrap()));
            let entry = matching(Attributes::of(&bytes[20..]), &banned);
            assert_eq!(entry.is_some(), matches, "{element}");
            if let Some(entry) = entry {
                assert_eq!((entry.family, entry.id), (2, Some(vec![1, 2, 3, 4])));
            }
        }
    }
}
