//! Which user the daemon becomes.

use std::fmt;
use std::str::FromStr;

use super::SandboxError;

/// Account that `auto` looks for; packages and the systemd unit use it, too.
const ACCOUNT: &str = "btblocker";
/// User and group where that account is missing. Neither Debian (policy 9.2.2: 65000 to 65533 are reserved) nor
/// systemd (its ranges end at 65519) gives the number to anybody, and unlike `nobody` it is shared with nobody.
const NOBODY_ELSE: u32 = 65_533;

/// The user that a daemon which is started as root becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// The account `btblocker`, else a number that no account has (`auto`).
    #[default]
    Auto,
    /// None: it stays root with all rights (`root`).
    Root,
    /// An account by name or number.
    Named(String),
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Root => "root",
            Self::Named(name) => name,
        })
    }
}

impl FromStr for User {
    type Err = BadUser;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "root" | "0" => Ok(Self::Root),
            _ if text.is_empty() || text.contains([':', '/', ' ', '\n']) => Err(BadUser(text.to_owned())),
            name => Ok(Self::Named(name.to_owned())),
        }
    }
}

/// A text that can be no user.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no user: expected auto, root, or the name or number of an account")]
pub struct BadUser(String);

/// A user with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Empty when there is only a number.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "user {}", self.uid),
            name => write!(f, "{name} ({})", self.uid),
        }
    }
}

impl Account {
    /// The account that is meant, by the text of `passwd(5)`; `None` is root.
    ///
    /// # Errors
    /// [`SandboxError::NoAccount`]. A number needs no account.
    pub(super) fn find(user: &User, passwd: &str) -> Result<Option<Self>, SandboxError> {
        let account = match user {
            User::Root => return Ok(None),
            User::Auto => by_name(passwd, ACCOUNT).unwrap_or_else(|| by_number(passwd, NOBODY_ELSE)),
            User::Named(name) => match (by_name(passwd, name), name.parse()) {
                (Some(account), _) => account,
                (None, Ok(uid)) => by_number(passwd, uid),
                (None, Err(_)) => return Err(SandboxError::NoAccount(name.clone())),
            },
        };
        Ok(Some(account).filter(|account| account.uid != 0))
    }
}

fn by_name(passwd: &str, name: &str) -> Option<Account> {
    accounts(passwd).find(|account| account.name == name)
}

fn by_number(passwd: &str, uid: u32) -> Account {
    let found = accounts(passwd).find(|account| account.uid == uid);
    found.unwrap_or(Account {
        name: String::new(),
        uid,
        gid: uid,
    })
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let mut numbers = fields.skip(1).map(str::parse);
        let (uid, gid) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Account { name, uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_that_is_meant_is_found() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nhalf:x:7\nwww:x:33:34:www:/:/bin/false\n";
        let with_own = format!("{passwd}btblocker:x:977:976::/:/bin/false\n");
        for (user, passwd, found) in [
            ("auto", passwd, Some(("", 65_533, 65_533))),
            ("auto", &with_own, Some(("btblocker", 977, 976))),
            ("www", passwd, Some(("www", 33, 34))),
            ("33", passwd, Some(("www", 33, 34))),
            ("4000", passwd, Some(("", 4_000, 4_000))),
            ("root", passwd, None),
            ("0", passwd, None),
        ] {
            let account = Account::find(&user.parse().unwrap(), passwd).unwrap();
            let account = account.as_ref().map(|it| (it.name.as_str(), it.uid, it.gid));
            assert_eq!(account, found, "{user}");
        }
        let error = Account::find(&"nosuch".parse().unwrap(), passwd).unwrap_err();
        assert!(error.to_string().contains("nosuch"), "{error}");
        for text in ["", "a b", "a:b", "/etc"] {
            assert!(text.parse::<User>().is_err(), "{text:?}");
        }
    }
}
