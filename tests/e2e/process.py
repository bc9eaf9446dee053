"""Programs that a test starts: their output goes to a file and, line by line with the time of arrival, to the test."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path


class Failure(Exception):
    """A test's expectation that did not hold; the text says which."""


class Program:
    """One running program. Lines are kept as (seconds since the start of the program, text)."""

    def __init__(self, name: str, argv: list[str], log_dir: Path):
        self.name = name
        self.started = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self._news = threading.Condition()
        self._log = open(log_dir / f"{name}.log", "ab")
        self._log.write((" ".join(argv) + "\n").encode())
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for raw in self._process.stdout:
            self._log.write(raw)
            self._log.flush()
            with self._news:
                self.lines.append((time.monotonic() - self.started, raw.decode("utf-8", "replace").rstrip()))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def find(self, pattern: str) -> tuple[float, str] | None:
        """First line so far that the pattern matches."""
        expression = re.compile(pattern)
        with self._news:
            return next((line for line in self.lines if expression.search(line[1])), None)

    def wait_line(self, pattern: str, seconds: float) -> tuple[float, str]:
        """First line that the pattern matches, waiting for it at most so long."""
        deadline = time.monotonic() + seconds
        while True:
            with self._news:
                before = len(self.lines)
            line = self.find(pattern)
            if line:
                return line
            left = deadline - time.monotonic()
            if left <= 0 or (self._process.poll() is not None and not self._reader.is_alive()):
                ended = self._process.poll()
                state = "runs" if ended is None else f"ended with {ended}"
                last = self.lines[-1][1] if self.lines else "nothing"
                raise Failure(f"{self.name}: no line /{pattern}/ in {seconds} s ({state}; last: {last})")
            with self._news:
                if len(self.lines) == before:
                    self._news.wait(min(left, 0.2))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the program has not ended."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Exit status, waiting at most so long."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: still running after {seconds} s") from None
        self._reader.join(1)
        return status

    def signal(self, number: int) -> None:
        """Sends the signal if the program still runs."""
        if self.running():
            self._process.send_signal(number)

    def kill(self) -> None:
        """Ends the program and everything that it started at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._log.close()


def wait_until(what: str, condition, seconds: float, every: float = 0.05):
    """First true value of `condition()`, asking again and again for at most so long."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(every)
