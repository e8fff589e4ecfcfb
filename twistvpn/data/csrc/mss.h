/* `mssfix`: lowering the maximum segment size that TCP handshakes through the tunnel announce. */
#ifndef TWISTVPN_MSS_H
#define TWISTVPN_MSS_H

#include <stddef.h>
#include <stdint.h>

/* Offset of the MSS value in a whole, unfragmented SYN that announces more than `largest` (20 less over IPv6); else 0. */
size_t find_high_mss(const uint8_t *packet, size_t length, unsigned largest);

/* Lower the value found by find_high_mss and update the checksum. */
void lower_mss(uint8_t *packet, size_t at, unsigned largest);

static inline void clamp_mss(uint8_t *packet, size_t length, unsigned largest)
{
    size_t at = find_high_mss(packet, length, largest);
    if (at)
        lower_mss(packet, at, largest);
}

#endif
