//! DHT messages, written as in BEP 5.

pub(crate) const ID_A: &[u8; 20] = b"abcdefghij0123456789";
pub(crate) const ID_B: &[u8; 20] = b"mnopqrstuvwxyz123456";

/// One message of literal parts.
pub(crate) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// A query with its arguments (bencoded pairs after `id`).
pub(crate) fn query(method: &str, arguments: &[u8], transaction: &[u8]) -> Vec<u8> {
    let (method, transaction) = (string(method.as_bytes()), string(transaction));
    join(&[
        b"d1:ad2:id20:",
        ID_A,
        arguments,
        b"e1:q",
        &method,
        b"1:t",
        &transaction,
        b"1:v4:LT\x02\x081:y1:qe",
    ])
}

/// A response with its results (bencoded pairs after `id`).
pub(crate) fn response(results: &[u8], transaction: &[u8]) -> Vec<u8> {
    join(&[
        b"d1:rd2:id20:",
        ID_B,
        results,
        b"e1:t",
        &string(transaction),
        b"1:y1:re",
    ])
}

pub(crate) fn ping(transaction: &[u8]) -> Vec<u8> {
    query("ping", b"", transaction)
}

pub(crate) fn get_peers(transaction: &[u8]) -> Vec<u8> {
    query("get_peers", &join(&[b"9:info_hash20:", ID_B]), transaction)
}

pub(crate) fn announce_peer(transaction: &[u8], token: &[u8]) -> Vec<u8> {
    let arguments = join(&[b"9:info_hash20:", ID_B, b"4:porti6881e5:token", &string(token)]);
    query("announce_peer", &arguments, transaction)
}
