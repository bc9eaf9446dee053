//! Netfilter netlink: messages out, messages in.
//!
//! Promise: every exchange ends, with the kernel's answer or with an error; a kernel that stays silent costs
//! at most five seconds. After any error the socket is replaced, so that a late answer is never taken
//! for the answer to a later question. Knows neither ipset nor nftables beyond their subsystem numbers.

mod attribute;
mod channel;

pub(super) use attribute::{Attributes, Message, be32, find, find_path, text};
pub(super) use channel::{Channel, QUESTIONS};
