"""The program under test, running on the router."""

import re
import signal
import subprocess

from lab import Lab
from process import Failure, Program


def own(lab: Lab) -> list[str]:
    """Options that keep the program's files inside the case; nothing is remembered from case to case."""
    return ["--state-dir", "", "--control-socket", str(lab.work / "control.sock")]


class Watch:
    """One `btblocker` on the router `r`."""

    def __init__(self, lab: Lab, binary: str, backend: str, *options: str, interfaces: str = ""):
        self.lab, self.binary, self.backend = lab, binary, backend
        self.options = options
        interfaces = interfaces or lab.watched
        argv = [binary, "--interface", interfaces, "--backend", backend, *own(lab), *options]
        self.program: Program = lab.spawn("r", "btblocker", *argv)
        self.program.wait_line(r"\bready\b", 15)
        for interface in interfaces.split(","):
            self.program.wait_line(rf"capturing on {re.escape(interface)}\b", 15)

    def ban_line(self, address: str) -> tuple[float, str] | None:
        """Log line that tells the ban of the address, with its time since the daemon's start."""
        return self.program.find(rf"\bbanned {re.escape(address)}( on paper only)?: ")

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a subcommand of the program on the router."""
        return command(self.lab, self.binary, *words, "--backend", self.backend, check=check)

    def bans(self) -> str:
        """What the kernel set holds, as the program prints it: the daemon is not asked."""
        return self.command("bans", "--control-socket", "").stdout

    def terminate(self) -> int:
        """Exit status after SIGTERM."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait(5)


def command(lab: Lab, binary: str, *words: str, check: bool = True) -> subprocess.CompletedProcess:
    """Runs a subcommand of the program on the router; a wrong exit status fails the test with the program's own words."""
    done = lab.run("r", binary, *own(lab), *words, check=False)
    if check and done.returncode != 0:
        raise Failure(f"btblocker {' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done
