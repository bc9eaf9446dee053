//! Rules as libnftnl writes them.

use std::ffi::CString;
use std::net::Ipv4Addr;
use std::ptr::NonNull;

use nftnl::expr::{Expression, Lookup};
use nftnl::nftnl_sys::{self as sys, libc};
use nftnl::set::Set;
use nftnl::{Chain, Rule, Table, nft_expr};

use super::{Direction, RuleSpec, Step};
use crate::backend::Family;

/// `IPSET_DIM_ONE_SRC` of `linux/netfilter/ipset/ip_set.h`: look up the source; without it, the destination.
/// (The bit below it means "not".)
pub(super) const MATCH_SOURCE: u8 = 1 << 1;
/// Addresses that a set's element consists of.
pub(super) const MATCH_DIMENSIONS: u8 = 1;
/// `struct xt_set_info_match_v1`, the oldest that takes an index and flags (Linux 2.6.39).
pub(super) const MATCH_REVISION: u32 = 1;

/// Builds one rule.
pub(super) fn rule<'a>(spec: &RuleSpec, chain: &'a Chain<'_>, table: &Table) -> Rule<'a> {
    let mut rule = Rule::new(chain);
    for step in &spec.steps {
        add(&mut rule, step, table);
    }
    // Comments are for people who list the rules; the only refusal is one beyond 128 bytes.
    let _ = rule.set_comment(&spec.comment);
    rule
}

fn add(rule: &mut Rule<'_>, step: &Step, table: &Table) {
    match step {
        Step::LoadFamily => rule.add_expr(&nft_expr!(meta nfproto)),
        Step::FamilyIs(family) => rule.add_expr(&nft_expr!(cmp == family.nfproto())),
        Step::LoadAddress(Family::V4, Direction::Source) => rule.add_expr(&nft_expr!(payload ipv4 saddr)),
        Step::LoadAddress(Family::V4, Direction::Destination) => {
            rule.add_expr(&nft_expr!(payload ipv4 daddr));
        }
        Step::LoadAddress(Family::V6, Direction::Source) => rule.add_expr(&nft_expr!(payload ipv6 saddr)),
        Step::LoadAddress(Family::V6, Direction::Destination) => {
            rule.add_expr(&nft_expr!(payload ipv6 daddr));
        }
        Step::InSet(name) => {
            // Only the name is read from this set; the kernel finds it by that.
            let name = CString::new(name.as_str()).unwrap_or_default();
            let set = Set::<Ipv4Addr>::new_named(&name, 0, table, table.get_family());
            rule.add_expr(&Lookup::new(&set));
        }
        Step::InIpset(index, direction) => rule.add_expr(&IpsetMatch {
            index: *index,
            direction: *direction,
        }),
        Step::Count => rule.add_expr(&nft_expr!(counter)),
        Step::Drop => rule.add_expr(&nft_expr!(verdict drop)),
        Step::Foreign(_) => {}
    }
}

/// The iptables match "set" as an expression of nftables (`nft_compat`): the only way from a rule to an ipset.
struct IpsetMatch {
    index: u16,
    direction: Direction,
}

impl IpsetMatch {
    /// `struct xt_set_info_match_v1` {index, dimensions, flags}, padded as `XT_ALIGN` does.
    fn info(&self) -> [u8; 8] {
        let [index_0, index_1] = self.index.to_ne_bytes();
        let flags = match self.direction {
            Direction::Source => MATCH_SOURCE,
            Direction::Destination => 0,
        };
        [index_0, index_1, MATCH_DIMENSIONS, flags, 0, 0, 0, 0]
    }
}

impl Expression for IpsetMatch {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let info = self.info();
        // SAFETY: the name is a C string and is copied.
        let expr = unsafe { sys::nftnl_expr_alloc(c"match".as_ptr()) };
        let Some(expr) = NonNull::new(expr) else {
            std::process::abort()
        };
        // SAFETY: `expr` is valid; the string is copied.
        unsafe { sys::nftnl_expr_set_str(expr.as_ptr(), sys::NFTNL_EXPR_MT_NAME as u16, c"set".as_ptr()) };
        // SAFETY: `expr` is valid.
        unsafe { sys::nftnl_expr_set_u32(expr.as_ptr(), sys::NFTNL_EXPR_MT_REV as u16, MATCH_REVISION) };
        // SAFETY: plain allocation; checked below.
        let memory = unsafe { libc::malloc(info.len()) };
        let Some(memory) = NonNull::new(memory.cast::<[u8; 8]>()) else {
            std::process::abort()
        };
        // SAFETY: `memory` has room for `info` and nobody else knows it; bytes need no alignment.
        unsafe { memory.write(info) };
        // SAFETY: this one attribute is not copied: libnftnl takes over memory from `malloc` and frees it
        // together with the expression.
        unsafe {
            sys::nftnl_expr_set(
                expr.as_ptr(),
                sys::NFTNL_EXPR_MT_INFO as u16,
                memory.as_ptr().cast(),
                info.len() as u32,
            )
        };
        expr
    }
}
