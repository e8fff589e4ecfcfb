/* Who a datagram came from, and to which address of ours. */
#ifndef TWISTVPN_SENDER_H
#define TWISTVPN_SENDER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

enum multihome { MULTIHOME_NO, MULTIHOME_ADDRESS, MULTIHOME_INTERFACE }; /* Multihome of twistvpn.interfaces */

/* What makes an answer leave from where a datagram came to; `length` is 0 where the kernel has not said. */
struct pktinfo {
    size_t length;
    union {
        struct in_pktinfo ipv4;
        struct in6_pktinfo ipv6;
        char bytes[sizeof(struct in6_pktinfo)];
    } info;
};

struct sender {
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } address;
    struct pktinfo pktinfo; /* of multihomed sockets; stays empty on others */
};

/* Note what the kernel has said beside a datagram, as it goes back into an answer. */
void find_pktinfo(struct sender *sender, struct msghdr *header, enum multihome multihome);

int is_same_sender(const struct sender *one, const struct sender *other);

/* What Python calls it; NULL with an exception set. */
PyObject *make_address(const struct sender *sender);

#endif
