//! A TCP flow in any segments: choices are the side (1), SYN (2), a jump of the sequence number (4, 8), a cut
//! capture (16), a look without buffers (32), rearming (64) and an acknowledgement (128). The first bytes of a payload are its
//! window, too, and the first one the window scale of a SYN.
#![no_main]

use btblocker_detectors::{
    Findings, Options, Progress, Side, StreamBuffers, TcpInspector, TcpSegment, Timestamp,
};
use btblocker_fuzz::records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut inspector, mut buffers) = (TcpInspector::new(), Box::new(StreamBuffers::new()));
    let (mut next, mut findings) = ([u32::MAX - 100, 5000], Findings::new());
    let options = Options::default();
    let mut progress = Progress::Stream;
    for (number, (choices, payload)) in records(input).enumerate() {
        let from = if choices & 1 == 0 {
            Side::Originator
        } else {
            Side::Responder
        };
        let sequence = &mut next[from.index()];
        match choices & 12 {
            4 => *sequence = sequence.wrapping_sub(payload.len() as u32 / 2),
            8 => *sequence = sequence.wrapping_add(1448),
            12 => *sequence = sequence.wrapping_add(1 << 31),
            _ => {}
        }
        let segment = TcpSegment {
            from,
            at: Timestamp(number as u64 * 1000),
            sequence: *sequence,
            acknowledgement: (choices & 128 != 0).then_some(number as u32 * 700),
            window: payload
                .first_chunk()
                .map_or(0, |bytes| u16::from_be_bytes(*bytes)),
            window_scale: payload.first().copied(),
            syn: choices & 2 != 0,
            payload,
            wire_len: payload.len() as u32 + if choices & 16 != 0 { 900 } else { 0 },
        };
        *sequence = sequence.wrapping_add(segment.wire_len);
        if choices & 64 != 0 {
            inspector.rearm();
        }
        findings.clear();
        let lent = progress == Progress::Stream && choices & 32 == 0;
        progress = inspector.segment(&segment, lent.then_some(&mut *buffers), &options, &mut findings);
    }
});
