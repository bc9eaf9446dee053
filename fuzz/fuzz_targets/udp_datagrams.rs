//! A UDP flow: choices are the side (1), multicast (2), a cut capture (4), rearming (8) and the time since the
//! last datagram (the upper four bits).
#![no_main]

use btblocker_detectors::{Findings, Options, Side, Timestamp, UdpDatagram, UdpInspector};
use btblocker_fuzz::records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut inspector, mut findings, mut at) = (UdpInspector::new(), Findings::new(), 0);
    for (choices, payload) in records(input) {
        at += 1 << (choices >> 4) << 10;
        if choices & 8 != 0 {
            inspector.rearm();
        }
        findings.clear();
        let datagram = UdpDatagram {
            from: if choices & 1 == 0 {
                Side::Originator
            } else {
                Side::Responder
            },
            at: Timestamp(at),
            payload,
            wire_len: payload.len() as u32 + if choices & 4 != 0 { 900 } else { 0 },
            multicast: choices & 2 != 0,
        };
        inspector.datagram(&datagram, &Options::default(), &mut findings);
    }
});
