//! Encrypted peer traffic, by sizes that a stream cipher keeps.      Spec: BEP 3 message sizes; RC4 adds none.
//!
//! | rule | what is counted in one direction | by chance |
//! |---|---|---|
//! | `rc4-requests` | of 20 segments of 17 to 1,199 bytes: half have a multiple of 17 bytes, the size of a request, or three quarters have one or more requests and at most two `have` messages of 9; in three different multiples, unless what comes back are conclusive blocks. Sizes of more than two requests and a `have` do not count again when they repeat the last one: the messages of other programs often have one size. For each of these segments at least 4,099 bytes come back, where the capture has them: keys in a terminal bring less | 3e-8 |
//! | `rc4-download` | the same with 20 segments of requests, or 30 with `have` messages among them; and for every 17 bytes the other end sends 16,397, give or take | 3e-15 |
//! | `rc4-upload` | the other end of that behind an exchange of keys: strong, as the asking end chose how much it sends | 3e-15 |
//! | `rc4-blocks` | distances between ends of short segments that are multiples of 16,397, the size of a piece message with a block of 16,384: at least 4, and one in 50 ends | 4e-6 |
//!
//! A sender that has nothing to add pushes a short segment (or uTP packet): its end is the end of a message.
//! Short is what is shorter than the longest, or than a size of at least 512 bytes that came twice in a row:
//! uTP tries sizes out, and goes back to the one that passed. Each end is
//! compared with the eight before it, so a random one fits with a probability of 8/16,397 (11 bits); blocks that
//! make up a third of the ends, six at least, are beyond 50 bits and conclusive. Three of four samples of the
//! content must look random, so that plaintext and structured streams are left to other rules.
//! Who asks for blocks answers for them, too: `rc4-blocks` is told of the end that sends them, and of the other one when it sends
//! requests, three at least.
//!
//! A receiver can choose the sender's sizes by its windows: segments that end where a window does are not counted, and where
//! windows end whole blocks behind a short segment half as often as blocks do, blocks are nothing. What came is what was
//! acknowledged, where that is seen.
//!
//! Look-alikes: SFTP without SSH that reads blocks of 16,384 bytes has the same header of 13; it is told by the beginning of its
//! flow, which is not random. TLS records add 22 to 29 bytes to 16,384, Shadowsocks and VMess 2 to 34, HTTP/2 9.
//! BitTorrent inside a length-preserving proxy is found, too. Cannot see: senders that coalesce everything.

use crate::randomness::{SAMPLE_BYTES, least_sample, looks_random};
use crate::windows;
use crate::{Confidence, Evidence, Options, Side, Technique};

/// Bytes of a request message.
const REQUEST_BYTES: u32 = 17;
/// Segments of requests alone, and with `have` messages, that no chance brings forth.
const SURE_REQUESTS: u16 = 20;
const SURE_WITH_HAVES: u16 = 30;
/// The least number of them that shows who wants blocks.
const LEAST_REQUESTS: u16 = 3;
/// Bytes of a `have` message: a downloader tells of a finished piece when it asks for the next.
const HAVE_BYTES: u32 = 9;
/// Bytes of a piece message with a whole block.
const PIECE_BYTES: u32 = 16_397;
/// Ends of short segments that a new one is compared with.
const ENDS: usize = 8;
/// Samples that are needed to call content random.
const LEAST_SAMPLES: u8 = 3;
/// Samples that are taken: later ones would not change the answer.
const MOST_SAMPLES: u8 = 32;
/// Least size that is taken for a full one when it comes twice in a row.
const FULL_BYTES: u16 = 512;

/// Sizes of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    ends: [u32; ENDS],
    /// Stream position behind the newest byte.
    position: u32,
    compared: u16,
    blocks: u16,
    small: u16,
    requests: u16,
    /// Segments of requests and at most two `have` messages, `requests` among them.
    with_haves: u16,
    /// One bit per number of requests, modulo 16.
    multiples: u16,
    /// Size of the last segment of requests, with `have` messages or without.
    asked: u16,
    samples: u8,
    random: u8,
    /// Size of a full segment.
    longest: u16,
    /// Size of the last segment.
    last: u16,
    /// Segments of requests of the same size as the one before.
    repeated: u16,
    /// Windows of the receiver that ended where a block would.
    granted: u16,
    /// Where the last of these ended.
    edge: u32,
    /// The offset up to which the receiver has said to have everything.
    acknowledged: u32,
}

impl Sizes {
    /// Nothing counted.
    pub(crate) const fn new() -> Self {
        Self {
            ends: [0; ENDS],
            position: 0,
            compared: 0,
            blocks: 0,
            small: 0,
            requests: 0,
            with_haves: 0,
            multiples: 0,
            asked: 0,
            samples: 0,
            random: 0,
            longest: 0,
            last: 0,
            repeated: 0,
            granted: 0,
            edge: 0,
            acknowledged: 0,
        }
    }

    /// Counts a segment with new bytes: `end` is the offset behind it in the direction's stream, `forced` says that a window of
    /// the receiver ended there.
    pub(crate) fn segment(
        &mut self,
        end: u32,
        payload: &[u8],
        wire_len: u32,
        forced: bool,
        options: &Options,
    ) {
        let gap = end.wrapping_sub(self.position) != wire_len;
        self.position = end;
        let len = u16::try_from(wire_len).unwrap_or(u16::MAX);
        let repeats = len == self.asked && wire_len > 2 * REQUEST_BYTES + HAVE_BYTES;
        self.repeated = self
            .repeated
            .saturating_add(u16::from(repeats && !gap && !forced));
        if wire_len > REQUEST_BYTES - 1 && wire_len < windows::SEGMENT_BYTES && !gap && !repeats && !forced {
            self.small = self.small.saturating_add(1);
            let haves = (0..=2).find(|haves| {
                let requests = wire_len.saturating_sub(HAVE_BYTES * haves);
                requests >= REQUEST_BYTES && requests.is_multiple_of(REQUEST_BYTES)
            });
            if let Some(haves) = haves {
                self.with_haves = self.with_haves.saturating_add(1);
                self.requests = self.requests.saturating_add(u16::from(haves == 0));
                self.multiples |= 1 << ((wire_len / REQUEST_BYTES) % 16);
                self.asked = len;
            }
        }
        if len == self.last && len >= FULL_BYTES {
            self.longest = len;
        }
        self.last = len;
        if len < self.longest && !forced {
            self.short_end(end);
        }
        self.longest = self.longest.max(len);
        let cut = payload.len() < usize::from(len);
        if self.samples < MOST_SAMPLES
            && len >= options.min_payload
            && payload.len() >= usize::from(least_sample(cut, options))
        {
            self.samples += 1;
            let sample = payload
                .get(payload.len().saturating_sub(SAMPLE_BYTES)..)
                .unwrap_or(payload);
            self.random += u8::from(looks_random(sample, cut, options));
        }
    }

    /// Counts the next bytes of a stream that comes in order, whose offsets are not known.
    pub(crate) fn follow(&mut self, payload: &[u8], wire_len: u32, options: &Options) {
        self.segment(
            self.position.wrapping_add(wire_len),
            payload,
            wire_len,
            false,
            options,
        );
    }

    /// So many packets are missing: most are full.
    pub(crate) fn skip(&mut self, packets: u16) {
        let bytes = u32::from(self.longest).wrapping_mul(u32::from(packets));
        self.position = self.position.wrapping_add(bytes);
    }

    /// Whether the windows of the receiver matter: it may be the one that chooses the sizes.
    pub(crate) const fn heeds_windows(&self) -> bool {
        self.blocks > 0 || self.small > 0
    }

    /// Takes in that the receiver has everything before the offset `acknowledged` and opens a window. Who lets one block come
    /// after the other gets them from any sender.
    pub(crate) fn grant(&mut self, acknowledged: u32, window: u16, scale: Option<u8>) {
        let behind = acknowledged.wrapping_sub(self.acknowledged);
        if behind < 1 << 31 {
            self.acknowledged = acknowledged;
        }
        let ends_block = |edge: &u32| {
            let ahead = |end: &u32| *end != 0 && edge.wrapping_sub(*end).is_multiple_of(PIECE_BYTES);
            self.ends.iter().any(ahead)
        };
        if self.blocks > 0
            && let Some(edge) = windows::edges(acknowledged, window, scale).find(ends_block)
            && edge != self.edge
        {
            (self.granted, self.edge) = (self.granted.saturating_add(1), edge);
        }
    }

    /// Bytes that have come: what was acknowledged, where acknowledgements are seen.
    fn came(&self) -> u64 {
        let acknowledged = self.acknowledged != 0 && self.acknowledged < self.position;
        u64::from(if acknowledged {
            self.acknowledged
        } else {
            self.position
        })
    }

    fn short_end(&mut self, end: u32) {
        let fits = self.ends.iter().any(|&earlier| {
            let distance = end.wrapping_sub(earlier);
            earlier != 0 && distance != 0 && distance.is_multiple_of(PIECE_BYTES)
        });
        self.blocks = self.blocks.saturating_add(u16::from(fits));
        self.compared = self.compared.saturating_add(1);
        self.ends.rotate_right(1);
        if let Some(newest) = self.ends.first_mut() {
            *newest = end;
        }
    }

    /// Whether the size of a segment counts for anything.
    pub(crate) fn counts(&self, wire_len: u32) -> bool {
        wire_len < windows::SEGMENT_BYTES || self.is_short(wire_len)
    }

    /// Whether a segment is shorter than a full one.
    pub(crate) fn is_short(&self, wire_len: u32) -> bool {
        wire_len < u32::from(self.longest.max(FULL_BYTES))
    }

    /// Whether most of the content looks random.
    pub(crate) fn is_opaque(&self) -> bool {
        self.samples > 0 && self.random * 4 >= self.samples * 3
    }

    /// Whether the requests of a download go this way.
    pub(crate) fn requests(&self) -> bool {
        self.asks() && self.multiples.count_ones() >= 3
    }

    /// Whether most segments have the size of one or more requests, and there are many.
    fn asks(&self) -> bool {
        self.small >= 20 && (self.is_pure() || self.is_mixed())
    }

    /// The same of any number and sizes: enough to say that this end wants the blocks that it gets.
    fn looks_like_asking(&self) -> bool {
        self.with_haves.saturating_add(self.repeated) >= LEAST_REQUESTS && (self.is_pure() || self.is_mixed())
    }

    /// Whether a quarter of the blocks that were asked for has come, as far as the capture has what comes.
    fn is_served(&self, answers: &Self) -> bool {
        let least = u64::from(self.with_haves) * u64::from(PIECE_BYTES / 4);
        answers.position == 0 || answers.came() >= least
    }

    fn is_pure(&self) -> bool {
        self.requests.saturating_mul(2) >= self.small
    }

    fn is_mixed(&self) -> bool {
        self.with_haves.saturating_mul(4) >= self.small.saturating_mul(3)
    }

    /// Whether so many of the segments are requests, and of the other direction's bytes so many came back, that it is a
    /// download: each request brings a block, but what was asked before the capture began and what is still to come.
    pub(crate) fn downloads(&self, answers: &Self) -> bool {
        let many = self.requests >= SURE_REQUESTS && self.is_pure()
            || self.with_haves >= SURE_WITH_HAVES && self.is_mixed();
        let asked = u64::from(self.position) * u64::from(PIECE_BYTES);
        let came = answers.came() * u64::from(REQUEST_BYTES);
        let fits = came * 2 >= asked && came * 3 <= asked * 4;
        many && fits && self.requests() && answers.is_opaque()
    }

    /// How sure it is that blocks go this way.
    pub(crate) fn blocks(&self) -> Option<Confidence> {
        let granted = self.granted.saturating_mul(2) >= self.blocks;
        if self.samples < LEAST_SAMPLES || !self.is_opaque() || self.blocks < 4 || granted {
            None
        } else if self.blocks >= 6 && self.blocks.saturating_mul(3) >= self.compared {
            Some(Confidence::Conclusive)
        } else if self.blocks.saturating_mul(50) >= self.compared {
            Some(Confidence::Strong)
        } else {
            None
        }
    }
}

/// What the sizes of both directions say, of which `side` has just added to its own. `answered` says that both ends spoke,
/// `exchanged` that the other end began as in an exchange of keys.
pub(crate) fn inspect(
    sizes: &[Sizes; 2],
    side: Side,
    answered: bool,
    exchanged: bool,
) -> [Option<Evidence>; 5] {
    let opaque = sizes.iter().any(Sizes::is_opaque);
    let [originator, responder] = sizes;
    let (own, other) = match side {
        Side::Originator => (originator, responder),
        Side::Responder => (responder, originator),
    };
    let tell = |rule, confidence, speaker| Evidence::new(Technique::Entropy, rule, confidence, speaker);
    // Who asks for one block after the other sends one size only: there the blocks say what it is.
    let asks = own.requests() || own.asks() && other.blocks() == Some(Confidence::Conclusive);
    let requests = asks && own.is_served(other) && opaque && answered;
    let blocks = own.blocks().map(|sure| {
        if answered {
            sure
        } else {
            sure.min(Confidence::Strong)
        }
    });
    let downloads = requests && own.downloads(other);
    [
        requests.then(|| tell("rc4-requests", Confidence::Strong, side)),
        downloads.then(|| tell("rc4-download", Confidence::Conclusive, side)),
        // How much it sends was chosen by the end that asks: what it began with was not.
        (downloads && exchanged).then(|| tell("rc4-upload", Confidence::Strong, side.other())),
        blocks.map(|sure| tell("rc4-blocks", sure, side)),
        // Who asks for them answers for them, too; who only gets them does not.
        blocks
            .filter(|_| other.looks_like_asking())
            .map(|sure| tell("rc4-blocks", sure, side.other())),
    ]
}

impl Default for Sizes {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..len)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
            })
            .collect()
    }

    /// Sizes after segments of these lengths with content by `content`.
    fn after(lengths: &[usize], content: fn(u64, usize) -> Vec<u8>) -> Sizes {
        let (mut sizes, mut end) = (Sizes::default(), 0);
        for (n, len) in lengths.iter().enumerate() {
            end += *len as u32;
            sizes.segment(
                end,
                &content(n as u64 + 1, *len),
                *len as u32,
                false,
                &Options::default(),
            );
        }
        sizes
    }

    /// `count` blocks with `extra` bytes of header each, in full segments and a rest.
    fn blocks(count: usize, message: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        for _ in 0..count {
            lengths.extend([1448; 11]);
            lengths.push(message - 11 * 1448);
        }
        lengths
    }

    #[test]
    fn pieces_are_counted_by_their_size_on_the_wire() {
        for (name, lengths, expected) in [
            ("eight blocks", blocks(8, 16_397), Some(Confidence::Conclusive)),
            ("five blocks", blocks(5, 16_397), Some(Confidence::Strong)),
            ("four blocks", blocks(4, 16_397), None),
            ("TLS 1.3 records", blocks(20, 16_406), None),
            ("TLS 1.2 records", blocks(20, 16_413), None),
            ("HTTP/2 frames", blocks(20, 16_393), None),
            ("Shadowsocks chunks", blocks(20, 16_417), None),
            ("bare blocks", blocks(20, 16_384), None),
        ] {
            assert_eq!(after(&lengths, noise).blocks(), expected, "{name}");
        }
        assert_eq!(
            after(&blocks(8, 16_397), |_, len| vec![b'a'; len]).blocks(),
            None,
            "text"
        );
    }

    #[test]
    fn requests_are_counted_by_multiples_of_17() {
        let mixed: Vec<usize> = (1..=20)
            .map(|n| if n % 2 == 0 { 17 * n } else { 17 * n + 5 })
            .collect();
        for (name, lengths, expected) in [
            ("requests", (1..=20).map(|n| 17 * n).collect(), true),
            ("half of them", mixed, true),
            (
                "requests and haves",
                [43, 69, 60, 17, 26, 86, 43, 69, 43, 43].repeat(2),
                true,
            ),
            ("haves alone", vec![18; 40], false),
            ("blocks of a cipher", (2..60).map(|n| 16 * n).collect(), false),
            ("too few", (1..=19).map(|n| 17 * n).collect(), false),
            ("one size only", vec![34; 40], false),
            (
                "one size and others",
                (0..90)
                    .map(|n| if n % 3 < 2 { 136 } else { 100 + n * 7 })
                    .collect(),
                false,
            ),
            ("other sizes", (20..60).map(|n| 18 * n).collect(), false),
        ] {
            assert_eq!(after(&lengths, noise).requests(), expected, "{name}");
        }
    }

    #[test]
    fn requests_bring_blocks_where_they_are_seen() {
        let own = after(&[17, 34, 136].repeat(8), noise);
        for (came, expected) in [(0, true), (1, false), (67, false), (68, true)] {
            let told = inspect(
                &[own, after(&vec![1448; came], noise)],
                Side::Originator,
                true,
                true,
            );
            let told = told[0].is_some_and(|evidence| evidence.rule == "rc4-requests");
            assert_eq!(told, expected, "{came}");
        }
    }

    #[test]
    fn requests_of_one_size_count_where_blocks_come_back() {
        let own = after(&[17; 40], noise);
        for (name, came, expected) in [
            ("blocks", blocks(40, 16_397), true),
            ("no ends of blocks", vec![1448; 500], false),
            ("TLS records", blocks(40, 16_406), false),
        ] {
            let told = inspect(&[own, after(&came, noise)], Side::Originator, true, true)[0];
            assert_eq!(told.is_some(), expected, "{name}");
        }
    }

    #[test]
    fn a_download_is_sure_by_what_its_requests_bring() {
        let requests: Vec<usize> = (0..40).map(|n| 17 * (1 + n % 3)).collect();
        let mut other_sizes = requests.clone();
        other_sizes.extend([50; 50]);
        let with_haves: Vec<usize> = (0..40).map(|n| 26 * (1 + n % 2) + 17 * (n % 3)).collect();
        for (name, sent, came, content, expected) in [
            (
                "a block for each request",
                &requests,
                880,
                noise as fn(u64, usize) -> Vec<u8>,
                true,
            ),
            ("of which a third is to come", &requests, 600, noise, true),
            ("with haves", &with_haves, 1000, noise, true),
            ("most segments are others", &other_sizes, 2000, noise, false),
            ("twenty requests", &requests[..20].to_vec(), 440, noise, true),
            ("nineteen", &requests[..19].to_vec(), 430, noise, false),
            ("too little comes", &requests, 400, noise, false),
            ("too much comes", &requests, 1300, noise, false),
            ("text comes", &requests, 880, |_, len| vec![b'a'; len], false),
        ] {
            let (own, other) = (after(sent, noise), after(&vec![1448; came], content));
            assert_eq!(own.downloads(&other), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_sizes_prove_nothing(lengths in prop::collection::vec(1usize..1449, 0..120)) {
            let sizes = after(&lengths, noise);
            prop_assert!(sizes.blocks() != Some(Confidence::Conclusive));
            prop_assert!(!sizes.requests());
        }
    }
}
