#!/bin/sh
# Whole program on large captures: CPU time and instructions per packet of `btblocker replay`, and of nDPI's reader where
# it is installed.
#
#     benches/replay.sh [PACKETS]
#
# Captures are generated in a temporary folder (1 GB for a million packets) and read once before they are measured.
# The least of five runs counts. "read" is a run of tcpdump on the same file where it is installed: libpcap and the kernel
# alone. Instructions are those that the second tenth of the capture adds to the first, counted by valgrind where it is
# installed: they do not depend on what else the machine does.
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
# What a wrapper of python3 has started before counts as a child, too.
before = resource.getrusage(resource.RUSAGE_CHILDREN)
subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1e9 / int(sys.argv[1])
user, system = (used.ru_utime - before.ru_utime) * scale, (used.ru_stime - before.ru_stime) * scale
print(f"{user + system:.0f} {user:.0f} {system:.0f} {used.ru_maxrss}")
' "$packets" "$@"
    done | sort -n | head -1
}

# Instructions of a command that reads the file behind it.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null | sed -n 's/.*Collected : //p'
}

# Instructions per packet of a command that reads the file behind it; "-" where they cannot be counted.
instructions() {
    if command -v valgrind >/dev/null; then
        echo $((($(count "$@" "$folder/two.pcap") - $(count "$@" "$folder/one.pcap")) / tenth))
    else
        echo -
    fi
}

# One line of the table: kind of traffic, program, its command up to the name of the file.
row() {
    traffic=$1 program=$2
    shift 2
    # shellcheck disable=SC2046 # several words
    line "$traffic" "$program" $(measure "$@" "$file") "$(instructions "$@")"
}

line() {
    printf '%-10s %-10s %9s %9s %9s %9s %12s\n' "$@"
}

generate() {
    "$generator" "$1" "$2" 1000 "$3" tests/cases/*/input.pcap
}

tenth=$((packets / 10))
line traffic program ns/packet user system KiB instructions
for mix in bulk short recorded syn-flood udp-flood junk; do
    file=$folder/$mix.pcap
    generate "$mix" "$packets" "$file"
    generate "$mix" "$tenth" "$folder/one.pcap"
    generate "$mix" $((tenth * 2)) "$folder/two.pcap"
    cat "$file" >/dev/null
    row "$mix" btblocker "$binary" replay --format json
    # Floods are no test of what others do.
    case $mix in bulk | short | recorded)
        if command -v tcpdump >/dev/null; then
            # shellcheck disable=SC2046 # several words
            line "$mix" read $(measure tcpdump -r "$file" -w /dev/null less 1) -
        fi
        if command -v ndpiReader >/dev/null; then
            row "$mix" ndpiReader ndpiReader -q -i
        fi
        ;;
    esac
    rm "$file"
done
