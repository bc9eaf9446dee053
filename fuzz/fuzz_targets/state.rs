//! Any bytes as the file of remembered bans: they are read or set aside with a message, no ban is longer than the
//! kernel takes, and what was read comes back when it is written.
#![no_main]

use std::fs;
use std::time::Duration;

use btblocker::backend::SetName;
use btblocker::ban::Timeout;
use btblocker::state::{Picture, Store};
use btblocker_detectors::Timestamp;
use btblocker_fuzz::folder;
use libfuzzer_sys::fuzz_target;

const WALL: Timestamp = Timestamp(1_790_000_000_000_000);
const NOW: Duration = Duration::from_secs(60);
const MAX_BANS: usize = 65_536;

fuzz_target!(|input: &[u8]| {
    let store = Store::new(&folder(), &SetName::default(), MAX_BANS);
    fs::write(store.path(), input).unwrap();
    let read = store.load(WALL, NOW);
    if let Some(trouble) = read.trouble {
        assert!(trouble.to_string().contains("set aside"), "{trouble}");
        assert!(read.bans.is_empty() && !store.path().exists());
        return;
    }
    let longest = Duration::from_secs(Timeout::MAX_SECS.into());
    for (_, record) in &read.bans {
        assert!(record.deadline > NOW && record.deadline <= NOW + longest);
        assert!(record.duration <= longest);
    }
    let picture = Picture {
        bans: read.bans,
        past: read.past,
        wall: WALL,
        now: NOW,
    };
    store.save(&picture).unwrap();
    let again = store.load(WALL, NOW);
    assert!(again.trouble.is_none());
    assert_eq!(again.bans, picture.bans);
    assert_eq!(again.past.len(), picture.past.len());
});
