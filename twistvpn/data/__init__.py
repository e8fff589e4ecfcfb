"""The data channel, in the order a data packet travels: routes, keyring, channel, offload and the kernel."""
