//! The two address families: each needs sets of its own.

use super::SetName;
use crate::ban::Element;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(element: Element) -> Self {
        if element.address().is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Name of the set that holds this family's hosts.
    pub(super) fn set_name(self, stem: &SetName) -> String {
        match self {
            Self::V4 => stem.as_str().to_owned(),
            Self::V6 => format!("{stem}6"),
        }
    }

    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub(super) const fn nfproto(self) -> u8 {
        match self {
            Self::V4 => libc::NFPROTO_IPV4 as u8,
            Self::V6 => libc::NFPROTO_IPV6 as u8,
        }
    }

    pub(super) fn from_nfproto(number: u8) -> Option<Self> {
        Self::BOTH.into_iter().find(|family| family.nfproto() == number)
    }
}
