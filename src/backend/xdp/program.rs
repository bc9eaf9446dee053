//! Loading the program into the kernel.
//!
//! The object is built from `contrib/xdp/btblocker_xdp.c`, committed and embedded, so neither clang nor a file
//! is needed at run time. Loading attaches nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, Object, ObjectBuilder};

use super::interface::Framing;
use super::maps::{Maps, SHAPES};
use super::pins::Pins;
use super::{io_error, kernel};
use crate::backend::Options;
use crate::ban::BackendError;

/// Aligned as ELF wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../contrib/xdp/btblocker_xdp.o"));

/// What the object is called in errors.
const NAME: &str = "embedded object";

/// Names of the program's two shapes, for Ethernet and for raw IP.
pub(super) const NAMES: [&str; 2] = ["bt_ethernet", "bt_raw_ip"];

/// A loaded program in its two shapes.
#[derive(Debug)]
pub(super) struct Program {
    ethernet: OwnedFd,
    raw_ip: OwnedFd,
}

impl Program {
    /// The shape for an interface.
    pub(super) fn for_framing(&self, framing: Framing) -> BorrowedFd<'_> {
        match framing {
            Framing::Ethernet => self.ethernet.as_fd(),
            Framing::RawIp => self.raw_ip.as_fd(),
        }
    }
}

/// Loads the program with maps of the configured size, or with the pinned maps where there are some.
pub(super) fn load(options: &Options, pins: Option<&Pins>) -> Result<(Program, Maps), BackendError> {
    let failed = |action: &'static str| move |error| kernel(action, NAME.to_owned(), io_error(error));
    let mut object = ObjectBuilder::default()
        .open_memory(&OBJECT.0)
        .map_err(failed("reading the XDP program"))?;

    for mut map in object.maps_mut() {
        let Some(shape) = SHAPES.iter().find(|shape| map.name() == shape.name) else {
            continue;
        };
        if let Some(pins) = pins.filter(|pins| pins.map(shape.name).exists()) {
            map.reuse_fd(shape.open_pinned(pins)?.as_fd())
                .map_err(failed("taking over the pinned maps"))?;
        } else if shape.holds_bans() {
            map.set_max_entries(options.max_elements.get())
                .map_err(failed("sizing the maps"))?;
        }
    }
    let object = object.load().map_err(failed(
        "loading the XDP program (CAP_BPF is needed, too; level debug logs the verifier)",
    ))?;

    let [ethernet, raw_ip] = NAMES;
    let program = Program {
        ethernet: descriptor(&object, ethernet)?,
        raw_ip: descriptor(&object, raw_ip)?,
    };
    let maps = Maps::open(|shape| {
        let map = object
            .maps()
            .find(|map| map.name() == shape.name)
            .ok_or_else(|| lacks(shape.name))?;
        libbpf_rs::MapHandle::try_from(&map).map_err(failed("opening the maps"))
    })?;
    Ok((program, maps))
}

fn descriptor(object: &Object, name: &str) -> Result<OwnedFd, BackendError> {
    let program = object
        .progs()
        .find(|candidate| candidate.name() == name)
        .ok_or_else(|| lacks(name))?;
    program
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| kernel("opening the XDP program", NAME.to_owned(), error))
}

fn lacks(part: &str) -> BackendError {
    BackendError::Missing {
        backend: super::BACKEND,
        object: format!("{part} in the {NAME}"),
    }
}
