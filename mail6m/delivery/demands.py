"""What a session with a receiving machine needs: by its customer, by DANE, by MTA-STS.

DANE (RFC 7672) speaks where every step to the host's TLSA records is an authentic answer, MTA-STS
(RFC 8461) for mail that goes by MX. Neither lets a customer's own rule be overruled downwards.
"""

from __future__ import annotations

from dns.rdtypes.ANY.TLSA import TLSA
from twisted.logger import Logger

from mail6m.delivery.route import Route
from mail6m.model import Host, Reply, StsMode, TlsPolicy
from mail6m.resolver import Answer, DnsFailure, Resolver
from mail6m.trust import Demand, Handshake, Level, Trust, is_address, usable


class Unsafe(Exception):
    """A host must not be used now; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Demands:
    """Knows what each host must show, and whom to believe when it does."""

    log = Logger()

    def __init__(self, resolver: Resolver, trust: Trust) -> None:
        self._resolver = resolver
        self._trust = trust

    def towards(self, demand: Demand) -> Handshake:
        """TLS for one session."""
        return self._trust.towards(demand)

    async def of(self, route: Route, host: Host) -> Demand:
        """What a session with a host of a route needs. Raises `Unsafe`."""
        if route.tls is TlsPolicy.NONE:
            return Demand(Level.CLEAR, host.name)
        demand = await self._needed(route, host)
        return demand._replace(sure=route.authentic or _is_named(route, host))

    async def _needed(self, route: Route, host: Host) -> Demand:
        enforced = self._enforced(route, host)
        least = Level.OFFERED
        if enforced or route.tls is TlsPolicy.REQUIRED:
            least = Level.CERTIFICATE
        if not self._may_have_dane(route, host):
            return Demand(least, host.name)
        return await self._by_dane(route, host, least)

    def _enforced(self, route: Route, host: Host) -> bool:
        """Whether the domain's MTA-STS policy asks for a good certificate (RFC 8461, 5)."""
        policy = route.sts
        if policy is None:
            return False
        fits = policy.covers(host.name)
        if policy.mode is StsMode.ENFORCE:
            if not fits:
                text = f"{host.name} is not among the hosts of {route.domain}'s MTA-STS policy"
                raise Unsafe(Reply(451, "4.7.5", text))
            return True
        if not fits:
            self.log.info(
                "{host} is not in the MTA-STS policy that {domain} tests",
                host=host.name,
                domain=route.domain,
            )
        return False

    def _may_have_dane(self, route: Route, host: Host) -> bool:
        """A chain of authentic answers is possible, and not broken yet (RFC 7672, 2)."""
        local = host.name == "localhost" or host.name.endswith(".localhost")
        named = not is_address(host.name) and not local
        return route.authentic and named and self._resolver.believed

    async def _by_dane(self, route: Route, host: Host, least: Level) -> Demand:
        try:
            base, answer = await self._tlsa(host)
        except DnsFailure as error:
            # Whoever can keep this answer back must not get the mail for it (RFC 7672, 2.1).
            text = f"What {host.name} needs for TLS cannot be looked up: {error}"
            raise Unsafe(Reply(451, "4.7.5", text[:400])) from error
        records = [one for one in answer.records if isinstance(one, TLSA)] if answer else []
        fit = tuple(record for record in records if usable(record))
        if fit:
            names = dict.fromkeys((host.name, route.domain))
            others = tuple(name for name in names if name and name != base)
            return Demand(Level.DANE, base, fit, others)
        if (
            answer is not None and least is Level.OFFERED
        ):  # TLS is promised, and what is known is of no use
            least = Level.ENCRYPTED
        return Demand(least, host.name)

    async def _tlsa(self, host: Host) -> tuple[str, Answer | None]:
        """A host's authentic TLSA records, and the name that they are for (RFC 7672, 2.2)."""
        addresses = [await self._resolver.look_up(host.name, kind) for kind in ("A", "AAAA")]
        known = any(answer.records for answer in addresses)
        if not known or not all(answer.authentic for answer in addresses):
            return host.name, None  # the zone is not signed, or the host is not in the DNS
        aliases = [answer.canonical for answer in addresses if answer.canonical]
        for base in dict.fromkeys([*aliases[:1], host.name]):
            answer = await self._resolver.look_up(f"_{host.port}._tcp.{base}", "TLSA")
            if answer.authentic and (answer.records or answer.malformed):
                return base, answer
        return host.name, None


def _is_named(route: Route, host: Host) -> bool:
    """Whether the domain's MTA-STS policy names a host."""
    return route.sts is not None and route.sts.covers(host.name)
