//! Whether a network interface exists and is up, asked by name in the calling thread's network namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// libpcap's name for all interfaces at once.
const ANY: &str = "any";

/// An interface that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Number; another one after the interface was deleted and made again. 0 for [`ANY`].
    pub(super) index: u32,
    /// IFF_UP of `netdevice(7)`.
    pub(super) up: bool,
}

/// The interface of that name.
pub(super) fn find(name: &str) -> Option<Interface> {
    if name == ANY {
        return Some(Interface { index: 0, up: true });
    }
    let c_name = CString::new(name).ok()?;
    // SAFETY: the pointer is that of a live C string.
    let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
    (index != 0).then(|| Interface {
        index,
        up: is_up(&c_name).unwrap_or(false),
    })
}

fn is_up(name: &CStr) -> io::Result<bool> {
    let socket = socket(libc::SOCK_DGRAM, 0)?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is live and of the type that SIOCGIFFLAGS reads and writes.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFFLAGS has written this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_UP != 0)
}

/// Whether this process may capture (CAP_NET_RAW of `capabilities(7)`).
///
/// Asked with a raw socket, which needs the same as a packet socket: to close one of those takes the kernel 10 ms.
pub(super) fn may_capture() -> bool {
    socket(libc::SOCK_RAW, libc::IPPROTO_RAW).is_ok()
}

/// A socket of IPv4.
fn socket(kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointer. What is sent only, as IPPROTO_RAW is, receives nothing.
    let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Names of the interfaces that exist in the calling thread's network namespace, in the kernel's order.
pub fn interface_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: if_nameindex takes no argument.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    loop {
        // SAFETY: `entry` is inside the array, whose last element has a null name.
        let libc::if_nameindex { if_name, .. } = unsafe { entry.read() };
        if if_name.is_null() {
            break;
        }
        // SAFETY: a name that is not null is a C string that lives as long as the array.
        names.push(unsafe { CStr::from_ptr(if_name) }.to_string_lossy().into_owned());
        // SAFETY: this was not the last element.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: the array came from if_nameindex and is not used behind this.
    unsafe { libc::if_freenameindex(list) };
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_loopback_and_no_invention() {
        assert!(interface_names().iter().any(|name| name == "lo"));
        assert_eq!(find("lo").map(|lo| lo.index), Some(1));
        for name in [
            "",
            "nosuchif0",
            "name-that-is-far-too-long-for-the-kernel",
            "nul\0in",
        ] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
