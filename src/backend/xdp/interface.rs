//! What the XDP backend must know of an interface: its number, where its packets start, who is attached.
//!
//! Asks the calling thread's network namespace by socket; `/sys/class/net` may show another one.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_rs::ProgramHandle;
use libbpf_rs::libbpf_sys as sys;

use super::link::check;

/// What stands first in a packet that the program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    RawIp,
}

impl Framing {
    /// By hardware type (`linux/if_arp.h`); `None` where XDP sees neither, or it is not known what it sees.
    /// Tunnels of kind GRE are left out on purpose: there the program sees the outer header.
    fn of_hardware_type(hardware_type: u16) -> Option<Self> {
        match hardware_type {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(Self::Ethernet),
            // tun and WireGuard; ppp; raw IP of modems (519, ARPHRD_RAWIP).
            libc::ARPHRD_NONE | libc::ARPHRD_PPP | 519 => Some(Self::RawIp),
            _ => None,
        }
    }
}

/// A program at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// Number of the program.
    pub(super) program_id: u32,
    /// Whether the driver runs it.
    pub(super) native: bool,
}

/// An interface that exists.
#[derive(Debug)]
pub(super) struct Interface<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its number, new whenever it is made again.
    pub(super) index: u32,
    /// Where its packets start; `None`: not to be handled by XDP.
    pub(super) framing: Option<Framing>,
}

impl<'a> Interface<'a> {
    /// Looks the interface up.
    ///
    /// # Errors
    /// `ENODEV` when there is none of that name.
    pub(super) fn find(name: &'a str) -> io::Result<Self> {
        let no_such = || io::Error::from_raw_os_error(libc::ENODEV);
        let c_name = CString::new(name).map_err(|_| no_such())?;
        // SAFETY: `c_name` is a terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let framing = Framing::of_hardware_type(hardware_type(&c_name)?);
        Ok(Self { name, index, framing })
    }

    /// The program that is attached, by whomever.
    pub(super) fn attached(&self) -> io::Result<Option<Attached>> {
        let ifindex = i32::try_from(self.index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut opts = sys::bpf_xdp_query_opts {
            sz: size_of::<sys::bpf_xdp_query_opts>() as sys::size_t,
            ..Default::default()
        };
        // SAFETY: `opts` is initialised, says its size, and outlives the call.
        let ret = unsafe { sys::bpf_xdp_query(ifindex, 0, &mut opts) };
        check(ret)?;
        let ids = [opts.drv_prog_id, opts.skb_prog_id, opts.hw_prog_id, opts.prog_id];
        Ok(ids.into_iter().find(|id| *id != 0).map(|program_id| Attached {
            program_id,
            native: u32::from(opts.attach_mode) == sys::XDP_ATTACHED_DRV,
        }))
    }

    /// Number and name of the attached program in words, and the name alone where it can be read.
    pub(super) fn holder(&self) -> (String, Option<String>) {
        let Ok(Some(Attached { program_id: id, .. })) = self.attached() else {
            return ("another XDP program".to_owned(), None);
        };
        match ProgramHandle::from_prog_id(id) {
            Ok(program) => {
                let name = program.name().to_string_lossy().into_owned();
                (format!("another XDP program (number {id}, {name})"), Some(name))
            }
            Err(_) => (format!("another XDP program (number {id})"), None),
        }
    }
}

/// `ARPHRD_*` of the interface (`netdevice(7)`, `SIOCGIFHWADDR`).
fn hardware_type(name: &CString) -> io::Result<u16> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `socket` returned a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `ifreq` is made of numbers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes_with_nul()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: the request is an `ifreq` with a terminated name and outlives the call.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &mut request) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled `ifru_hwaddr`, and every bit pattern is a valid number.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_follows_the_hardware_type() {
        for (hardware_type, framing) in [
            (1, Some(Framing::Ethernet)),
            (772, Some(Framing::Ethernet)),
            (65534, Some(Framing::RawIp)),
            (512, Some(Framing::RawIp)),
            (519, Some(Framing::RawIp)),
            (778, None),
            (32, None),
        ] {
            assert_eq!(
                Framing::of_hardware_type(hardware_type),
                framing,
                "{hardware_type}"
            );
        }
    }

    #[test]
    fn loopback_is_found_and_nonsense_is_not() {
        assert_eq!(Interface::find("lo").unwrap().framing, Some(Framing::Ethernet));
        for name in ["no-such-if", "", "a\0b", "a-name-that-is-far-too-long"] {
            let error = Interface::find(name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
