"""Where a webhook may go: where an operator said, and to no address that hides behind a name."""

import pytest

from paintmq.gateway.webhooks.hosts import WebhookHosts, target_of


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("hooks.example.com", "https://hooks.example.com/x?y=1"),
        ("Hooks.Example.com", "https://HOOKS.example.com:443/"),
        ("*.example.com", "https://a.b.example.com/"),
        ("hooks.example.com:8443", "https://hooks.example.com:8443/"),
        ("http://hooks.example.com", "http://hooks.example.com/"),
        ("10.0.0.0/8", "https://10.1.2.3/"),
        ("http://10.1.2.3:8080", "http://10.1.2.3:8080/"),
        ("[::1]:99", "https://[::1]:99/"),
        ("fd00::/8", "https://[fd00::5]/"),
    ],
)
def test_a_url_is_taken_where_an_entry_names_its_scheme_host_and_port(entry: str, url: str) -> None:
    assert WebhookHosts.of(["other.example", entry]).target(url).origin


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("hooks.example.com", "http://hooks.example.com/"),
        ("hooks.example.com", "https://hooks.example.com:8443/"),
        ("hooks.example.com", "https://hooks.example.com.attacker.example/"),
        ("hooks.example.com", "https://attacker.example/hooks.example.com"),
        ("hooks.example.com", "https://hooks.example.com@attacker.example/"),
        ("hooks.example.com", "https://attacker.example#@hooks.example.com/"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://attackerexample.com/"),
        ("10.0.0.0/8", "https://11.0.0.1/"),
        ("10.0.0.0/8", "https://10.0.0.1:8443/"),
        ("10.0.0.0/8", "https://167772161/"),
        ("hooks.example.com", "https://hooks.example.com\\@attacker.example/"),
    ],
)
def test_a_url_that_only_resembles_an_entry_is_refused(entry: str, url: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        WebhookHosts.of([entry]).target(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example.com", "ftp://h.example/", "https://", "https:///path"),
        *("https://h.example:0/", "https://h.example:99999/", "https://h.example:x/"),
        *("https://h.example/ x", "https://h.example/\r\nx: y", "https://h.example/\x00"),
        *("https://hé.example/", "https://user:word@h.example/", "https://h.example/#part"),
        *("https://[::1/", "https://-h.example/", "https://h..example/", "file:///etc/passwd"),
        "https://h.example/" + "x" * 2_000,
    ],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="webhook's URL"):
        target_of(url)


def test_without_an_entry_nothing_is_sent() -> None:
    with pytest.raises(ValueError, match=r"http\.webhook_hosts names no host"):
        WebhookHosts.of([]).target("https://example.com/")


@pytest.mark.parametrize(
    "entry",
    [
        *("", "https://", "*", "*.", "a b", "ftp://h.example", "h.example:0", "h.example:x"),
        *("h.example/path", "10.0.0.1/8", "[::1", "[::1]8", "h.example:99999"),
    ],
)
def test_an_entry_that_names_no_host_is_an_error_that_names_it(entry: str) -> None:
    with pytest.raises(ValueError, match="webhook_hosts") as raised:
        WebhookHosts.of([entry])
    assert repr(entry) in str(raised.value)


PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1"),
    "2001:0:53aa:64c:0:0:80ff:fffe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused_however_it_is_written(address: str) -> None:
    with pytest.raises(ValueError, match="no public address"):
        WebhookHosts.of(["hooks.example.com"]).check_address("hooks.example.com", address)


def test_a_public_address_will_do_and_another_one_if_an_entry_names_it() -> None:
    hosts = WebhookHosts.of(["hooks.internal", "10.2.0.0/16", "[fd00::1]"])

    for address in ("93.184.215.14", "2606:2800:21f::1", "10.2.3.4", "fd00::1"):
        hosts.check_address("hooks.internal", address)
    with pytest.raises(ValueError, match=r"10\.3\.0\.1"):
        hosts.check_address("hooks.internal", "10.3.0.1")
