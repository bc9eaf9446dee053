#!/usr/bin/env python3
"""Compares what the NixOS module makes of configurations with what cases.nix expects, and asks the program and systemd.

Usage: nix-instantiate ... cases.nix | check.py TREE BINARY
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

# Not the same on purpose: paths of the store, and sources of configuration that NixOS does not need.
APART = {"ExecStart", "ExecReload", "ExecStartPre", "ConfigurationDirectory"}

failures = []


def check(case, what, found, expected):
    if found != expected:
        failures.append(f"{case}: {what}\n    found    {found}\n    expected {expected}")


def directives(value):
    """A value of serviceConfig as lines of a unit."""
    values = value if isinstance(value, list) else [value]
    return [{True: "yes", False: "no"}.get(one, str(one)) if isinstance(one, bool) else str(one) for one in values]


def service_of(*files):
    """Directives of the section Service of a unit and its drop-ins: name to words."""
    found, section = {}, ""
    for line in "\n".join(file.read_text() for file in files).splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).extend(value.split())
    return found


def render(unit):
    lines = ["[Unit]", f"Description={unit['description']}", "[Service]"]
    for name, value in unit["serviceConfig"].items():
        lines += [f"{name}={one}" for one in directives(value)]
    return "\n".join(lines) + "\n"


def main():
    tree, binary = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    contrib = tree / "contrib"
    cases = json.load(sys.stdin)
    for case in cases:
        name, expected = case["name"], case["expected"]
        check(name, "number of complaints", len(case["wrong"]), len(expected["wrong"]))
        for said, wanted in zip(sorted(case["wrong"]), expected["wrong"]):
            if wanted not in said:
                failures.append(f"{name}: it says {said!r}, not {wanted!r}")
        if expected["wrong"] or case["unit"] is None:
            continue
        check(name, "settings", case["settings"], expected["settings"])
        if expected["modules"] is not None:
            check(name, "kernel modules", case["modules"], expected["modules"])
        check(name, "users", case["users"], ["btblocker"])

        # The program takes the file, and every key in it is one that the file gave.
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "btblocker.toml"
            file.write_text(case["toml"])
            ran = subprocess.run([binary, "--config", file, "config"], capture_output=True, text=True, check=False)
            check(name, f"exit status of the program ({ran.stderr.strip()})", ran.returncode, 0)
            from_file = re.findall(rf"^(\w+) = .*# file {re.escape(str(file))}", ran.stdout, re.MULTILINE)
            check(name, "keys that the program reads", sorted(from_file), sorted(case["settings"]))

        # The same service as everywhere else.
        drop_ins = [contrib / "systemd/back-off.conf"]
        if case["settings"].get("backend") == "xdp":
            drop_ins.append(contrib / "systemd/xdp.conf")
        elsewhere = service_of(contrib / "btblocker.service", *drop_ins)
        here = {key: " ".join(directives(value)).split() for key, value in case["unit"]["serviceConfig"].items()}
        for key in sorted((elsewhere.keys() | here.keys()) - APART):
            check(name, key, here.get(key), elsewhere.get(key))

        # systemd takes the unit.
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "btblocker.service"
            text = render(case["unit"]).replace("@coreutils@/bin", "/bin")
            file.write_text(text.replace("@package@/bin/btblocker", str(binary)))
            ran = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
            # Keys that are newer than the systemd of the machine that tests.
            newer = re.compile("RestartSteps|RestartMaxDelaySec")
            said = [line for line in ran.stderr.splitlines() if "btblocker" in line and not newer.search(line)]
            check(name, "systemd-analyze verify", said, [])
    if failures:
        sys.exit("\n".join(failures))
    print(f"{len(cases)} configurations as expected")


main()
