// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// btblocker: drops packets from and to banned hosts where the driver hands them over.
//
// Promise: only IPv4 and IPv6 packets of which the source or the destination stands in a map with a
// deadline ahead are dropped; all else, and all that cannot be read, passes. Nothing is written to the packet.
// The deadline is compared here, so a ban ends without any process in user space.
// Not here: adding and removing (src/backend/xdp), ports, extension headers, addresses inside ICMP errors.
//
// Minimum kernel: 5.9, for bpf_link on XDP (bounded loops need 5.3, LPM tries 4.11). The licence string admits MIT with GPL, because bpf_ktime_get_ns was GPL-only before 5.8.

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_VLAN 0x8100  // IEEE 802.1Q
#define ETHERTYPE_QINQ 0x88a8  // IEEE 802.1ad
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_PPPOE 0x8864 // RFC 2516, session stage
#define PPP_IPV4 0x0021        // RFC 1332
#define PPP_IPV6 0x0057        // RFC 5072
#define MAX_VLAN_TAGS 2
// Expired networks that may hide a wider one until user space sweeps them.
#define MAX_NESTED_NETWORKS 4

// All keys are addresses in network byte order. All deadlines are nanoseconds of CLOCK_MONOTONIC.

struct host4 {
	__u8 address[4];
};

struct host6 {
	__u8 address[16];
};

struct network4 {
	__u32 prefix_len;
	__u8 address[4];
};

struct network6 {
	__u32 prefix_len;
	__u8 address[16];
};

// The prefix length is repeated because a look-up does not tell which network it found.
struct network_ban {
	__u64 deadline;
	__u64 prefix_len;
};

struct counters {
	__u64 packets;
	__u64 dropped4;
	__u64 dropped6;
	__u64 dropped_bytes;
};

// Sizes are those of btblocker's default; the loader sets what is configured.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct host4);
	__type(value, __u64);
} bt_hosts4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct host6);
	__type(value, __u64);
} bt_hosts6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct network4);
	__type(value, struct network_ban);
} bt_networks4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct network6);
	__type(value, struct network_ban);
} bt_networks6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} bt_counters SEC(".maps");

static __always_inline int host_is_banned(void *hosts, const void *address)
{
	const __u64 *deadline = bpf_map_lookup_elem(hosts, address);

	return deadline && *deadline > bpf_ktime_get_ns();
}

// `key` is a network4 or network6 of full length. The longest match may have expired while a wider network
// has not, so the search goes on with shorter prefixes.
static __always_inline int network_is_banned(void *networks, void *key)
{
	__u32 *prefix_len = key;

#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_NESTED_NETWORKS; i++) {
		const struct network_ban *ban = bpf_map_lookup_elem(networks, key);

		if (!ban)
			return 0;
		if (ban->deadline > bpf_ktime_get_ns())
			return 1;
		if (ban->prefix_len == 0)
			return 0;
		*prefix_len = ban->prefix_len - 1;
	}
	return 0;
}

static __always_inline int address4_is_banned(const __u8 *address)
{
	struct network4 key = { .prefix_len = 32 };

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return host_is_banned(&bt_hosts4, key.address) || network_is_banned(&bt_networks4, &key);
}

static __always_inline int address6_is_banned(const __u8 *address)
{
	struct network6 key = { .prefix_len = 128 };

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return host_is_banned(&bt_hosts6, key.address) || network_is_banned(&bt_networks6, &key);
}

struct ipv4 { // RFC 791, section 3.1
	__u8 before[2];
	__be16 total_len;
	__u8 between[8];
	__u8 source[4];
	__u8 destination[4];
};

struct ipv6 { // RFC 8200, section 3
	__u8 before[4];
	__be16 payload_len;
	__u8 between[2];
	__u8 source[16];
	__u8 destination[16];
};

// The packet at `ip` is of IP version `version`; any other version passes. Bytes are counted as the IP header says:
// the difference of two packet pointers is a number that only a process with CAP_PERFMON may learn.
static __always_inline int judge(struct xdp_md *ctx, const void *ip, int version)
{
	const void *end = (void *)(long)ctx->data_end;
	__u32 first = 0;
	struct counters *counters = bpf_map_lookup_elem(&bt_counters, &first);

	if (!counters)
		return XDP_PASS;
	counters->packets++;

	if (version == 4) {
		const struct ipv4 *packet = ip;

		if ((const void *)(packet + 1) > end)
			return XDP_PASS;
		if (!address4_is_banned(packet->source) && !address4_is_banned(packet->destination))
			return XDP_PASS;
		counters->dropped4++;
		counters->dropped_bytes += bpf_ntohs(packet->total_len);
	} else if (version == 6) {
		const struct ipv6 *packet = ip;

		if ((const void *)(packet + 1) > end)
			return XDP_PASS;
		if (!address6_is_banned(packet->source) && !address6_is_banned(packet->destination))
			return XDP_PASS;
		counters->dropped6++;
		counters->dropped_bytes += sizeof(*packet) + bpf_ntohs(packet->payload_len);
	} else {
		return XDP_PASS;
	}
	return XDP_DROP;
}

struct ethernet {
	__u8 addresses[12];
	__be16 type;
};

struct vlan {
	__be16 tag;
	__be16 type;
};

struct pppoe { // RFC 2516, section 4, and the PPP protocol behind it
	__u8 header[6];
	__be16 protocol;
};

// For interfaces with an Ethernet header. A tag that the card took off is not in the packet and needs no care.
SEC("xdp")
int bt_ethernet(struct xdp_md *ctx)
{
	const void *end = (void *)(long)ctx->data_end;
	const struct ethernet *ethernet = (void *)(long)ctx->data;
	const void *next = ethernet + 1;
	int version = 0;
	__be16 type;

	if (next > end)
		return XDP_PASS;
	type = ethernet->type;
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		const struct vlan *vlan = next;

		if (type != bpf_htons(ETHERTYPE_VLAN) && type != bpf_htons(ETHERTYPE_QINQ))
			break;
		next = vlan + 1;
		if (next > end)
			return XDP_PASS;
		type = vlan->type;
	}
	if (type == bpf_htons(ETHERTYPE_PPPOE)) {
		const struct pppoe *pppoe = next;

		next = pppoe + 1;
		if (next > end)
			return XDP_PASS;
		if (pppoe->protocol == bpf_htons(PPP_IPV4))
			version = 4;
		else if (pppoe->protocol == bpf_htons(PPP_IPV6))
			version = 6;
	} else if (type == bpf_htons(ETHERTYPE_IPV4)) {
		version = 4;
	} else if (type == bpf_htons(ETHERTYPE_IPV6)) {
		version = 6;
	}
	return judge(ctx, next, version);
}

// For layer-3 devices (tun, WireGuard, PPP): the packet starts with the IP header.
SEC("xdp")
int bt_raw_ip(struct xdp_md *ctx)
{
	const void *end = (void *)(long)ctx->data_end;
	const __u8 *ip = (void *)(long)ctx->data;

	if ((const void *)(ip + 1) > end)
		return XDP_PASS;
	return judge(ctx, ip, *ip >> 4);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
