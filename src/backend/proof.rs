//! Proof that a ban drops packets here: in a network namespace of its own, with a kernel set of its own, one
//! datagram before, during and after a ban. The machine's network is not touched.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{BackendKind, Options, open};
use crate::ban::{BackendError, Change, Element, Timeout};

/// How long a datagram that must come may take; within one machine it takes microseconds.
const PATIENTLY: Duration = Duration::from_secs(2);
/// How long a datagram that must not come is waited for.
const BRIEFLY: Duration = Duration::from_millis(250);

/// Why it is not proven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// No scratch namespace can be made.
    #[error("no network namespace can be made (CAP_SYS_ADMIN is needed)")]
    Namespace(#[source] io::Error),
    /// The scratch namespace cannot be used.
    #[error("the scratch network namespace does not work")]
    Network(#[source] io::Error),
    /// The kernel set cannot be made or changed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Packets went other ways than they should.
    #[error("{0}")]
    Packets(String),
}

/// Bans, and looks whether packets stop. Returns the addresses it was tried with.
///
/// # Errors
/// [`ProofError`]: it cannot be tried, or a ban does not drop.
pub fn prove(kind: BackendKind, options: &Options) -> Result<Vec<IpAddr>, ProofError> {
    let options = options.clone();
    let thread = std::thread::Builder::new()
        .name("proof".to_owned())
        .spawn(move || {
            enter_scratch()?;
            prove_here(kind, &options)
        })
        .map_err(ProofError::Network)?;
    thread.join().unwrap_or_else(|_| {
        Err(ProofError::Packets(
            "the proof ended by a fault of its own".to_owned(),
        ))
    })
}

fn prove_here(kind: BackendKind, options: &Options) -> Result<Vec<IpAddr>, ProofError> {
    let mut backend = open(kind, options)?;
    backend.ensure()?;
    backend.verify()?;
    let mut tried = Vec::new();
    let ways = [
        (
            IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)),
            IpAddr::from(Ipv4Addr::LOCALHOST),
        ),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
    ];
    for (banned, other) in ways {
        // A kernel without IPv6 has nothing to ban there.
        if banned.is_ipv6() && UdpSocket::bind((banned, 0)).is_err() {
            continue;
        }
        let element = Element::host(banned);
        let steps = [
            (None, true, "before the ban"),
            (
                Some(Change::Ban(
                    element,
                    Timeout::from_duration(Duration::from_secs(60)),
                )),
                false,
                "during the ban",
            ),
            (Some(Change::Unban(element)), true, "after the ban"),
        ];
        for (change, wanted, when) in steps {
            backend.apply(change.as_slice())?;
            let wait = if wanted { PATIENTLY } else { BRIEFLY };
            let passes = passes(banned, other, wait).map_err(ProofError::Network)?;
            if passes != wanted {
                let did = if passes { "passed" } else { "was lost" };
                return Err(ProofError::Packets(format!(
                    "{when} of {banned} its packet {did}"
                )));
            }
        }
        tried.push(banned);
    }
    Ok(tried)
}

/// Whether a datagram arrives. One that the kernel refuses to send does not.
fn passes(from: IpAddr, to: IpAddr, wait: Duration) -> io::Result<bool> {
    let (sender, receiver) = (UdpSocket::bind((from, 0))?, UdpSocket::bind((to, 0))?);
    receiver.set_read_timeout(Some(wait))?;
    let sent = sender.send_to(b"btblocker", receiver.local_addr()?);
    Ok(sent.is_ok() && receiver.recv(&mut [0; 16]).is_ok())
}

/// Moves the calling thread into a new network namespace with loopback up.
fn enter_scratch() -> Result<(), ProofError> {
    // SAFETY: takes no pointer, and changes the calling thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(ProofError::Namespace(io::Error::last_os_error()));
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(ProofError::Network)?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
        },
    };
    // SAFETY: the descriptor is open, and the request is a live structure of the kind that this command reads.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if code == 0 {
        Ok(())
    } else {
        Err(ProofError::Network(io::Error::last_os_error()))
    }
}
