//! What the XDP backend is told: how to attach, and where its state outlives the process.
//!
//! Plain values without libbpf, so that options are read and written whatever is compiled in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver where it can, else generic (`auto`).
    #[default]
    Auto,
    /// In the driver, or not at all (`native`).
    Native,
    /// In the kernel's stack, on every driver (`generic`, also read from `skb`).
    Generic,
    /// On the card (`offload`). No card can: the program reads the clock.
    Offload,
}

impl XdpMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Generic, Self::Offload];

    /// Name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for XdpMode {
    type Err = UnknownXdpMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == "skb" {
            return Ok(Self::Generic);
        }
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownXdpMode(name.to_owned()))
    }
}

/// A name that is no mode's.
#[derive(Debug, thiserror::Error)]
#[error("unknown XDP mode {0:?}, expected auto, native, generic (or skb) or offload")]
pub struct UnknownXdpMode(String);

/// Where maps and links are pinned, so that bans outlive the process and end by their deadlines in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum XdpPin {
    /// In [`XdpPin::DEFAULT_DIR`] when a bpf filesystem is mounted above it, else not at all (`auto`).
    #[default]
    Auto,
    /// Nowhere: all bans end with the process, however it ends (`off`).
    Off,
    /// In this directory of a bpf filesystem (an absolute path). One directory serves one process and one
    /// network namespace.
    At(PathBuf),
}

impl XdpPin {
    /// Where `auto` pins.
    pub const DEFAULT_DIR: &'static str = "/sys/fs/bpf/btblocker";
}

impl fmt::Display for XdpPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Off => f.pad("off"),
            Self::At(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for XdpPin {
    type Err = BadXdpPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            other => Err(BadXdpPin(other.to_owned())),
        }
    }
}

/// A text that is no place to pin to.
#[derive(Debug, thiserror::Error)]
#[error("XDP pin {0:?} must be auto, off or an absolute path inside a bpf filesystem")]
pub struct BadXdpPin(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in XdpMode::ALL {
            assert_eq!(mode.to_string().parse::<XdpMode>().unwrap(), mode);
        }
        assert_eq!("skb".parse::<XdpMode>().unwrap(), XdpMode::Generic);
        assert!("fast".parse::<XdpMode>().is_err());
    }

    #[test]
    fn pins_are_read_as_they_are_written() {
        for (text, pin) in [
            ("auto", XdpPin::Auto),
            ("off", XdpPin::Off),
            ("/sys/fs/bpf/x", XdpPin::At("/sys/fs/bpf/x".into())),
        ] {
            assert_eq!(text.parse::<XdpPin>().unwrap(), pin);
            assert_eq!(pin.to_string(), text);
        }
        assert!("on".parse::<XdpPin>().is_err());
        assert!("".parse::<XdpPin>().is_err());
    }
}
