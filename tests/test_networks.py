"""Whom an address belongs to, and lists of networks."""

from __future__ import annotations

import pytest

from mail6m.networks import Networks, client_of, place_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_whom_an_address_belongs_to(one: str, other: str, same: bool) -> None:
    """Who has one IPv6 address has all of its /64; IPv4 is IPv4 on whatever socket."""
    assert (client_of(one) == client_of(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.200", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:1:2::1", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.2", True),
    ],
)
def test_neighbours(one: str, other: str, same: bool) -> None:
    """An IPv4 /24 and an IPv6 /48 are one neighbourhood."""
    assert (place_of(one).network == place_of(other).network) is same


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("::2", False),
        ("local", True),
    ],
)
def test_lists_of_networks(address: str, inside: bool) -> None:
    """An address is looked for in both families, however it is written; a Unix socket is ours."""
    assert (address in Networks(["127.0.0.0/8", "::1"])) is inside


def test_no_network() -> None:
    """A slip of the pen is told."""
    with pytest.raises(ValueError, match="host bits"):
        Networks(["10.0.0.1/8"])
