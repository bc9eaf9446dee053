//! Any bytes as a capture file: the frames and the end of it are those that libpcap alone finds.
#![no_main]

use std::path::Path;

use btblocker::capture::{FileSource, FrameBatch};
use btblocker_fuzz::file;
use libfuzzer_sys::fuzz_target;
use pcap::Capture;

/// Time in microseconds, length on the wire and bytes of each frame; whether the file ends without damage.
#[derive(Debug, Default, PartialEq)]
struct Read {
    frames: Vec<(u64, u32, Vec<u8>)>,
    whole: bool,
}

/// In place of a time whose part of a second libpcap takes for negative.
const UNKNOWN: u64 = u64::MAX;

fn by_btblocker(path: &Path) -> Option<Read> {
    let mut source = FileSource::open(path, 0).ok()?;
    let (mut batch, mut read) = (FrameBatch::new(), Read::default());
    loop {
        match source.fill(&mut batch) {
            Ok(true) => read.frames.extend(
                batch
                    .frames()
                    .map(|(meta, bytes)| (meta.at.0, meta.wire_len, bytes.to_vec())),
            ),
            end => {
                read.whole = end.is_ok();
                assert_eq!(source.frames(), read.frames.len() as u64);
                return Some(read);
            }
        }
    }
}

fn by_libpcap(path: &Path) -> Option<Read> {
    let mut capture = Capture::from_file(path).ok()?;
    let mut read = Read::default();
    loop {
        match capture.next_packet() {
            Ok(packet) => {
                // Seconds have no sign in a file of the classic format.
                let secs = packet.header.ts.tv_sec;
                let secs = u64::try_from(secs).unwrap_or(u64::from(secs as u32));
                let time = u64::try_from(packet.header.ts.tv_usec).map_or(UNKNOWN, |micros| {
                    secs.wrapping_mul(1_000_000).wrapping_add(micros)
                });
                // No frame is shorter on the wire than in the file.
                let wire_len = packet.header.len.max(packet.header.caplen);
                read.frames.push((time, wire_len, packet.data.to_vec()));
            }
            end => {
                read.whole = matches!(end, Err(pcap::Error::NoMorePackets));
                return Some(read);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let path = file(input);
    let (mut ours, theirs) = (by_btblocker(&path), by_libpcap(&path));
    for (frame, same) in ours
        .iter_mut()
        .flat_map(|read| &mut read.frames)
        .zip(theirs.iter().flat_map(|read| &read.frames))
    {
        if same.0 == UNKNOWN {
            frame.0 = UNKNOWN;
        }
    }
    assert_eq!(ours, theirs);
});
