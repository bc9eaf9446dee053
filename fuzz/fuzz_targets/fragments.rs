//! Fragments in any order, overlapping, late: what is put together can be parsed or is skipped.
#![no_main]

use btblocker::packet::{self, LinkType, Reassembler};
use btblocker_detectors::Timestamp;
use btblocker_fuzz::records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut reassembler = Reassembler::new();
    let mut at = 0;
    for (choices, frame) in records(input) {
        at += u64::from(choices) * 500_000;
        let Some(fragment) = packet::fragment(LinkType::Raw, frame, frame.len() as u32) else {
            continue;
        };
        if let Some(whole) = reassembler.insert(Timestamp(at), &fragment) {
            assert!(whole.len() <= 66_000, "{} bytes", whole.len());
            let _ = packet::parse(LinkType::Raw, whole, whole.len() as u32);
        }
    }
});
