// SPDX-License-Identifier: MIT OR GPL-2.0-only
//
// btblocker: a socket filter that ends the way of packets which nobody would look at.
//
// Promise: a packet is left out only if the kernel filter of src/capture/options.rs drops it, too, or if its flow stands
// in a table with a deadline ahead; all else, and all that cannot be read, passes. Nothing is written to the packet.
// Segments with SYN, FIN or RST always pass, and end the entry of their flow: a port that is used anew is a new flow.
// Read are IPv4 without options and IPv6 without extension headers, unfragmented, right behind the link layer. Tunnels,
// tags, fragments and the rest pass; so do datagrams to the port of VXLAN, which can hold other flows.
// Not here: writing the table (src/capture/early_exit), which happens in memory shared with the process.
//
// Minimum kernel: 5.11, for the clock that goes in ticks: to read the exact one costs as much as half of the rest.

#include <linux/bpf.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IPV6 0x86dd
#define ICMP 1
#define TCP 6
#define UDP 17
#define FRAGMENT 44 // RFC 8200, section 4.5
#define ESP 50      // RFC 4303
#define ICMPV6 58
#define VXLAN_PORT 4789
#define FIN_SYN_RST 0x07
// All but the flag that says "do not fragment" and the reserved one.
#define FRAGMENTED 0x3fff
// Upper half of the lower 64 bits of an IPv4 address as IPv6 (RFC 4291, section 2.5.5.2).
#define MAPPED 0xffff00000000ull
#define SLOTS (1 << 16)
#define LEFT_OUT 0
#define PASSED bt_settings.snaplen

// Set by the loader.
struct settings {
	// Chooses the slots; unknown outside, so that nobody can choose flows that share one.
	__u64 seed;
	// Bytes that the capture gets of a packet that passes.
	__u64 snaplen;
};

const volatile struct settings bt_settings SEC(".rodata.settings") = { .snaplen = 4352 };

// Numbers are in the machine's order.
struct slot {
	// Until when the flow's packets are left out, in nanoseconds of CLOCK_MONOTONIC_COARSE.
	__u64 until;
	// A segment with SYN, FIN or RST has passed since the key was written.
	__u64 over;
	// Lesser and greater address, each its upper half first; lesser port, greater port, protocol.
	__u64 key[5];
	__u64 unused;
};

// One line of the cache for each processor.
struct counters {
	__u64 frames;
	__u64 bytes;
	__u64 unused[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} bt_flows SEC(".maps");

// The loader sets the number of processors.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} bt_left_out SEC(".maps");

struct end {
	__u64 upper;
	__u64 lower;
	__u16 port;
};

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

static __always_inline int is_below(const struct end *a, const struct end *b)
{
	if (a->upper != b->upper)
		return a->upper < b->upper;
	if (a->lower != b->lower)
		return a->lower < b->lower;
	return a->port <= b->port;
}

static __always_inline void count(struct __sk_buff *skb)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct counters *counters = bpf_map_lookup_elem(&bt_left_out, &processor);

	if (counters) {
		// A sender may be interrupted by a receiver on its processor.
		__sync_fetch_and_add(&counters->frames, 1);
		__sync_fetch_and_add(&counters->bytes, skb->len);
	}
}

struct transport {
	__be16 source;
	__be16 destination;
	__u8 between[9];
	__u8 flags; // of TCP (RFC 9293, section 3.1)
};

struct ipv4 { // RFC 791, section 3.1
	__u8 version_length;
	__u8 service;
	__be16 total_len;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
	struct transport transport;
};

struct ipv6 { // RFC 8200, section 3
	__u8 version;
	__u8 label[3];
	__be16 payload_len;
	__u8 next;
	__u8 hops;
	__be64 source[2];
	__be64 destination[2];
	struct transport transport;
};

// The headers are copied in one go, which costs most.
struct head {
	__u16 unused; // so that what comes behind the link layer is aligned
	__u8 addresses[12];
	__be16 type;
	union {
		struct ipv4 four;
		struct ipv6 six;
	} ip;
};

#define LINK_LEN 14
#define UDP_READ offsetof(struct transport, between)
#define TCP_READ sizeof(struct transport)

// A packet between two ends, of which the addresses are known; `len` bytes of the transport header were read.
static __always_inline int flow(struct __sk_buff *skb, struct end *from, struct end *to, __u8 protocol,
				const struct transport *header, long len)
{
	volatile struct slot *slot;
	__u64 key[5], hash = bt_settings.seed;
	__u8 flags = 0;
	__u32 index;

	if (protocol == TCP && len >= (long)TCP_READ)
		flags = header->flags;
	else if (protocol != UDP || len < (long)UDP_READ || header->destination == bpf_htons(VXLAN_PORT))
		return PASSED;
	from->port = bpf_ntohs(header->source);
	to->port = bpf_ntohs(header->destination);
	if (!is_below(from, to)) {
		struct end *lesser = to;

		to = from;
		from = lesser;
	}
	key[0] = from->upper;
	key[1] = from->lower;
	key[2] = to->upper;
	key[3] = to->lower;
	key[4] = (__u64)from->port << 32 | (__u64)to->port << 16 | protocol;
#pragma unroll
	for (int i = 0; i < 5; i++)
		hash = mix(hash, key[i]);
	index = hash & (SLOTS - 1);
	slot = bpf_map_lookup_elem(&bt_flows, &index);
	if (!slot)
		return PASSED;
	// The deadline is read last: the process takes it away before it changes the key.
#pragma unroll
	for (int i = 0; i < 5; i++)
		if (slot->key[i] != key[i])
			return PASSED;
	if (flags & FIN_SYN_RST) {
		slot->over = 1;
		return PASSED;
	}
	if (slot->over || slot->until <= bpf_ktime_get_coarse_ns())
		return PASSED;
	count(skb);
	return LEFT_OUT;
}

// `len` bytes were read.
static __always_inline int ipv4(struct __sk_buff *skb, const struct ipv4 *header, long len)
{
	struct end from = {}, to = {};

	len -= offsetof(struct ipv4, transport);
	if (len < 0)
		return PASSED;
	if (header->protocol == ICMP || header->protocol == ESP)
		return LEFT_OUT;
	if (header->version_length != 0x45 || header->fragment & bpf_htons(FRAGMENTED))
		return PASSED;
	from.lower = MAPPED | bpf_ntohl(header->source);
	to.lower = MAPPED | bpf_ntohl(header->destination);
	return flow(skb, &from, &to, header->protocol, &header->transport, len);
}

static __always_inline int ipv6(struct __sk_buff *skb, const struct ipv6 *header, long len)
{
	struct end from = {}, to = {};
	__u8 next = header->next;

	len -= offsetof(struct ipv6, transport);
	if (len < 1)
		return PASSED;
	// A fragment header says what comes next in its first byte.
	if (next == FRAGMENT)
		next = *(const __u8 *)&header->transport;
	if (next == ICMPV6 || next == ESP)
		return LEFT_OUT;
	if (header->version >> 4 != 6)
		return PASSED;
	from.upper = bpf_be64_to_cpu(header->source[0]);
	from.lower = bpf_be64_to_cpu(header->source[1]);
	to.upper = bpf_be64_to_cpu(header->destination[0]);
	to.lower = bpf_be64_to_cpu(header->destination[1]);
	return flow(skb, &from, &to, header->next, &header->transport, len);
}

// For interfaces with an Ethernet header. A tag that the card took off is not in the packet and needs no care: tags are
// no part of a flow.
SEC("socket")
int bt_exit_ethernet(struct __sk_buff *skb)
{
	struct head head = {};
	__u64 len = skb->len;

	if (len > LINK_LEN + sizeof(head.ip))
		len = LINK_LEN + sizeof(head.ip);
	if (len < LINK_LEN || bpf_skb_load_bytes(skb, 0, head.addresses, len))
		return PASSED;
	if (head.type == bpf_htons(ETHERTYPE_ARP))
		return LEFT_OUT;
	if (head.type == bpf_htons(ETHERTYPE_IPV4))
		return ipv4(skb, &head.ip.four, len - LINK_LEN);
	if (head.type == bpf_htons(ETHERTYPE_IPV6))
		return ipv6(skb, &head.ip.six, len - LINK_LEN);
	return PASSED;
}

// For layer-3 devices (tun, WireGuard): the packet starts with the IP header.
SEC("socket")
int bt_exit_raw_ip(struct __sk_buff *skb)
{
	struct head head = {};
	__u64 len = skb->len;

	if (len > sizeof(head.ip))
		len = sizeof(head.ip);
	if (len < 1 || bpf_skb_load_bytes(skb, 0, &head.ip, len))
		return PASSED;
	if (head.ip.four.version_length >> 4 == 4)
		return ipv4(skb, &head.ip.four, len);
	if (head.ip.four.version_length >> 4 == 6)
		return ipv6(skb, &head.ip.six, len);
	return PASSED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
