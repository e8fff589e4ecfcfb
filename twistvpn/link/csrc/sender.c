#include "sender.h"

#include <arpa/inet.h>
#include <string.h>

void find_pktinfo(struct sender *sender, struct msghdr *header, enum multihome multihome)
{
    struct pktinfo *found = &sender->pktinfo;
    found->length = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at)) {
        if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO &&
            at->cmsg_len >= CMSG_LEN(sizeof found->info.ipv4)) {
            found->length = sizeof found->info.ipv4;
            memcpy(&found->info.ipv4, CMSG_DATA(at), found->length);
            found->info.ipv4.ipi_addr.s_addr = 0;
            if (multihome != MULTIHOME_INTERFACE)
                found->info.ipv4.ipi_ifindex = 0;
        } else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO &&
                   at->cmsg_len >= CMSG_LEN(sizeof found->info.ipv6)) {
            found->length = sizeof found->info.ipv6;
            memcpy(&found->info.ipv6, CMSG_DATA(at), found->length);
            if (multihome != MULTIHOME_INTERFACE)
                found->info.ipv6.ipi6_ifindex = 0;
        }
    }
}

static int is_same_pktinfo(const struct pktinfo *one, const struct pktinfo *other)
{
    return one->length == other->length && !memcmp(one->info.bytes, other->info.bytes, one->length);
}

int is_same_sender(const struct sender *one, const struct sender *other)
{
    if (one->address.any.sa_family != other->address.any.sa_family ||
        !is_same_pktinfo(&one->pktinfo, &other->pktinfo))
        return 0;
    if (one->address.any.sa_family == AF_INET) {
        const struct sockaddr_in *a = &one->address.ipv4, *b = &other->address.ipv4;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = &one->address.ipv6, *b = &other->address.ipv6;
    return a->sin6_port == b->sin6_port && a->sin6_flowinfo == b->sin6_flowinfo &&
           a->sin6_scope_id == b->sin6_scope_id && !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr);
}

PyObject *make_address(const struct sender *sender)
{
    char host[INET6_ADDRSTRLEN] = "";
    const struct pktinfo *pktinfo = &sender->pktinfo;
    unsigned port, flow = 0, scope = 0;
    if (sender->address.any.sa_family == AF_INET) {
        const struct sockaddr_in *from = &sender->address.ipv4;
        inet_ntop(AF_INET, &from->sin_addr, host, sizeof host);
        port = ntohs(from->sin_port);
        if (!pktinfo->length)
            return Py_BuildValue("(sI)", host, port);
    } else if (sender->address.any.sa_family == AF_INET6) {
        const struct sockaddr_in6 *from = &sender->address.ipv6;
        inet_ntop(AF_INET6, &from->sin6_addr, host, sizeof host);
        port = ntohs(from->sin6_port);
        flow = ntohl(from->sin6_flowinfo);
        scope = from->sin6_scope_id;
        if (!pktinfo->length)
            return Py_BuildValue("(sIII)", host, port, flow, scope);
    } else {
        return PyErr_Format(PyExc_ValueError, "the socket is of neither IP version");
    }
    return Py_BuildValue("(sIIIy#)", host, port, flow, scope, pktinfo->info.bytes, (Py_ssize_t)pktinfo->length);
}
