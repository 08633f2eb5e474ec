// SPDX-License-Identifier: MIT OR Apache-2.0
// Steers what a network interface receives: into our sockets, or on to the kernel's stack.
//
// Problem: with a socket bound to a queue, frames reach it only if a program on the interface says so, and whatever
// the program does not hand out, the host loses.
// Rejected: to take a queue's frames whatever they are. A host whose only interface is given away is cut off.
// Chosen: the default is the kernel's stack. A frame goes to a socket if there is one for its queue and, where the
// interface is shared with the host, if it is addressed to one of our stations. Frames for many (broadcast,
// multicast) stay with the host there: a program cannot give one frame to two.
//
// The section's name tells the kernel that the program takes frames in fragments: of a frame larger than a page
// only the beginning is at hand, and that is all that is looked at.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

// As in lib.rs, which compares.
#define SOCKETS_MAX 1024
#define STATIONS_MAX 256

enum counter {
    TO_SOCKET,     // handed to a socket
    NO_SOCKET,     // its queue has no socket
    OTHER_STATION, // shared interface: addressed to somebody else
    COUNTERS,
};

struct station {
    __u8 address[ETH_ALEN];
    __u8 zero[2];
};
_Static_assert(sizeof(struct station) == 8, "a key without padding");

// Our sockets, by the queue that they are bound to.
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, SOCKETS_MAX);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

// Of a shared interface, the addresses that are ours.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, STATIONS_MAX);
    __type(key, struct station);
    __type(value, __u8);
} stations SEC(".maps");

// Frames, by what became of them.
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, COUNTERS);
    __type(key, __u32);
    __type(value, __u64);
} counters SEC(".maps");

// Set before the program is loaded, so that the verifier removes the branch that is not taken.
const volatile __u8 is_shared = 0;

static __always_inline int count(__u32 counter, int verdict)
{
    __u64 *frames = bpf_map_lookup_elem(&counters, &counter);

    if (frames)
        *frames += 1;
    return verdict;
}

static __always_inline int is_ours(struct xdp_md *frame)
{
    struct ethhdr *header = (void *)(long)frame->data;
    struct station to = {};

    if ((void *)(header + 1) > (void *)(long)frame->data_end)
        return 0;
    __builtin_memcpy(to.address, header->h_dest, ETH_ALEN);
    return bpf_map_lookup_elem(&stations, &to) != 0;
}

SEC("xdp.frags")
int steer(struct xdp_md *frame)
{
    int verdict;

    if (is_shared && !is_ours(frame))
        return count(OTHER_STATION, XDP_PASS);
    // The flags are the verdict where there is no socket.
    verdict = bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);
    return count(verdict == XDP_REDIRECT ? TO_SOCKET : NO_SOCKET, verdict);
}

const char LICENSE[] SEC("license") = "Dual MIT/GPL";
