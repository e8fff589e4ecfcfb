/* A super-packet has the headers of one packet and the payload of many.  Each segment gets a copy of the headers
 * with its own lengths, IPv4 identification, sequence number, flags and checksums, as the kernel's
 * tcp_gso_segment and __udp_gso_segment make them. */
#include "segment.h"

#include "inet.h"

_Static_assert(sizeof(struct vnet) == VNET_HEADER, "struct virtio_net_hdr has no padding");

/* The protocol behind the IPv6 extension headers (RFC 8200 section 4), if these end exactly at `transport`;
 * else -1. */
static int last_next_header(const uint8_t *packet, size_t length, size_t transport)
{
    int protocol = length > 6 ? packet[6] : 0;
    size_t at = IPV6_HEADER;
    while (at < transport && at + 2 <= length) {
        protocol = packet[at];
        at += ((size_t)packet[at + 1] + 1) * 8;
    }
    return at == transport ? protocol : -1;
}

static const char *find_transport(struct plan *plan, size_t transport)
{
    const uint8_t *packet = plan->packet;
    size_t length = plan->length;
    if (length < IPV4_HEADER || length > MAX_IP_PACKET + IPV6_HEADER)
        return "a super-packet of an impossible length";
    unsigned first = packet[0];
    plan->is_ipv4 = first >> 4 == 4;
    if (plan->is_ipv4) {
        if (length > MAX_IP_PACKET)
            return "a super-packet of an impossible length";
        if (transport != (first & 15) * 4 || transport < IPV4_HEADER)
            return "an IPv4 header of another length than the virtio-net header has";
        plan->protocol = packet[9];
    } else if (first >> 4 == 6) {
        int protocol = last_next_header(packet, length, transport);
        if (protocol < 0)
            return "IPv6 headers of another length than the virtio-net header has";
        plan->protocol = (uint8_t)protocol;
    } else {
        return "a super-packet that is not IP";
    }
    plan->transport = transport;
    return NULL;
}

static const char *find_payload(struct plan *plan)
{
    size_t size = UDP_HEADER;
    if (plan->protocol != PROTOCOL_UDP) {
        if (plan->protocol != PROTOCOL_TCP || plan->transport + TCP_HEADER > plan->length)
            return "a super-packet without a whole TCP or UDP header";
        size = (size_t)(plan->packet[plan->transport + 12] >> 4) * 4;
        if (size < TCP_HEADER)
            return "a TCP header that is too short";
    }
    plan->payload = plan->transport + size;
    if (plan->payload >= plan->length)
        return "a super-packet without payload";
    if (plan->payload > MAX_SUPER_HEADERS)
        return "a super-packet with headers of an unusual length";
    return NULL;
}

static const char *plan_checksum(struct plan *plan, const struct vnet *vnet)
{
    plan->transport = vnet->csum_start;
    plan->payload = (size_t)vnet->csum_start + vnet->csum_offset;
    if (plan->payload + 2 > plan->length)
        return "a checksum beyond the packet's end";
    plan->how = COMPLETE_CHECKSUM;
    return NULL;
}

const char *plan_segments(struct plan *plan, const uint8_t *packet, size_t length, const uint8_t *raw)
{
    struct vnet vnet;
    memcpy(&vnet, raw, VNET_HEADER);
    *plan = (struct plan){.packet = packet, .length = length, .how = AS_IT_IS, .count = 1};
    unsigned type = vnet.gso_type & ~(unsigned)GSO_ECN;
    if (type == GSO_NONE)
        return vnet.flags & NEEDS_CSUM ? plan_checksum(plan, &vnet) : NULL;
    const char *wrong = find_transport(plan, vnet.csum_start);
    if (!wrong)
        wrong = find_payload(plan);
    if (wrong)
        return wrong;
    if (!vnet.gso_size)
        return "a super-packet without a segment size";
    plan->size = vnet.gso_size;
    plan->count = (length - plan->payload + plan->size - 1) / plan->size;
    if ((type == GSO_TCPV4 || type == GSO_TCPV6) && plan->protocol == PROTOCOL_TCP)
        plan->how = CUT_TCP;
    else if (type == GSO_UDP_L4 && plan->protocol == PROTOCOL_UDP)
        plan->how = CUT_UDP;
    else
        return "a super-packet of a type that is not its packet's";
    return NULL;
}

size_t segment_length(const struct plan *plan, size_t index)
{
    if (plan->how < CUT_TCP)
        return plan->length;
    if (index + 1 < plan->count)
        return plan->payload + plan->size;
    return plan->length - index * plan->size;
}

/* Finish the IP header at `out` for a segment of `length` bytes in all. */
static void finish_ip_header(const struct plan *plan, size_t index, uint8_t *out, size_t length)
{
    if (!plan->is_ipv4) {
        put16(out + 4, (unsigned)(length - IPV6_HEADER));
        return;
    }
    put16(out + 2, (unsigned)length);
    put16(out + 4, get16(out + 4) + (unsigned)index);
    put16(out + 10, 0);
    put16(out + 10, checksum(word_sum(out, plan->transport)));
}

static void finish_tcp_header(const struct plan *plan, size_t index, uint8_t *tcp)
{
    put32(tcp + 4, get32(tcp + 4) + (uint32_t)(index * plan->size));
    if (index)
        tcp[13] &= (uint8_t)~TCP_CWR;
    if (index + 1 < plan->count)
        tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

static void complete_checksum(const struct plan *plan, uint8_t *out)
{
    uint16_t value = checksum(word_sum(out + plan->transport, plan->length - plan->transport));
    if (!value && plan->payload == plan->transport + UDP_CHECKSUM_AT)
        value = 0xFFFF;
    put16(out + plan->payload, value);
}

void write_segment(const struct plan *plan, size_t index, uint8_t *out)
{
    size_t length = segment_length(plan, index), headers = plan->payload;
    if (plan->how < CUT_TCP) {
        if (length)
            memcpy(out, plan->packet, length);
        if (plan->how == COMPLETE_CHECKSUM)
            complete_checksum(plan, out);
        return;
    }
    memcpy(out, plan->packet, headers);
    memcpy(out + headers, plan->packet + headers + index * plan->size, length - headers);
    finish_ip_header(plan, index, out, length);
    uint8_t *transport = out + plan->transport;
    size_t transport_length = length - plan->transport, field = TCP_CHECKSUM_AT;
    if (plan->how == CUT_TCP) {
        finish_tcp_header(plan, index, transport);
    } else {
        put16(transport + 4, (unsigned)transport_length);
        field = UDP_CHECKSUM_AT;
    }
    put16(transport + field, 0);
    uint64_t total = pseudo_sum(out, plan->is_ipv4, plan->protocol, transport_length);
    uint16_t value = checksum(total + word_sum(transport, transport_length));
    put16(transport + field, !value && plan->how == CUT_UDP ? 0xFFFF : value);
}
