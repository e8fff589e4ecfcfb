/* Byte order, and the Internet checksum (RFC 1071). */
#ifndef TWISTVPN_INET_H
#define TWISTVPN_INET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    ETHERNET_HEADER = 14,
    ETHERNET_ADDRESS = 6,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    IPV4_HEADER = 20,
    IPV6_HEADER = 40,
    TCP_HEADER = 20,
    UDP_HEADER = 8,
    TCP_CHECKSUM_AT = 16,
    UDP_CHECKSUM_AT = 6,
    MAX_IP_PACKET = 65535,
};

enum {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,
    TCP_URG = 0x20,
    TCP_CWR = 0x80,
};

static inline uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Bits of `value` beyond the field's are left out. */
static inline void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static inline uint64_t get48(const uint8_t *at)
{
    return (uint64_t)get16(at) << 32 | get32(at + 2);
}

static inline void put48(uint8_t *at, uint64_t value)
{
    put16(at, (unsigned)(value >> 32));
    put32(at + 2, (uint32_t)value);
}

/* The sum of the big-endian 16-bit words modulo 0xFFFF, below 0x10000; an odd byte at the end counts as
 * the high half of a word.  `length` is below 2^32. */
static inline uint64_t word_sum(const uint8_t *data, size_t length)
{
    /* Words are summed in the host's order, four bytes at a time, which the compiler turns into vector
     * instructions; swapping the folded sum gives what summing in network order would (RFC 1071, 2 B). */
    uint64_t total = 0;
    uint32_t word;
    size_t at = 0;
    for (; at + 4 <= length; at += 4) {
        memcpy(&word, data + at, 4);
        total += word;
    }
    uint8_t rest[4] = {0};
    memcpy(rest, data + at, length - at);
    memcpy(&word, rest, 4);
    total += word;
    total = (total >> 32) + (total & 0xFFFFFFFF);
    total = (total >> 32) + (total >> 16 & 0xFFFF) + (total & 0xFFFF);
    total = (total >> 16) + (total & 0xFFFF);
    total = (total >> 16) + (total & 0xFFFF);
    uint16_t folded = (uint16_t)total;
    uint8_t pair[2];
    memcpy(pair, &folded, 2);
    return get16(pair);
}

/* The checksum for a sum of words of which at least one is not zero. */
static inline uint16_t checksum(uint64_t total)
{
    return (uint16_t)((0xFFFF - total % 0xFFFF) % 0xFFFF);
}

/* The pseudo-header's sum (RFC 9293 section 3.1, RFC 8200 section 8.1); `length` is that of the transport
 * header and its payload. */
static inline uint64_t pseudo_sum(const uint8_t *packet, int is_ipv4, unsigned protocol, size_t length)
{
    uint64_t addresses = is_ipv4 ? word_sum(packet + 12, 8) : word_sum(packet + 8, 32);
    return addresses + protocol + (length >> 16) + (length & 0xFFFF);
}

#endif
