//! Frames of a pcap or pcapng file. libpcap says what the file is and reads it, unless it is of the classic format,
//! which [`Records`] reads faster.
//!
//! Promise: every frame before the first damage is delivered, then the damage is reported with its place.
//! Deliberately not done: compressed files, pcapng files whose interfaces have different link types (libpcap
//! refuses them), reordering by time.

use super::records::Records;
use super::{FrameBatch, LinkType, timestamp};
use btblocker_detectors::Timestamp;
use pcap::{Capture, Offline};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A reason of libpcap or of the system.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Why a capture file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is compressed.
    #[error("{} is compressed with {format}; decompress it and read the result, or read it from standard input as -", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Name of the compressor.
        format: &'static str,
    },
    /// It begins like no capture file, or its header is damaged.
    #[error("{} is not a pcap or pcapng file", path.display())]
    NotCapture {
        /// The file.
        path: PathBuf,
        /// libpcap's reason.
        #[source]
        source: pcap::Error,
    },
    /// A pcapng file with interfaces of several link types or snapshot lengths.
    #[error(
        "{} holds interfaces that libpcap does not read together, as their link types or snapshot lengths differ; \
         split it by interface first ({frames} frames were read)",
        path.display()
    )]
    MixedInterfaces {
        /// The file.
        path: PathBuf,
        /// Frames before that place.
        frames: u64,
    },
    /// The file ends or is damaged inside a record.
    #[error("{} is damaged or cut behind frame {frames}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Frames before the damage; all of them have been delivered.
        frames: u64,
        /// What is wrong there.
        #[source]
        source: Trouble,
    },
}

/// An open capture file.
pub struct FileSource {
    reader: Reader,
    path: PathBuf,
    link: LinkType,
    interface: u16,
    /// Frames given out.
    frames: u64,
    /// The file itself. None for standard input.
    file: Option<File>,
    end: Option<End>,
}

enum Reader {
    Records(Records),
    Libpcap(Libpcap),
}

/// What libpcap reads.
struct Libpcap {
    capture: Capture<Offline>,
    /// A frame that did not fit into the batch before.
    held: Option<(Timestamp, u32)>,
    held_bytes: Vec<u8>,
}

enum End {
    Regular,
    Error(FileError),
}

impl Libpcap {
    /// Adds frames to an empty batch until it is full. `false`: the file has ended.
    fn fill(&mut self, batch: &mut FrameBatch, link: LinkType, interface: u16) -> Result<bool, pcap::Error> {
        if let Some((at, wire_len)) = self.held.take() {
            let _ = batch.push(at, link, interface, wire_len, &self.held_bytes);
        }
        loop {
            match self.capture.next_packet() {
                Ok(packet) => {
                    let (at, wire_len) = (timestamp(packet.header), packet.header.len);
                    if !batch.push(at, link, interface, wire_len, packet.data) {
                        self.held_bytes.clear();
                        self.held_bytes.extend_from_slice(packet.data);
                        self.held = Some((at, wire_len));
                        return Ok(true);
                    }
                }
                Err(pcap::Error::NoMorePackets) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl FileSource {
    /// Opens a file; the path `-` is standard input. `interface` is what [`super::FrameMeta::interface`] of its
    /// frames will say.
    ///
    /// # Errors
    /// When it cannot be opened or is no capture file.
    pub fn open(path: &Path, interface: u16) -> Result<Self, FileError> {
        let not_capture = |source| FileError::NotCapture {
            path: path.to_owned(),
            source,
        };
        let (capture, file) = if path == Path::new("-") {
            (Capture::from_file(path).map_err(not_capture)?, None)
        } else {
            let open = |source| FileError::Open {
                path: path.to_owned(),
                source,
            };
            let file = File::open(path).map_err(open)?;
            let kind = file.metadata().map_err(open)?.file_type();
            if kind.is_dir() {
                return Err(open(io::ErrorKind::IsADirectory.into()));
            }
            recognise(&file, path)?;
            if kind.is_file() && path.to_str().is_some() {
                // What libpcap refuses is closed by it only where it was opened by path; but only a descriptor shares
                // its position. What is no file can be opened only once, and a name in no UTF-8 not by path.
                Capture::from_file(path).map_err(not_capture)?;
            }
            let for_libpcap = file.try_clone().map_err(open)?;
            let descriptor = for_libpcap.into_raw_fd();
            // SAFETY: the descriptor was given up by its owner and belongs to libpcap from here on.
            let capture = unsafe { Capture::from_raw_fd(descriptor) }.inspect_err(|_| {
                // SAFETY: libpcap neither closes nor keeps what it cannot read.
                drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            });
            (capture.map_err(not_capture)?, Some(file))
        };
        let link = LinkType::from_number(capture.get_datalink().0);
        let records = file
            .as_ref()
            .and_then(|file| Records::new(file.try_clone().ok()?, link));
        let libpcap = |capture| Libpcap {
            capture,
            held: None,
            held_bytes: Vec::new(),
        };
        Ok(Self {
            link,
            reader: records.map_or_else(|| Reader::Libpcap(libpcap(capture)), Reader::Records),
            path: path.to_owned(),
            interface,
            frames: 0,
            file,
            end: None,
        })
    }

    /// Clears the batch and fills it with the next frames. `false`: the file has ended and the batch is empty.
    ///
    /// # Errors
    /// When the file is damaged at this place; frames before it were in the batches before. Behind an error the
    /// file has ended.
    pub fn fill(&mut self, batch: &mut FrameBatch) -> Result<bool, FileError> {
        batch.clear();
        if self.end.is_none() {
            let filled: Result<bool, Trouble> = match &mut self.reader {
                Reader::Records(records) => match records.fill(batch, self.link, self.interface) {
                    Ok(()) => Ok(!batch.is_empty()),
                    Err(error) => Err(error.into()),
                },
                Reader::Libpcap(libpcap) => {
                    libpcap.fill(batch, self.link, self.interface).map_err(Into::into)
                }
            };
            self.frames += batch.len() as u64;
            match filled {
                Ok(true) => {}
                Ok(false) => self.end = Some(End::Regular),
                Err(trouble) => self.end = Some(End::Error(self.damage(trouble))),
            }
        }
        if !batch.is_empty() {
            return Ok(true);
        }
        match self.end.replace(End::Regular) {
            Some(End::Error(error)) => Err(error),
            Some(End::Regular) | None => Ok(false),
        }
    }

    fn damage(&self, source: Trouble) -> FileError {
        let (path, frames) = (self.path.clone(), self.frames);
        // libpcap has no code for it; its texts are "an interface has a type %u different from the type of the
        // first interface" and the same of "a snapshot length". Two raw types of IP are different to it.
        let said = source.to_string();
        if said.contains("different from the ") && said.contains("of the first interface") {
            return FileError::MixedInterfaces { path, frames };
        }
        FileError::Damaged { path, frames, source }
    }

    /// Link type of all frames.
    pub fn link(&self) -> LinkType {
        self.link
    }
    /// Frames that were given out so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }
    /// Bytes of the file that were read so far, in steps of the reader's buffer. `None` where there is no position,
    /// as on a pipe.
    pub fn bytes_read(&mut self) -> Option<u64> {
        match &self.reader {
            Reader::Records(records) => Some(records.offset()),
            // It shares its position with libpcap's descriptor.
            Reader::Libpcap(_) => self.file.as_mut()?.stream_position().ok(),
        }
    }
    /// Size of the file in bytes; `None` on standard input and pipes.
    pub fn bytes_total(&self) -> Option<u64> {
        let metadata = self.file.as_ref()?.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }
}

/// Refuses what is known not to be a capture file, with the reason. Pipes have no position and are not looked at.
fn recognise(file: &File, path: &Path) -> Result<(), FileError> {
    let mut magic = [0; 4];
    let format = match file.read_at(&mut magic, 0) {
        Ok(0) => {
            return Err(FileError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(_) => match magic {
            [0x1f, 0x8b, ..] => "gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
            [0xfd, b'7', b'z', b'X'] => "xz",
            [b'B', b'Z', b'h', _] => "bzip2",
            _ => return Ok(()),
        },
        Err(_) => return Ok(()),
    };
    Err(FileError::Compressed {
        path: path.to_owned(),
        format,
    })
}
