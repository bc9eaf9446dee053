//! One frame of each link type: parsing ends, and what it gives lies inside the frame.
#![no_main]

use btblocker::packet::{self, LinkType, TransportView};
use libfuzzer_sys::fuzz_target;

const LINKS: [i32; 10] = [0, 1, 101, 108, 113, 276, 9, 50, 51, 147];

fuzz_target!(|input: &[u8]| {
    let Some((choice, frame)) = input.split_first() else {
        return;
    };
    let link = LinkType::from_number(LINKS[usize::from(*choice) % LINKS.len()]);
    for beyond in [0, 1, 3000] {
        let wire_len = frame.len() as u32 + beyond;
        if let Ok(view) = packet::parse(link, frame, wire_len) {
            let (payload, wire_len) = match &view.transport {
                TransportView::Tcp(segment) => (segment.payload, segment.wire_len),
                TransportView::Udp(datagram) => (datagram.payload, datagram.wire_len),
            };
            assert!(payload.len() <= frame.len());
            assert!(
                payload.len() as u32 <= wire_len,
                "{} of {wire_len}",
                payload.len()
            );
        }
        if let Some(fragment) = packet::fragment(link, frame, wire_len) {
            std::hint::black_box(fragment);
        }
    }
});
