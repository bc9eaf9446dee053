//! Bounded reassembly of IP fragments.
//!
//! Promise: all memory is taken at construction (about 650 KiB), nothing that arrives can make it grow. A
//! datagram that is not complete after 30 s of packet time is forgotten; when there is no room, the oldest one
//! is. Fragments that overlap make their whole datagram worthless (RFC 5722 section 3): an observer cannot
//! know which bytes the receiver keeps. Bytes that arrive a second time unchanged are ignored.
//!
//! Deliberately not done: IPv4 options and IPv6 extension headers of the first fragment are not kept, and no
//! fragment that the capture cut is used.

use super::Tunnel;
use super::ip::Piece;
use btblocker_detectors::Timestamp;

/// Datagrams in flight. Answers of a DHT node take two fragments, so this is more than a busy host has open;
/// each search is one pass over 64 small keys.
const DATAGRAMS: usize = 64;
/// Bytes of a page; most datagrams need two.
const PAGE: usize = 2048;
/// Pages shared by all datagrams: 512 KiB, eight datagrams of the greatest size.
const PAGES: usize = 256;
/// Pages of the longest datagram.
const PAGES_EACH: usize = MAX_PAYLOAD.div_ceil(PAGE);
/// Longest payload of a datagram (RFC 791: 16-bit offsets).
const MAX_PAYLOAD: usize = 65_535;
/// RFC 791 recommends 15 s, RFC 8200 section 4.5 fixes 60 s, Linux keeps 30 s.
const LIFETIME_MICROS: u64 = 30_000_000;
/// Bytes per unit of a fragment offset.
const UNIT: usize = 8;
/// 64-bit words of the map of units that arrived.
const MAP_WORDS: usize = (MAX_PAYLOAD + 1) / UNIT / 64;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// One fragment of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Source address, IPv4 mapped.
    pub source: u128,
    /// Destination address, IPv4 mapped.
    pub destination: u128,
    /// Ethernet source address where the link has one.
    pub source_mac: Option<[u8; 6]>,
    /// The outermost tunnel that the fragment was taken out of.
    pub tunnel: Option<Tunnel>,
    pub(super) piece: Piece,
    pub(super) payload: &'a [u8],
    /// Nothing of the payload was cut by the capture.
    pub(super) complete: bool,
}

/// What fragments of one datagram have in common (RFC 791: with the protocol; RFC 8200: without, where it
/// cannot differ).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: u128,
    destination: u128,
    id: u32,
    protocol: u8,
}

#[derive(Clone)]
struct Datagram {
    key: Key,
    started: Timestamp,
    state: State,
    /// Payload length, known when the last fragment has arrived.
    len: Option<usize>,
    /// Units that arrived.
    units: usize,
    map: [u64; MAP_WORDS],
    pages: [Option<u16>; PAGES_EACH],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Open,
    /// Fragments contradicted each other; kept so that its further fragments do not begin anew.
    Spoiled,
}

/// Puts fragments together, in one fixed amount of memory.
pub struct Reassembler {
    datagrams: Vec<Datagram>,
    pages: Vec<u8>,
    free: Vec<u16>,
    whole: Vec<u8>,
}

impl Reassembler {
    /// An empty one with all its memory.
    pub fn new() -> Self {
        let none = Datagram {
            key: Key {
                source: 0,
                destination: 0,
                id: 0,
                protocol: 0,
            },
            started: Timestamp(0),
            state: State::Free,
            len: None,
            units: 0,
            map: [0; MAP_WORDS],
            pages: [None; PAGES_EACH],
        };
        Self {
            datagrams: vec![none; DATAGRAMS],
            pages: vec![0; PAGE * PAGES],
            free: (0..PAGES as u16).collect(),
            whole: Vec::with_capacity(IPV6_HEADER + MAX_PAYLOAD),
        }
    }

    /// Takes one fragment. When it completes its datagram, the answer is the whole IP packet, to be read as
    /// [`super::LinkType::Raw`]; link-layer address and tunnel are those of the fragment.
    pub fn insert(&mut self, at: Timestamp, fragment: &Fragment<'_>) -> Option<&[u8]> {
        let Fragment { piece, payload, .. } = *fragment;
        let offset = usize::from(piece.offset);
        let end = offset + payload.len();
        let last = !piece.more;
        if payload.is_empty() || end > MAX_PAYLOAD || !(last || payload.len() % UNIT == 0) {
            return None;
        }
        let key = Key {
            source: fragment.source,
            destination: fragment.destination,
            id: piece.id,
            protocol: piece.protocol,
        };
        let index = self.find(at, key);
        if self.datagrams.get(index)?.state != State::Open {
            return None;
        }
        let fits = fragment.complete && self.agrees(index, end, last);
        let place = if fits {
            self.occupied(index, offset, payload)
        } else {
            Place::Contradicts
        };
        match place {
            Place::Known => return None,
            Place::Contradicts => {
                self.release(index, State::Spoiled);
                return None;
            }
            Place::Vacant => {}
        }
        self.store(index, offset, payload)?;
        let datagram = self.datagrams.get_mut(index)?;
        if last {
            datagram.len = Some(end);
        }
        let len = datagram.len?;
        if datagram.units < len.div_ceil(UNIT) {
            return None;
        }
        self.assemble(index, len);
        self.release(index, State::Free);
        Some(&self.whole)
    }

    /// The datagram of `key`; a new one in place of an expired or the oldest one when it is not known.
    fn find(&mut self, at: Timestamp, key: Key) -> usize {
        let mut victim = (0, u64::MAX, false);
        for (index, datagram) in self.datagrams.iter().enumerate() {
            let expired = at.since(datagram.started) > LIFETIME_MICROS;
            let vacant = datagram.state == State::Free || expired;
            if !vacant && datagram.key == key {
                return index;
            }
            let age = if vacant { 0 } else { datagram.started.0 };
            if age < victim.1 || (vacant && !victim.2) {
                victim = (index, age, vacant);
            }
        }
        self.open(victim.0, at, key);
        victim.0
    }

    fn open(&mut self, index: usize, at: Timestamp, key: Key) {
        self.release(index, State::Open);
        if let Some(datagram) = self.datagrams.get_mut(index) {
            (datagram.key, datagram.started) = (key, at);
        }
    }

    /// Whether an end at `end` is possible beside what is known of the datagram's length.
    fn agrees(&self, index: usize, end: usize, last: bool) -> bool {
        let Some(datagram) = self.datagrams.get(index) else {
            return false;
        };
        match datagram.len {
            Some(len) if last => end == len,
            Some(len) => end <= len,
            None if last => (end.div_ceil(UNIT)..MAP_WORDS * 64).all(|unit| !datagram.holds(unit)),
            None => true,
        }
    }

    fn occupied(&self, index: usize, offset: usize, payload: &[u8]) -> Place {
        let Some(datagram) = self.datagrams.get(index) else {
            return Place::Contradicts;
        };
        let units = offset / UNIT..(offset + payload.len()).div_ceil(UNIT);
        match units.clone().filter(|unit| datagram.holds(*unit)).count() {
            0 => Place::Vacant,
            held if held == units.len() && self.stored(datagram, offset, payload) => Place::Known,
            _ => Place::Contradicts,
        }
    }

    /// Whether exactly these bytes are stored at `offset`.
    fn stored(&self, datagram: &Datagram, offset: usize, payload: &[u8]) -> bool {
        pieces(offset, payload).all(|(page, within, bytes)| {
            let start = datagram.page(page).map(|page| page * PAGE + within);
            start.and_then(|start| self.pages.get(start..start + bytes.len())) == Some(bytes)
        })
    }

    /// Copies the payload into pages. `None`: not even giving up all other datagrams makes enough room.
    fn store(&mut self, index: usize, offset: usize, payload: &[u8]) -> Option<()> {
        for (page, within, bytes) in pieces(offset, payload) {
            let held = match self.datagrams.get(index)?.page(page) {
                Some(held) => held,
                None => {
                    let fresh = self.fresh_page(index)?;
                    *self.datagrams.get_mut(index)?.pages.get_mut(page)? = Some(fresh);
                    usize::from(fresh)
                }
            };
            let start = held * PAGE + within;
            self.pages
                .get_mut(start..start + bytes.len())?
                .copy_from_slice(bytes);
        }
        let datagram = self.datagrams.get_mut(index)?;
        for unit in offset / UNIT..(offset + payload.len()).div_ceil(UNIT) {
            *datagram.map.get_mut(unit / 64)? |= 1 << (unit % 64);
            datagram.units += 1;
        }
        Some(())
    }

    /// A page that is free, if need be because the oldest other datagram is given up.
    fn fresh_page(&mut self, keep: usize) -> Option<u16> {
        if self.free.is_empty() {
            let others = self.datagrams.iter().enumerate();
            let (oldest, _) = others
                .filter(|(index, other)| *index != keep && other.state == State::Open)
                .min_by_key(|(_, other)| other.started)?;
            self.release(oldest, State::Free);
        }
        self.free.pop()
    }

    /// Gives the pages back and leaves the datagram empty.
    fn release(&mut self, index: usize, state: State) {
        let Some(datagram) = self.datagrams.get_mut(index) else {
            return;
        };
        self.free
            .extend(datagram.pages.iter_mut().filter_map(Option::take));
        datagram.map = [0; MAP_WORDS];
        (datagram.state, datagram.len, datagram.units) = (state, None, 0);
    }

    /// Writes the whole packet behind a header without options.
    fn assemble(&mut self, index: usize, len: usize) {
        let Some(datagram) = self.datagrams.get(index) else {
            return;
        };
        self.whole.clear();
        header(&mut self.whole, &datagram.key, len);
        let mut left = len;
        for page in datagram.pages.iter().map_while(|page| *page) {
            let start = usize::from(page) * PAGE;
            let taken = left.min(PAGE);
            self.whole
                .extend_from_slice(self.pages.get(start..start + taken).unwrap_or(&[]));
            left -= taken;
        }
    }
}

impl Default for Reassembler {
    fn default() -> Self {
        Self::new()
    }
}

enum Place {
    Vacant,
    /// The same bytes are there.
    Known,
    Contradicts,
}

impl Datagram {
    fn holds(&self, unit: usize) -> bool {
        self.map
            .get(unit / 64)
            .is_some_and(|word| word & (1 << (unit % 64)) != 0)
    }
    fn page(&self, page: usize) -> Option<usize> {
        self.pages.get(page).copied().flatten().map(usize::from)
    }
}

/// The parts of a payload by page: number of the page, position in it, bytes.
fn pieces(offset: usize, payload: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let first = (PAGE - offset % PAGE).min(payload.len());
    let (head, tail) = payload.split_at(first);
    let next = offset / PAGE + 1;
    let rest = tail
        .chunks(PAGE)
        .zip(next..)
        .map(|(bytes, page)| (page, 0, bytes));
    std::iter::once((offset / PAGE, offset % PAGE, head)).chain(rest)
}

/// An IP header for a payload of `len` bytes. An IPv4 packet that would exceed its 16-bit length gets the
/// length 0, which [`super::parse`] takes for "until the end".
fn header(to: &mut Vec<u8>, key: &Key, len: usize) {
    let v6 = (key.source >> 32) != 0xffff;
    if v6 {
        to.extend_from_slice(&[0x60, 0, 0, 0]);
        to.extend_from_slice(&u16::try_from(len).unwrap_or(0).to_be_bytes());
        to.extend_from_slice(&[key.protocol, 64]);
        to.extend_from_slice(&key.source.to_be_bytes());
        to.extend_from_slice(&key.destination.to_be_bytes());
    } else {
        to.extend_from_slice(&[0x45, 0]);
        to.extend_from_slice(&u16::try_from(len + IPV4_HEADER).unwrap_or(0).to_be_bytes());
        to.extend_from_slice(&[0, 0, 0, 0, 64, key.protocol, 0, 0]);
        to.extend_from_slice(&(key.source as u32).to_be_bytes());
        to.extend_from_slice(&(key.destination as u32).to_be_bytes());
    }
}
