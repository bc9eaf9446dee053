//! Encrypted connections as each client family opens them: sizes from the programs' sources and captures.

use btblocker_detectors::Transport;

use crate::script::*;

/// A way to open an encrypted connection: name, pieces of each flight in order, what must be told at least.
struct Client {
    name: &'static str,
    flights: &'static [&'static [usize]],
    told: &'static str,
}

/// Each piece of a flight is written by itself.
const CLIENTS: &[Client] = &[
    Client {
        name: "libtorrent, handshake held back",
        flights: &[&[389], &[452], &[551], &[226], &[68], &[363]],
        told: "mse/flights strong",
    },
    Client {
        name: "libtorrent, longest and shortest pads",
        flights: &[&[608], &[96], &[568], &[14], &[68], &[363]],
        told: "mse/flights strong",
    },
    Client {
        name: "qBittorrent that requires encryption, shortest pads",
        flights: &[&[96], &[608], &[56], &[526], &[68], &[363]],
        told: "mse/flights strong",
    },
    Client {
        name: "Transmission",
        flights: &[&[380], &[213], &[124], &[14, 343]],
        told: "mse/flights strong",
    },
    Client {
        name: "rTorrent",
        flights: &[&[227], &[288], &[124], &[649]],
        told: "mse/flights strong",
    },
    Client {
        name: "aria2",
        flights: &[&[201], &[368], &[559], &[510], &[68], &[301]],
        told: "mse/flights strong",
    },
    Client {
        name: "anacrolix",
        flights: &[&[96, 301], &[96, 44], &[20, 20, 401], &[300, 68]],
        told: "mse/flights strong",
    },
    Client {
        name: "anacrolix without a pad",
        flights: &[&[96], &[96], &[20, 20, 84], &[14]],
        told: "mse/flights strong",
    },
    Client {
        name: "BiglyBT, scattered",
        flights: &[
            &[77, 140, 60],
            &[50, 149, 101],
            &[90, 120, 149, 50, 140, 77],
            &[66, 130, 149],
            &[80, 140],
            &[99],
        ],
        told: "mse/shape weak",
    },
    Client {
        name: "BiglyBT, least overhead",
        flights: &[&[96, 60], &[96, 20], &[128, 100], &[60, 82], &[80], &[60]],
        told: "mse/shape weak",
    },
    Client {
        name: "an answer without a pad, with the handshake",
        flights: &[&[350], &[132], &[208], &[82], &[253]],
        told: "mse/flights strong",
    },
    Client {
        name: "handshake behind a pad",
        flights: &[&[300], &[300], &[400], &[200], &[363], &[20]],
        told: "mse/shape weak",
    },
];

fn opening(client: &Client, seed: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for (flight, pieces) in client.flights.iter().enumerate() {
        let side = if flight % 2 == 0 { A } else { B };
        for (piece, len) in pieces.iter().enumerate() {
            // Each connection has pads of its own.
            let shorter = seed as usize % 8;
            let varies = flight == 0 && *len > 96 + shorter && piece + 1 == pieces.len();
            let len = if varies { len - shorter } else { *len };
            steps.push((side, noise(seed * 10_000 + (flight * 16 + piece) as u64 + 1, len)));
        }
    }
    steps
}

/// Requests one way and `blocks` whole blocks the other, one block at a time.
fn download(blocks: u64, seed: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in 0..blocks {
        let requests = 17 * (1 + block as usize % 4);
        steps.push((A, noise(seed + 2 * block, requests)));
        steps.push((B, noise(seed + 2 * block + 1, 16_397)));
    }
    steps
}

#[test]
fn each_client_is_told_by_its_exchange_of_keys() {
    for client in CLIENTS {
        for seed in 1..20 {
            let mut world = World::new();
            world.flow(Transport::Tcp, 51_413, &opening(client, seed));
            let outcome = world.outcome();
            assert!(
                outcome.told.iter().any(|told| told == client.told),
                "{}: {outcome:?}",
                client.name
            );
            assert_eq!(
                outcome.judged, 0,
                "{}: one observation is not enough",
                client.name
            );
        }
    }
}

#[test]
fn each_client_is_judged_by_what_it_transfers() {
    for client in CLIENTS {
        let mut world = World::new();
        let steps = [opening(client, 3), download(24, 77_000)].concat();
        let outcome = world.flow(Transport::Tcp, 51_413, &steps).outcome();
        assert_eq!(outcome.judged, 1, "{}: {outcome:?}", client.name);
        // The host's own requests count against it, not what is sent to it.
        assert!(outcome.banned > 0, "{}", client.name);
    }
}

#[test]
fn an_exact_exchange_with_several_remotes_is_judged_without_a_transfer() {
    for client in CLIENTS
        .iter()
        .filter(|client| client.told == "mse/flights strong")
    {
        let mut world = World::new();
        for seed in 1..4 {
            world.flow(Transport::Tcp, 51_413, &opening(client, seed));
        }
        assert_eq!(world.outcome().judged, 3, "{}", client.name);
    }
}

#[test]
fn who_downloads_without_a_beginning_is_judged_by_requests_and_what_they_bring() {
    // A line that is always full: no segment ends with a block.
    let mut steps = Vec::new();
    for n in 0..40 {
        let blocks = 1 + n % 3;
        steps.push((A, noise(2 * n + 1, 17 * blocks as usize)));
        steps.push((B, noise(2 * n + 2, 1448 * 11 * blocks as usize)));
    }
    for host in [A, B] {
        let mut world = World::new();
        let outcome = world.flow_with(1, host, Transport::Tcp, 51_413, &steps).outcome();
        assert!(
            outcome
                .told
                .contains(&"entropy/rc4-download conclusive".to_owned()),
            "{outcome:?}"
        );
        // How much the other end sends was chosen by who asks.
        assert_eq!(
            (outcome.judged, outcome.banned > 0),
            (1, host == A),
            "{outcome:?}"
        );
    }
}

#[test]
fn who_asks_for_one_block_after_the_other_is_judged_by_the_blocks_that_come() {
    let steps: Vec<_> = (0..40)
        .flat_map(|n| [(A, noise(2 * n + 1, 17)), (B, noise(2 * n + 2, 16_397))])
        .collect();
    for host in [A, B] {
        let mut world = World::new();
        let outcome = world.flow_with(1, host, Transport::Tcp, 51_413, &steps).outcome();
        assert_eq!((outcome.judged, outcome.banned > 0), (1, true), "{outcome:?}");
    }
}

#[test]
fn an_upload_is_told_by_the_requests_that_come_in() {
    let mut steps = opening(&CLIENTS[0], 5);
    for (side, bytes) in download(24, 91_000) {
        let sent = if side == A {
            (B, bytes)
        } else {
            (A, bytes[..5 * 1448].to_vec())
        };
        steps.push(sent);
    }
    let outcome = World::new().flow(Transport::Tcp, 51_413, &steps).outcome();
    assert!(
        outcome.told.contains(&"entropy/rc4-requests strong".to_owned()),
        "{outcome:?}"
    );
    assert_eq!(outcome.judged, 1);
}

#[test]
fn plaintext_behind_an_exchange_of_keys_is_conclusive() {
    for client in CLIENTS {
        let mut steps = opening(client, 8);
        steps.truncate(steps.len() - 1);
        steps.push((
            B,
            [&noise(4, 33)[..], &handshake(b"-UW130Q-abcdefghijkl")].concat(),
        ));
        let outcome = World::new().flow(Transport::Tcp, 443, &steps).outcome();
        assert_eq!(outcome.judged, 1, "{}: {outcome:?}", client.name);
    }
}
