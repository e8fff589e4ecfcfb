#include "coalesce.h"

#include <stdlib.h>

#include "inet.h"
#include "segment.h"

enum {
    MAX_UDP_SEGMENTS = 64,
    DONT_FRAGMENT = 0x4000,
    ANY_FRAGMENT = 0xBFFF,
    CLOSING = TCP_FIN | TCP_PSH,
    NEVER_MERGED = TCP_SYN | TCP_RST | TCP_URG,
};

/* Reading headers */

static void read_tcp(struct headers *headers, const uint8_t *packet, size_t length)
{
    size_t transport = headers->transport;
    if (transport + TCP_HEADER > length)
        return;
    size_t payload = transport + (size_t)(packet[transport + 12] >> 4) * 4;
    if (payload < transport + TCP_HEADER || payload > length)
        return;
    uint8_t flags = packet[transport + 13];
    int can_merge = payload < length && flags & TCP_ACK && !(flags & NEVER_MERGED);
    headers->is_flow = 1;
    headers->payload = (uint16_t)payload;
    headers->flags = flags;
    headers->sequence = get32(packet + transport + 4);
    headers->can_follow = can_merge && !(flags & TCP_CWR);
    headers->can_lead = can_merge && !(flags & CLOSING);
}

static void read_udp(struct headers *headers, const uint8_t *packet, size_t length)
{
    size_t transport = headers->transport;
    if (get16(packet + transport + 4) != length - transport)
        return;
    headers->is_flow = 1;
    headers->payload = (uint16_t)(transport + UDP_HEADER);
    headers->can_follow = headers->can_lead = headers->payload < length && get16(packet + transport + 6) != 0;
}

static struct headers read_headers(const uint8_t *packet, size_t length, unsigned offloads)
{
    struct headers headers = {.identification = -1};
    if (length < IPV4_HEADER + UDP_HEADER)
        return headers;
    uint8_t first = packet[0];
    unsigned tcp, udp;
    if (first == 0x45) {
        unsigned fragment = get16(packet + 6);
        if (fragment & ANY_FRAGMENT || get16(packet + 2) != length)
            return headers;
        headers.is_ipv4 = 1;
        if (!(fragment & DONT_FRAGMENT))
            headers.identification = get16(packet + 4);
        headers.transport = IPV4_HEADER;
        headers.protocol = packet[9];
        tcp = TUN_F_TSO4, udp = TUN_F_USO4;
    } else if (first >> 4 == 6 && length >= IPV6_HEADER + UDP_HEADER) {
        if ((size_t)get16(packet + 4) + IPV6_HEADER != length)
            return headers;
        headers.transport = IPV6_HEADER;
        headers.protocol = packet[6];
        tcp = TUN_F_TSO6, udp = TUN_F_USO6;
    } else {
        return headers;
    }
    if (headers.protocol == PROTOCOL_TCP && offloads & tcp)
        read_tcp(&headers, packet, length);
    else if (headers.protocol == PROTOCOL_UDP && offloads & udp)
        read_udp(&headers, packet, length);
    return headers;
}

/* Whether the checksums are right, so that the merge blesses nothing corrupt. */
static int is_intact(const struct headers *headers, const struct packet *packet)
{
    const uint8_t *data = packet->data;
    if (headers->is_ipv4 && word_sum(data, IPV4_HEADER) % 0xFFFF)
        return 0;
    /* Addresses, transport header and payload lie one behind the other. */
    size_t from = headers->is_ipv4 ? 12 : 8;
    uint64_t total = word_sum(data + from, packet->length - from) + headers->protocol + packet->length - headers->transport;
    return total % 0xFFFF == 0;
}

/* Flows and groups */

static int same_flow(const struct headers *one, const uint8_t *a, const struct headers *other, const uint8_t *b)
{
    if (one->protocol != other->protocol || one->is_ipv4 != other->is_ipv4)
        return 0;
    return one->is_ipv4 ? !memcmp(a + 12, b + 12, 12) : !memcmp(a + 8, b + 8, 36);
}

/* Whether all header fields are the same that must be the same in every segment. */
static int same_headers(const struct headers *one, const uint8_t *a, const struct headers *other, const uint8_t *b)
{
    if (one->payload != other->payload)
        return 0;
    if (one->is_ipv4 ? a[1] != b[1] || memcmp(a + 6, b + 6, 3) : a[7] != b[7] || memcmp(a, b, 4))
        return 0;
    if (one->protocol == PROTOCOL_UDP)
        return 1;
    if ((one->flags ^ other->flags) & ~(CLOSING | TCP_CWR))
        return 0;
    a += one->transport;
    b += one->transport;
    /* Acknowledgement and data offset, window, urgent pointer and options. */
    return !memcmp(a + 8, b + 8, 5) && !memcmp(a + 14, b + 14, 2) &&
           !memcmp(a + 18, b + 18, (size_t)one->payload - one->transport - 18);
}

static int is_contiguous(const struct group *group, const struct headers *headers)
{
    if (headers->protocol == PROTOCOL_TCP && headers->sequence != group->sequence)
        return 0;
    if (group->head.identification < 0)
        return 1;
    return headers->identification == (int)((group->head.identification + group->count) & 0xFFFF);
}

/* Take one more packet of the flow; 0 where it does not continue the group. */
static int add(struct group *group, struct packet *packets, size_t index, const struct headers *headers)
{
    const struct packet *packet = &packets[index], *first = &packets[group->first];
    size_t size = packet->length - headers->payload;
    if (!group->is_open || !same_headers(&group->head, first->data, headers, packet->data))
        return 0;
    if (size > group->size || group->length + size > MAX_IP_PACKET || !is_contiguous(group, headers))
        return 0;
    if (!group->is_verified) {
        group->is_open = group->is_verified = (uint8_t)is_intact(&group->head, first);
        if (!group->is_verified)
            return 0;
    }
    if (!is_intact(headers, packet))
        return 0;
    packets[group->last].next = index;
    group->last = index;
    group->count++;
    group->length += size;
    group->sequence += (uint32_t)size;
    group->closing = headers->flags & CLOSING;
    int is_full = headers->protocol == PROTOCOL_UDP && group->count == MAX_UDP_SEGMENTS;
    group->is_open = size == group->size && headers->can_lead && !is_full;
    return 1;
}

static void begin_group(struct group *group, const struct packet *packets, size_t index, const struct headers *headers)
{
    size_t size = packets[index].length - headers->payload;
    *group = (struct group){.head = *headers, .first = index, .last = index, .count = 1, .size = size};
    group->length = packets[index].length;
    group->sequence = headers->sequence + (uint32_t)size;
    group->is_open = headers->can_lead;
}

/* The newest group of each flow: a hash table whose slots hold a group's number plus one. */
struct flows {
    size_t *slots, mask;
    size_t from; /* groups before this one are closed */
};

static size_t *find_slot(const struct flows *flows, const struct headers *headers, const uint8_t *data,
                         const struct group *groups, const struct packet *packets)
{
    const uint8_t *flow = data + (headers->is_ipv4 ? 12 : 8), *end = flow + (headers->is_ipv4 ? 12 : 36);
    size_t slot = headers->protocol;
    for (; flow < end; flow += 4)
        slot = (slot ^ get32(flow)) * 0x9E3779B1u;
    for (slot ^= slot >> 15;; slot++) {
        size_t *entry = &flows->slots[slot & flows->mask];
        if (!*entry)
            return entry;
        const struct group *group = &groups[*entry - 1];
        if (same_flow(&group->head, packets[group->first].data, headers, data))
            return entry;
    }
}

size_t group_packets(struct packet *packets, size_t count, unsigned offloads, struct group *groups)
{
    size_t slots = 4, made = 0;
    while (slots < count * 2)
        slots *= 2;
    struct flows flows = {.slots = calloc(slots, sizeof *flows.slots), .mask = slots - 1};
    if (!flows.slots)
        return SIZE_MAX;
    for (size_t index = 0; index < count; index++) {
        struct packet *packet = &packets[index];
        struct headers headers = read_headers(packet->data, packet->length, offloads);
        if (!headers.is_flow) {
            begin_group(&groups[made++], packets, index, &headers);
            /* It may be a fragment of any flow: nothing that comes later moves before it. */
            flows.from = made;
            continue;
        }
        size_t *slot = find_slot(&flows, &headers, packet->data, groups, packets);
        if (*slot > flows.from && headers.can_follow && add(&groups[*slot - 1], packets, index, &headers))
            continue;
        begin_group(&groups[made++], packets, index, &headers);
        *slot = made;
    }
    free(flows.slots);
    return made;
}

/* Writing frames */

void write_group(const struct group *group, const struct packet *packets, uint8_t *out, uint8_t *raw)
{
    const struct headers *head = &group->head;
    size_t transport_length = group->length - head->transport, index = group->first;
    memcpy(out, packets[index].data, head->payload);
    uint8_t *at = out + head->payload;
    for (size_t left = group->count; left; left--, index = packets[index].next) {
        size_t size = packets[index].length - head->payload;
        memcpy(at, packets[index].data + head->payload, size);
        at += size;
    }
    uint8_t *transport = out + head->transport;
    struct vnet vnet = {.flags = NEEDS_CSUM, .hdr_len = head->payload, .gso_size = (uint16_t)group->size};
    vnet.csum_start = head->transport;
    if (head->is_ipv4) {
        put16(out + 2, (unsigned)group->length);
        put16(out + 10, 0);
        put16(out + 10, checksum(word_sum(out, IPV4_HEADER)));
    } else {
        put16(out + 4, (unsigned)(group->length - IPV6_HEADER));
    }
    if (head->protocol == PROTOCOL_TCP) {
        transport[13] |= group->closing;
        vnet.gso_type = head->is_ipv4 ? GSO_TCPV4 : GSO_TCPV6;
        if (head->flags & TCP_CWR)
            vnet.gso_type |= GSO_ECN;
        vnet.csum_offset = TCP_CHECKSUM_AT;
    } else {
        put16(transport + 4, (unsigned)transport_length);
        vnet.gso_type = GSO_UDP_L4;
        vnet.csum_offset = UDP_CHECKSUM_AT;
    }
    unsigned partial = (unsigned)(pseudo_sum(out, head->is_ipv4, head->protocol, transport_length) % 0xFFFF);
    put16(transport + vnet.csum_offset, partial ? partial : 0xFFFF);
    memcpy(raw, &vnet, VNET_HEADER);
}
