"""The control channel: cookies, reliability, TLS, key exchange and push, in the order a packet travels."""
