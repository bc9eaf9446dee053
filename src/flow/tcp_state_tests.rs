//! Proof, closing and half-open, and window scales, one table each. A row is a list of segments: sender, sequence,
//! acknowledgement, flags, payload length; of window scales with the scale instead of the length.

use super::tcp_state::TcpState;
use crate::packet::TcpView;
use btblocker_detectors::{Ends, Side};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const O: Side = Side::Originator;
const R: Side = Side::Responder;

type Segment = (Side, u32, u32, u8, u32);

fn view(sequence: u32, acknowledgement: u32, flags: u8, wire_len: u32) -> TcpView<'static> {
    TcpView {
        sequence,
        acknowledgement,
        window: u16::MAX,
        window_scale: None,
        flags,
        payload: &[],
        wire_len,
    }
}

fn after(segments: &[Segment]) -> TcpState {
    let mut state = TcpState::new();
    for (from, sequence, acknowledgement, flags, wire_len) in segments.iter().copied() {
        state.observe(from, &view(sequence, acknowledgement, flags, wire_len));
    }
    state
}

#[test]
fn acknowledged_numbers_prove_and_nothing_else_does() {
    const TOP: u32 = u32::MAX;
    let rows: &[(&str, &[Segment], bool)] = &[
        (
            "handshake",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 101, SYN | ACK, 0),
                (O, 101, 501, ACK, 0),
            ],
            true,
        ),
        (
            "handshake around zero",
            &[(O, TOP, 0, SYN, 0), (R, TOP, 0, SYN | ACK, 0), (O, 0, 0, ACK, 0)],
            true,
        ),
        (
            "two packets of three",
            &[(O, 100, 0, SYN, 0), (R, 500, 101, SYN | ACK, 0)],
            false,
        ),
        (
            "guessed last number",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 101, SYN | ACK, 0),
                (O, 101, 502, ACK, 0),
            ],
            false,
        ),
        (
            "wrong answer",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 102, SYN | ACK, 0),
                (O, 101, 501, ACK, 0),
            ],
            false,
        ),
        (
            "old number",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 101, SYN | ACK, 0),
                (O, 101, 500, ACK, 0),
            ],
            false,
        ),
        (
            "lost third packet",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 101, SYN | ACK, 0),
                (R, 501, 101, ACK, 9),
                (O, 101, 510, ACK, 0),
            ],
            true,
        ),
        (
            "middle, both ways",
            &[
                (O, 100, 500, ACK, 50),
                (R, 500, 150, ACK, 70),
                (O, 150, 570, ACK, 0),
            ],
            true,
        ),
        (
            "middle, parts",
            &[
                (O, 100, 500, ACK, 50),
                (R, 500, 120, ACK, 70),
                (O, 150, 530, ACK, 10),
            ],
            true,
        ),
        (
            "middle, one way",
            &[
                (O, 100, 500, ACK, 50),
                (R, 500, 150, ACK, 0),
                (O, 150, 500, ACK, 50),
            ],
            false,
        ),
        (
            "one direction",
            &[
                (O, 100, 0, SYN, 0),
                (O, 101, 501, ACK, 0),
                (O, 101, 501, ACK, 70),
                (O, 171, 601, ACK, 9),
            ],
            false,
        ),
        (
            "the other direction",
            &[
                (R, 500, 101, SYN | ACK, 0),
                (R, 501, 171, ACK, 100),
                (R, 601, 271, ACK, 9),
            ],
            false,
        ),
        (
            "beyond what was sent",
            &[
                (O, 100, 500, ACK, 50),
                (R, 500, 151, ACK, 70),
                (O, 150, 571, ACK, 0),
            ],
            false,
        ),
        (
            "numbers without the flag",
            &[(O, 100, 0, SYN, 0), (R, 500, 101, SYN, 0), (O, 101, 501, 0, 5)],
            false,
        ),
        (
            "reset copies numbers",
            &[
                (O, 100, 0, SYN, 0),
                (R, 0, 101, RST | ACK, 0),
                (O, 101, 1, ACK, 5),
            ],
            false,
        ),
        (
            "far behind a gap",
            &[
                (O, 100, 500, ACK, 50),
                (R, 500, 150, ACK, 70),
                (O, 1 << 30, 1 << 30, ACK, 9),
            ],
            false,
        ),
        (
            "after a gap",
            &[
                (R, 500, 100, ACK, 5),
                (O, 1 << 30, 0, ACK, 9),
                (R, 1 << 29, (1 << 30) + 9, ACK, 7),
                (O, 0, (1 << 29) + 7, ACK, 0),
            ],
            true,
        ),
    ];
    for (name, segments, proven) in rows {
        let expected = if *proven { Ends::BOTH } else { Ends::NONE };
        assert_eq!(after(segments).proven(), expected, "{name}");
    }
}

#[test]
fn a_flow_is_closed_by_a_reset_or_by_both_ends() {
    let rows: &[(&str, &[Segment], bool, bool)] = &[
        ("nothing", &[], false, true),
        ("request", &[(O, 100, 0, SYN, 0)], false, true),
        (
            "answer",
            &[(O, 100, 0, SYN, 0), (R, 500, 101, SYN | ACK, 0)],
            false,
            true,
        ),
        (
            "handshake",
            &[
                (O, 100, 0, SYN, 0),
                (R, 500, 101, SYN | ACK, 0),
                (O, 101, 501, ACK, 0),
            ],
            false,
            false,
        ),
        ("payload", &[(O, 100, 0, ACK, 1)], false, false),
        (
            "refused",
            &[(O, 100, 0, SYN, 0), (R, 0, 101, RST | ACK, 0)],
            true,
            true,
        ),
        (
            "one end",
            &[(O, 100, 0, ACK, 1), (O, 101, 0, FIN | ACK, 0)],
            false,
            false,
        ),
        (
            "both ends",
            &[(O, 100, 0, FIN | ACK, 1), (R, 7, 102, FIN | ACK, 0)],
            true,
            false,
        ),
    ];
    for (name, segments, closed, half_open) in rows {
        let state = after(segments);
        assert_eq!(
            (state.closed(), state.half_open()),
            (*closed, *half_open),
            "{name}"
        );
    }
}

#[test]
fn what_counts_as_proof_is_bounded() {
    // An end that sends for ever without an acknowledgement does not make every number right.
    let mut segments = vec![(R, 0, 0, ACK, 1)];
    segments.extend((0..3000).map(|step| (O, step * 65_000, 1, ACK, 65_000)));
    segments.push((R, 1, 5_000_000, ACK, 1));
    assert_eq!(after(&segments).proven(), Ends::NONE);
    segments.push((R, 1, 3000 * 65_000, ACK, 1));
    assert_eq!(after(&segments).proven(), Ends::BOTH);
}

#[test]
fn a_window_scale_is_known_when_its_syn_was_answered() {
    type Headers = &'static [(Side, u32, u32, u8, Option<u8>)];
    let rows: [(&str, Headers, [Option<u8>; 2]); 7] = [
        (
            "both",
            &[
                (O, 100, 0, SYN, Some(7)),
                (R, 500, 101, SYN | ACK, Some(3)),
                (O, 101, 501, ACK, None),
            ],
            [Some(7), Some(3)],
        ),
        (
            "none",
            &[
                (O, 100, 0, SYN, None),
                (R, 500, 101, SYN | ACK, Some(3)),
                (O, 101, 501, ACK, None),
            ],
            [None, Some(3)],
        ),
        (
            "repeated alike",
            &[
                (O, 100, 0, SYN, Some(7)),
                (O, 100, 0, SYN, Some(7)),
                (R, 500, 101, SYN | ACK, Some(3)),
            ],
            [Some(7), Some(u8::MAX)],
        ),
        (
            "repeated with another",
            &[
                (O, 100, 0, SYN, Some(14)),
                (O, 100, 0, SYN, Some(0)),
                (R, 500, 101, SYN | ACK, Some(3)),
            ],
            [Some(u8::MAX), Some(u8::MAX)],
        ),
        (
            "another attempt, not answered",
            &[
                (O, 100, 0, SYN, Some(0)),
                (O, 900, 0, SYN, Some(14)),
                (R, 500, 101, SYN | ACK, Some(3)),
            ],
            [Some(u8::MAX), Some(u8::MAX)],
        ),
        (
            "another attempt, of which what follows is acknowledged",
            &[
                (O, 100, 0, SYN, Some(0)),
                (O, 50, 0, SYN, Some(14)),
                (R, 500, 101, SYN | ACK, Some(3)),
                (O, 101, 501, ACK, None),
                (R, 501, 111, ACK, None),
            ],
            [Some(u8::MAX), Some(3)],
        ),
        ("not answered", &[(O, 100, 0, SYN, Some(7))], [Some(u8::MAX); 2]),
    ];
    for (name, headers, expected) in rows {
        let mut state = TcpState::new();
        for (from, sequence, acknowledgement, flags, window_scale) in headers.iter().copied() {
            let segment = TcpView {
                window_scale,
                ..view(
                    sequence,
                    acknowledgement,
                    flags,
                    if flags == ACK { 10 } else { 0 },
                )
            };
            state.observe(from, &segment);
        }
        // Beyond the largest shift, all mean the same.
        let known = |side| {
            state
                .window_scale(side)
                .map(|scale| if scale > 14 { u8::MAX } else { scale })
        };
        assert_eq!([O, R].map(known), expected, "{name}");
    }
}
