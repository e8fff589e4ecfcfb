"""OpenVPN on Twisted: servers and clients that stock OpenVPN cannot tell from its own.

Where to begin, by what you want to do:

- run a server or client from a configuration: `twistvpn.config.load.load` reads it into a frozen
  `twistvpn.config.settings.Settings`, `twistvpn.service.make_service` makes a Twisted service of it;
- handle clients' packets in your own code: subclass `ClientProtocol` and `VpnFactory` of `twistvpn.server.factory`
  and hand the factory class to `twistvpn.service.make_server_service`;
- bring a device, a link, a pool, authentication or a check of clients' tls-crypt-v2 keys of your own:
  `twistvpn.interfaces`;
- build a service from parts of your own: `twistvpn.server.service.VpnServerService`,
  `twistvpn.client.service.VpnClientService`;
- test any of it without root or a reactor: `twistvpn.testing`;
- catch what can go wrong: `twistvpn.errors`.

These modules are the public interface; everything else may change from one version to the next.  Importing the
package itself loads nothing.
"""
