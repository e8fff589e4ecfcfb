/* From what a tun device with offload reads to packets that can leave. */
#ifndef TWISTVPN_SEGMENT_H
#define TWISTVPN_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

enum {
    VNET_HEADER = 10,
    NEEDS_CSUM = 1,
    GSO_NONE = 0,
    GSO_TCPV4 = 1,
    GSO_TCPV6 = 4,
    GSO_UDP_L4 = 5,
    GSO_ECN = 0x80,
    MAX_SUPER_HEADERS = 512, /* so that many tiny segments of one super-packet cannot fill the memory */
};

/* struct virtio_net_hdr of linux/virtio_net.h, in host byte order. */
struct vnet {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/* One packet to be cut.  Everything that bounds an access is read once, by `plan_segments`: the packet may lie in
 * memory that another thread changes. */
struct plan {
    const uint8_t *packet;
    size_t length;
    enum { AS_IT_IS, COMPLETE_CHECKSUM, CUT_TCP, CUT_UDP } how;
    int is_ipv4;
    uint8_t protocol;
    size_t transport; /* offset of the transport header; of what the checksum covers for COMPLETE_CHECKSUM */
    size_t payload;   /* offset of the payload; of the checksum field for COMPLETE_CHECKSUM */
    size_t size;      /* payload bytes of each segment but the last */
    size_t count;     /* segments */
};

/* Find out how to cut a packet.  `vnet` points to VNET_HEADER bytes.  Returns NULL, or what does not fit. */
const char *plan_segments(struct plan *plan, const uint8_t *packet, size_t length, const uint8_t *vnet);

/* Bytes of segment `index`. */
size_t segment_length(const struct plan *plan, size_t index);

/* Write segment `index`, which is as long as segment_length says, to `out`. */
void write_segment(const struct plan *plan, size_t index, uint8_t *out);

#endif
