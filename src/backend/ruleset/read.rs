//! Chains and rules as the kernel lists them (attributes of `linux/netfilter/nf_tables.h`).

use std::io;

use nftnl::ProtoFamily;
use nftnl::nftnl_sys::libc;

use super::expression::{MATCH_DIMENSIONS, MATCH_REVISION, MATCH_SOURCE};
use super::{Direction, Step, TABLE};
use crate::backend::Family;
use crate::backend::netlink::{Attributes, Channel, Message, be32, find, find_path, text};

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// A chain of one of our tables.
#[derive(Debug)]
pub(in crate::backend) struct FoundChain {
    pub(super) name: String,
    /// Hook number and priority; `None` when it is no base chain.
    pub(super) hook: Option<(u32, i32)>,
    /// Whether it is of type filter with policy accept.
    pub(super) filters_and_accepts: bool,
    pub(super) rules: Vec<Vec<Step>>,
}

/// All chains of our table of one family, with their rules. Empty when there is no such table.
pub(in crate::backend) fn read(channel: &mut Channel, family: ProtoFamily) -> io::Result<Vec<FoundChain>> {
    let request = |command: i32| {
        Message::new(
            libc::NFNL_SUBSYS_NFTABLES,
            command as u16,
            libc::NLM_F_DUMP,
            family as u16 as u8,
        )
    };
    let mut chains = channel.dump(
        || request(libc::NFT_MSG_GETCHAIN),
        |chain, found| {
            if chain.find(CHAIN_TABLE).and_then(text) == Some(TABLE) {
                found.extend(found_chain(chain));
            }
        },
    )?;
    let rules = channel.dump(
        || {
            let mut message = request(libc::NFT_MSG_GETRULE);
            message.put_name(RULE_TABLE, TABLE);
            message
        },
        |rule, found| {
            if rule.find(RULE_TABLE).and_then(text) == Some(TABLE) {
                found.extend(found_rule(rule));
            }
        },
    )?;
    for (chain_name, steps) in rules {
        if let Some(chain) = chains.iter_mut().find(|chain| chain.name == chain_name) {
            chain.rules.push(steps);
        }
    }
    Ok(chains)
}

fn found_chain(chain: Attributes<'_>) -> Option<FoundChain> {
    let hook = chain.find(CHAIN_HOOK).and_then(|hook| {
        let number = find(hook, HOOK_NUMBER).and_then(be32)?;
        let priority = find(hook, HOOK_PRIORITY).and_then(be32)?;
        Some((number, priority.cast_signed()))
    });
    let policy = chain.find(CHAIN_POLICY).and_then(be32);
    let kind = chain.find(CHAIN_TYPE).and_then(text);
    Some(FoundChain {
        name: chain.find(CHAIN_NAME).and_then(text)?.to_owned(),
        hook,
        filters_and_accepts: policy == Some(libc::NF_ACCEPT as u32) && kind == Some("filter"),
        rules: Vec::new(),
    })
}

fn found_rule(rule: Attributes<'_>) -> Option<(String, Vec<Step>)> {
    let chain = rule.find(RULE_CHAIN).and_then(text)?.to_owned();
    let expressions = rule.find(RULE_EXPRESSIONS).unwrap_or_default();
    let steps = Attributes::of(expressions)
        .map(|(_, expression)| {
            let name = find(expression, EXPRESSION_NAME)
                .and_then(text)
                .unwrap_or_default();
            let data = find(expression, EXPRESSION_DATA).unwrap_or_default();
            step(name, data).unwrap_or_else(|| Step::Foreign(name.to_owned()))
        })
        .collect();
    Some((chain, steps))
}

fn step(name: &str, data: &[u8]) -> Option<Step> {
    let number = |kind| find(data, kind).and_then(be32);
    match name {
        "meta" => (number(2)? == libc::NFT_META_NFPROTO as u32).then_some(Step::LoadFamily),
        "cmp" if number(2)? == libc::NFT_CMP_EQ as u32 => match *find_path(data, &[3, DATA_VALUE])? {
            [nfproto] => Family::from_nfproto(nfproto).map(Step::FamilyIs),
            _ => None,
        },
        "payload" if number(2)? == libc::NFT_PAYLOAD_NETWORK_HEADER as u32 => {
            match (number(3)?, number(4)?) {
                (12, 4) => Some(Step::LoadAddress(Family::V4, Direction::Source)),
                (16, 4) => Some(Step::LoadAddress(Family::V4, Direction::Destination)),
                (8, 16) => Some(Step::LoadAddress(Family::V6, Direction::Source)),
                (24, 16) => Some(Step::LoadAddress(Family::V6, Direction::Destination)),
                _ => None,
            }
        }
        // Any flag would turn the look-up around.
        "lookup" if number(5).unwrap_or(0) == 0 => {
            Some(Step::InSet(find(data, 1).and_then(text)?.to_owned()))
        }
        "match" if find(data, 1).and_then(text)? == "set" && number(2)? == MATCH_REVISION => {
            match *find(data, 3)?.first_chunk::<4>()? {
                [index_0, index_1, MATCH_DIMENSIONS, flags @ (0 | MATCH_SOURCE)] => {
                    let direction = if flags == MATCH_SOURCE {
                        Direction::Source
                    } else {
                        Direction::Destination
                    };
                    Some(Step::InIpset(u16::from_ne_bytes([index_0, index_1]), direction))
                }
                _ => None,
            }
        }
        "counter" => Some(Step::Count),
        "immediate" => {
            let code = find_path(data, &[2, DATA_VERDICT, VERDICT_CODE]).and_then(be32)?;
            (code == libc::NF_DROP as u32).then_some(Step::Drop)
        }
        _ => None,
    }
}
