//! The maps that program and process share: one encoding, reading, writing and sweeping.
//!
//! | map            | key                                   | value                          |
//! |----------------|---------------------------------------|--------------------------------|
//! | `bt_hosts4/6`    | address, network order                | deadline u64                   |
//! | `bt_networks4/6` | prefix length u32, address            | deadline u64, prefix length u64 |
//! | `bt_counters`    | 0                                     | four u64 per CPU               |
//!
//! Numbers are in the machine's order; a deadline is nanoseconds of `CLOCK_MONOTONIC`, which stands still while
//! the machine sleeps. Promise: what has expired is not reported, whether it was swept or not.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use libbpf_rs::libbpf_sys as sys;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::link::check;
use super::pins::Pins;
use super::{BACKEND, io_error, kernel};
use crate::ban::{BackendError, Change, Element, Held, Timeout};

/// Key of the longest kind: prefix length and IPv6 address.
const MAX_KEY_LEN: usize = 20;
/// Elements read per system call.
const READ_BATCH: u32 = 4096;

/// How a map must look, so that program and process understand each other.
pub(super) struct Shape {
    /// Name in the object and of the pin.
    pub(super) name: &'static str,
    kind: MapType,
    key_size: u32,
    value_size: u32,
}

impl Shape {
    /// Whether the map holds bans, so that its size is configured.
    pub(super) fn holds_bans(&self) -> bool {
        self.kind != MapType::PercpuArray
    }

    /// Opens the pinned map of this shape.
    ///
    /// # Errors
    /// [`BackendError::Missing`] when there is none, [`BackendError::Mismatch`] when it looks otherwise.
    pub(super) fn open_pinned(&self, pins: &Pins) -> Result<MapHandle, BackendError> {
        let path = pins.map(self.name);
        let map = MapHandle::from_pinned_path(&path)
            .map_err(|error| kernel("opening the map", path.display().to_string(), io_error(error)))?;
        let found = (map.map_type(), map.key_size(), map.value_size());
        let wanted = (self.kind, self.key_size, self.value_size);
        if found != wanted {
            let describe =
                |(kind, key, value): (MapType, u32, u32)| format!("{kind:?} of {key} to {value} bytes");
            return Err(BackendError::Mismatch {
                backend: BACKEND,
                set: path.display().to_string(),
                found: describe(found),
                wanted: describe(wanted),
            });
        }
        Ok(map)
    }
}

const fn shape(name: &'static str, kind: MapType, key_size: u32, value_size: u32) -> Shape {
    Shape {
        name,
        kind,
        key_size,
        value_size,
    }
}

/// The maps of the object, in the order of the fields of [`Maps`].
pub(super) const SHAPES: [Shape; 5] = [
    shape("bt_hosts4", MapType::Hash, 4, 8),
    shape("bt_hosts6", MapType::Hash, 16, 8),
    shape("bt_networks4", MapType::LpmTrie, 8, 16),
    shape("bt_networks6", MapType::LpmTrie, 20, 16),
    shape("bt_counters", MapType::PercpuArray, 4, 32),
];

/// What the program counted since it was loaded, over all interfaces and CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpCounters {
    /// Packets of any kind that the program saw, without those shorter than an Ethernet header.
    pub packets: u64,
    /// IPv4 packets dropped.
    pub dropped_v4: u64,
    /// IPv6 packets dropped.
    pub dropped_v6: u64,
    /// Bytes of dropped packets, link header included.
    pub dropped_bytes: u64,
}

/// Open maps.
#[derive(Debug)]
pub(super) struct Maps {
    hosts4: MapHandle,
    hosts6: MapHandle,
    networks4: MapHandle,
    networks6: MapHandle,
    counters: MapHandle,
}

impl Maps {
    /// From five maps in the order of [`SHAPES`], by whatever way they are opened.
    pub(super) fn open(
        mut map: impl FnMut(&'static Shape) -> Result<MapHandle, BackendError>,
    ) -> Result<Self, BackendError> {
        let [hosts4, hosts6, networks4, networks6, counters] = const { &SHAPES };
        Ok(Self {
            hosts4: map(hosts4)?,
            hosts6: map(hosts6)?,
            networks4: map(networks4)?,
            networks6: map(networks6)?,
            counters: map(counters)?,
        })
    }

    /// The maps in the order of [`SHAPES`], each with its shape.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (&'static Shape, &mut MapHandle)> {
        let Self {
            hosts4,
            hosts6,
            networks4,
            networks6,
            counters,
        } = self;
        SHAPES
            .iter()
            .zip([hosts4, hosts6, networks4, networks6, counters])
    }

    /// Applies changes in order. A full map is swept once before it counts as full.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), BackendError> {
        let now = monotonic_nanos();
        let mut swept = false;
        for change in changes {
            match *change {
                Change::Ban(element, timeout) => {
                    let deadline = deadline(now, timeout);
                    let mut written = self.write(element, deadline);
                    if written.as_ref().is_err_and(is_full) && !swept {
                        swept = true;
                        self.list()?;
                        written = self.write(element, deadline);
                    }
                    written.map_err(|error| self.write_error(element, error))?;
                }
                Change::Unban(element) => match delete(self.holder(element), Key::of(element).bytes()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(kernel("removing", element.to_string(), error));
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    /// What is banned now. Removes what has expired.
    pub(super) fn list(&self) -> Result<Vec<Held>, BackendError> {
        let now = monotonic_nanos();
        let mut held = Vec::new();
        for map in [&self.hosts4, &self.hosts6, &self.networks4, &self.networks6] {
            let failed = |action| move |error| kernel(action, map.name().display().to_string(), error);
            let read = read_all(map).map_err(failed("reading"))?;
            for (key, value) in read.elements() {
                let Some((element, deadline)) = decode(key, value) else {
                    continue;
                };
                if deadline > now {
                    let remaining = Some(Duration::from_nanos(deadline - now));
                    held.push(Held { element, remaining });
                } else if let Err(error) = delete(map, key)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(failed("sweeping")(error));
                }
            }
        }
        Ok(held)
    }

    /// Sums of all CPUs.
    pub(super) fn counters(&self) -> Result<XdpCounters, BackendError> {
        let per_cpu = self
            .counters
            .lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| kernel("reading", "bt_counters".to_owned(), io_error(error)))?;
        let mut sum = XdpCounters::default();
        for cpu in per_cpu.unwrap_or_default() {
            let mut numbers = cpu.chunks_exact(8).map(number);
            let mut add = |counter: &mut u64| *counter = counter.wrapping_add(numbers.next().unwrap_or(0));
            add(&mut sum.packets);
            add(&mut sum.dropped_v4);
            add(&mut sum.dropped_v6);
            add(&mut sum.dropped_bytes);
        }
        Ok(sum)
    }

    fn holder(&self, element: Element) -> &MapHandle {
        match (element.is_host(), element.address()) {
            (true, IpAddr::V4(_)) => &self.hosts4,
            (true, IpAddr::V6(_)) => &self.hosts6,
            (false, IpAddr::V4(_)) => &self.networks4,
            (false, IpAddr::V6(_)) => &self.networks6,
        }
    }

    fn write(&self, element: Element, deadline: u64) -> io::Result<()> {
        let mut value = [0; 16];
        let (first, second) = value.split_at_mut(8);
        first.copy_from_slice(&deadline.to_ne_bytes());
        second.copy_from_slice(&u64::from(element.prefix_len()).to_ne_bytes());
        let value = if element.is_host() { &*first } else { &value };
        update(self.holder(element), Key::of(element).bytes(), value)
    }

    fn write_error(&self, element: Element, error: io::Error) -> BackendError {
        let map = self.holder(element);
        if is_full(&error) {
            let set = map.name().display().to_string();
            return BackendError::Full {
                backend: BACKEND,
                set,
                max: map.max_entries(),
            };
        }
        kernel("adding", element.to_string(), error)
    }
}

/// Pins `map` at `path`.
pub(super) fn pin(map: &mut MapHandle, path: &Path) -> Result<(), BackendError> {
    map.pin(path)
        .map_err(|error| kernel("pinning the map", path.display().to_string(), io_error(error)))
}

/// A hash says `E2BIG`, a trie `ENOSPC`.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
}

fn deadline(now: u64, timeout: Timeout) -> u64 {
    now.saturating_add(u64::from(timeout.secs()).saturating_mul(1_000_000_000))
}

/// Key of an element as the program makes it.
struct Key {
    buffer: [u8; MAX_KEY_LEN],
    len: usize,
}

impl Key {
    fn of(element: Element) -> Self {
        let mut key = Self {
            buffer: [0; MAX_KEY_LEN],
            len: 0,
        };
        if !element.is_host() {
            key.append(&u32::from(element.prefix_len()).to_ne_bytes());
        }
        match element.address() {
            IpAddr::V4(address) => key.append(&address.octets()),
            IpAddr::V6(address) => key.append(&address.octets()),
        }
        key
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.buffer.iter_mut().skip(self.len);
        room.zip(bytes).for_each(|(to, from)| *to = *from);
        self.len += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

/// Element and deadline of a key and a value; `None` for lengths that no map of ours has.
fn decode(key: &[u8], value: &[u8]) -> Option<(Element, u64)> {
    let deadline = u64::from_ne_bytes(*value.first_chunk()?);
    let element = match *key {
        [a, b, c, d] => Element::host([a, b, c, d].into()),
        [p, q, r, s, a, b, c, d] => Element::network(
            [a, b, c, d].into(),
            u8::try_from(u32::from_ne_bytes([p, q, r, s])).ok()?,
        )?,
        _ if key.len() == 16 => Element::host((*key.first_chunk::<16>()?).into()),
        _ => {
            let (prefix_len, address) = key.split_first_chunk()?;
            let prefix_len = u8::try_from(u32::from_ne_bytes(*prefix_len)).ok()?;
            Element::network((*address.first_chunk::<16>()?).into(), prefix_len)?
        }
    };
    Some((element, deadline))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Now, on the clock of `bpf_ktime_get_ns`.
fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` has room for the answer; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn has_sizes(map: &MapHandle, key: &[u8], value_len: usize) -> io::Result<()> {
    if key.len() == map.key_size() as usize && value_len == map.value_size() as usize {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn update(map: &MapHandle, key: &[u8], value: &[u8]) -> io::Result<()> {
    has_sizes(map, key, value.len())?;
    let fd = map.as_fd().as_raw_fd();
    // SAFETY: key and value have the map's sizes and outlive the call.
    let ret = unsafe {
        sys::bpf_map_update_elem(
            fd,
            key.as_ptr().cast(),
            value.as_ptr().cast(),
            sys::BPF_ANY.into(),
        )
    };
    check(ret)
}

fn delete(map: &MapHandle, key: &[u8]) -> io::Result<()> {
    has_sizes(map, key, map.value_size() as usize)?;
    // SAFETY: the key has the map's size and outlives the call.
    let ret = unsafe { sys::bpf_map_delete_elem(map.as_fd().as_raw_fd(), key.as_ptr().cast()) };
    check(ret)
}

/// Keys and values of a map, one behind the other.
struct Read {
    keys: Vec<u8>,
    values: Vec<u8>,
    key_len: usize,
    value_len: usize,
}

impl Read {
    fn elements(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys
            .chunks_exact(self.key_len)
            .zip(self.values.chunks_exact(self.value_len))
    }
}

/// All elements. libbpf-rs's own iterator ends at an error as if it were the end, which would look like lost
/// bans; this one reports it. Minimum kernel: 5.6 for hashes, 5.8 for tries.
fn read_all(map: &MapHandle) -> io::Result<Read> {
    let (key_len, value_len) = (map.key_size() as usize, map.value_size() as usize);
    let opts = sys::bpf_map_batch_opts {
        sz: size_of::<sys::bpf_map_batch_opts>() as sys::size_t,
        ..Default::default()
    };
    let mut read = Read {
        keys: Vec::new(),
        values: Vec::new(),
        key_len,
        value_len,
    };
    let mut batch = READ_BATCH.min(map.max_entries());
    let (mut cursor, mut next) = ([0_u8; MAX_KEY_LEN], [0_u8; MAX_KEY_LEN]);
    let mut started = false;
    loop {
        let (keys_before, values_before) = (read.keys.len(), read.values.len());
        let room = batch as usize;
        read.keys.resize(keys_before + room * key_len, 0);
        read.values.resize(values_before + room * value_len, 0);
        let from = if started {
            cursor.as_mut_ptr()
        } else {
            std::ptr::null_mut()
        };
        let mut count = batch;
        // SAFETY: keys and values have room for `count` elements behind what was read, and a cursor is at most as
        // long as the longest key.
        let ret = unsafe {
            sys::bpf_map_lookup_batch(
                map.as_fd().as_raw_fd(),
                from.cast(),
                next.as_mut_ptr().cast(),
                read.keys.as_mut_ptr().add(keys_before).cast(),
                read.values.as_mut_ptr().add(values_before).cast(),
                &mut count,
                &opts,
            )
        };
        let (taken, end) = match -ret {
            0 => (count, false),
            libc::ENOENT => (count, true),
            libc::EINTR => (0, false),
            // One bucket of the hash holds more than fits.
            libc::ENOSPC if batch < map.max_entries() => {
                batch = batch.saturating_mul(4).min(map.max_entries());
                (0, false)
            }
            errno => return Err(io::Error::from_raw_os_error(errno)),
        };
        let taken = taken as usize;
        read.keys.truncate(keys_before + taken * key_len);
        read.values.truncate(values_before + taken * value_len);
        if end {
            return Ok(read);
        }
        if taken > 0 {
            cursor = next;
            started = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(text: &str) -> Element {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_in_network_order_and_read_back() {
        for (text, key) in [
            ("1.2.3.4", vec![1, 2, 3, 4]),
            (
                "10.1.0.0/16",
                [&16_u32.to_ne_bytes()[..], &[10, 1, 0, 0]].concat(),
            ),
            ("0.0.0.0/0", vec![0; 8]),
            (
                "2001:db8::1",
                vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            ),
            (
                "2001:db8::/32",
                [&32_u32.to_ne_bytes()[..], &[0x20, 1, 0x0d, 0xb8], &[0; 12]].concat(),
            ),
        ] {
            let element = element(text);
            assert_eq!(Key::of(element).bytes(), key, "{text}");
            assert_eq!(decode(&key, &7_u64.to_ne_bytes()), Some((element, 7)), "{text}");
        }
    }

    #[test]
    fn what_is_no_element_is_not_decoded() {
        let long = 200_u32.to_ne_bytes();
        for key in [&[][..], &[1, 2, 3], &[0; 17], &[long, [1, 2, 3, 4]].concat()] {
            assert_eq!(decode(key, &[0; 8]), None, "{key:?}");
        }
        assert_eq!(decode(&[1, 2, 3, 4], &[0; 7]), None);
    }

    #[test]
    fn the_longest_timeout_is_a_deadline_ahead() {
        let longest = Timeout::from_duration(Duration::MAX);
        assert!(deadline(monotonic_nanos(), longest) > monotonic_nanos());
    }
}
