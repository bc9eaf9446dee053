//! Capabilities of `capabilities(7)`: which are held, and giving up the rest for good.
//!
//! All calls concern the calling thread, and threads that it starts inherit what it has.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

/// What the process holds and may use at once.
pub(super) fn held() -> Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Sees to it that neither a change of the user nor a program that is started gives or takes capabilities.
pub(super) fn settle() -> Result<()> {
    use CapabilitiesSecureBits as Bits;
    set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
}

/// Gives up all but these, also for programs that are started.
pub(super) fn keep(wanted: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set()?;
    let before = capabilities(None)?;
    if before.permitted.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            match capability_is_in_bounding_set(one) {
                Ok(true) if !wanted.contains(one) => remove_capability_from_bounding_set(one)?,
                Ok(_) => {}
                // Beyond the last one that this kernel knows.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error),
            }
        }
    }
    let kept = before.permitted & wanted;
    // A service manager's filter of system calls may forbid the change, and need not be asked for none.
    if before.permitted == kept && before.effective == kept {
        return Ok(());
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Names as in `capabilities(7)`.
pub(super) fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_as_in_the_manual() {
        let set = CapabilitySet::from_bits_retain(1 << 12 | 1 << 13 | 1 << 39);
        assert_eq!(names(set), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]);
    }

    #[test]
    fn a_thread_gives_up_what_it_does_not_need() {
        let thread = std::thread::spawn(|| {
            let wanted = held().unwrap() & CapabilitySet::NET_RAW;
            keep(CapabilitySet::NET_RAW).unwrap();
            keep(CapabilitySet::NET_RAW).unwrap();
            assert_eq!(capabilities(None).unwrap().permitted, wanted);
            assert_eq!(held().unwrap(), wanted);
        });
        thread.join().unwrap();
    }
}
