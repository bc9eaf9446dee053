//! Numbers and times in few characters.

/// The time of day of an RFC 3339 time.
pub(super) fn time(rfc3339: &str) -> &str {
    rfc3339.get(11..19).unwrap_or(rfc3339)
}

/// A number in at most six characters.
pub(super) fn short(number: f64) -> String {
    for (size, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if number >= size {
            let scaled = number / if size < 1e5 { 1e3 } else { size };
            return if scaled < 10.0 {
                format!("{scaled:.1}{unit}")
            } else {
                format!("{scaled:.0}{unit}")
            };
        }
    }
    format!("{number:.0}")
}

/// Bits in a second.
pub(super) fn bits(number: f64) -> String {
    for (size, unit) in [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")] {
        if number >= size {
            return format!("{:.1} {unit}", number / size);
        }
    }
    format!("{number:.0} bit/s")
}

pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
