//! The notation of patterns and samples in the data files.

use std::str::Chars;

/// Fixed bits of a field's beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// The fixed bits; open bits are 0.
    pub bytes: Vec<u8>,
    /// Which bits are fixed.
    pub mask: Vec<u8>,
}

impl Pattern {
    /// Number of fixed bits.
    pub fn fixed_bits(&self) -> u32 {
        self.mask.iter().map(|mask| mask.count_ones()).sum()
    }
}

/// Reads one escape or plain character: the byte and its mask.
fn unit(text: &mut Chars<'_>, wild: bool) -> Option<Result<(u8, u8), String>> {
    let hex = |text: &mut Chars<'_>| {
        let digits: String = text.by_ref().take(2).collect();
        let byte = u8::from_str_radix(&digits, 16).ok();
        byte.filter(|_| digits.len() == 2 && !digits.starts_with('+'))
            .ok_or_else(|| format!("`{digits}` is not a byte in hexadecimal"))
    };
    let byte = match text.next()? {
        '\\' => match text.next() {
            Some('r') => Ok(b'\r'),
            Some('n') => Ok(b'\n'),
            Some('\\') => Ok(b'\\'),
            Some('?') if wild => return Some(Ok((0, 0))),
            Some('x') => match hex(text) {
                Ok(byte) if wild && text.as_str().starts_with('&') => {
                    text.next();
                    return Some(match hex(text) {
                        Ok(mask) if byte & !mask != 0 => {
                            Err(format!("{byte:#04x} has bits outside mask {mask:#04x}"))
                        }
                        Ok(mask) => Ok((byte, mask)),
                        Err(reason) => Err(reason),
                    });
                }
                byte => byte,
            },
            other => Err(format!("unknown escape `\\{}`", other.unwrap_or(' '))),
        },
        plain @ ' '..='~' => Ok(plain as u8),
        other => Err(format!("`{}` must be written as \\xHH", other.escape_default())),
    };
    Some(byte.map(|byte| (byte, 0xff)))
}

/// Reads a pattern.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    let mut rest = text.chars();
    let units = std::iter::from_fn(|| unit(&mut rest, true)).collect::<Result<Vec<_>, _>>()?;
    let (bytes, mask) = units.into_iter().unzip();
    Ok(Pattern { bytes, mask })
}

/// Reads a sample.
pub fn sample(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.chars();
    std::iter::from_fn(|| unit(&mut rest, false))
        .map(|unit| unit.map(|(byte, _)| byte))
        .collect()
}
