//! Info-hashes in reports: which torrent it was is nobody's business unless the operator asks.

use btblocker_detectors::InfoHash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How info-hashes are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShowInfoHash {
    /// As a digest with a salt of this machine: equal torrents are seen to be equal, not which they are.
    #[default]
    Hashed,
    /// As they are.
    Plain,
    /// Not at all.
    None,
}

/// Shows info-hashes as the operator wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoHashes {
    how: ShowInfoHash,
    salt: Vec<u8>,
}

impl InfoHashes {
    /// With this machine's own salt: the content of `/etc/machine-id` (`machine-id(5)`).
    pub fn new(how: ShowInfoHash) -> Self {
        Self {
            how,
            salt: std::fs::read("/etc/machine-id").unwrap_or_default(),
        }
    }

    /// 40 hexadecimal digits, or the 16 of a salted digest behind `#`.
    pub fn show(&self, hash: Option<InfoHash>) -> Option<String> {
        let hash = hash?;
        match self.how {
            ShowInfoHash::None => None,
            ShowInfoHash::Plain => Some(hex(&hash)),
            ShowInfoHash::Hashed => {
                let digest = Sha256::new()
                    .chain_update(&self.salt)
                    .chain_update(hash)
                    .finalize();
                Some(format!("#{}", hex(digest.get(..8).unwrap_or_default())))
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_are_shown_as_the_operator_wants() {
        let show = |how, salt: &str, byte| {
            InfoHashes {
                how,
                salt: salt.into(),
            }
            .show(Some([byte; 20]))
        };
        assert_eq!(show(ShowInfoHash::Plain, "a", 0xab), Some("ab".repeat(20)));
        assert_eq!(show(ShowInfoHash::None, "a", 1), None);
        let hashed = show(ShowInfoHash::Hashed, "a", 1).unwrap();
        assert_eq!((hashed.len(), hashed.starts_with('#')), (17, true));
        assert_eq!(show(ShowInfoHash::Hashed, "a", 1).unwrap(), hashed);
        assert_ne!(show(ShowInfoHash::Hashed, "b", 1).unwrap(), hashed);
        assert_ne!(show(ShowInfoHash::Hashed, "a", 2).unwrap(), hashed);
        assert_eq!(InfoHashes::new(ShowInfoHash::Plain).show(None), None);
    }
}
