"""End-to-end test of btblocker with real BitTorrent clients in network namespaces. Needs root, Debian's packages
transmission-daemon, aria2, opentracker, openssh-server, iproute2, nftables, ipset and python3-libtorrent; see `make setup-test`.

Usage: run.py [--binary FILE] [--smoke] [--list] [PATTERN...]    PATTERN selects cases whose name contains it or matches it (*, ?)
Prints one line per case with what was measured, then `N passed, N failed`; exit status 1 when a case failed.
"""

import argparse
import fnmatch
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import isolation
from cases import all_cases
from process import Failure

CASE_SECONDS = 90
ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/btblocker"), help="program under test")
    parser.add_argument("--smoke", action="store_true", help="only the short selection that `make test` runs")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    return parser.parse_args()


def selected(wish: argparse.Namespace) -> dict:
    def fits(name: str) -> bool:
        return not wish.patterns or any(each in name or fnmatch.fnmatch(name, each) for each in wish.patterns)

    return {name: run for name, (smoke, run) in all_cases().items() if fits(name) and (smoke or not wish.smoke)}


def too_long(_number, _frame) -> None:
    raise Failure(f"not finished within {CASE_SECONDS} s")


def run_case(name: str, run, binary: str) -> bool:
    work = Path(tempfile.mkdtemp(prefix=f"btblocker-e2e-{name.replace('/', '-')}-"))
    work.chmod(0o755)
    started = time.monotonic()
    try:
        signal.alarm(CASE_SECONDS)
        result = run(work, binary)
    except (Failure, OSError, subprocess.SubprocessError) as error:
        with open(work / "failure.log", "w", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        detail = getattr(error, "stderr", None)
        print(f"FAIL {name:52} {error}{f': {detail}' if detail else ''} (logs: {work})", flush=True)
        return False
    finally:
        signal.alarm(0)
        for state in ("/run/btblocker", "/var/lib/btblocker"):
            shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(work)
    print(f"PASS {name:52} {result} [{time.monotonic() - started:.1f} s]", flush=True)
    return True


def main() -> int:
    wish = arguments()
    cases = selected(wish)
    if wish.list:
        print("\n".join(cases))
        return 0
    if not cases:
        sys.exit("no case has such a name; --list prints them")
    isolation.enter()
    if not Path(wish.binary).is_file():
        sys.exit(f"{wish.binary} does not exist: run `make build` first")
    signal.signal(signal.SIGALRM, too_long)
    started = time.monotonic()
    results = [run_case(name, run, str(Path(wish.binary).resolve())) for name, run in cases.items()]
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed in {time.monotonic() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
