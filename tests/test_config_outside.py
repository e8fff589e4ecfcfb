"""Proxies and TLS around the link, in both syntaxes."""

from __future__ import annotations

import pytest

from tests.config_files import CLIENT_INI, CLIENT_OVPN, SERVER_OVPN, ConfigFiles, make_files
from twistvpn.config.settings import OuterTls, Proxy, ProxyKind, Remote

TCP = CLIENT_OVPN.replace("remote vpn.example.org", "remote vpn.example.org 443 tcp")
LOGIN = "<http-proxy-user-pass>\njoe\nsesame\n</http-proxy-user-pass>\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ConfigFiles:
    made = make_files(tmp_path_factory.mktemp("config"))
    (made.path / "proxy.txt").write_text("joe\nsesame\n")
    return made


def remotes(files: ConfigFiles, text: str) -> tuple[Remote, ...]:
    client = files.parse(text).client
    assert client is not None
    return client.remotes


HTTP = Proxy(ProxyKind.HTTP, "proxy", 3128)
WITH_LOGIN = Proxy(ProxyKind.HTTP, "proxy", 3128, ("joe", "sesame"))


@pytest.mark.shows("http-proxy-option", "http-proxy-user-pass")
@pytest.mark.parametrize(
    ("lines", "proxy"),
    [
        ("http-proxy proxy 3128", HTTP),
        ("http-proxy proxy 3128 auto", HTTP),
        ("http-proxy proxy 3128 proxy.txt none", HTTP),
        ("http-proxy proxy 3128 proxy.txt", WITH_LOGIN),
        ("http-proxy proxy 3128 proxy.txt basic", WITH_LOGIN),
        (f"http-proxy proxy 3128 auto\n{LOGIN}", WITH_LOGIN),
        ("http-proxy proxy 3128\nhttp-proxy-user-pass proxy.txt", WITH_LOGIN),
        (
            """http-proxy proxy 3128
http-proxy-option VERSION 1.1
http-proxy-option AGENT ours
http-proxy-option CUSTOM-HEADER X-A b
http-proxy-option EXT1 "X-C: d"
""",
            Proxy(ProxyKind.HTTP, "proxy", 3128, None, "1.1", (("User-Agent", "ours"), ("X-A", "b"), ("X-C", "d"))),
        ),
        ("socks-proxy proxy", Proxy(ProxyKind.SOCKS, "proxy", 1080)),
        ("socks-proxy proxy 99 proxy.txt", Proxy(ProxyKind.SOCKS, "proxy", 99, ("joe", "sesame"))),
    ],
)
def test_a_proxy(files: ConfigFiles, lines: str, proxy: Proxy) -> None:
    (remote,) = remotes(files, f"{TCP}{lines}\n")
    assert remote.proxy == proxy
    assert "sesame" not in repr(remote)


def test_a_proxy_in_ini(files: ConfigFiles) -> None:
    lines = "http-proxy = proxy 3128 proxy.txt\nhttp-proxy-option =\n    VERSION 1.1\n    AGENT ours\n[tls]"
    text = CLIENT_INI.replace("udp:vpn.example.org:1194", "tls:vpn.example.org:443").replace("[tls]", lines)
    (remote,) = remotes(files, text)
    assert remote.proxy == Proxy(ProxyKind.HTTP, "proxy", 3128, ("joe", "sesame"), "1.1", (("User-Agent", "ours"),))
    assert remote.outer == OuterTls("vpn.example.org")


def test_each_connection_may_have_a_proxy_of_its_own(files: ConfigFiles) -> None:
    text = TCP.replace(
        "remote vpn.example.org 443 tcp",
        "<connection>\nremote a 443 tcp\nsocks-proxy one\n</connection>\n"
        "<connection>\nremote b 443 tcp\n</connection>\nhttp-proxy two 80",
    )
    assert [remote.proxy and remote.proxy.host for remote in remotes(files, text)] == ["one", "two"]


@pytest.mark.parametrize("line", ["proto tls", "proto tls4", "proto tls-client"])
def test_tls_around_the_link(files: ConfigFiles, line: str) -> None:
    (remote,) = remotes(files, f"{CLIENT_OVPN}{line}\nport 443\n")
    assert (remote.proto, remote.host, remote.port, remote.outer) == (
        "tcp",
        "vpn.example.org",
        443,
        OuterTls("vpn.example.org"),
    )


def test_tls_around_the_link_with_a_name_and_an_authority_of_its_own(files: ConfigFiles) -> None:
    text = CLIENT_OVPN.replace("vpn.example.org", "192.0.2.1 443 tls") + "outer-ca ca.crt\nouter-name www.example.org\n"
    (remote,) = remotes(files, text)
    assert remote.outer is not None
    assert remote.outer.name == "www.example.org"
    assert remote.outer.ca is not None
    assert remote.outer.ca.data.startswith(b"-----BEGIN CERTIFICATE")


def test_endpoints_of_twisteds_are_left_to_twisted(files: ConfigFiles) -> None:
    (remote,) = remotes(files, CLIENT_INI.replace("udp:vpn.example.org:1194", "tls:a:443:trustRoots=/etc"))
    assert (remote.endpoint, remote.outer) == ("tls:a:443:trustRoots=/etc", None)


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ("http-proxy p 80\nsocks-proxy s", "socks-proxy: contradicts http-proxy"),
        ("http-proxy p", "http-proxy: takes 2 to 4 arguments"),
        ("http-proxy p web", "http-proxy: 'web' is not a whole number"),
        ("http-proxy p 80 auto-nct", "http-proxy: Basic is the only authentication"),
        ("http-proxy p 80 proxy.txt ntlm", "http-proxy: 'ntlm' is not one of basic, none"),
        ("http-proxy p 80 nowhere.txt", "http-proxy: cannot read"),
        ("http-proxy p 80\nhttp-proxy-option VERSION 2", "http-proxy-option: '2' is not one of 1.0, 1.1"),
        ("http-proxy p 80\nhttp-proxy-option CUSTOM-HEADER a:b c", "http-proxy-option: 'a:b' cannot be a header"),
        ("http-proxy p 80\nhttp-proxy-option COLOUR red", "http-proxy-option: 'COLOUR' is not one of"),
        ("http-proxy-option VERSION 1.1", "http-proxy-option: needs http-proxy beside it"),
        ("outer-ca ca.crt", "outer-ca: no remote has TLS around its link"),
        ("remote a 1 udp\nhttp-proxy p 80", "http-proxy: carries TCP alone, and a is reached over UDP"),
        ("proto tls\nremote b\nouter-name a..b", "outer-name: 'a..b' is not the name of a host"),
        ("http-proxy-override p 80", "http-proxy-override: is not supported"),
    ],
)
def test_mistakes(files: ConfigFiles, lines: str, answer: str) -> None:
    assert answer in files.line(f"{TCP}{lines}\n")


def test_a_servers_tls_is_an_endpoint(files: ConfigFiles) -> None:
    line = files.line(SERVER_OVPN.replace("proto udp", "proto tls"))
    assert "proto: TLS around the link is a server's in INI syntax alone" in line
