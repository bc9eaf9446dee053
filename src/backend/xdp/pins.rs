//! The directory of a bpf filesystem in which maps and links outlive the process.
//!
//! Promise: only files of our names in one directory are made and removed; a lock on the directory keeps a second
//! process from attaching over the same state. Links bear the number of their interface, because bpffs takes
//! no name with a dot in it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{BACKEND, kernel};
use crate::backend::XdpPin;
use crate::ban::BackendError;

/// `BPF_FS_MAGIC` (`linux/magic.h`).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

const LINK_PREFIX: &str = "link_";

/// A directory for pins; it may not exist yet.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    dir: PathBuf,
}

/// Held as long as this process uses the directory for itself.
#[derive(Debug)]
pub(super) struct Lock {
    dir: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A program that another thread is about to start holds a copy of the descriptor for a moment, and by that the lock.
        let _ = self.dir.unlock();
    }
}

impl Pins {
    /// The directory that is meant; `None`: nothing is pinned.
    pub(super) fn choose(pin: &XdpPin) -> Result<Option<Self>, BackendError> {
        let (dir, needed) = match pin {
            XdpPin::Off => return Ok(None),
            XdpPin::Auto => (Path::new(XdpPin::DEFAULT_DIR), false),
            XdpPin::At(dir) => (dir.as_path(), true),
        };
        if on_bpf_filesystem(dir) {
            return Ok(Some(Self { dir: dir.to_owned() }));
        }
        if needed {
            return Err(BackendError::Unsupported {
                backend: BACKEND,
                facility: "bpf filesystem that this process may open at the pin directory",
                advice: "mount one (`mount -t bpf bpf /sys/fs/bpf`), or switch pinning off",
            });
        }
        log::warn!(
            "xdp: no bpf filesystem that may be opened at {}, so bans end with this process (`mount -t bpf bpf /sys/fs/bpf`)",
            dir.display()
        );
        Ok(None)
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory exists.
    pub(super) fn exist(&self) -> bool {
        self.dir.is_dir()
    }

    /// File of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// File of the link of an interface.
    pub(super) fn link(&self, ifindex: u32) -> PathBuf {
        self.dir.join(format!("{LINK_PREFIX}{ifindex}"))
    }

    /// Makes the directory where it is missing (mode 0700) and takes it for this process.
    pub(super) fn lock(&self) -> Result<Lock, BackendError> {
        let object = || self.dir.display().to_string();
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(kernel("making the pin directory", object(), error));
            }
            _ => {}
        }
        let dir =
            File::open(&self.dir).map_err(|error| kernel("opening the pin directory", object(), error))?;
        match dir.try_lock() {
            Ok(()) => return Ok(Lock { dir }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(kernel("locking the pin directory", object(), error));
            }
        }
        Err(BackendError::Busy {
            backend: BACKEND,
            object: format!("pin directory {}", object()),
            holder: "another btblocker".to_owned(),
            advice: "stop it, or name another pin directory and other interfaces",
        })
    }

    /// Files of pinned links.
    pub(super) fn links(&self) -> io::Result<Vec<PathBuf>> {
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(LINK_PREFIX.as_bytes())
            {
                links.push(entry.path());
            }
        }
        Ok(links)
    }

    /// Removes a file; one that is not there is fine.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the directory, which must be empty; one that is not there is fine.
    pub(super) fn remove_dir(&self) -> io::Result<()> {
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether `dir`, or the directory in which it would be made, lies on a bpf filesystem.
fn on_bpf_filesystem(dir: &Path) -> bool {
    let existing = if dir.exists() { Some(dir) } else { dir.parent() };
    existing.is_some_and(|dir| filesystem_magic(dir).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}

fn filesystem_magic(path: &Path) -> io::Result<u32> {
    let dir = File::open(path)?;
    // SAFETY: `statfs` is made of numbers, for which zero is valid.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `answer` has room for the answer.
    let ret = unsafe { libc::fstatfs(dir.as_raw_fd(), &mut answer) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // The type of the field differs between machines; the number has 32 bits on all.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only the low 32 bits are the magic"
    )]
    Ok(answer.f_type as u32)
}
