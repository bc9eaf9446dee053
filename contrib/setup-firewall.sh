#!/bin/sh
# Makes by hand the sets and drop rules that btblocker otherwise makes itself, for `btblocker --no-setup`.
#
# Only these are written: sets named NAME, NAME6 (nftables also NAME_net, NAME6_net), nftables tables named
# btblocker, and with iptables the chain BTBLOCKER with one jump to it from INPUT, FORWARD and OUTPUT.
# Nothing is ever accepted. Running it twice changes nothing; bans that are there stay until `remove`.
set -eu

usage() {
    cat <<'END'
usage: setup-firewall.sh {install|status|remove} {ipset|nftables|iptables} [--set NAME] [--timeout SECONDS]

  ipset      ipset, with rules of iptables-nft (which nftables runs)
  nftables   native sets and rules of nftables
  iptables   ipset, with rules of whatever `iptables` is here (legacy included)

  --set NAME         name of the sets (default torrent_block)
  --timeout SECONDS  how long elements stay that are added without a timeout (default 18000)

exit status: 0 done, or status: all is there; 1 failed, or status: something is missing; 2 wrong usage
END
}

wrong_usage() {
    echo "setup-firewall.sh: $1" >&2
    usage >&2
    exit 2
}

fail() {
    echo "setup-firewall.sh: $1" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || fail "the program $1 is needed"
}

MAX_ELEMENTS=1048576
CHAIN=BTBLOCKER

# --- nftables ------------------------------------------------------------------------------------------------

# One rule per set, in the order in which btblocker reads them back.
nft_rules() { # chain, direction (saddr or daddr)
    case $2 in saddr) side=from ;; *) side=to ;; esac
    echo "add rule inet btblocker $1 ip $2 @$SET counter drop comment \"btblocker: $side banned hosts\""
    echo "add rule inet btblocker $1 ip $2 @${SET}_net counter drop comment \"btblocker: $side banned networks\""
    echo "add rule inet btblocker $1 ip6 $2 @${SET}6 counter drop comment \"btblocker: $side banned hosts\""
    echo "add rule inet btblocker $1 ip6 $2 @${SET}6_net counter drop comment \"btblocker: $side banned networks\""
}

nft_set() { # name, type, flags
    echo "add set inet btblocker $1 { type $2; flags $3; timeout ${TIMEOUT}s; size $MAX_ELEMENTS; }"
}

nft_script() {
    echo "add table inet btblocker"
    nft_set "$SET" ipv4_addr timeout
    nft_set "${SET}_net" ipv4_addr interval,timeout
    nft_set "${SET}6" ipv6_addr timeout
    nft_set "${SET}6_net" ipv6_addr interval,timeout
    for hook in input output forward; do
        echo "add chain inet btblocker $hook { type filter hook $hook priority -10; policy accept; }"
        echo "flush chain inet btblocker $hook"
    done
    nft_rules input saddr
    nft_rules output daddr
    nft_rules forward saddr
    nft_rules forward daddr
}

nft_drops() { # chain, address expression, set
    nft list chain inet btblocker "$1" 2>/dev/null | grep -q "$2 @$3 counter .*drop"
}

nft_status() {
    missing=0
    for set in "$SET" "${SET}_net" "${SET}6" "${SET}6_net"; do
        nft -t list set inet btblocker "$set" >/dev/null 2>&1 || report_missing "set $set"
        case $set in "${SET}6"*) ip=ip6 ;; *) ip=ip ;; esac
        for place in "input saddr" "output daddr" "forward saddr" "forward daddr"; do
            nft_drops "${place% *}" "$ip ${place#* }" "$set" || report_missing "rule in ${place% *} for $set"
        done
    done
    return $missing
}

delete_table() { # family
    if command -v nft >/dev/null 2>&1 && nft list table "$1" btblocker >/dev/null 2>&1; then
        nft delete table "$1" btblocker
    fi
}

# --- ipset ---------------------------------------------------------------------------------------------------

# Runs a command for both families: set name, ipset family, and the iptables program in FAMILY_*.
for_families() {
    FAMILY_SET=$SET FAMILY_NAME=inet FAMILY_TABLES=$IPTABLES
    "$@" || return 1
    FAMILY_SET=${SET}6 FAMILY_NAME=inet6 FAMILY_TABLES=$IP6TABLES
    "$@" || return 1
}

tables() {
    "$FAMILY_TABLES" -w "$@"
}

# `-C` is no help: ip6tables-legacy 1.8.9 takes a rule for "src" as one for "dst".
has_rule() { # chain, rule as -S shows it
    tables -S "$1" 2>/dev/null | grep -qxF -e "-A $*"
}

ipset_install() {
    # A hash:ip set that is there serves as well; any other kind does not.
    if ! ipset list -t "$FAMILY_SET" 2>/dev/null | grep -Eq '^Type: hash:(ip|net)$'; then
        ipset create "$FAMILY_SET" hash:net family "$FAMILY_NAME" timeout "$TIMEOUT" maxelem $MAX_ELEMENTS
    fi
    tables -n -L $CHAIN >/dev/null 2>&1 || tables -N $CHAIN
    for side in src dst; do
        has_rule $CHAIN -m set --match-set "$FAMILY_SET" $side -j DROP ||
            tables -A $CHAIN -m set --match-set "$FAMILY_SET" $side -j DROP
    done
    for from in INPUT FORWARD OUTPUT; do
        has_rule $from -j $CHAIN || tables -I $from 1 -j $CHAIN
    done
}

ipset_status() {
    ipset list -t "$FAMILY_SET" >/dev/null 2>&1 || report_missing "set $FAMILY_SET"
    for side in src dst; do
        has_rule $CHAIN -m set --match-set "$FAMILY_SET" $side -j DROP ||
            report_missing "$FAMILY_TABLES rule for $FAMILY_SET $side"
    done
    for from in INPUT FORWARD OUTPUT; do
        has_rule $from -j $CHAIN || report_missing "$FAMILY_TABLES jump from $from"
    done
}

ipset_remove() {
    for from in INPUT FORWARD OUTPUT; do
        while has_rule $from -j $CHAIN; do tables -D $from -j $CHAIN; done
    done
    if tables -n -L $CHAIN >/dev/null 2>&1; then
        tables -F $CHAIN
        tables -X $CHAIN
    fi
    # The kernel frees the rules' hold on the set a moment after they are gone.
    tries=0
    while ipset list -t "$FAMILY_SET" >/dev/null 2>&1 && ! ipset destroy "$FAMILY_SET" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 20 ] || fail "set $FAMILY_SET is still used by a rule that is not ours"
        sleep 0.1
    done
}

report_missing() {
    echo "missing: $1"
    missing=1
}

# --- command line --------------------------------------------------------------------------------------------

case ${1-} in -h | --help)
    usage
    exit 0
    ;;
esac
[ $# -ge 2 ] || wrong_usage "an action and a variant are needed"
ACTION=$1 VARIANT=$2 SET=torrent_block TIMEOUT=18000
shift 2
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || wrong_usage "$1 needs a value"
    case $1 in
    --set) SET=$2 ;;
    --timeout) TIMEOUT=$2 ;;
    *) wrong_usage "unknown option $1" ;;
    esac
    shift 2
done
case $ACTION in install | status | remove) ;; *) wrong_usage "unknown action $ACTION" ;; esac
case $SET in
[!A-Za-z]* | *[!A-Za-z0-9_.-]* | "") wrong_usage "the set name $SET must start with a letter and hold only A-Z a-z 0-9 _ . -" ;;
esac
[ ${#SET} -le 26 ] || wrong_usage "the set name $SET is longer than 26"
case $TIMEOUT in
*[!0-9]* | "" | 0* | ????????*) wrong_usage "the timeout $TIMEOUT is not between 1 and 2147483" ;;
esac
[ "$TIMEOUT" -le 2147483 ] || wrong_usage "the timeout $TIMEOUT is not between 1 and 2147483"

case $VARIANT in
nftables) need nft ;;
ipset | iptables)
    IPTABLES=iptables IP6TABLES=ip6tables
    if [ "$VARIANT" = ipset ] && command -v iptables-nft >/dev/null 2>&1; then
        IPTABLES=iptables-nft IP6TABLES=ip6tables-nft
    fi
    need ipset
    need $IPTABLES
    need $IP6TABLES
    ;;
*) wrong_usage "unknown variant $VARIANT" ;;
esac
[ "$(id -u)" -eq 0 ] || fail "run it as root"

case $VARIANT-$ACTION in
nftables-install) nft_script | nft -f - ;;
nftables-status) nft_status ;;
nftables-remove) delete_table inet ;;
*-install) for_families ipset_install ;;
*-status)
    missing=0
    for_families ipset_status
    exit $missing
    ;;
*-remove)
    # What the daemon itself may have made would keep the sets in use.
    delete_table ip
    delete_table ip6
    for_families ipset_remove
    ;;
esac
