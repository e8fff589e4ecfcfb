/* From packets to what a tun device with offload takes in one write: the reverse of segmentation, by the rules of
 * the kernel's own receive offload (net/ipv4/tcp_offload.c, udp_offload.c). */
#ifndef TWISTVPN_COALESCE_H
#define TWISTVPN_COALESCE_H

#include <stddef.h>
#include <stdint.h>

enum { TUN_F_TSO4 = 0x02, TUN_F_TSO6 = 0x04, TUN_F_USO4 = 0x20, TUN_F_USO6 = 0x40 };

/* What decides whether a packet may be merged.  Every offset and length is read once: the packet may lie in memory
 * that another thread changes. */
struct headers {
    uint8_t is_flow; /* it is a whole plain TCP or UDP packet of a kind that the device takes */
    uint8_t is_ipv4;
    uint8_t protocol;
    uint8_t flags;         /* of TCP */
    uint8_t can_follow;    /* it may be merged behind another */
    uint8_t can_lead;      /* others may be merged behind it */
    int identification;    /* of an IPv4 header without DF, else -1: then it has no meaning (RFC 6864) */
    uint32_t sequence;     /* of TCP */
    uint16_t transport, payload; /* offsets */
};

struct packet {
    const uint8_t *data;
    size_t length;
    size_t next; /* the next packet of the same group; 0: none, as the first packet follows nothing */
};

/* Packets that leave in one frame. */
struct group {
    struct headers head;
    size_t first, last; /* packets */
    size_t count;
    size_t length; /* bytes of the frame */
    size_t size;   /* payload bytes of each packet but the last */
    uint32_t sequence;
    uint8_t is_open, is_verified;
    uint8_t closing; /* the last packet's FIN and PSH */
};

/* Put `count` packets into groups, at most as many.  Returns how many there are, or SIZE_MAX without memory. */
size_t group_packets(struct packet *packets, size_t count, unsigned offloads, struct group *groups);

/* Write a group of more than one packet: `length` bytes to `out`, a virtio-net header to `vnet`. */
void write_group(const struct group *group, const struct packet *packets, uint8_t *out, uint8_t *vnet);

#endif
