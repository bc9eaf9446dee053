//! Capture files made byte by byte: formats, precisions, damage.

use super::timestamp;
use super::{FileError, FileSource, FrameBatch, LinkType};
use proptest::prelude::*;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use tempfile::NamedTempFile;

fn pcap(magic: u32, link: u32, frames: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    pcap_in(u32::to_le_bytes, [0x0004_0002, magic, 65535, link], frames)
}

/// In a byte order; version, magic number, snap length and link type.
fn pcap_in(
    order: fn(u32) -> [u8; 4],
    [version, magic, snaplen, link]: [u32; 4],
    frames: &[(u32, u32, &[u8], u32)],
) -> Vec<u8> {
    let mut file = [magic, version, 0, 0, snaplen, link].map(order).concat();
    for (secs, fraction, bytes, wire_len) in frames {
        file.extend(
            [*secs, *fraction, bytes.len() as u32, *wire_len]
                .map(order)
                .concat(),
        );
        file.extend(*bytes);
    }
    file
}

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = 12 + body.len() as u32;
    [
        &kind.to_le_bytes()[..],
        &len.to_le_bytes(),
        body,
        &len.to_le_bytes(),
    ]
    .concat()
}

/// A pcapng file with one interface per link type and one empty frame on each.
fn pcapng(links: &[u16]) -> Vec<u8> {
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut file = block(0x0a0d_0d0a, &section);
    for (number, link) in links.iter().enumerate() {
        let interface = [&link.to_le_bytes()[..], &[0, 0], &65535u32.to_le_bytes()].concat();
        file.extend(block(1, &interface));
        let packet: Vec<u8> = [number as u32, 0, 1_000_002, 4, 60]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        file.extend(block(6, &[&packet[..], b"abcd"].concat()));
    }
    file
}

fn stored(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

type Frame = (u64, LinkType, u16, u32, Vec<u8>);

/// Frames until the end or the first error.
fn read_all(bytes: &[u8]) -> (Vec<Frame>, Option<FileError>) {
    let file = stored(bytes);
    let mut source = match FileSource::open(file.path(), 7) {
        Ok(source) => source,
        Err(error) => return (vec![], Some(error)),
    };
    let (mut frames, mut batch) = (vec![], FrameBatch::new());
    let error = loop {
        match source.fill(&mut batch) {
            Ok(true) => frames.extend(batch.frames().map(|(meta, bytes)| {
                (
                    meta.at.0,
                    meta.link,
                    meta.interface,
                    meta.wire_len,
                    bytes.to_vec(),
                )
            })),
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(source.frames(), frames.len() as u64);
    assert!(
        !source.fill(&mut batch).unwrap() && batch.is_empty(),
        "an ended file stays ended"
    );
    if error.is_none() {
        assert_eq!(
            (source.bytes_read(), source.bytes_total()),
            (Some(bytes.len() as u64), Some(bytes.len() as u64))
        );
    }
    (frames, error)
}

#[test]
fn reads_both_formats_and_precisions() {
    let expected = vec![(1_000_002, LinkType::Ethernet, 7, 60, b"abcd".to_vec())];
    let frame = |fraction| (1, fraction, &b"abcd"[..], 60);
    for (name, bytes) in [
        ("pcap", pcap(MICROS, 1, &[frame(2)])),
        ("pcap in nanoseconds", pcap(NANOS, 1, &[frame(2999)])),
        ("pcapng", pcapng(&[1])),
    ] {
        let (frames, error) = read_all(&bytes);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(frames, expected, "{name}");
    }
    assert_eq!(read_all(&pcap(MICROS, 101, &[frame(2)])).0[0].1, LinkType::Raw);
    assert_eq!(read_all(&pcapng(&[1, 1])).0.len(), 2);
}

#[test]
fn reads_a_file_whose_name_is_not_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"\xff.pcap"));
    std::fs::write(&path, pcapng(&[1])).unwrap();
    let mut batch = FrameBatch::new();
    assert!(FileSource::open(&path, 7).unwrap().fill(&mut batch).unwrap());
    assert_eq!(batch.len(), 1);
}

/// Found by fuzzing: the two readers differed.
#[test]
fn times_after_2038_are_read_whoever_reads() {
    for link in [1, 195] {
        let (frames, error) = read_all(&pcap(MICROS, link, &[(u32::MAX, 2, b"abcd", 4)]));
        assert!(error.is_none());
        assert_eq!(
            frames[0].0,
            u64::from(u32::MAX) * 1_000_000 + 2,
            "link type {link}"
        );
    }
}

/// Found by fuzzing: no frame is shorter on the wire than in the file.
#[test]
fn a_length_on_the_wire_that_is_too_small_counts_as_the_length_in_the_file() {
    for link in [1, 195] {
        let (frames, _) = read_all(&pcap(MICROS, link, &[(1, 2, b"abcd", 0)]));
        assert_eq!(frames[0].3, 4, "link type {link}");
    }
}

#[test]
fn frames_keep_their_order_across_batches() {
    let bodies: Vec<Vec<u8>> = (0..1000u32).map(|at| vec![at as u8; 40 + at as usize]).collect();
    let frames: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(at, body)| (at as u32, 0, &body[..], body.len() as u32))
        .collect();
    let (read, error) = read_all(&pcap(MICROS, 1, &frames));
    assert!(error.is_none());
    assert_eq!(
        read.iter().map(|frame| &frame.4).collect::<Vec<_>>(),
        bodies.iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_cut_file_gives_every_frame_before_the_cut() {
    let bytes = pcap(
        MICROS,
        1,
        &[(1, 0, b"abcd", 4), (2, 0, b"efgh", 4), (3, 0, b"ijkl", 4)],
    );
    for cut in 24..bytes.len() {
        let whole = (cut - 24) / 20;
        let (frames, error) = read_all(&bytes[..cut]);
        assert_eq!(frames.len(), whole, "cut at {cut}");
        match error {
            None => assert_eq!((cut - 24) % 20, 0, "cut at {cut}"),
            Some(FileError::Damaged { frames, .. }) => assert_eq!(frames, whole as u64, "cut at {cut}"),
            Some(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn says_what_is_wrong() {
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 40]].concat();
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty", b"", "is empty"),
        (
            "text",
            b"This is a shopping list, and a long one.",
            "is not a pcap or pcapng file",
        ),
        ("short", b"\xd4\xc3", "is not a pcap or pcapng file"),
        ("gzip", &gzip, "is compressed with gzip"),
        ("mixed", &pcapng(&[1, 101]), "(1 frames were read)"),
    ];
    for (name, bytes, part) in cases {
        let (_, error) = read_all(bytes);
        let text = error.unwrap_or_else(|| panic!("{name}: no error")).to_string();
        assert!(text.contains(part), "{name}: {text}");
    }
    for path in ["/nonexistent/file.pcap", "/"] {
        let error = FileSource::open(path.as_ref(), 0).map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, FileError::Open { .. }) && error.to_string().contains(path),
            "{error}"
        );
    }
}

/// What libpcap itself reads, frames cut to the size of a batch; whether it came to a regular end.
fn by_libpcap(bytes: &[u8]) -> (Vec<Frame>, bool) {
    let file = stored(bytes);
    let mut capture = pcap::Capture::from_file(file.path()).unwrap();
    let link = LinkType::from_number(capture.get_datalink().0);
    let mut frames = vec![];
    loop {
        match capture.next_packet() {
            Ok(packet) => {
                let kept = &packet.data[..packet.data.len().min(FrameBatch::MAX_BYTES)];
                let wire_len = packet.header.len.max(kept.len() as u32);
                frames.push((timestamp(packet.header).0, link, 7, wire_len, kept.to_vec()));
            }
            Err(error) => return (frames, error == pcap::Error::NoMorePackets),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reads_what_libpcap_reads(
        lens in prop::collection::vec(prop_oneof![
            8 => 0_usize..100, 4 => 0_usize..3000, 1 => 60_000_usize..70_000, 1 => Just(262_144), 1 => 262_145_usize..262_200,
        ], 0..40),
        small in 0_usize..600, time: u32, fraction in 0_u32..0x7fff_0000, wire_len in 0_u32..70_000,
        big_endian: bool, nanos: bool, snaplen in prop_oneof![Just(0), Just(64), Just(65_535), Just(262_144), any::<u32>()],
        link in prop_oneof![Just(1), Just(101), Just(113), Just(195)], cut in 0_usize..40,
    ) {
        let filling: Vec<u8> = (0..300_000_u32).map(|at| (at / 7) as u8).collect();
        let frames: Vec<_> = lens.iter().copied().chain(std::iter::repeat_n(60, small)).zip(0_u32..)
            .map(|(len, number)| (time.wrapping_add(number), fraction, &filling[number as usize..][..len], wire_len))
            .collect();
        let order = if big_endian { u32::to_be_bytes } else { u32::to_le_bytes };
        let version = if big_endian { 0x0002_0004 } else { 0x0004_0002 };
        let magic = if nanos { NANOS } else { MICROS };
        let mut file = pcap_in(order, [version, magic, snaplen, link], &frames);
        file.truncate(file.len().saturating_sub(cut).max(24));
        let (frames, error) = read_all(&file);
        let (expected, regular) = by_libpcap(&file);
        prop_assert!(frames == expected, "{} frames, {} expected, {error:?}", frames.len(), expected.len());
        prop_assert_eq!(error.is_none(), regular);
    }
}
