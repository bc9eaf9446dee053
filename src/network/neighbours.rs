//! Hosts that this machine depends on and that must therefore never be cut off: its name servers and the
//! remote ends of the SSH sessions to it. Files that are missing or strange give nothing.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::OnceLock;

use super::namespace::parent_of;

const SSH_PORT: u16 = 22;
/// ESTABLISHED in `/proc/net/tcp` (`include/net/tcp_states.h`).
const ESTABLISHED: &str = "01";
/// Parents that are asked for their environment.
const MAX_ANCESTORS: usize = 32;

/// Name servers; behind the local stub of systemd-resolved also those that it asks.
pub(super) fn resolvers() -> Vec<IpAddr> {
    let read = |path| nameservers(&fs::read_to_string(path).unwrap_or_default());
    let mut found = read("/etc/resolv.conf");
    if found.iter().any(IpAddr::is_loopback) {
        found.extend(read("/run/systemd/resolve/resolv.conf"));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Addresses of the `nameserver` lines (`resolv.conf(5)`), without their zones.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words
            .next()
            .filter(|word| *word == "nameserver")
            .and_then(|_| words.next())?;
        name.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

/// Remote ends of established connections to the SSH ports: 22, those of `sshd_config(5)`, and the one of the session
/// that started this process.
pub(super) fn ssh_peers() -> Vec<IpAddr> {
    let session = own_session();
    let own = session.map(|(_, port)| port);
    let is_ssh = |port: &u16| *port == SSH_PORT || own == Some(*port) || ssh_server().ports.contains(port);
    let mut peers: Vec<IpAddr> = session.map(|(peer, _)| peer).into_iter().collect();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        peers.extend(
            connections(&whole(table))
                .filter(|(port, _)| is_ssh(port))
                .map(|(_, peer)| peer),
        );
    }
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// Text of a file of `/proc/net`. For every read the kernel walks all buckets of its table: a buffer that
/// has room for what is usually there keeps them few.
fn whole(path: &str) -> String {
    let mut text = String::with_capacity(64 * 1024);
    if let Err(error) = fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        log::debug!("reading {path}: {error}");
    }
    text
}

/// What the configuration of the SSH server says.
#[derive(Default)]
struct SshServer {
    ports: Vec<u16>,
    /// The first part of it that is there and cannot be read, with the reason.
    unread: Option<String>,
}

/// The configuration of the SSH server. Read once, before rights are given up: the files may be root's alone.
fn ssh_server() -> &'static SshServer {
    static SERVER: OnceLock<SshServer> = OnceLock::new();
    SERVER.get_or_init(|| read_ssh_server(Path::new("/etc/ssh")))
}

/// Why the ports of the SSH server may not be known: a part of its configuration is there and cannot be read.
pub fn unread_ssh_configuration() -> Option<&'static str> {
    ssh_server().unread.as_deref()
}

fn read_ssh_server(folder: &Path) -> SshServer {
    let mut server = SshServer::default();
    let mut refused = |path: &Path, error: &io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            server
                .unread
                .get_or_insert(format!("cannot read {}: {error}", path.display()));
        }
    };
    let mut files = vec![folder.join("sshd_config")];
    let parts = folder.join("sshd_config.d");
    match fs::read_dir(&parts) {
        Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
        Err(error) => refused(&parts, &error),
    }
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => server.ports.extend(sshd_ports(&text)),
            Err(error) => refused(&file, &error),
        }
    }
    server
}

/// Ports of the `Port` and `ListenAddress` lines (`sshd_config(5)`).
fn sshd_ports(text: &str) -> Vec<u16> {
    let port = |line: &str| {
        let (keyword, value) = line.trim().split_once(|c: char| c.is_whitespace() || c == '=')?;
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '=' || c == '"');
        let value = value.split_whitespace().next()?;
        match keyword.to_ascii_lowercase().as_str() {
            "port" => value.parse().ok(),
            "listenaddress" => value
                .parse::<SocketAddr>()
                .ok()
                .map(|address| address.port())
                .or_else(|| {
                    // A host name with a port; a bare IPv6 address has more colons.
                    let (host, port) = value.rsplit_once(':')?;
                    (!host.contains(':')).then(|| port.parse().ok())?
                }),
            _ => None,
        }
    };
    text.lines().filter_map(port).collect()
}

/// Local port and remote address of every established connection in a table of `proc_net_tcp`.
fn connections(table: &str) -> impl Iterator<Item = (u16, IpAddr)> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
        (state == ESTABLISHED).then_some((port, hex_address(remote.split_once(':')?.0)?))
    })
}

/// An address as 32-bit words in host byte order.
fn hex_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        Some(
            u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Remote address and local port of the SSH session that this process was started from. Read once: it stays the
/// same, and with fewer rights the parents cannot be asked any more.
fn own_session() -> Option<(IpAddr, u16)> {
    static SESSION: OnceLock<Option<(IpAddr, u16)>> = OnceLock::new();
    *SESSION.get_or_init(read_session)
}

/// `sudo` removes the variable from our own environment, so the parents are asked too.
fn read_session() -> Option<(IpAddr, u16)> {
    let mut process = std::process::id();
    for _ in 0..MAX_ANCESTORS {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if let Some(session) = ssh_connection(&environment) {
            return Some(session);
        }
        process = parent_of(process)?;
        if process <= 1 {
            return None;
        }
    }
    None
}

/// Client address and server port of `SSH_CONNECTION` (`ssh(1)`) in an environment of zero-ended strings.
fn ssh_connection(environment: &[u8]) -> Option<(IpAddr, u16)> {
    let variables = environment.split(|byte| *byte == 0);
    let value = variables
        .filter_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="))
        .next()?;
    let mut words = std::str::from_utf8(value).ok()?.split(' ');
    let client = words.next()?.split('%').next()?.parse().ok()?;
    Some((client, words.nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nameserver_lines() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 192.0.2.53\nnameserver fe80::1%eth0 \n\
                    options rotate\nnameserver broken\nnameservers 1.1.1.1\n";
        assert_eq!(
            nameservers(text),
            ["192.0.2.53", "fe80::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
    }

    #[test]
    fn reads_the_ports_of_the_ssh_server() {
        let text = "# Port 1\n#Port 2\nPort 2222\n port=2223 # why\nPort \"2224\"\nListenAddress 0.0.0.0\n\
                    ListenAddress 192.0.2.1:2225\nlistenaddress [2001:db8::1]:2226\nListenAddress 2001:db8::2\n\
                    ListenAddress host.example:2227\nPortForward 5\nPort\nPort many\nPort 70000\n";
        assert_eq!(sshd_ports(text), [2222, 2223, 2224, 2225, 2226, 2227]);
    }

    #[test]
    fn what_is_there_of_the_ssh_server_and_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (main, parts) = (
            folder.path().join("sshd_config"),
            folder.path().join("sshd_config.d"),
        );
        assert!(read_ssh_server(folder.path()).unread.is_none(), "no server");
        fs::write(&main, "Port 2222").unwrap();
        fs::create_dir(&parts).unwrap();
        fs::write(parts.join("50-port.conf"), "Port 2223").unwrap();
        let server = read_ssh_server(folder.path());
        assert_eq!((server.ports, server.unread), (vec![2222, 2223], None));
        fs::remove_file(&main).unwrap();
        // Whoever runs the tests, a folder is no text.
        fs::create_dir(&main).unwrap();
        let server = read_ssh_server(folder.path());
        assert_eq!(server.ports, [2223]);
        assert!(
            server
                .unread
                .is_some_and(|trouble| trouble.contains("/sshd_config: "))
        );
    }

    #[test]
    fn reads_established_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 00000000:0016 00000000:0000 0A 00000000:00000000\n\
            1: 010200C0:0016 076433C6:D431 01 00000000:00000000\n\
            2: 010200C0:0016 086433C6:D431 06 00000000:00000000\n\
            3: B80D0120000000000000000001000000:08AE B80D0120000000000000000002000000:D431 01 0:0\n\
            4: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000096433C6:D431 01 0:0\n\
            5: garbage\n";
        let expected = [(22, "198.51.100.7"), (2222, "2001:db8::2"), (22, "198.51.100.9")];
        let expected: Vec<_> = expected
            .map(|(port, ip)| (port, ip.parse::<IpAddr>().unwrap()))
            .into();
        // The table above is written as a little-endian machine shows it.
        if cfg!(target_endian = "little") {
            assert_eq!(connections(table).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn reads_the_session_of_an_environment() {
        let environment = b"PATH=/bin\0SSH_CONNECTION=fe80::7%eth0 50123 fe80::1%eth0 2222\0HOME=/\0";
        assert_eq!(
            ssh_connection(environment),
            Some(("fe80::7".parse().unwrap(), 2222))
        );
        for environment in [
            &b""[..],
            b"SSH_CONNECTION=",
            b"SSH_CONNECTION=a b c d",
            b"XSSH_CONNECTION=1.2.3.4 1 1.2.3.4 22",
        ] {
            assert_eq!(ssh_connection(environment), None);
        }
    }
}
