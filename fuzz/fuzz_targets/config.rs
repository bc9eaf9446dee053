//! Any text as the configuration file: it is taken or refused with a message, and what is taken keeps its limits.
#![no_main]

use btblocker::config::{Overrides, load};
use btblocker_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let overrides = Overrides {
        config: Some(file(input)),
        ..Overrides::default()
    };
    match load(&overrides) {
        Ok(loaded) => assert!(!loaded.config.interface.is_empty() && loaded.config.max_flows >= 1024),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
