//! The DHT of Vuze and BiglyBT.

use crate::script::*;
use btblocker_detectors::Class;

pub(crate) fn request(action: u32) -> Vec<u8> {
    let mut bytes = vec![0x9a, 1, 2, 3, 4, 5, 6, 7];
    bytes.extend(action.to_be_bytes());
    bytes.extend([0, 0, 0, 9, 52, 0, 0, 0, 0, 0, 51, 4, 192, 0, 2, 1, 0x1a, 0xe1]);
    bytes.extend([0, 0, 0, 5, 0, 0, 1, 0x8b, 1, 2, 3, 4]);
    bytes
}

pub(crate) fn reply(action: u32) -> Vec<u8> {
    let mut bytes = action.to_be_bytes().to_vec();
    bytes.extend([
        0, 0, 0, 9, 0x9a, 1, 2, 3, 4, 5, 6, 7, 52, 0, 0, 0, 0, 0, 0, 0, 0, 5,
    ]);
    bytes
}

#[test]
fn a_reply_to_a_request_is_conclusive_and_proves_its_sender() {
    check(
        "ping",
        &[
            (O, 0, &request(1024), &["dht/vuze-request strong O +"]),
            (R, 1, &reply(1025), &["dht/vuze-reply conclusive R +R"]),
        ],
    );
    let said = play(&[(O, 0, request(1030)), (R, 1, reply(1031))]);
    assert!(said.iter().all(|one| one.class == Class::BitTorrent));
    let conclusive = |steps: &[Step]| play(steps).iter().any(|one| one.rule == "vuze-reply");
    assert!(!conclusive(&[(R, 1, reply(1025))]), "nobody asked");
    assert!(
        !conclusive(&[(O, 0, request(1024)), (O, 1, reply(1025))]),
        "own reply"
    );
    let mut other = reply(1025);
    other[7] ^= 1;
    assert!(
        !conclusive(&[(O, 0, request(1024)), (R, 1, other)]),
        "other transaction"
    );
}

#[test]
fn a_wrong_field_makes_it_no_request() {
    for (name, at, byte) in [
        ("connection", 0, 0x1a),
        ("action", 11, 1),
        ("version", 16, 10),
        ("network", 18, 1),
        ("originator", 22, 0),
        ("address", 23, 5),
    ] {
        let mut bytes = request(1024);
        bytes[at] = byte;
        let found = play(&[(O, 0, bytes)])
            .iter()
            .any(|one| one.rule == "vuze-request");
        assert!(!found, "{name}");
    }
}
