//! Any text as the configuration file: it is taken or refused with a message, and what is taken keeps its limits.
#![no_main]

use btblocker::config::{Overrides, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let file = std::env::temp_dir().join(format!("btblocker-fuzz-{}.toml", std::process::id()));
    std::fs::write(&file, input).unwrap();
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    match load(&overrides) {
        Ok(loaded) => assert!(!loaded.config.interface.is_empty() && loaded.config.max_flows >= 1024),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
