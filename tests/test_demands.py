"""TLS towards receiving machines: what they must show, with real handshakes and a real DNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mail6m.delivery.consignment import Consignment
from mail6m.delivery.route import Route
from mail6m.delivery.sts import Policy
from mail6m.model import Host, StsMode, TlsPolicy, Verdict
from mail6m.trust import Trust
from tests.authority import Authority, Issued, the_authority
from tests.carried import Carried, World, carry, consignment
from tests.reactor_thread import the_reactor
from tests.scripted_peer import LOOPBACK, Fault, Peer
from tests.zone import Zone

NAME = "mx.example.test"
TLS = ("PIPELINING", "8BITMIME", "STARTTLS")
OPPORTUNISTIC, REQUIRED = TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED
MX = {"domain": "example.test"}

GOOD = the_authority().issue(NAME)
STRANGER = Authority("Somebody else").issue(NAME)
BAD = {
    "its issuer is not known": STRANGER,
    "it has signed itself": the_authority().issue(NAME, signed_by_itself=True),
    "it has expired": the_authority().issue(NAME, expired=True),
    "it is for another name": the_authority().issue("mx.example.org"),
}


@pytest.fixture
def zone() -> Iterator[Zone]:
    """A signed zone, in which the host has an address."""
    with Zone({f"{NAME} A": LOOPBACK}, authentic=True) as zone:
        yield zone


def carried(
    zone: Zone,
    peer: Peer,
    tls: TlsPolicy = OPPORTUNISTIC,
    *,
    name: str = NAME,
    believed: bool = True,
    trust: Trust | None = None,
    messages: Sequence[Consignment] = (),
    **route: Any,
) -> Carried:
    """What becomes of a message for a host whose port 25 is the peer's."""
    world = World({(name, 25): peer.port})
    resolver = zone.resolver(the_reactor(), believed=believed)
    return carry(world, Route((Host(name),), tls, **route), resolver, trust, messages)


def assert_delivered(carried: Carried, peer: Peer, tls: str) -> None:
    """One message arrived; the session is described as it was."""
    assert carried.outcome.verdict is Verdict.DONE
    assert carried.outcome.tls.endswith(tls)
    assert [mail.tls for mail in peer.mails] == [bool(tls)]


def assert_deferred(carried: Carried, peer: Peer, why: str, status: str = "4.7.5") -> None:
    """Nothing was said to the host of the message, in clear or otherwise; it goes later."""
    assert carried.reply is not None
    assert (carried.reply.code // 100, carried.reply.status) == (4, status)
    assert why in carried.reply.text
    assert not carried.outcomes
    assert not peer.mails
    assert {command for command, _ in peer.commands} <= {"EHLO mail6m.test", "STARTTLS"}


# The chain and the name


def test_required_with_a_good_certificate(zone: Zone) -> None:
    """Known issuer, right name: delivered, and the session says that it was verified."""
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_delivered(carried(zone, peer, REQUIRED), peer, ", verified (certificate)")


@pytest.mark.parametrize("why", BAD)
def test_required_with_a_wrong_certificate(zone: Zone, why: str) -> None:
    """The message is deferred with the reason, never sent, never in clear."""
    with Peer(extensions=TLS, certificate=BAD[why]) as peer:
        assert_deferred(carried(zone, peer, REQUIRED), peer, why)
        assert len(peer.sessions) == 1


@pytest.mark.parametrize("why", BAD)
def test_opportunistic_with_a_wrong_certificate(zone: Zone, why: str) -> None:
    """Encrypted is better than not: it is sent, and the session says that nobody was verified."""
    with Peer(extensions=TLS, certificate=BAD[why]) as peer:
        assert_delivered(carried(zone, peer), peer, ", not verified")


def test_opportunistic_without_tls(zone: Zone) -> None:
    """In clear where the host has none, and where the handshake fails."""
    for peer in (Peer(extensions=TLS[:2]), Peer({"STARTTLS": Fault.HANDSHAKE_GARBAGE})):
        peer.extensions = peer.extensions if len(peer.extensions) == 2 else TLS
        with peer:
            assert_delivered(carried(zone, peer), peer, "")


def test_an_address_must_be_in_the_certificate(zone: Zone) -> None:
    """A host that is an address is verified by the certificate's addresses; its name is not one."""
    good, bad = the_authority().issue("x.test", LOOPBACK), the_authority().issue(LOOPBACK + ".test")
    with Peer(extensions=TLS, certificate=good) as peer:
        done = carried(zone, peer, REQUIRED, name=LOOPBACK)
        assert_delivered(done, peer, ", verified (certificate)")
    with Peer(extensions=TLS, certificate=bad) as peer:
        assert_deferred(
            carried(zone, peer, REQUIRED, name=LOOPBACK), peer, "it is for another name"
        )


def test_the_system_knows_no_authority_of_ours(zone: Zone) -> None:
    """Without a file of authorities, the system's count."""
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_deferred(carried(zone, peer, REQUIRED, trust=Trust()), peer, "certificate")


# DANE


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("usage", [2, 3])
def test_dane(zone: Zone, usage: int, selector: int, matching: int) -> None:
    """Records of every kind, for the certificate or its authority, whoever signed it."""
    record = STRANGER.tlsa(usage, selector, matching, of=3 - usage)
    zone.add({f"_25._tcp.{NAME} TLSA": ["3 1 1 " + "00" * 32, record]})
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_delivered(carried(zone, peer, REQUIRED), peer, ", verified (DANE)")


def _unlike() -> dict[str, tuple[Issued, str]]:
    own = the_authority().issue(NAME)
    other_name = the_authority().issue("mx.example.org")
    expired = the_authority().issue(NAME, expired=True)
    return {
        "another key": (own, GOOD.tlsa(3)),
        "another authority": (own, STRANGER.tlsa(2, of=1)),
        "an authority of another name": (other_name, other_name.tlsa(2, of=1)),
        "an authority of what has expired": (expired, expired.tlsa(2, of=1)),
        "the endpoint as its authority": (own, own.tlsa(2)),
        "the authority as the endpoint": (own, own.tlsa(3, of=1)),
    }


@pytest.mark.parametrize("what", _unlike())
def test_dane_that_does_not_fit(zone: Zone, what: str) -> None:
    """No fallback: neither to a certificate that is otherwise good, nor to clear."""
    certificate, record = _unlike()[what]
    zone.add({f"_25._tcp.{NAME} TLSA": record})
    with Peer(extensions=TLS, certificate=certificate) as peer:
        assert_deferred(carried(zone, peer), peer, "certificate")


def test_dane_cares_for_no_dates_of_an_endpoint(zone: Zone) -> None:
    """Usage 3 binds the key: the name and the dates are the DNS's matter (RFC 7672, 3.1.1)."""
    expired = the_authority().issue("whatever.test", expired=True)
    zone.add({f"_25._tcp.{NAME} TLSA": expired.tlsa(3)})
    with Peer(extensions=TLS, certificate=expired) as peer:
        assert_delivered(carried(zone, peer), peer, ", verified (DANE)")


def test_the_domain_s_name_does_under_an_authority(zone: Zone) -> None:
    """A certificate may be for the domain that mail is for (RFC 7672, 3.2.2), if the MX is sure."""
    certificate = the_authority().issue("example.test")
    zone.add({f"_25._tcp.{NAME} TLSA": certificate.tlsa(2, of=1)})
    with Peer(extensions=TLS, certificate=certificate) as peer:
        assert_delivered(carried(zone, peer, **MX), peer, ", verified (DANE)")


def test_an_authority_below_another(zone: Zone) -> None:
    """A TLSA record may name one that has not signed itself; the one above it need not be there."""
    certificate = Authority("Below", by=Authority("Somebody else")).issue(NAME)
    zone.add({f"_25._tcp.{NAME} TLSA": certificate.tlsa(2, of=1)})
    with Peer(extensions=TLS, certificate=certificate) as peer:
        assert_delivered(carried(zone, peer), peer, ", verified (DANE)")


@pytest.mark.parametrize("script", [{}, {"STARTTLS": "454 4.7.0 No"}])
def test_dane_without_tls(zone: Zone, script: dict[str, str]) -> None:
    """TLS is promised: without it, nothing is sent."""
    zone.add({f"_25._tcp.{NAME} TLSA": GOOD.tlsa(3)})
    with Peer(script, extensions=TLS if script else TLS[:2]) as peer:
        assert_deferred(carried(zone, peer), peer, "TLS is required", "4.7.4")


UNUSABLE = ["0 1 1 " + "00" * 32, "1 1 1 " + "00" * 32, "3 2 1 " + "00" * 32, "3 1 3 " + "00" * 32]
UNUSABLE += ["3 1 1 " + "00" * 20, "255 1 1 " + "00" * 32]


@pytest.mark.parametrize("record", UNUSABLE)
def test_unusable_records(zone: Zone, record: str) -> None:
    """TLS is promised, but there is nothing to check it by: encrypted in any case."""
    zone.add({f"_25._tcp.{NAME} TLSA": record})
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_delivered(carried(zone, peer), peer, ", not verified")
    with Peer({"STARTTLS": Fault.HANDSHAKE_GARBAGE}, extensions=TLS) as peer:
        assert_deferred(carried(zone, peer), peer, "handshake failed")
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_deferred(carried(zone, peer, REQUIRED), peer, "issuer")


@pytest.mark.parametrize("failing", [NAME, f"_25._tcp.{NAME}"])
def test_a_look_up_that_fails(zone: Zone, failing: str) -> None:
    """SERVFAIL is what a forged answer comes to: the host is passed over, for now."""
    zone.failing = {failing}
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_deferred(carried(zone, peer), peer, "cannot be looked up")
        assert not peer.sessions


@pytest.mark.parametrize("why", ["unsigned", "unsigned address", "unsigned MX", "not believed"])
def test_answers_that_are_not_authentic(zone: Zone, why: str) -> None:
    """Whoever can forge one of them could forge all: records count for nothing."""
    zone.add({f"_25._tcp.{NAME} TLSA": "3 1 1 " + "00" * 32})
    zone.authentic = why != "unsigned"
    zone.insecure = {NAME} if why == "unsigned address" else set()
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        done = carried(
            zone, peer, believed=why != "not believed", authentic=why != "unsigned MX", **MX
        )
        assert_delivered(done, peer, ", not verified")
    if why != "unsigned":
        assert not zone.asked[f"_25._tcp.{NAME}", "TLSA"]


def test_tlsa_records_that_are_not_authentic(zone: Zone) -> None:
    """The host's zone is signed, that of its TLSA records is not: they count for nothing."""
    zone.add({f"_25._tcp.{NAME} TLSA": "3 1 1 " + "00" * 32})
    zone.insecure = {f"_25._tcp.{NAME}"}
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_delivered(carried(zone, peer), peer, ", not verified")


def test_records_at_the_end_of_an_alias(zone: Zone) -> None:
    """Those of the canonical name go before those of the alias (RFC 7672, 2.2.3)."""
    zone.add({"alias.test CNAME": NAME, f"_25._tcp.{NAME} TLSA": GOOD.tlsa(3)})
    zone.add({"_25._tcp.alias.test TLSA": STRANGER.tlsa(3)})
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_delivered(carried(zone, peer, name="alias.test"), peer, ", verified (DANE)")
    zone.remove(f"_25._tcp.{NAME}")
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_delivered(carried(zone, peer, name="alias.test"), peer, ", verified (DANE)")


def test_no_look_ups_where_nothing_could_come_of_them(zone: Zone) -> None:
    """Neither for an address, nor without TLS, nor where nobody validates."""
    with Peer() as peer:
        carried(zone, peer, name=LOOPBACK)
        carried(zone, peer, TlsPolicy.NONE)
        carried(zone, peer, believed=False)
    assert not zone.asked


# MTA-STS

FITS, FITS_NOT = ("*.example.test",), ("mx.example.org",)


def test_sts_enforced(zone: Zone) -> None:
    """A host that fits, with a good certificate; any other certificate, and mail waits."""
    zone.authentic = False
    policy = Policy(StsMode.ENFORCE, FITS, 0)
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_delivered(carried(zone, peer, sts=policy, **MX), peer, ", verified (certificate)")
    for why, certificate in BAD.items():
        with Peer(extensions=TLS, certificate=certificate) as peer:
            assert_deferred(carried(zone, peer, sts=policy, **MX), peer, why)
    with Peer(extensions=TLS[:2]) as peer:
        assert_deferred(carried(zone, peer, sts=policy, **MX), peer, "TLS is required", "4.7.4")


def test_a_host_that_sts_does_not_name(zone: Zone) -> None:
    """It is not even connected to; where the policy is only tested, it is."""
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        policy = Policy(StsMode.ENFORCE, FITS_NOT, 0)
        assert_deferred(carried(zone, peer, sts=policy, **MX), peer, "MTA-STS")
        assert not peer.sessions
        done = carried(zone, peer, sts=policy._replace(mode=StsMode.TESTING), **MX)
        assert_delivered(done, peer, ", verified (certificate)")


def test_sts_that_is_tested(zone: Zone) -> None:
    """Mail goes, whatever the certificate."""
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        done = carried(zone, peer, sts=Policy(StsMode.TESTING, FITS, 0), **MX)
        assert_delivered(done, peer, ", not verified")


def test_dane_goes_before_sts(zone: Zone) -> None:
    """A certificate that DANE vouches for need not please MTA-STS; one that it does not, is bad."""
    policy = Policy(StsMode.ENFORCE, FITS, 0)
    zone.add({f"_25._tcp.{NAME} TLSA": STRANGER.tlsa(3)})
    with Peer(extensions=TLS, certificate=STRANGER) as peer:
        assert_delivered(carried(zone, peer, sts=policy, **MX), peer, ", verified (DANE)")
    with Peer(extensions=TLS, certificate=GOOD) as peer:
        assert_deferred(carried(zone, peer, sts=policy, **MX), peer, "TLSA")


# REQUIRETLS

SURE = ("PIPELINING", "8BITMIME", "STARTTLS", "REQUIRETLS")


def required(zone: Zone, peer: Peer, **route: Any) -> Carried:
    """What becomes of a message that requires TLS."""
    return carried(zone, peer, messages=[consignment(requiretls=True)], **route)


STS = Policy(StsMode.TESTING, FITS, 0)
WAYS = {
    "named by its customer": {},
    "an authentic MX": MX,
    "an MX that MTA-STS names": {**MX, "authentic": False, "sts": STS},
}


@pytest.mark.parametrize("way", WAYS)
def test_requiretls(zone: Zone, way: str) -> None:
    """A verified host that is surely the right one, and knows REQUIRETLS, gets it so marked."""
    with Peer(extensions=SURE, certificate=GOOD) as peer:
        done = required(zone, peer, **WAYS[way])
        assert_delivered(done, peer, ", verified (certificate)")
        assert peer.mails[0].parameters[0].split() == ["REQUIRETLS"]


def test_requiretls_with_dane(zone: Zone) -> None:
    """DANE verifies as well as a certificate does."""
    zone.add({f"_25._tcp.{NAME} TLSA": STRANGER.tlsa(3)})
    with Peer(extensions=SURE, certificate=STRANGER) as peer:
        assert_delivered(required(zone, peer, **MX), peer, ", verified (DANE)")


@pytest.mark.parametrize(
    ("extensions", "certificate", "route", "verdict", "status"),
    [
        (TLS, GOOD, {}, Verdict.NEVER, "5.7.30"),
        (TLS[:2], GOOD, {}, Verdict.NEVER, "5.7.10"),
        (SURE, STRANGER, {}, Verdict.LATER, "4.7.10"),
        (SURE, GOOD, {**MX, "authentic": False}, Verdict.LATER, "4.7.10"),
        (SURE, GOOD, {**MX, "authentic": False, "sts": STS._replace(mx=FITS_NOT)}, Verdict.LATER,
         "4.7.10"),
    ],
)  # fmt: skip
def test_no_way_for_requiretls(
    zone: Zone,
    extensions: tuple[str, ...],
    certificate: Issued,
    route: dict[str, Any],
    verdict: Verdict,
    status: str,
) -> None:
    """Not a word of its envelope is said; what may be better tomorrow is tried tomorrow."""
    with Peer(extensions=extensions, certificate=certificate) as peer:
        done = required(zone, peer, **route)
        assert (done.outcome.verdict, done.outcome.reply.status) == (verdict, status)
        assert not any(command.startswith("MAIL") for command, _ in peer.commands)
