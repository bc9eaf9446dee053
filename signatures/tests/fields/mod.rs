//! Cuts the fields that anchors name out of complete messages, as a detector would.

use btblocker_signatures::{Anchor, parameter_order};

/// Splits one bencoded value off.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = match text.first()? {
        b'i' => text.iter().position(|byte| *byte == b'e')? + 1,
        b'l' | b'd' => {
            let mut rest = &text[1..];
            while rest.first()? != &b'e' {
                rest = value(rest)?.1;
            }
            text.len() - rest.len() + 1
        }
        _ => {
            let colon = text.iter().position(|byte| *byte == b':')?;
            colon + 1 + str::from_utf8(&text[..colon]).ok()?.parse::<usize>().ok()?
        }
    };
    text.split_at_checked(end)
}

/// The content of a bencoded string.
fn content(string: &[u8]) -> Option<&[u8]> {
    string.first()?.is_ascii_digit().then_some(())?;
    let colon = string.iter().position(|byte| *byte == b':')?;
    string.get(colon + 1..)
}

/// Keys and bencoded values of a dictionary.
fn dictionary(text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rest = text.strip_prefix(b"d")?;
    let mut pairs = Vec::new();
    while rest.first()? != &b'e' {
        let (key, after) = value(rest)?;
        let (value, after) = value(after)?;
        pairs.push((content(key)?, value));
        rest = after;
    }
    Some(pairs)
}

fn at_key<'t>(text: &'t [u8], wanted: &[u8]) -> Option<&'t [u8]> {
    dictionary(text)?
        .into_iter()
        .find(|(key, _)| *key == wanted)
        .map(|(_, value)| value)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(word.try_into().ok()?) as usize)
}

/// The dictionary of an extended handshake.
fn extended(message: &[u8]) -> Option<&[u8]> {
    let length = u32_at(message, 0)?;
    (message.len() == length + 4 && message[4..6] == [20, 0]).then(|| &message[6..])
}

fn azureus(message: &[u8]) -> Option<&[u8]> {
    let (length, id) = (u32_at(message, 0)?, u32_at(message, 4)?);
    (message.len() == length + 4).then(|| message.get(8..8 + id))?
}

/// Path and query.
fn target(request: &[u8]) -> Option<&[u8]> {
    request.strip_prefix(b"GET ")?.split(|byte| *byte == b' ').next()
}

fn header<'t>(message: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let lines = message.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut values = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix(name));
    values.next()?.strip_prefix(b": ")
}

/// All fields of the anchor in a message.
pub(crate) fn fields(anchor: Anchor, message: &[u8]) -> Vec<Vec<u8>> {
    let handshake = || {
        message
            .strip_prefix(b"\x13BitTorrent protocol")
            .filter(|rest| rest.len() >= 48)
    };
    let query = || target(message)?.splitn(2, |byte| *byte == b'?').nth(1);
    let one = match anchor {
        Anchor::StreamStart | Anchor::DatagramStart | Anchor::PeerMessage => Some(message),
        Anchor::HandshakeReserved => handshake().map(|rest| &rest[..8]),
        Anchor::PeerId => handshake().map(|rest| &rest[28..48]),
        Anchor::AzureusMessageId => azureus(message),
        Anchor::ExtensionName => extended(message)
            .and_then(|dict| at_key(dict, b"v"))
            .and_then(content),
        Anchor::HttpTarget => target(message),
        Anchor::HttpPathEnd => target(message)
            .and_then(|target| target.split(|byte| *byte == b'?').next())
            .and_then(|path| path.rsplit(|byte| *byte == b'/').next()),
        Anchor::HttpUserAgent => header(message, b"User-Agent"),
        Anchor::HttpContentType => header(message, b"Content-Type"),
        Anchor::HttpBody => message
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| &message[at + 4..]),
        Anchor::DhtMethod => at_key(message, b"q").and_then(content),
        Anchor::DhtVersion => at_key(message, b"v").and_then(content),
        Anchor::ExtensionKey | Anchor::ExtensionField => {
            let dict = extended(message).unwrap_or_default();
            let dict = if anchor == Anchor::ExtensionKey {
                at_key(dict, b"m")
            } else {
                Some(dict)
            };
            let pairs = dict.and_then(dictionary).unwrap_or_default();
            return pairs.into_iter().map(|(key, _)| key.to_vec()).collect();
        }
        Anchor::HttpQueryKey => {
            let pairs = query().unwrap_or_default().split(|byte| *byte == b'&');
            return pairs
                .filter_map(|pair| pair.split(|byte| *byte == b'=').next())
                .map(<[u8]>::to_vec)
                .collect();
        }
        Anchor::HttpParameterOrder => {
            let mut room = [0; 128];
            return vec![parameter_order(query().unwrap_or_default(), &mut room).to_vec()];
        }
    };
    one.map(<[u8]>::to_vec).into_iter().collect()
}
