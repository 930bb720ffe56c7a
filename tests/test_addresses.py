"""Whose address counts, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest

from trafficrelay.addresses import TrustedProxies, address_block, address_key
from trafficrelay.errors import DeclarationError

PROXIES = TrustedProxies.of(["10.0.0.0/8", "192.0.2.7", "2001:db8:ffff::/48"])


# Who is believed


@pytest.mark.parametrize("forwarded_for", [None, "", "198.51.100.1", "10.0.0.1", "nonsense"])
def test_the_peer_is_the_client_where_nobody_is_trusted(forwarded_for: str | None) -> None:
    assert TrustedProxies().client("203.0.113.9", forwarded_for) == "203.0.113.9"
    assert TrustedProxies.of([]).client("10.0.0.1", forwarded_for) == "10.0.0.1"
    assert TrustedProxies.of(None) == TrustedProxies()


def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says() -> None:
    assert PROXIES.client("203.0.113.9", "198.51.100.1") == "203.0.113.9"
    assert PROXIES.client("11.0.0.1", "10.0.0.1, 198.51.100.1") == "11.0.0.1"


@pytest.mark.parametrize("peer", ["10.0.0.1", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1", "::ffff:10.0.0.1"])
def test_a_trusted_peer_says_whom_it_speaks_for(peer: str) -> None:
    assert PROXIES.client(peer, "198.51.100.1") == "198.51.100.1"


def test_a_trusted_peer_that_says_nothing_is_the_client() -> None:
    assert PROXIES.client("10.0.0.1", None) == "10.0.0.1"
    assert PROXIES.client("10.0.0.1", "") == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("198.51.100.1,10.0.0.2,\t192.0.2.7 ", "198.51.100.1"),
        ("10.9.9.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("127.0.0.1, 203.0.113.5, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ],
)
def test_the_first_address_from_the_right_that_is_not_trusted_counts(forwarded_for: str, client: str) -> None:
    assert PROXIES.client("10.0.0.1", forwarded_for) == client


@pytest.mark.parametrize(
    ("entry", "client"),
    [
        ("198.51.100.1:443", "198.51.100.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("[::ffff:c633:6401]:80", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_entry_may_have_a_port_and_is_given_in_one_spelling(entry: str, client: str) -> None:
    assert PROXIES.client("10.0.0.1", entry) == client
    assert PROXIES.client("10.0.0.1", f"192.0.2.99, {entry}, 10.0.0.2:8080") == client


@pytest.mark.parametrize(
    "garbage",
    [
        "unknown",
        "_hidden",
        "for=198.51.100.1",
        "198.51.100",
        "198.51.100.1.1",
        "198.51.100.256",
        "0198.51.100.1",
        "198.51.100.1:",
        "198.51.100.1:http",
        "198.51.100.1:\u0664\u0664\u0663",
        "198.51.100.1%eth0",
        "\u0661\u0669\u0668.51.100.1",
        "198.51.100.1\0",
        "198.51.100.1\ud800",
        "2001:db8::1\0",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "[198.51.100.1]",
        "[]",
        ":",
        "]",
        ":::",
        "unix:",
        "localhost",
        "",
        " ",
        "' OR 1=1 --",
        "x" * 1_000,
    ],
)
def test_what_is_no_address_ends_the_walk_at_the_last_that_was_one(garbage: str) -> None:
    assert PROXIES.client("10.0.0.1", garbage) == "10.0.0.1"
    assert PROXIES.client("10.0.0.1", f"198.51.100.1, {garbage}, 10.0.0.2") == "10.0.0.2"


def test_an_address_is_not_taken_from_the_middle_of_a_long_entry() -> None:
    for spaces in range(80, 120):
        assert PROXIES.client("10.0.0.1", f"19{' ' * spaces}8.51.100.1") == "10.0.0.1"
        assert PROXIES.client("10.0.0.1", f"{'9' * spaces}8.51.100.1") == "10.0.0.1"


def test_an_entry_that_is_longer_than_any_address_is_not_read() -> None:
    assert PROXIES.client("10.0.0.1", f"198.51.100.1{' ' * 1_000}") == "10.0.0.1"
    assert PROXIES.client("10.0.0.1", f"198.51.100.1{' ' * 1_000}, 10.0.0.2") == "10.0.0.2"


def test_no_more_than_a_few_entries_are_looked_at() -> None:
    assert PROXIES.client("10.0.0.1", "198.51.100.1, " + "10.0.0.2, " * 20 + "10.0.0.3") == "198.51.100.1"
    assert PROXIES.client("10.0.0.1", "198.51.100.1, " + "10.0.0.2, " * 100_000 + "10.0.0.3") == "10.0.0.2"


# Unix sockets


@pytest.mark.parametrize("peer", ["", "localhost"])
def test_a_unix_socket_is_trusted_only_by_its_name(peer: str) -> None:
    assert PROXIES.client(peer, "198.51.100.1") == peer
    assert TrustedProxies.of(["unix"]).client(peer, "198.51.100.1") == "198.51.100.1"
    assert TrustedProxies.of(["unix"]).client("10.0.0.1", "198.51.100.1") == "10.0.0.1"


def test_a_unix_socket_between_two_proxies_is_passed_by_if_it_is_trusted() -> None:
    forwarded_for = "198.51.100.1, unix:, 10.0.0.2"

    assert TrustedProxies.of(["unix", "10.0.0.0/8"]).client("", forwarded_for) == "198.51.100.1"
    assert PROXIES.client("10.0.0.1", forwarded_for) == "10.0.0.2"


def test_whoever_trusts_unix_sockets_trusts_no_garbage() -> None:
    assert TrustedProxies.of(["unix"]).client("", "198.51.100.1, unknown") == ""


# Declarations


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "10.0.0.0/255.0.0.0", "10.0.0.0/8"])
def test_a_network_means_the_same_in_each_spelling(network: str) -> None:
    assert TrustedProxies.of([network]) == TrustedProxies.of(["10.0.0.0/8"])
    assert TrustedProxies.of(network) == TrustedProxies.of(["10.0.0.0/8"])


@pytest.mark.parametrize("items", [["unix"], ("unix",), {"unix"}, iter(["10.0.0.0/8", "unix"])])
def test_the_proxies_may_be_any_collection(items: Any) -> None:
    assert TrustedProxies.of(items).unix


@pytest.mark.parametrize(
    "item", ["10.0.0.0/33", "*", "proxy.example", "", "Unix", "10.0.0.1:80", 10, None, b"\n\0\0\1"]
)
def test_an_item_that_is_no_network_is_named(item: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        TrustedProxies.of(["10.0.0.0/8", item])

    assert repr(item) in str(caught.value)
    assert caught.value.option == "trusted_proxies"


@pytest.mark.parametrize(
    ("item", "words"),
    [("10.0.0.1/8", 'Say "10.0.0.0/8" or "10.0.0.1"'), ("0.0.0.0/0", "everybody"), ("::/0", "everybody")],
)
def test_a_network_that_its_author_can_hardly_mean_is_refused(item: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words) as caught:
        TrustedProxies.of([item])

    assert repr(item) in str(caught.value)


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(DeclarationError, match="trusted_proxies is a list such as") as caught:
        TrustedProxies.of(True)  # type: ignore[arg-type]

    assert caught.value.option == "trusted_proxies"


# What counts of an address


def test_an_ipv4_address_counts_by_itself_in_each_spelling() -> None:
    assert address_key("192.0.2.7") == "192.0.2.7"
    assert address_key("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_key("192.0.2.7:443") == "192.0.2.7"
    assert address_key("192.0.2.8") != address_key("192.0.2.7")


def test_an_ipv6_address_counts_by_its_64() -> None:
    key = address_key("2001:db8:1:2::7")

    assert key == "2001:0db8:0001:0002::/64"
    assert address_key("2001:DB8:1:2:ffff:ffff:ffff:ffff") == key
    assert address_key("[2001:db8:1:2::7]:443") == key
    assert address_key("2001:db8:1:2::7%eth0") == key
    assert address_key("2001:db8:1:3::7") != key


@pytest.mark.parametrize("text", ["", "localhost", "a:b", "\0:", ":"])
def test_what_is_no_address_is_its_own_key(text: str) -> None:
    assert address_key(text) == text
    assert address_block(text) == text


def test_a_key_is_never_long() -> None:
    for text in ("x" * 1_000_000, ":" * 1_000_000):
        assert len(address_key(text)) <= 100
        assert len(address_block(text)) <= 100


def test_a_block_holds_the_addresses_of_one_site() -> None:
    assert address_block("192.0.2.7") == address_block("::ffff:192.0.2.200") == "192.0.2.0/24"
    assert address_block("192.0.3.7") != address_block("192.0.2.7")
    assert address_block("2001:db8:1:2::7") == address_block("2001:db8:1:ffff::8") == "2001:0db8:0001::/48"
    assert address_block("2001:db8:2::7") != address_block("2001:db8:1::7")
