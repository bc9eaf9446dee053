//! The records of a capture file of the classic format (`pcap-savefile(5)`), read in large pieces straight into the
//! batch.
//!
//! libpcap reads 4 KiB at a time and copies each frame twice, which costs more than all that is done with a frame of a
//! settled flow. Only what libpcap reads in the same way is read here: version 2.4, as every program writes it today.
//! A test holds both to the same frames.

use super::{FrameBatch, LinkType};
use btblocker_detectors::Timestamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Longest frame that libpcap takes for possible, in bytes; its limit for link types that are read here.
const MAX_FRAME: u32 = 262_144;

/// The unread records of a file.
pub(super) struct Records {
    file: File,
    /// Where the next one begins.
    offset: u64,
    big_endian: bool,
    nanoseconds: bool,
    /// Bytes kept of a frame, as the file's header says.
    snaplen: u32,
    /// Bytes to read at once. Fewer than fit when small frames fill a batch before.
    room: usize,
}

/// What stands before a frame.
struct Record {
    at: Timestamp,
    /// Length in the file.
    len: u32,
    wire_len: u32,
}

impl Records {
    /// Of a regular file that libpcap takes for a capture with frames of `link`; `None` when that is not all that has to
    /// be known to read it.
    pub(super) fn new(file: File, link: LinkType) -> Option<Self> {
        let mut header = [0; FILE_HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let [m0, m1, m2, m3, version @ .., s0, s1, s2, s3, _, _, _, _] = header;
        let (big_endian, nanoseconds) = match [m0, m1, m2, m3] {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, false),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, false),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, true),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, true),
            _ => return None,
        };
        let is_current = version.starts_with(if big_endian { &[0, 2, 0, 4] } else { &[2, 0, 4, 0] });
        if !is_current || matches!(link, LinkType::Other(_)) || !file.metadata().ok()?.is_file() {
            return None;
        }
        let snaplen = word(big_endian, [s0, s1, s2, s3]);
        Some(Self {
            file,
            offset: FILE_HEADER as u64,
            big_endian,
            nanoseconds,
            // libpcap takes these for "not known".
            snaplen: if snaplen == 0 || snaplen > i32::MAX as u32 {
                MAX_FRAME
            } else {
                snaplen
            },
            room: FrameBatch::MAX_BYTES,
        })
    }

    /// Bytes of the file that were read so far.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Empties the batch and puts the next frames into it; none: the file has ended.
    ///
    /// # Errors
    /// When the file is damaged at this place or cannot be read; never behind a frame.
    pub(super) fn fill(&mut self, batch: &mut FrameBatch, link: LinkType, interface: u16) -> io::Result<()> {
        batch.load(self.room, |buffer| read(&self.file, buffer, self.offset))?;
        let mut place = 0;
        while let Some(header) = batch.loaded().get(place..).and_then(<[u8]>::first_chunk) {
            let record = self.record(header);
            let body = place + RECORD_HEADER;
            let (end, kept) = (body + record.len as usize, record.len.min(self.snaplen));
            let is_there = record.len <= MAX_FRAME && end <= batch.loaded().len();
            if !is_there || !batch.mark(record.at, link, interface, record.wire_len, [body, kept as usize]) {
                break;
            }
            place = end;
        }
        if batch.is_empty() && !batch.loaded().is_empty() {
            return self.lone(batch, link, interface);
        }
        self.room = if batch.len() == FrameBatch::MAX_FRAMES {
            place + place / 8
        } else {
            FrameBatch::MAX_BYTES
        };
        self.offset += place as u64;
        Ok(())
    }

    /// The next frame alone, which is damaged or did not fit into what was read at once.
    fn lone(&mut self, batch: &mut FrameBatch, link: LinkType, interface: u16) -> io::Result<()> {
        let mut header = [0; RECORD_HEADER];
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends inside a record");
        if read(&self.file, &mut header, self.offset)? < RECORD_HEADER {
            return Err(cut());
        }
        let record = self.record(&header);
        if record.len > MAX_FRAME {
            let text = format!(
                "a record says that its frame has {} bytes, more than {MAX_FRAME}",
                record.len
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let body = self.offset + RECORD_HEADER as u64;
        let end = body + u64::from(record.len);
        // Its last byte tells that all of it is there.
        if record.len > 0 && read(&self.file, &mut [0], end - 1)? == 0 {
            return Err(cut());
        }
        let kept = record.len.min(self.snaplen) as usize;
        batch.load(kept, |buffer| read(&self.file, buffer, body))?;
        // An empty batch takes every frame.
        let _ = batch.mark(
            record.at,
            link,
            interface,
            record.wire_len,
            [0, batch.loaded().len()],
        );
        (self.offset, self.room) = (end, FrameBatch::MAX_BYTES);
        Ok(())
    }

    fn record(&self, header: &[u8; RECORD_HEADER]) -> Record {
        let [s0, s1, s2, s3, f0, f1, f2, f3, l0, l1, l2, l3, w0, w1, w2, w3] = *header;
        let [secs, fraction, len, wire_len] = [
            [s0, s1, s2, s3],
            [f0, f1, f2, f3],
            [l0, l1, l2, l3],
            [w0, w1, w2, w3],
        ]
        .map(|bytes| word(self.big_endian, bytes));
        let micros = if self.nanoseconds {
            fraction / 1_000
        } else {
            fraction
        };
        Record {
            at: Timestamp(u64::from(secs) * 1_000_000 + u64::from(micros)),
            len,
            wire_len,
        }
    }
}

const fn word(big_endian: bool, bytes: [u8; 4]) -> u32 {
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

/// Fills the buffer from a place of the file on; fewer bytes mean that the file ends there.
fn read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Found again by the next call, behind the frames that come before it.
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
