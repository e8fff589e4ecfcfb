#include "mss.h"

#include "inet.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, MSS_OPTION_SIZE = 4 };

/* Offset of the TCP header; 0 where the packet is a fragment, cut short or not plain TCP. */
static size_t find_tcp(const uint8_t *packet, size_t length)
{
    size_t transport;
    if (length < IPV4_HEADER + TCP_HEADER)
        return 0;
    if (packet[0] >> 4 == 4) {
        transport = (size_t)(packet[0] & 15) * 4;
        int is_fragment = (get16(packet + 6) & 0x1FFF) != 0;
        if (packet[9] != PROTOCOL_TCP || is_fragment || get16(packet + 2) != length || transport < IPV4_HEADER)
            return 0;
    } else {
        transport = IPV6_HEADER;
        if (packet[0] >> 4 != 6 || packet[6] != PROTOCOL_TCP || (size_t)get16(packet + 4) + IPV6_HEADER != length)
            return 0;
    }
    return transport + TCP_HEADER <= length ? transport : 0;
}

static size_t find_option(const uint8_t *packet, size_t transport, size_t end)
{
    size_t at = transport + TCP_HEADER;
    while (at + 1 < end) {
        unsigned kind = packet[at];
        if (kind == OPTION_END)
            return 0;
        size_t size = kind == OPTION_NOP ? 1 : packet[at + 1];
        if (size == 0 || at + size > end)
            return 0;
        if (kind == OPTION_MSS && size == MSS_OPTION_SIZE)
            return at;
        at += size;
    }
    return 0;
}

static unsigned limit_of(const uint8_t *packet, unsigned largest)
{
    unsigned extra = packet[0] >> 4 == 6 ? IPV6_HEADER - IPV4_HEADER : 0;
    return largest > extra ? largest - extra : 0;
}

size_t find_high_mss(const uint8_t *packet, size_t length, unsigned largest)
{
    size_t transport = find_tcp(packet, length);
    if (!transport || !(packet[transport + 13] & TCP_SYN))
        return 0;
    size_t end = transport + (size_t)(packet[transport + 12] >> 4) * 4;
    if (end > length)
        return 0;
    size_t at = find_option(packet, transport, end);
    return at && get16(packet + at + 2) > limit_of(packet, largest) ? at + 2 : 0;
}

void lower_mss(uint8_t *packet, size_t at, unsigned largest)
{
    size_t transport = packet[0] >> 4 == 4 ? (size_t)(packet[0] & 15) * 4 : IPV6_HEADER;
    unsigned before = get16(packet + at), after = limit_of(packet, largest);
    put16(packet + at, after);
    if ((at - transport) & 1) {
        /* The value lies across two words of the sum: as if its bytes were swapped. */
        before = (before & 0xFF) << 8 | before >> 8;
        after = (after & 0xFF) << 8 | after >> 8;
    }
    /* RFC 1624, equation 3 */
    uint8_t *field = packet + transport + TCP_CHECKSUM_AT;
    uint32_t total = (~(uint32_t)get16(field) & 0xFFFF) + (~before & 0xFFFF) + after;
    total = (total & 0xFFFF) + (total >> 16);
    total = (total & 0xFFFF) + (total >> 16);
    put16(field, ~total & 0xFFFF);
}
