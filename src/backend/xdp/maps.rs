//! The maps that program and process share: their shapes, one encoding, changing, listing and sweeping.
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
use std::path::Path;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use rustix::time::{ClockId, clock_gettime};

use super::pins::Pins;
use super::table::{Read, Table, Unwritten};
use super::{BACKEND, io_error, kernel};
use crate::ban::{BackendError, Change, Element, Held, PacketCounters, Timeout};

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

/// Open maps.
#[derive(Debug)]
pub(super) struct Maps {
    /// In the order of [`SHAPES`].
    tables: [Table; 4],
    counters: MapHandle,
}

impl Maps {
    /// From five maps in the order of [`SHAPES`], by whatever way they are opened.
    pub(super) fn open(
        mut map: impl FnMut(&'static Shape) -> Result<MapHandle, BackendError>,
    ) -> Result<Self, BackendError> {
        let [hosts4, hosts6, networks4, networks6, counters] = const { &SHAPES };
        let mut table = |shape| map(shape).map(Table::new);
        Ok(Self {
            tables: [
                table(hosts4)?,
                table(hosts6)?,
                table(networks4)?,
                table(networks6)?,
            ],
            counters: map(counters)?,
        })
    }

    /// The maps in the order of [`SHAPES`], each with its shape.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (&'static Shape, &mut MapHandle)> {
        let tables = self.tables.iter_mut().map(Table::handle);
        SHAPES.iter().zip(tables.chain([&mut self.counters]))
    }

    /// Applies changes, those of one element in their order. A full map is swept once before it counts as full.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), BackendError> {
        let now = monotonic_nanos();
        for (index, table) in self.tables.iter().enumerate() {
            let of_table: Vec<_> = changes
                .iter()
                .filter(|change| table_index(change.element()) == index)
                .collect();
            for run in of_table.chunk_by(|a, b| matches!(a, Change::Ban(..)) == matches!(b, Change::Ban(..)))
            {
                self.apply_run(table, run, now)?;
            }
        }
        Ok(())
    }

    /// Applies changes of one table that are all bans, or all unbans.
    fn apply_run(&self, table: &Table, run: &[&Change], now: u64) -> Result<(), BackendError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for change in run {
            match **change {
                Change::Ban(element, timeout) => {
                    append_key(&mut keys, element);
                    append_value(&mut values, element, deadline(now, timeout));
                }
                Change::Unban(element) => {
                    let mut key = Vec::new();
                    append_key(&mut key, element);
                    table
                        .remove(&key)
                        .map_err(|error| kernel("removing", element.to_string(), error))?;
                }
            }
        }
        let mut written = table.write(&keys, &values);
        if let Err(Unwritten { rest, error }) = &written
            && is_full(error)
        {
            self.sweep()?;
            let done = run.len().saturating_sub(*rest);
            keys.drain(..done * table.key_len());
            values.drain(..done * table.value_len());
            written = table.write(&keys, &values);
        }
        written.map_err(|Unwritten { error, .. }| {
            if is_full(&error) {
                return BackendError::Full {
                    backend: BACKEND,
                    set: table.name(),
                    max: table.capacity(),
                };
            }
            kernel("adding", table.name(), error)
        })
    }

    /// What is banned now.
    pub(super) fn list(&self) -> Result<Vec<Held>, BackendError> {
        let now = monotonic_nanos();
        let mut held = Vec::new();
        for table in &self.tables {
            for (key, value) in read(table)?.elements() {
                if let Some((element, deadline)) = decode(key, value)
                    && deadline > now
                {
                    let remaining = Some(Duration::from_nanos(deadline - now));
                    held.push(Held { element, remaining });
                }
            }
        }
        Ok(held)
    }

    /// Those of the elements that are not banned now. A trie answers with the longest network that holds what is asked
    /// for, which need not be that network itself.
    pub(super) fn missing(&self, elements: &[Element]) -> Result<Vec<Element>, BackendError> {
        let now = monotonic_nanos();
        let (mut key, mut value, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for element in elements {
            let Some(table) = self.tables.get(table_index(*element)) else {
                continue;
            };
            key.clear();
            append_key(&mut key, *element);
            value.resize(table.value_len(), 0);
            let found = table.look_up(&key, &mut value);
            let found = found.map_err(|error| kernel("looking up", element.to_string(), error))?;
            let prefix_len = value.get(8..).map_or(0, number);
            let is_itself = element.is_host() || prefix_len == u64::from(element.prefix_len());
            if !(found && is_itself && number(&value) > now) {
                missing.push(*element);
            }
        }
        Ok(missing)
    }

    /// Removes what has expired; the number of elements.
    pub(super) fn sweep(&self) -> Result<usize, BackendError> {
        let now = monotonic_nanos();
        let mut swept = 0;
        for table in &self.tables {
            for (key, value) in read(table)?.elements() {
                if decode(key, value).is_some_and(|(_, deadline)| deadline <= now) {
                    let removed = table.remove(key);
                    removed.map_err(|error| kernel("sweeping", table.name(), error))?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    /// Sums of all CPUs.
    pub(super) fn counters(&self) -> Result<PacketCounters, BackendError> {
        let per_cpu = self
            .counters
            .lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| kernel("reading", "bt_counters".to_owned(), io_error(error)))?;
        let (mut packets, mut sum) = (0_u64, PacketCounters::default());
        for cpu in per_cpu.unwrap_or_default() {
            let mut numbers = cpu.chunks_exact(8).map(number);
            let mut add = |counter: &mut u64| *counter = counter.wrapping_add(numbers.next().unwrap_or(0));
            add(&mut packets);
            add(&mut sum.dropped_v4);
            add(&mut sum.dropped_v6);
            add(&mut sum.dropped_bytes);
        }
        // Other CPUs go on counting while they are read.
        sum.passed = packets.saturating_sub(sum.dropped_v4 + sum.dropped_v6);
        Ok(sum)
    }
}

fn read(table: &Table) -> Result<Read, BackendError> {
    table
        .read()
        .map_err(|error| kernel("reading", table.name(), error))
}

/// The table that holds an element, as its place in [`SHAPES`].
fn table_index(element: Element) -> usize {
    match (element.is_host(), element.address()) {
        (true, IpAddr::V4(_)) => 0,
        (true, IpAddr::V6(_)) => 1,
        (false, IpAddr::V4(_)) => 2,
        (false, IpAddr::V6(_)) => 3,
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

/// Appends the key of an element as the program makes it.
fn append_key(keys: &mut Vec<u8>, element: Element) {
    if !element.is_host() {
        keys.extend_from_slice(&u32::from(element.prefix_len()).to_ne_bytes());
    }
    match element.address() {
        IpAddr::V4(address) => keys.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => keys.extend_from_slice(&address.octets()),
    }
}

/// Appends the value of an element as the program reads it.
fn append_value(values: &mut Vec<u8>, element: Element, deadline: u64) {
    values.extend_from_slice(&deadline.to_ne_bytes());
    if !element.is_host() {
        values.extend_from_slice(&u64::from(element.prefix_len()).to_ne_bytes());
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
    let time = clock_gettime(ClockId::Monotonic);
    let [secs, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
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
            let mut made = Vec::new();
            append_key(&mut made, element);
            assert_eq!(made, key, "{text}");
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
