//! Any bytes as a capture file that is replayed: the same outcome each time, in lines of JSON, and every host that
//! would be banned may be.
#![no_main]

use std::path::PathBuf;

use btblocker::cli::Format;
use btblocker::commands::{ReplayOptions, replay};
use btblocker::config::Config;
use btblocker_fuzz::file;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What is printed, and whether BitTorrent was found; `None` when the file could not be read to its end.
fn outcome(config: &Config, file: PathBuf) -> (String, Option<bool>) {
    let options = ReplayOptions {
        files: vec![file],
        format: Format::Json,
        merge: false,
        html: None,
    };
    let mut printed = Vec::new();
    let found = replay(config, &options, &mut printed).ok();
    (String::from_utf8(printed).unwrap(), found)
}

fuzz_target!(|input: &[u8]| {
    let config = Config {
        max_flows: 1024,
        ..Config::default()
    };
    let path = file(input);
    let (printed, found) = outcome(&config, path.clone());
    assert_eq!((printed.clone(), found), outcome(&config, path));
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["event"] == "ban" {
            let address = line["address"].as_str().unwrap().parse().unwrap();
            assert_eq!(config.allowed().of(address), None);
        }
    }
});
