//! Which system calls the kernel carries out for this program (`seccomp(2)`).
//!
//! Without programs to run, only those that the daemon and its libraries use are carried out: no program is started,
//! no process made, no other process touched, no namespace changed, nothing mounted, and no memory is writable and
//! executable at once. With programs to run (`on_ban`, `on_unban`), which inherit the filter and may be anything,
//! all calls are carried out but those by which exploits reach deep into a kernel.
//!
//! Chosen: a refused call fails, it does not kill. A filter that kills makes a call that a new C library has come to
//! use the end of the watch. The error is ENOSYS, as of a kernel that has no such call: libraries then fall back to
//! an older one, while EPERM is the end for them. What failed for it says so in its own log line.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// What the filter has to leave room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Programs are run.
    pub programs: bool,
    /// The bpf system call is needed.
    pub bpf: bool,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The numbers of system calls are not known here.
    #[error("there is none for this processor architecture")]
    Architecture,
    /// The kernel, or a filter of the service manager, refuses.
    #[error(transparent)]
    Refused(#[from] seccompiler::Error),
}

impl From<seccompiler::BackendError> for FilterError {
    fn from(error: seccompiler::BackendError) -> Self {
        Self::Refused(error.into())
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filter in force for the calling thread and those that it starts.
pub(super) fn filter(uses: Use) -> Result<(), FilterError> {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| FilterError::Architecture)?;
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let (listed, others, rules) = if uses.programs {
        (missing, SeccompAction::Allow, dangerous(uses.bpf))
    } else {
        (SeccompAction::Allow, missing, needed(uses.bpf)?)
    };
    let program: BpfProgram = SeccompFilter::new(rules, others, listed, arch)?.try_into()?;
    Ok(apply_filter(&program)?)
}

/// The calls of the daemon itself.
fn needed(bpf: bool) -> Result<Rules, FilterError> {
    let mut rules: Rules = CALLS
        .iter()
        .chain(CALLS_OF_OLD)
        .map(|call| (*call, Vec::new()))
        .collect();
    if bpf {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    let families = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
        libc::AF_PACKET,
    ];
    let mut one_of = |call: c_long, alternatives: Vec<Vec<SeccompCondition>>| {
        let rule = |conditions| SeccompRule::new(conditions);
        let all: Result<Vec<_>, _> = alternatives.into_iter().map(rule).collect();
        all.map(|all| rules.insert(call, all))
    };
    one_of(
        libc::SYS_socket,
        families
            .iter()
            .map(|family| Ok(vec![is(0, *family)?]))
            .collect::<Result<_, FilterError>>()?,
    )?;
    // Threads, not processes. The C library tries clone3 first, whose flags a filter cannot see.
    one_of(
        libc::SYS_clone,
        vec![vec![has(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]],
    )?;
    // Names of threads and of anonymous memory.
    one_of(
        libc::SYS_prctl,
        vec![vec![is(0, libc::PR_SET_NAME)?], vec![is(0, libc::PR_SET_VMA)?]],
    )?;
    // An abort is a signal to oneself.
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    one_of(libc::SYS_tgkill, vec![vec![is(0, own)?]])?;
    // Neither may put characters into a terminal's input.
    let not = |request: u64| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request);
    one_of(
        libc::SYS_ioctl,
        vec![vec![not(libc::TIOCSTI)?, not(libc::TIOCLINUX)?]],
    )?;
    one_of(
        libc::SYS_mmap,
        vec![
            vec![has(2, libc::PROT_EXEC, 0)?],
            vec![has(2, libc::PROT_WRITE, 0)?],
        ],
    )?;
    one_of(libc::SYS_mprotect, vec![vec![has(2, libc::PROT_EXEC, 0)?]])?;
    Ok(rules)
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, FilterError> {
    let value = u64::from(value.cast_unsigned());
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        value,
    )?)
}

/// Of the bits in `mask`, the argument has exactly these.
fn has(argument: u8, mask: i32, bits: i32) -> Result<SeccompCondition, FilterError> {
    let (mask, bits) = (u64::from(mask.cast_unsigned()), u64::from(bits.cast_unsigned()));
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        bits,
    )?)
}

/// What no program at a ban has a use for.
fn dangerous(bpf: bool) -> Rules {
    let mut rules: Rules = DANGEROUS.iter().map(|call| (*call, Vec::new())).collect();
    if !bpf {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    rules
}

const CALLS: &[c_long] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_umask,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Sockets.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads and signals.
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Clocks and what the machine is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Forms that newer architectures do not have any more.
#[cfg(target_arch = "x86_64")]
const CALLS_OF_OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS_OF_OLD: &[c_long] = &[];

const DANGEROUS: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_open_by_handle_at,
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs in a thread with the filter.
    fn filtered(uses: Use, work: impl FnOnce() + Send + 'static) {
        let run = move || {
            filter(uses).unwrap();
            work();
        };
        std::thread::spawn(run).join().unwrap();
    }

    /// The error number of a system call with these arguments.
    fn refusal(call: c_long, arguments: [i64; 3]) -> Option<i32> {
        let [first, second, third] = arguments;
        // SAFETY: the calls that are tried take numbers, or null pointers that they refuse.
        let result = unsafe { libc::syscall(call, first, second, third, 0, 0, 0) };
        (result < 0)
            .then(|| std::io::Error::last_os_error().raw_os_error())
            .flatten()
    }

    #[test]
    fn the_daemon_starts_threads_and_nothing_else() {
        filtered(Use::default(), || {
            std::thread::spawn(|| {}).join().unwrap();
            assert!(std::fs::read("/proc/self/status").is_ok());
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
            assert!(Command::new("true").spawn().is_err());
            let (rwx, anonymous) = (
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_ANONYMOUS,
            );
            for (call, arguments) in [
                (libc::SYS_execve, [0; 3]),
                (libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0]),
                (libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0]),
                (libc::SYS_mount, [0; 3]),
                (libc::SYS_ptrace, [0; 3]),
                (libc::SYS_bpf, [0; 3]),
                (libc::SYS_kill, [0, 0, 0]),
                (libc::SYS_tgkill, [1, 1, 0]),
                (libc::SYS_prctl, [libc::PR_SET_SECCOMP.into(), 0, 0]),
                (
                    libc::SYS_socket,
                    [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0],
                ),
                (libc::SYS_ioctl, [0, libc::TIOCSTI.cast_signed(), 0]),
                (libc::SYS_mmap, [0, 4_096, (rwx | anonymous).into()]),
                (libc::SYS_mprotect, [0, 0, libc::PROT_EXEC.into()]),
                (libc::SYS_setuid, [0; 3]),
            ] {
                assert_eq!(
                    refusal(call, arguments),
                    Some(libc::ENOSYS),
                    "{call} {arguments:?}"
                );
            }
        });
    }

    #[test]
    fn programs_may_do_what_is_harmless() {
        let uses = Use {
            programs: true,
            bpf: false,
        };
        filtered(uses, || {
            assert!(Command::new("true").status().unwrap().success());
            let unshare = Command::new("unshare").args(["--user", "true"]).output().unwrap();
            assert!(!unshare.status.success());
            for call in [libc::SYS_mount, libc::SYS_ptrace, libc::SYS_bpf, libc::SYS_setns] {
                assert_eq!(refusal(call, [0; 3]), Some(libc::ENOSYS), "{call}");
            }
        });
    }

    #[test]
    fn bpf_is_carried_out_where_it_is_needed() {
        for programs in [false, true] {
            filtered(Use { programs, bpf: true }, || {
                assert_ne!(refusal(libc::SYS_bpf, [-1, 0, 0]), Some(libc::ENOSYS));
            });
        }
    }
}
