//! Calls, overlay networks and other networks of peers over UDP: more rows for `datagram_lookalikes`.

use crate::datagram_lookalikes::{Case, exchange, low};
use crate::script::*;

pub(crate) fn networks() -> Vec<Case> {
    vec![
        exchange(
            "rtp",
            16_384,
            80,
            |n| padded(&[0x80, 0, 0, low(n), 0, 0, low(n), 160, 9, 9, 9, 1], 172, n),
            |n| padded(&[0x80, 0, 0, low(n), 0, 0, low(n), 160, 9, 9, 9, 2], 172, n + 7),
        ),
        exchange(
            "rtcp",
            16_385,
            20,
            |n| padded(&[0x80, 200, 0, 6, 9, 9, 9, 1], 28, n),
            |n| padded(&[0x81, 201, 0, 7, 9, 9, 9, 2], 32, n + 7),
        ),
        exchange(
            "sip",
            5060,
            20,
            |n| {
                format!("OPTIONS sip:peer{n}@example.org SIP/2.0\r\nUser-Agent: BitTorrent phone\r\n\r\n")
                    .into()
            },
            |_| b"SIP/2.0 200 OK\r\nInfohash: c12fe1c06bba254a9dc9f519b335aa7c1367a88a\r\n\r\n".to_vec(),
        ),
        exchange(
            "ssdp",
            1900,
            12,
            |_| {
                b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nPort: 6881\r\nInfohash: c12fe1c06bba254a9dc9f519b335aa7c1367a88a\r\n\r\n".to_vec()
            },
            |_| b"HTTP/1.1 200 OK\r\nSERVER: Linux UPnP/1.0 Transmission/4.0\r\n\r\n".to_vec(),
        ),
        exchange(
            "zerotier",
            9993,
            60,
            |n| noise(n, 28 + n as usize % 300),
            |n| noise(n + 800, 1400),
        ),
        exchange(
            "tailscale disco",
            41_641,
            40,
            |n| padded("TS\u{1f4ac}".as_bytes(), 122, n),
            |n| padded("TS\u{1f4ac}".as_bytes(), 110, n + 9),
        ),
        exchange(
            "nebula",
            4242,
            60,
            |n| padded(&[0x11, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, low(n)], 120, n),
            |n| {
                padded(
                    &[0x11, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, low(n)],
                    1300,
                    n + 90,
                )
            },
        ),
        exchange(
            "kad",
            4672,
            40,
            |n| padded(&[0xe4, 0x11], 27, n),
            |n| padded(&[0xe5, 0x29], 600, n + 8),
        ),
        exchange(
            "gnutella",
            6346,
            40,
            |n| padded(&noise(n, 16), 23, n),
            |n| [&noise(n, 16)[..], &[1, 1, 0, 14, 0, 0, 0], &noise(n, 14)].concat(),
        ),
        exchange("discv4", 30_303, 40, |n| noise(n, 129), |n| noise(n + 50, 150)),
        exchange(
            "discv5",
            9000,
            40,
            |n| noise(n, 63 + n as usize % 200),
            |n| noise(n + 50, 1280),
        ),
        exchange(
            "ssu2",
            20_000,
            80,
            |n| noise(n, 40 + n as usize % 500),
            |n| noise(n + 50, 1472),
        ),
        exchange(
            "salamander",
            443,
            100,
            |n| noise(n, 8 + 1200),
            |n| noise(n + 50, 8 + 1252),
        ),
        exchange(
            "steam",
            27_036,
            30,
            |n| padded(b"VS01", 60, n),
            |n| padded(b"VS01", 90, n + 9),
        ),
        exchange(
            "l2tp",
            1701,
            40,
            |n| padded(&[0x40, 0x02, 0, 60, 0, 9, 0, 1], 60, n),
            |n| padded(&[0x00, 0x02, 0, 8, 0, 1], 200, n + 3),
        ),
        exchange(
            "bencode of another program",
            22_222,
            30,
            |n| format!("d7:command4:ping6:cookie8:{n:08}e").into(),
            |n| format!("d6:cookie8:{n:08}6:result4:ponge").into(),
        ),
    ]
}
