//! The order of the parameters of a tracker request, by which client families differ.

/// The names of the parameters of `query` (what follows the `?`) in their order, each followed by `=`,
/// written into `room` as far as it goes: `a=1&b=2` gives `a=b=`. The field of
/// [`Anchor::HttpParameterOrder`](crate::Anchor::HttpParameterOrder); 128 bytes hold every known order.
pub fn parameter_order<'r>(query: &[u8], room: &'r mut [u8]) -> &'r [u8] {
    let names = query.split(|byte| *byte == b'&').filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        pair.get(..=end)
    });
    let mut length = 0;
    for (slot, byte) in room.iter_mut().zip(names.flatten()) {
        *slot = *byte;
        length += 1;
    }
    room.get(..length).unwrap_or_default()
}
