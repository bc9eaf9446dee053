//! Frames from the batch to the verdict: choices are the link type (7), the interface (8) and the time since the
//! last frame (the upper four bits).
#![no_main]

use std::net::IpAddr;
use std::num::NonZeroU32;

use btblocker::capture::{FrameBatch, LinkType};
use btblocker::judge::{Addresses, Judge, Policy, Verdict};
use btblocker::network::Ingress;
use btblocker::pipeline::{Inspection, Published, Settings};
use btblocker_detectors::Timestamp;
use btblocker_fuzz::records;
use libfuzzer_sys::fuzz_target;

const LINKS: [i32; 8] = [1, 101, 0, 108, 113, 276, 9, 51];

struct Net;

impl Addresses for Net {
    fn is_local(&self, address: IpAddr) -> bool {
        address.is_ipv6()
    }
    fn may_be_banned(&self, address: IpAddr) -> bool {
        !address.is_loopback()
    }
}

fuzz_target!(|input: &[u8]| {
    let mut settings = Settings::new(NonZeroU32::new(64).unwrap());
    settings.stream_buffers = 8;
    let mut inspection = Inspection::new(&settings, Published::new(Ingress::default()).reader());
    let mut judge = Judge::new(Policy::default());
    let mut batch = FrameBatch::new();
    let (mut at, mut frames, mut verdicts) = (1_700_000_000_000_000, 0, Vec::new());
    let mut look = |batch: &mut FrameBatch, verdicts: &mut Vec<Verdict>| {
        inspection.batch(batch, &mut |report| judge.hear(&report, &Net, verdicts));
        batch.clear();
        inspection.counters().frames
    };
    let mut counted = 0;
    for (choices, frame) in records(input) {
        at += 1 << (choices >> 4) << 12;
        let link = LinkType::from_number(LINKS[usize::from(choices & 7)]);
        let interface = u16::from(choices >> 3 & 1);
        let wire_len = frame.len() as u32;
        if !batch.push(Timestamp(at), link, interface, wire_len, frame) {
            counted = look(&mut batch, &mut verdicts);
            assert!(batch.push(Timestamp(at), link, interface, wire_len, frame));
        }
        frames += 1;
    }
    if !batch.is_empty() {
        counted = look(&mut batch, &mut verdicts);
    }
    assert_eq!(counted, frames);
    for verdict in verdicts {
        if let Verdict::Ban(ban) = verdict {
            assert!(Net.may_be_banned(ban.address));
        }
    }
});
