#!/bin/sh
# Whole program on large captures: CPU time per packet of `btblocker replay`, and of nDPI's reader where it is installed.
#
#     benches/replay.sh [PACKETS]
#
# Captures are generated in a temporary folder (1 GB for a million packets) and read once before they are measured.
# The least of five runs counts. "read" is a run of tcpdump on the same file where it is installed: libpcap and the kernel alone.
set -eu
packets=${1:-1000000}
binary=${BTBLOCKER:-target/release/btblocker}
generator=${GENERATOR:-target/release/examples/generate_capture}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# CPU time in nanoseconds per packet, user and system, and KiB of memory, of the quickest of five runs of a command.
measure() {
    for _ in 1 2 3 4 5; do
        python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1e9 / int(sys.argv[1])
print(f"{(used.ru_utime + used.ru_stime) * scale:.0f} {used.ru_utime * scale:.0f} {used.ru_stime * scale:.0f} {used.ru_maxrss}")
' "$packets" "$@"
    done | sort -n | head -1
}

# One line of the table: kind of traffic, program, its command.
row() {
    traffic=$1 program=$2
    shift 2
    measure "$@" | xargs printf '%-10s %-10s %9s %9s %9s %9s\n' "$traffic" "$program"
}

printf '%-10s %-10s %9s %9s %9s %9s\n' traffic program ns/packet user system KiB
for mix in bulk short recorded syn-flood udp-flood junk; do
    file=$folder/$mix.pcap
    "$generator" "$mix" "$packets" 1000 "$file" tests/cases/*/input.pcap
    cat "$file" >/dev/null
    row "$mix" btblocker "$binary" replay --format json "$file"
    if command -v tcpdump >/dev/null; then
        row "$mix" read tcpdump -r "$file" -w /dev/null less 1
    fi
    if command -v ndpiReader >/dev/null; then
        row "$mix" ndpiReader ndpiReader -q -i "$file"
    fi
    rm "$file"
done
