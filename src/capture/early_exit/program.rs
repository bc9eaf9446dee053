//! Loading the filter into the kernel.
//!
//! The object is built from `contrib/early-exit/btblocker_early_exit.c`, committed and embedded.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{MapCore, Object, ObjectBuilder, num_possible_cpus};

use super::memory::{Shared, Value};
use super::{EarlyExitError, Kernel};

/// Aligned as ELF wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(
    "../../../contrib/early-exit/btblocker_early_exit.o"
));

const SETTINGS: &str = ".rodata.settings";
const FLOWS: &str = "bt_flows";
const LEFT_OUT: &str = "bt_left_out";

/// Loads the filter with a table of its own; it leaves `snaplen` bytes of what passes.
pub(super) fn load(snaplen: u32) -> Result<Kernel, EarlyExitError> {
    let mut object = ObjectBuilder::default()
        .open_memory(&OBJECT.0)
        .map_err(failed("reading the program"))?;
    let processors = num_possible_cpus().map_err(failed("counting processors"))?;
    let seed = RandomState::new().hash_one(0_u8);
    for mut map in object.maps_mut() {
        if map.name() == SETTINGS {
            let settings = [seed.to_ne_bytes(), u64::from(snaplen).to_ne_bytes()].concat();
            map.set_initial_value(&settings)
                .map_err(failed("setting the program up"))?;
        } else if map.name() == LEFT_OUT {
            map.set_max_entries(u32::try_from(processors).unwrap_or(u32::MAX))
                .map_err(failed("sizing the counters"))?;
        }
    }
    let object = object
        .load()
        .map_err(failed("loading the program (CAP_BPF and Linux 5.11 are needed)"))?;
    Ok(Kernel {
        ethernet: descriptor(&object, "bt_exit_ethernet")?,
        raw_ip: descriptor(&object, "bt_exit_raw_ip")?,
        flows: shared(&object, FLOWS)?,
        left_out: shared(&object, LEFT_OUT)?,
        seed,
    })
}

fn descriptor(object: &Object, name: &'static str) -> Result<OwnedFd, EarlyExitError> {
    let program = object.progs().find(|program| program.name() == name);
    let program = program.ok_or(EarlyExitError::Lacks(name))?;
    let descriptor = program.as_fd().try_clone_to_owned();
    descriptor.map_err(|source| EarlyExitError::Kernel {
        action: "opening the program",
        source,
    })
}

/// The memory of an array.
fn shared<T: Value>(object: &Object, name: &'static str) -> Result<Shared<T>, EarlyExitError> {
    let map = object.maps().find(|map| map.name() == name);
    let map = map
        .filter(|map| map.value_size() as usize == size_of::<T>())
        .ok_or(EarlyExitError::Lacks(name))?;
    Shared::map(map.as_fd(), map.max_entries() as usize).map_err(|source| EarlyExitError::Kernel {
        action: "mapping an array",
        source,
    })
}

fn failed(action: &'static str) -> impl Fn(libbpf_rs::Error) -> EarlyExitError {
    move |error| EarlyExitError::Kernel {
        action,
        source: io::Error::other(error),
    }
}
