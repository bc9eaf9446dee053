//! The indexed search finds what walking the whole table finds.

use btblocker_signatures::{Anchor, SIGNATURES, Signature, Transport, at};
use proptest::prelude::*;

/// Walks the table; compares bit by bit.
fn naive(anchor: Anchor, transport: Transport, field: &[u8]) -> Vec<&'static str> {
    let fits = |signature: &&Signature| {
        let pattern = &signature.pattern;
        let bits = (0..pattern.bytes.len() * 8).all(|bit| {
            let (place, bit) = (bit / 8, 1 << (bit % 8));
            let fixed = pattern.mask.is_empty() || pattern.mask[place] & bit != 0;
            place < field.len() && (!fixed || (field[place] ^ pattern.bytes[place]) & bit == 0)
        });
        signature.anchor == anchor
            && signature.transports.contains(transport)
            && bits
            && (!pattern.exact || field.len() == pattern.bytes.len())
    };
    SIGNATURES
        .iter()
        .filter(fits)
        .map(|signature| signature.id)
        .collect()
}

/// A field that begins like a signature, with random bytes in its open bits, changed and cut at random.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let near = (
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..80),
        0..80usize,
        any::<bool>(),
    )
        .prop_map(|(entry, noise, place, change)| {
            let pattern = &entry.get(&SIGNATURES).pattern;
            let mut field = noise;
            for (at, byte) in pattern.bytes.iter().enumerate() {
                let mask = pattern.mask.get(at).copied().unwrap_or(0xff);
                match field.get_mut(at) {
                    Some(open) => *open = *open & !mask | byte,
                    None => field.push(*byte),
                }
            }
            match field.get_mut(place) {
                Some(byte) if change => *byte ^= 0x10,
                Some(_) => field.truncate(place.max(pattern.bytes.len())),
                None => {}
            }
            field
        });
    prop_oneof![4 => near, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_the_table_holds(field in field()) {
        for anchor in Anchor::ALL.iter().copied() {
            for transport in Transport::ALL.iter().copied() {
                let found: Vec<_> = at(anchor, transport, &field).map(|signature| signature.id).collect();
                prop_assert_eq!(found, naive(anchor, transport, &field));
            }
        }
    }
}

#[test]
fn the_empty_field_matches_nothing() {
    for anchor in Anchor::ALL.iter().copied() {
        assert_eq!(at(anchor, Transport::Tcp, b"").count(), 0);
    }
}
