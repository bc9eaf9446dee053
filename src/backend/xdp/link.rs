//! One attachment of a program to an interface: a `bpf_link`.
//!
//! Promise: the kernel detaches the program when the last descriptor and pin of the link are gone, so a killed
//! process leaves nothing behind unless it pinned. Every call is one system call. Minimum kernel: 5.9.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_rs::libbpf_sys as sys;

/// An open link.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What a link holds on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Number of the interface; 0 after the interface is gone.
    pub(super) ifindex: u32,
    /// Number of the program.
    pub(super) program_id: u32,
}

impl Link {
    /// Attaches `program` to an interface. `flags` is one of `XDP_FLAGS_*_MODE` (`linux/if_link.h`).
    pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<Self> {
        let ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
        let opts = sys::bpf_link_create_opts {
            sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
            flags,
            ..Default::default()
        };
        // SAFETY: `program` is open and `opts` is initialised and outlives the call.
        let fd = unsafe { sys::bpf_link_create(program.as_raw_fd(), ifindex, sys::BPF_XDP, &opts) };
        owned(fd).map(Self)
    }

    /// Opens a pinned link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = c_path(path)?;
        // SAFETY: `path` is a terminated string that outlives the call.
        let fd = unsafe { sys::bpf_obj_get(path.as_ptr()) };
        owned(fd).map(Self)
    }

    /// Keeps the link beyond this process at `path` in a bpf filesystem.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        // SAFETY: the descriptor is open and `path` is a terminated string that outlives the call.
        let ret = unsafe { sys::bpf_obj_pin(self.0.as_raw_fd(), path.as_ptr()) };
        check(ret)
    }

    /// Replaces the program without a moment in which none is attached.
    pub(super) fn replace_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are open; a null pointer stands for no options.
        let ret = unsafe { sys::bpf_link_update(self.0.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) };
        check(ret)
    }

    /// Detaches the program now, whoever else holds the link.
    pub(super) fn detach(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        let ret = unsafe { sys::bpf_link_detach(self.0.as_raw_fd()) };
        check(ret)
    }

    /// What the link holds on to.
    pub(super) fn target(&self) -> io::Result<Target> {
        let mut info = sys::bpf_link_info::default();
        let mut len = size_of::<sys::bpf_link_info>() as u32;
        // SAFETY: the descriptor is open, and `info` has `len` bytes of room.
        let ret = unsafe {
            sys::bpf_obj_get_info_by_fd(self.0.as_raw_fd(), std::ptr::from_mut(&mut info).cast(), &mut len)
        };
        check(ret)?;
        if info.type_ != sys::BPF_LINK_TYPE_XDP {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the kernel fills `xdp` for links of this type, and every bit pattern is a valid number.
        let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
        Ok(Target {
            ifindex,
            program_id: info.prog_id,
        })
    }
}

/// The descriptor that libbpf returned, or its error.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: libbpf returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// libbpf 1.x returns the negated error number.
pub(super) fn check(ret: i32) -> io::Result<()> {
    if ret < 0 {
        Err(io::Error::from_raw_os_error(-ret))
    } else {
        Ok(())
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
