"""Private kernel namespaces for one run of the end-to-end tests.

Promise: the driver runs as process 1 of its own PID namespace, in its own mount and network namespace. When it ends, for
whatever reason, the kernel ends every process that it started and drops every network namespace, device, firewall rule and
mount with it. The machine's own network, firewall, /run, /var/lib and /etc/btblocker are never touched.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from process import Failure

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter() -> None:
    """Returns in a child process inside fresh namespaces; the caller itself only waits for it and ends with its status."""
    if os.geteuid() != 0:
        sys.exit("the end-to-end tests make network namespaces: run them as root (make e2e uses sudo)")
    if _LIBC.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    child = os.fork()
    if child != 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: os.kill(child, received))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prepare()


def run(name: str, check) -> int:
    """Runs `check` in fresh namespaces with a folder of its own, which stays when it fails; the exit status."""
    enter()
    work = Path(tempfile.mkdtemp(prefix=f"btblocker-{name}-"))
    work.chmod(0o755)
    try:
        check(work)
    except Failure as failure:
        print(f"FAIL {failure} (logs: {work})")
        return 1
    shutil.rmtree(work)
    print("PASS")
    return 0


def _prepare() -> None:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TERM", "TMPDIR") if name in os.environ}
    os.environ.clear()  # above all of variables that would configure the program under test
    os.environ.update(kept, LC_ALL="C.UTF-8", PATH=kept.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "none", "/proc"], check=True)
    for target in ("/run", "/var/lib", "/etc/btblocker"):
        if os.path.isdir(target):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", target], check=True)
    os.makedirs("/run/sshd", mode=0o755)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)


def _interrupted(_number, _frame) -> None:
    raise KeyboardInterrupt


def enter_netns(name: str) -> None:
    """Moves the calling thread into the named network namespace."""
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(descriptor)


def within(name: str, action, *arguments):
    """Result of `action(*arguments)` called by a thread inside the named network namespace."""
    outcome = {}

    def body() -> None:
        try:
            enter_netns(name)
            outcome["value"] = action(*arguments)
        except Exception as error:  # handed to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def local_port_is_open(port: int) -> bool:
    """Whether something listens on the loopback port of the calling thread's namespace."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
