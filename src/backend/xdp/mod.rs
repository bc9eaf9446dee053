//! Bans in XDP: a program on each interface drops packets before the network stack sees them.
//!
//! | what                     | where                                                                        |
//! |--------------------------|------------------------------------------------------------------------------|
//! | program                  | `contrib/xdp/btblocker_xdp.c`, embedded; one per kind of interface             |
//! | attachment               | a `bpf_link` per interface, native or generic                                  |
//! | hosts, networks          | hash and LPM maps with a deadline that the program compares                    |
//! | state beyond the process | pins in a bpf filesystem ([`XdpPin`](crate::backend::XdpPin))                   |
//!
//! Promise: packets from and to banned addresses that *come in* on a named interface are dropped until the
//! deadline, without any work of this process. A program of somebody else is never replaced.
//!
//! With pins, bans outlive the process however it ends and run out in the kernel; the next process takes maps and
//! attachments over without a gap. Without a bpf filesystem the kernel detaches the program when the process
//! ends, and all bans with it.
//!
//! Deliberately not here: what this machine itself sends to a banned host leaves (XDP has no egress; the answer is
//! dropped), and what XDP drops no capture sees, so traffic cannot renew a ban while it lasts.
//!
//! Minimum kernel: 5.9. Loading needs `CAP_BPF` and `CAP_NET_ADMIN` (before 5.11 `CAP_SYS_RESOURCE`, too), pinning a
//! bpf filesystem that the process may write to; systemd mounts it for root alone.

mod driver;
mod examine;
mod interface;
mod link;
mod maps;
mod pins;
mod program;
mod table;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use libbpf_rs::libbpf_sys as sys;

pub use self::examine::XdpSupport;
pub(super) use self::examine::load;
use self::interface::{Attached, Interface};
use self::link::Link;
use self::maps::Maps;
use self::pins::{Lock, Pins};
use self::program::Program;
use super::{Options, XdpMode};
use crate::ban::{BackendError, Change, Element, Held, PacketCounters, SetBackend};

/// Elements that are looked up at once: the judge waits so long for their answers.
const COMPARED_AT_ONCE: usize = 4_096;
/// Name in reports.
const BACKEND: &str = "xdp";

/// Holds bans in maps of an XDP program.
#[derive(Debug)]
pub struct Xdp {
    options: Options,
    pins: Option<Pins>,
    /// Held with pins from `ensure` on.
    lock: Option<Lock>,
    loaded: Option<Loaded>,
}

/// What `ensure` made or took over.
#[derive(Debug)]
struct Loaded {
    program: Program,
    maps: Maps,
    links: Vec<Link>,
}

impl Xdp {
    /// Changes nothing yet.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] for mode `offload`, or when pins are asked for where no bpf filesystem is.
    pub fn open(options: &Options) -> Result<Self, BackendError> {
        if options.xdp_mode == XdpMode::Offload {
            return Err(BackendError::Unsupported {
                backend: BACKEND,
                facility: "offload of a program that reads the clock, as ban deadlines need",
                advice: "choose the mode native or auto",
            });
        }
        let pins = Pins::choose(&options.xdp_pin)?;
        Ok(Self {
            options: options.clone(),
            pins,
            lock: None,
            loaded: None,
        })
    }

    /// Works on the maps of this process or, before `ensure`, on those that another process pinned.
    fn with_maps<T>(&self, work: impl FnOnce(&Maps) -> Result<T, BackendError>) -> Result<T, BackendError> {
        if let Some(loaded) = &self.loaded {
            return work(&loaded.maps);
        }
        let Some(pins) = &self.pins else {
            return Err(BackendError::Missing {
                backend: BACKEND,
                object: "the loaded XDP program".to_owned(),
            });
        };
        work(&Maps::open(|shape| shape.open_pinned(pins))?)
    }

    /// Loads the program unless it is, and pins the maps where their pins are missing.
    fn load(&mut self) -> Result<&mut Loaded, BackendError> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => {
                let (program, maps) = program::load(&self.options, self.pins.as_ref())?;
                Loaded {
                    program,
                    maps,
                    links: Vec::new(),
                }
            }
        };
        let loaded = self.loaded.insert(loaded);
        if let Some(pins) = &self.pins {
            for (shape, map) in loaded.maps.all() {
                let path = pins.map(shape.name);
                if !path.exists() {
                    maps::pin(map, &path)?;
                }
            }
        }
        Ok(loaded)
    }
}

impl Loaded {
    /// Attaches to the interface unless it is done.
    fn cover(
        &mut self,
        interface: &Interface<'_>,
        mode: XdpMode,
        pins: Option<&Pins>,
    ) -> Result<(), BackendError> {
        let Some(framing) = interface.framing else {
            return Err(BackendError::Attach {
                backend: BACKEND,
                interface: interface.name.to_owned(),
                mode: mode.name(),
                advice: "choose the backend nftables or ipset for it",
                source: io::Error::new(io::ErrorKind::Unsupported, "neither Ethernet nor raw IP"),
            });
        };
        let program = self.program.for_framing(framing);
        let path = pins.map(|pins| pins.link(interface.index));

        let own = self.links.iter().position(|link| holds(link, interface));
        let link = match (own, &path) {
            (Some(index), _) => self.links.swap_remove(index),
            (None, Some(path)) => match take_over(path, interface, program, mode)? {
                Some(link) => link,
                None => attach(interface, program, mode)?,
            },
            (None, None) => attach(interface, program, mode)?,
        };
        if let Some(path) = path.filter(|path| !path.exists()) {
            link.pin(&path)
                .map_err(|error| kernel("pinning the link", path.display().to_string(), error))?;
        }
        self.links.push(link);
        Ok(())
    }

    /// Lets go of interfaces that are gone or no longer named.
    fn release_others(&mut self, wanted: &[Interface<'_>], pins: Option<&Pins>) -> Result<(), BackendError> {
        self.links
            .retain(|link| wanted.iter().any(|interface| holds(link, interface)));
        let Some(pins) = pins else {
            return Ok(());
        };
        let failed = |error| {
            kernel(
                "reading the pin directory",
                pins.dir().display().to_string(),
                error,
            )
        };
        for path in pins.links().map_err(failed)? {
            if !wanted.iter().any(|interface| pins.link(interface.index) == path) {
                discard(&path)?;
            }
        }
        Ok(())
    }
}

impl SetBackend for Xdp {
    fn name(&self) -> &'static str {
        BACKEND
    }

    /// Loads and attaches; an interface that was made again is attached to again. Interfaces that fail do not keep
    /// the others from being covered; the first failure is reported.
    fn ensure(&mut self) -> Result<(), BackendError> {
        let names = self.options.interfaces.clone();
        let interfaces = existing(&names)?;
        if let Some(pins) = &self.pins
            && (self.lock.is_none() || !pins.exist())
        {
            self.lock = Some(pins.lock()?);
        }
        let (mode, pins) = (self.options.xdp_mode, self.pins.clone());
        let loaded = self.load()?;
        loaded.release_others(&interfaces, pins.as_ref())?;
        let mut outcome = Ok(());
        for interface in &interfaces {
            outcome = outcome.and(loaded.cover(interface, mode, pins.as_ref()));
        }
        outcome
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        let interfaces = existing(&self.options.interfaces)?;
        self.with_maps(|_| Ok(()))?;
        if let Some(pins) = &self.pins {
            Maps::open(|shape| shape.open_pinned(pins))?;
        }
        for interface in &interfaces {
            let covered = match (&self.loaded, &self.pins) {
                (Some(loaded), pins) => {
                    loaded.links.iter().any(|link| holds(link, interface))
                        && pins
                            .as_ref()
                            .is_none_or(|pins| pins.link(interface.index).exists())
                }
                (None, Some(pins)) => {
                    Link::open(&pins.link(interface.index)).is_ok_and(|link| holds(&link, interface))
                }
                (None, None) => false,
            };
            if !covered {
                return Err(BackendError::Missing {
                    backend: BACKEND,
                    object: format!("the XDP program on interface {}", interface.name),
                });
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        self.with_maps(|maps| maps.apply(changes))
    }

    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        self.with_maps(Maps::list)
    }

    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let some = expected.split_off(expected.len().saturating_sub(COMPARED_AT_ONCE));
        self.with_maps(|maps| maps.missing(&some))
    }

    fn sweep(&mut self) -> Result<usize, BackendError> {
        self.with_maps(Maps::sweep)
    }

    fn packets(&mut self) -> Result<Option<PacketCounters>, BackendError> {
        self.with_maps(Maps::counters).map(Some)
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        if let Some(pins) = self.pins.as_ref().filter(|pins| pins.exist()) {
            let lock = match self.lock.take() {
                Some(lock) => lock,
                None => pins.lock()?,
            };
            let failed = |error| kernel("removing the pins", pins.dir().display().to_string(), error);
            for path in pins.links().map_err(failed)? {
                discard(&path)?;
            }
            for shape in &maps::SHAPES {
                Pins::remove(&pins.map(shape.name)).map_err(failed)?;
            }
            pins.remove_dir().map_err(failed)?;
            drop(lock);
        }
        // Links without pins detach when their descriptors close.
        self.loaded = None;
        self.lock = None;
        Ok(())
    }
}

/// Whether there is a place for pins.
pub(super) fn outlives_process(options: &Options) -> Result<bool, BackendError> {
    Ok(Pins::choose(&options.xdp_pin)?.is_some())
}

/// Whether the link is what is attached to the interface.
fn holds(link: &Link, interface: &Interface<'_>) -> bool {
    held_by(link, interface).is_some()
}

/// What is attached to the interface, when the link holds it.
fn held_by(link: &Link, interface: &Interface<'_>) -> Option<Attached> {
    let target = link.target().ok()?;
    let attached = interface.attached().ok()??;
    (target.ifindex == interface.index && target.program_id == attached.program_id).then_some(attached)
}

/// The pinned link of the interface, with `program` in place of the one that an earlier process loaded. `None`, and
/// no pin is left, when there is none, it belongs to another interface, or its mode is not the wanted one.
fn take_over(
    path: &Path,
    interface: &Interface<'_>,
    program: BorrowedFd<'_>,
    mode: XdpMode,
) -> Result<Option<Link>, BackendError> {
    let failed = |action| move |error| kernel(action, path.display().to_string(), error);
    let link = match Link::open(path) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening the pinned link")(error)),
    };
    let Some(attached) = held_by(&link, interface) else {
        Pins::remove(path).map_err(failed("removing the pinned link"))?;
        return Ok(None);
    };
    let fits = match mode {
        XdpMode::Native => attached.native,
        XdpMode::Generic => !attached.native,
        XdpMode::Auto | XdpMode::Offload => true,
    };
    if !fits {
        discard(path)?;
        return Ok(None);
    }
    link.replace_program(program)
        .map_err(failed("replacing the program of the pinned link"))?;
    Ok(Some(link))
}

/// Detaches a pinned link and removes the pin.
fn discard(path: &Path) -> Result<(), BackendError> {
    let failed = |action| move |error| kernel(action, path.display().to_string(), error);
    // A link whose interface is gone is detached already; the pin goes in any case.
    if let Ok(link) = Link::open(path)
        && let Err(error) = link.detach()
    {
        log::debug!("xdp: detaching {}: {error}", path.display());
    }
    Pins::remove(path).map_err(failed("removing the pinned link"))
}

fn attach(interface: &Interface<'_>, program: BorrowedFd<'_>, mode: XdpMode) -> Result<Link, BackendError> {
    let try_mode = |flags| Link::attach(program, interface.index, flags);
    let (tried, result) = match mode {
        XdpMode::Generic => (XdpMode::Generic, try_mode(sys::XDP_FLAGS_SKB_MODE)),
        XdpMode::Native => (XdpMode::Native, try_mode(sys::XDP_FLAGS_DRV_MODE)),
        XdpMode::Offload => (XdpMode::Offload, Err(io::ErrorKind::Unsupported.into())),
        XdpMode::Auto => match try_mode(sys::XDP_FLAGS_DRV_MODE) {
            Err(error) if !is_taken(&error) => {
                let generic = try_mode(sys::XDP_FLAGS_SKB_MODE);
                if generic.is_ok() {
                    log::warn!(
                        "xdp: the driver of {} does not take the program ({error}); it is attached in generic mode, \
                         which costs more for each packet",
                        interface.name
                    );
                }
                (XdpMode::Generic, generic)
            }
            result => (XdpMode::Native, result),
        },
    };
    result.map_err(|error| attach_error(interface, tried, error))
}

/// `EBUSY`: a link or another program is attached; `EEXIST`: in the other mode.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn attach_error(interface: &Interface<'_>, mode: XdpMode, error: io::Error) -> BackendError {
    if is_taken(&error) {
        return BackendError::Busy {
            backend: BACKEND,
            object: format!("interface {}", interface.name),
            holder: interface.holder().0,
            advice: "an interface takes one: stop its owner (`ip link show`), or choose the backend nftables or ipset",
        };
    }
    let advice = match (error.raw_os_error(), mode) {
        (Some(libc::EPERM | libc::EACCES), _) => "CAP_BPF and CAP_NET_ADMIN are needed",
        (Some(libc::ENODEV), _) => "the interface went away",
        (Some(libc::EOPNOTSUPP), XdpMode::Native) => {
            "its driver has no native XDP: choose the mode generic or auto"
        }
        (_, XdpMode::Native) => {
            "its driver refused (MTU, queues and receive offloads are usual reasons, the kernel log names them): \
             choose the mode generic or auto"
        }
        _ => "the kernel log may say why; the backends nftables and ipset need no XDP",
    };
    BackendError::Attach {
        backend: BACKEND,
        interface: interface.name.to_owned(),
        mode: mode.name(),
        advice,
        source: error,
    }
}

/// The interfaces of these names. One that does not exist is awaited while there are others: when it comes, `verify`
/// misses the program on it.
fn existing(names: &[String]) -> Result<Vec<Interface<'_>>, BackendError> {
    let mut found = Vec::new();
    let mut none = kernel(
        "choosing interfaces",
        "an empty list".to_owned(),
        io::ErrorKind::InvalidInput.into(),
    );
    for name in names {
        match Interface::find(name) {
            Ok(interface) => found.push(interface),
            Err(source) if source.raw_os_error() == Some(libc::ENODEV) => {
                none = BackendError::Attach {
                    backend: BACKEND,
                    interface: name.to_owned(),
                    mode: "any",
                    advice: "create the interface first (`ip link show` lists what is there)",
                    source,
                };
            }
            Err(error) => return Err(kernel("looking up", format!("interface {name}"), error)),
        }
    }
    if found.is_empty() { Err(none) } else { Ok(found) }
}

/// The error for an answer of the kernel about `object`, told apart where the contract does.
fn kernel(action: &'static str, object: String, source: io::Error) -> BackendError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => BackendError::Permission {
            backend: BACKEND,
            action,
        },
        io::ErrorKind::NotFound => BackendError::Missing {
            backend: BACKEND,
            object,
        },
        _ => BackendError::Kernel {
            backend: BACKEND,
            action,
            object,
            source,
        },
    }
}

/// libbpf-rs's error with what of its kind matters to [`kernel`].
fn io_error(error: libbpf_rs::Error) -> io::Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::NotFound => io::ErrorKind::NotFound,
        libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
