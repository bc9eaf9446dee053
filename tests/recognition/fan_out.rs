//! Protocols whose bytes all look random, spoken with one to fifty remotes: sizes that only message stream encryption
//! has occur among them by accident, and must not add up.

use btblocker_detectors::Transport;

use crate::script::*;

/// Draws numbers; the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize
    }
    /// Evenly from `low` to `high`, which are both possible.
    fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.roll() % (high - low + 1)
    }
}

/// Name, and the lengths of the first flights of one connection.
type Protocol = (&'static str, fn(&mut Dice) -> Vec<usize>);

const PROTOCOLS: &[Protocol] = &[
    ("any lengths", |dice| {
        (0..8).map(|_| dice.within(60, 608)).collect()
    }),
    ("any lengths of a key exchange", |dice| {
        [(96, 608), (96, 608), (56, 608), (14, 600), (17, 600), (17, 600)]
            .map(|(low, high)| dice.within(low, high))
            .to_vec()
    }),
    // Salt 32, then chunks with 2 + 16 + 16 bytes of their own (SIP004).
    ("shadowsocks", |dice| {
        let mut lengths = vec![32 + 50 + dice.within(80, 600), 32 + 34 + dice.within(60, 1500)];
        lengths.extend((0..6).map(|_| 34 + dice.within(10, 900)));
        lengths
    }),
    // Handshakes with 0 to 8,000 bytes of padding (here 2,000), then frames with 21 bytes of their own (obfs4 specification).
    ("obfs4", |dice| {
        let mut lengths = vec![64 + dice.within(77, 2_000), 96 + dice.within(0, 2_000)];
        lengths.extend((0..5).map(|_| 21 + dice.within(1, 1427)));
        lengths
    }),
    ("obfs4 with short padding", |dice| {
        let mut lengths = vec![64 + dice.within(77, 500), 96 + dice.within(0, 500)];
        lengths.extend((0..5).map(|_| 21 + dice.within(1, 700)));
        lengths
    }),
    ("vmess", |dice| {
        let mut lengths = vec![16 + 41 + dice.within(30, 560), 38 + dice.within(30, 1300)];
        lengths.extend((0..6).map(|_| 18 + dice.within(10, 900)));
        lengths
    }),
    // 64 bytes in front, then intermediate framing: 4 bytes, 24 of header, blocks of 16.
    ("mtproto", |dice| {
        let mut lengths = vec![64 + 28 + 16 * dice.within(2, 12)];
        lengths.extend((0..7).map(|_| 28 + 16 * dice.within(3, 24)));
        lengths
    }),
    // Messages 1 to 3, then frames of 2 + 16 bytes and more (I2P NTCP2).
    ("ntcp2", |dice| {
        let mut lengths = vec![64 + dice.within(0, 223), 64 + dice.within(0, 223)];
        lengths.push(48 + 16 + dice.within(450, 820));
        lengths.extend((0..5).map(|_| 18 + dice.within(20, 500)));
        lengths
    }),
    // Fixed sizes of the first version; frames are multiples of 16.
    ("rlpx of the first version", |dice| {
        let mut lengths = vec![307, 210];
        lengths.extend((0..6).map(|_| 48 + 16 * dice.within(1, 20)));
        lengths
    }),
    // A key of 64 bytes and up to 4,095 of garbage, then packets with 20 bytes of their own (BIP 324).
    ("bitcoin v2", |dice| {
        let mut lengths = vec![64 + dice.within(0, 400), 64 + dice.within(0, 400)];
        lengths.extend((0..6).map(|_| 16 + 20 + dice.within(1, 500)));
        lengths
    }),
    // Calls and games over encrypted streams: most messages have one size, here a multiple of 17.
    ("messages of one size", |dice| {
        let sizes = (0..100).map(|_| match dice.roll() % 10 {
            0..=5 => 136,
            _ => dice.within(40, 900),
        });
        sizes.collect()
    }),
    ("messages of one large size", |dice| {
        let sizes = (0..100).map(|_| match dice.roll() % 10 {
            0..=7 => 1105,
            _ => dice.within(40, 1100),
        });
        sizes.collect()
    }),
    // Keys and their echoes, in packets of SSH with a block cipher and hmac-sha2-256-etm: 4 + 32 bytes and blocks of 16.
    // Of the common sizes, one is that of four requests, the other that of two with two `have` messages.
    ("a terminal", |dice| {
        let sizes = (0..160).map(|_| match dice.roll() % 20 {
            0..=9 => 52,
            10..=17 => 68,
            _ => 36 + 16 * dice.within(1, 20),
        });
        sizes.collect()
    }),
];

/// Two hundred connections with so many remotes, by turns.
fn connections(lengths: fn(&mut Dice) -> Vec<usize>, remotes: u16, side: Side) -> Outcome {
    let mut world = World::new();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ u64::from(remotes));
    for connection in 0..200 {
        let steps = flights(u64::from(connection) + 1, &lengths(&mut dice));
        world.flow_with(connection % remotes, side, Transport::Tcp, 50_000, &steps);
    }
    world.outcome()
}

#[test]
fn many_connections_of_random_looking_protocols_are_not_judged() {
    for (name, lengths) in PROTOCOLS {
        for remotes in [1, 3, 50] {
            for side in [A, B] {
                let outcome = connections(*lengths, remotes, side);
                assert_eq!(
                    (outcome.judged, outcome.banned),
                    (0, 0),
                    "{name}, {remotes} remotes, the host at {side:?}: {outcome:?}"
                );
            }
        }
    }
}

#[test]
fn a_constant_in_front_is_no_key_when_the_sizes_are_any() {
    let mut world = World::new();
    let mut dice = Dice(11);
    for remote in 0..100 {
        let third = if remote % 10 == 1 {
            124
        } else {
            dice.within(56, 608)
        };
        let lengths = [
            180,
            dice.within(96, 608),
            third,
            dice.within(14, 600),
            dice.within(90, 600),
        ];
        let mut steps = flights(u64::from(remote) + 1, &lengths);
        steps[0].1 = noise(77, 180);
        world.flow_with(remote, A, Transport::Tcp, 50_000, &steps);
    }
    let outcome = world.outcome();
    assert_eq!((outcome.judged, outcome.banned), (0, 0), "{outcome:?}");
}

#[test]
fn ethereum_peers_state_the_length_of_their_first_flights() {
    let mut world = World::new();
    let mut dice = Dice(7);
    for peer in 0..50 {
        let sized = |len: usize| [&(len as u16).to_be_bytes()[..], &noise(len as u64, len)].concat();
        let mut steps = vec![
            (A, sized(dice.within(290, 420))),
            (B, sized(dice.within(290, 420))),
        ];
        steps.extend([
            (A, noise(peer, 124)),
            (B, noise(peer + 90, 82)),
            (A, noise(peer, 68)),
        ]);
        world.flow_with(peer as u16, A, Transport::Tcp, 30_303, &steps);
    }
    let outcome = world.outcome();
    assert_eq!((outcome.judged, outcome.told.len()), (0, 0), "{outcome:?}");
}

#[test]
fn encrypted_peers_are_judged_by_the_same_script() {
    let held_back = |dice: &mut Dice| {
        vec![
            96 + dice.within(0, 512),
            96 + dice.within(0, 512),
            56 + dice.within(0, 512),
            14 + dice.within(0, 512),
            68,
            300,
        ]
    };
    let outcome = connections(held_back, 3, A);
    assert!(
        outcome.judged > 190 && outcome.banned > 190,
        "{} judged",
        outcome.judged
    );
}
