//! Who else looks at packets: the base chains of other tables, for `btblocker check`.

use std::io;

use nftnl::nftnl_sys::libc;

use super::netlink::{Channel, Message, be32, find, text};
use super::ruleset::TABLE;

const SUBSYSTEM: i32 = libc::NFNL_SUBSYS_NFTABLES;
const GET_CHAIN: u16 = libc::NFT_MSG_GETCHAIN as u16;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

/// A base chain of nftables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// Family and names: `ip filter FORWARD`.
    pub name: String,
    /// Name of the hook.
    pub hook: &'static str,
    /// Its place among the chains of the hook; lower ones come first.
    pub priority: i32,
    /// Whether it is one of ours.
    pub ours: bool,
}

/// All base chains of the families inet, ip and ip6 in the calling thread's network namespace, in the order in
/// which packets meet them.
///
/// # Errors
/// When the kernel has no nftables or refuses.
pub fn base_chains() -> io::Result<Vec<BaseChain>> {
    let mut channel = Channel::new();
    let mut chains = Vec::new();
    for (family, family_name) in [
        (libc::NFPROTO_INET, "inet"),
        (libc::NFPROTO_IPV4, "ip"),
        (libc::NFPROTO_IPV6, "ip6"),
    ] {
        let request = || Message::new(SUBSYSTEM, GET_CHAIN, libc::NLM_F_DUMP, family as u8);
        chains.extend(channel.dump(request, |chain, found| {
            let read = || {
                let table = text(chain.find(CHAIN_TABLE)?)?;
                let hook = chain.find(CHAIN_HOOK)?;
                Some(BaseChain {
                    name: format!("{family_name} {table} {}", text(chain.find(CHAIN_NAME)?)?),
                    hook: hook_name(find(hook, HOOK_NUMBER).and_then(be32)?)?,
                    priority: find(hook, HOOK_PRIORITY).and_then(be32)?.cast_signed(),
                    ours: table == TABLE,
                })
            };
            found.extend(read());
        })?);
    }
    chains.sort_by_key(|chain| (chain.hook, chain.priority));
    Ok(chains)
}

/// `NF_INET_*` of `linux/netfilter.h`.
fn hook_name(number: u32) -> Option<&'static str> {
    ["prerouting", "input", "forward", "output", "postrouting"]
        .get(usize::try_from(number).ok()?)
        .copied()
}
