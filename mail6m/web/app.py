"""The web endpoint: metrics for Prometheus, and a health page for load balancers and people."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from klein import Klein
from prometheus_client import CollectorRegistry
from prometheus_client.twisted import MetricsResource
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site


class Web:
    """The routes of the web endpoint."""

    app = Klein()

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Callable[[], Awaitable[dict[str, Any]]],
        measure: Callable[[], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._health = health
        self._measure = measure

    def site(self) -> Site:
        """What a web endpoint serves."""
        return Site(self.app.resource())

    @app.route("/metrics")
    async def metrics(self, request: IRequest) -> IResource:
        """Prometheus' text format."""
        await self._measure()
        return cast(IResource, MetricsResource(registry=self._registry))  # type: ignore[no-untyped-call]

    @app.route("/health")
    async def health(self, request: IRequest) -> bytes:
        """200 while mail is taken in, 503 while it is not; says why in JSON."""
        report = await self._health()
        request.setResponseCode(200 if report["ok"] else 503)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return json.dumps(report).encode()
