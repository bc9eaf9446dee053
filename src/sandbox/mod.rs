//! Fewer rights: what the daemon gives up before it sees the first packet.
//!
//! One thread does it, before any other is started, since users, capabilities, Landlock and filters of system calls
//! belong to threads and are inherited. In this order:
//!
//! 1. folders that are missing are made, and checked whether the user reaches what the daemon works with;
//! 2. no program that is started gains capabilities (securebits);
//! 3. root becomes the user;
//! 4. all capabilities go but those that captures and sets need for as long as the daemon lives: interfaces that come
//!    back are opened anew (CAP_NET_RAW), sets change (CAP_NET_ADMIN, with XDP CAP_BPF);
//! 5. no new privileges, Landlock, the filter of system calls.
//!
//! Promise: each step that is not possible here is told in one line and costs only itself. What a user cannot reach
//! keeps the daemon root, without root's capabilities but that over files.
//!
//! Chosen: one process with few rights, instead of a parser without any that is helped by a second process. What
//! such a parser says decides on bans, so whoever owns it can ban anyway; what is left beyond that, capture and
//! netfilter in one network namespace, did not seem worth a protocol between two processes on the packet path.

mod account;
mod capabilities;
mod files;
mod places;
mod system_calls;

use std::fmt;
use std::io;

use landlock::RulesetStatus;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use account::Account;

pub use account::{BadUser, User};
pub use files::Files;
pub use places::{Need, Place};
pub use system_calls::{FilterError, Use};

/// What the daemon is and needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom root becomes.
    pub user: User,
    /// Whether files and system calls are confined.
    pub confine: bool,
    /// Whether a kernel set is written to.
    pub net_admin: bool,
    /// Paths that the user has to reach.
    pub places: Vec<Place>,
    /// Files and ports that stay allowed.
    pub files: Files,
    /// What the filter of system calls leaves room for.
    pub uses: Use,
}

/// Why the start ends here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The account does not exist.
    #[error("user {0}: there is no such account in /etc/passwd")]
    NoAccount(String),
    /// The user that was named cannot work.
    #[error("cannot become {user}: {why}")]
    User {
        /// The user.
        user: String,
        /// What is in the way.
        why: String,
    },
    /// The system refuses.
    #[error("cannot {action}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// How system calls are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemCalls {
    /// Those of the daemon are carried out.
    Listed,
    /// The dangerous ones are not: programs are run.
    Harmless,
    /// No filter of this program's own.
    Open,
}

/// How files are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// By all rules.
    Fully,
    /// By the rules that this kernel knows.
    Partly,
    /// Not.
    No,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The user, for people.
    pub user: String,
    /// Names of the capabilities that are left.
    pub capabilities: Vec<String>,
    /// System calls.
    pub system_calls: SystemCalls,
    /// Files.
    pub files: Confined,
    /// What was not possible, and why: one line each.
    pub notes: Vec<String>,
}

impl SystemCalls {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listed => "only the daemon's own",
            Self::Harmless => "all but dangerous ones",
            Self::Open => "not filtered",
        }
    }
}

impl Confined {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fully => "confined",
            Self::Partly => "confined as far as this kernel can",
            Self::No => "not confined",
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "runs as {} with {}; system calls: {}; files: {}",
            self.user,
            capabilities_in_words(&self.capabilities),
            self.system_calls.name(),
            self.files.name()
        )
    }
}

/// A list of capabilities that is short enough for one line.
pub fn capabilities_in_words(names: &[String]) -> String {
    match names {
        [] => "no capabilities".to_owned(),
        some if some.len() > 5 => format!("{} capabilities", some.len()),
        some => some.join(", "),
    }
}

/// Names of the capabilities in a set as `proc_pid_status(5)` shows it.
pub fn capability_names(bits: u64) -> Vec<String> {
    capabilities::names(CapabilitySet::from_bits_retain(bits))
}

/// Whether a process of this user may be a daemon that is configured alike: root's, of the own user, or of the one that
/// root becomes.
pub fn is_daemons_user(uid: u32, user: &User) -> bool {
    let account = Account::find(user, &passwd()).ok().flatten();
    uid == 0
        || uid == rustix::process::geteuid().as_raw()
        || account.is_some_and(|account| account.uid == uid)
}

fn passwd() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

/// Gives up what is not needed. To be called once, while there is one thread.
///
/// # Errors
/// [`SandboxError`] when a user was named that cannot work, or the kernel refuses half-way.
pub fn enter(options: &Options) -> Result<Confinement, SandboxError> {
    let mut notes = Vec::new();
    let is_root = rustix::process::geteuid().is_root();
    let keeps_all = is_root && options.user == User::Root;
    let user = if keeps_all {
        "root".to_owned()
    } else {
        reduce(options, is_root, &mut notes)?
    };
    let held = capabilities::held().map_err(refused("read the capabilities"))?;
    let (files, system_calls) = confine(options, &mut notes)?;
    Ok(Confinement {
        user,
        capabilities: capabilities::names(held),
        system_calls,
        files,
        notes,
    })
}

/// Changes the user, if that is to be, and gives up capabilities.
fn reduce(options: &Options, is_root: bool, notes: &mut Vec<String>) -> Result<String, SandboxError> {
    let held = capabilities::held().map_err(refused("read the capabilities"))?;
    let mut wanted = CapabilitySet::NET_RAW;
    wanted.set(CapabilitySet::NET_ADMIN, options.net_admin);
    wanted.set(CapabilitySet::BPF, options.uses.bpf);
    let low_port = options.files.listen.iter().any(|port| (1..1_024).contains(port));
    wanted.set(CapabilitySet::NET_BIND_SERVICE, low_port);
    if options.uses.bpf {
        raise_locked_memory();
    }
    let account = if is_root {
        becomes(options, held, notes)?
    } else {
        None
    };
    if is_root && account.is_none() {
        wanted |= CapabilitySet::DAC_OVERRIDE;
    }
    if held.contains(CapabilitySet::SETPCAP) {
        capabilities::settle().map_err(refused("keep programs from gaining capabilities (securebits)"))?;
    }
    let user = match account {
        Some(account) => {
            become_user(&account).map_err(refused("change the user"))?;
            account.to_string()
        }
        None if is_root => "root".to_owned(),
        None => format!("user {}", rustix::process::geteuid().as_raw()),
    };
    capabilities::keep(wanted).map_err(refused("give up capabilities"))?;
    Ok(user)
}

/// Whom root becomes: nobody, with the reason as a note, when that would keep the daemon from its work.
fn becomes(
    options: &Options,
    held: CapabilitySet,
    notes: &mut Vec<String>,
) -> Result<Option<Account>, SandboxError> {
    let Some(account) = Account::find(&options.user, &passwd())? else {
        return Ok(None);
    };
    // securebits keep the capabilities through the change.
    let needed =
        CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN | CapabilitySet::SETPCAP;
    let own = places::make(&options.places);
    let why = if held.contains(needed) {
        let found = places::out_of_reach(&options.places, &own, &account);
        let found = found.map_err(refused("act for another user"))?;
        found.map(|place| format!("{place}; give the user access, or choose another path"))
    } else {
        let missing = capabilities::names(needed - held).join(", ");
        Some(format!("the start lacks {missing}"))
    };
    match (why, &options.user) {
        (None, _) => {
            places::hand_over(&own, &account).map_err(refused("give folders to the user"))?;
            Ok(Some(account))
        }
        (Some(why), User::Named(_)) => Err(SandboxError::User {
            user: account.to_string(),
            why,
        }),
        (Some(why), _) => {
            notes.push(format!(
                "stays root instead of {account}, with few capabilities: {why}"
            ));
            Ok(None)
        }
    }
}

/// Before Linux 5.11, BPF maps count as locked memory, and only root may raise the limit. Elsewhere nothing needs it.
fn raise_locked_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        log::debug!("the limit of locked memory stays: {error}");
    }
}

fn become_user(account: &Account) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Puts Landlock and the filter in force.
fn confine(options: &Options, notes: &mut Vec<String>) -> Result<(Confined, SystemCalls), SandboxError> {
    if !options.confine {
        notes.push("files and system calls are not confined (sandbox = false)".to_owned());
        return Ok((Confined::No, SystemCalls::Open));
    }
    rustix::thread::set_no_new_privs(true).map_err(refused("keep programs from gaining privileges"))?;
    let files = if options.uses.programs {
        notes.push(
            "files are not confined, and only dangerous system calls are forbidden, for the sake of the programs that \
             on_ban and on_unban name"
                .to_owned(),
        );
        Confined::No
    } else {
        match files::confine(&options.files) {
            Ok(RulesetStatus::FullyEnforced) => Confined::Fully,
            Ok(RulesetStatus::PartiallyEnforced) => Confined::Partly,
            Ok(RulesetStatus::NotEnforced) => {
                notes.push(
                    "files are not confined: this kernel has no Landlock, or it is switched off".to_owned(),
                );
                Confined::No
            }
            Err(error) => {
                notes.push(format!("files are not confined: {error}"));
                Confined::No
            }
        }
    };
    let system_calls = match system_calls::filter(options.uses) {
        Ok(()) if options.uses.programs => SystemCalls::Harmless,
        Ok(()) => SystemCalls::Listed,
        Err(error) => {
            notes.push(format!("system calls are not filtered: {error}"));
            SystemCalls::Open
        }
    };
    Ok((files, system_calls))
}

fn refused<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |error| SandboxError::Refused {
        action,
        source: error.into(),
    }
}
