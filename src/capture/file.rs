//! Frames of a pcap or pcapng file, through libpcap.
//!
//! Promise: every frame before the first damage is delivered, then the damage is reported with its place.
//! Deliberately not done: compressed files, pcapng files whose interfaces have different link types (libpcap
//! refuses them), reordering by time.

use super::{FrameBatch, LinkType, timestamp};
use btblocker_detectors::Timestamp;
use pcap::{Capture, Offline};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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
    /// A pcapng file with several link types.
    #[error(
        "{} holds interfaces of different link types, which libpcap does not read; split it by interface \
         first ({frames} frames were read)",
        path.display()
    )]
    MixedLinkTypes {
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
        /// libpcap's reason.
        #[source]
        source: pcap::Error,
    },
}

/// An open capture file.
pub struct FileSource {
    capture: Capture<Offline>,
    path: PathBuf,
    link: LinkType,
    interface: u16,
    /// Frames given out.
    frames: u64,
    /// Shares its position with libpcap's descriptor. None for standard input.
    position: Option<File>,
    /// A frame that did not fit into the batch before.
    held: Option<(Timestamp, u32)>,
    held_bytes: Vec<u8>,
    end: Option<End>,
}

enum End {
    Regular,
    Error(FileError),
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
        let (capture, position) = if path == Path::new("-") {
            (Capture::from_file(path).map_err(not_capture)?, None)
        } else {
            let open = |source| FileError::Open {
                path: path.to_owned(),
                source,
            };
            let file = File::open(path).map_err(open)?;
            if file.metadata().map_err(open)?.is_dir() {
                return Err(open(io::ErrorKind::IsADirectory.into()));
            }
            recognise(&file, path)?;
            let position = file.try_clone().map_err(open)?;
            // SAFETY: the descriptor was given up by its owner and belongs to libpcap from here on.
            let capture = unsafe { Capture::from_raw_fd(file.into_raw_fd()) };
            (capture.map_err(not_capture)?, Some(position))
        };
        Ok(Self {
            link: LinkType::from_number(capture.get_datalink().0),
            capture,
            path: path.to_owned(),
            interface,
            frames: 0,
            position,
            held: None,
            held_bytes: Vec::new(),
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
        if let Some((at, wire_len)) = self.held.take() {
            let _ = batch.push(at, self.link, self.interface, wire_len, &self.held_bytes);
            self.frames += 1;
        }
        while self.end.is_none() {
            match self.capture.next_packet() {
                Ok(packet) => {
                    let (at, wire_len) = (timestamp(packet.header), packet.header.len);
                    if !batch.push(at, self.link, self.interface, wire_len, packet.data) {
                        self.held_bytes.clear();
                        self.held_bytes.extend_from_slice(packet.data);
                        self.held = Some((at, wire_len));
                        return Ok(true);
                    }
                    self.frames += 1;
                }
                Err(pcap::Error::NoMorePackets) => self.end = Some(End::Regular),
                Err(source) => self.end = Some(End::Error(self.damage(source))),
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

    fn damage(&self, source: pcap::Error) -> FileError {
        let (path, frames) = (self.path.clone(), self.frames);
        // libpcap has no code for it; its text is "an interface has a type %u different from the type of the
        // first interface".
        if source
            .to_string()
            .contains("different from the type of the first interface")
        {
            return FileError::MixedLinkTypes { path, frames };
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
    /// Bytes of the file that were read so far, in steps of libpcap's buffer. `None` where there is no position,
    /// as on a pipe.
    pub fn bytes_read(&mut self) -> Option<u64> {
        self.position.as_mut()?.stream_position().ok()
    }
    /// Size of the file in bytes; `None` on standard input and pipes.
    pub fn bytes_total(&self) -> Option<u64> {
        let metadata = self.position.as_ref()?.metadata().ok()?;
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
