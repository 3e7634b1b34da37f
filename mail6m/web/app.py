"""The web endpoint: the console, the API, Prometheus' metrics, a health page for load balancers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from klein import Klein
from prometheus_client import CollectorRegistry
from prometheus_client.twisted import MetricsResource
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mail6m.storage.errors import Unavailable
from mail6m.web.api.gate import Api, is_api
from mail6m.web.guard import Guard
from mail6m.web.routes import Route, routes_of
from mail6m.web.site import QuietSite, StaticFile, static_files
from mail6m.web.visit import Answer


class _Door(Resource):
    """What every request comes through, whatever it is for."""

    isLeaf = True

    def __init__(
        self, guard: Guard, inside: IResource, refuse: Callable[[Any, int], bytes]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._guard = guard
        self._inside = inside
        self._refuse = refuse

    def render(self, request: Any) -> Any:
        """See `twisted.web.iweb.IResource.render`."""
        refused = self._guard.greet(request)
        if refused is None:
            return self._inside.render(request)
        request.write(self._refuse(request, refused))
        request.finish()
        return NOT_DONE_YET


Webhook = Callable[[Mapping[str, str], bytes], Awaitable[int]]
"""Hears what another machine tells: the fields of its request, in lower case, and its body as it
came; returns the status of the answer."""


class Web:
    """The routes of the web endpoint."""

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Callable[[], Awaitable[dict[str, Any]]],
        measure: Callable[[], Awaitable[None]],
        policy: Callable[[str], Awaitable[bytes | None]],
        guard: Guard,
        console: Sequence[object],
        api: Api,
        paypal: Webhook | None = None,
    ) -> None:
        """``policy`` is what a host of some name serves as an MTA-STS policy, if it has one.

        ``paypal`` hears what PayPal tells, if customers may pay by it.
        """
        self._paypal = paypal
        self._registry = registry
        self._health = health
        self._measure = measure
        self._policy = policy
        self._guard = guard
        self._api = api
        self._static = static_files()
        self.app = Klein()
        self.app.url_map.merge_slashes = False  # there is one address for a page, and no redirect
        self.app.route("/metrics", methods=["GET"])(self.metrics)
        self.app.route("/health", methods=["GET"])(self.health)
        self.app.route("/.well-known/mta-sts.txt", methods=["GET"])(self.mta_sts)
        self.app.route("/paypal/webhook", methods=["POST"])(self.paypal)
        self.app.route("/static/<name>", methods=["GET"])(self.static)
        for pages in console:
            for route, function in routes_of(pages):
                self._add(route, function)
        for rule, method, function in api.routes():
            self._route(rule, method, function)
        self.app.handle_errors(HTTPException)(self.refused)

    def site(self) -> Site:
        """What a web endpoint serves."""
        door = _Door(self._guard, self.app.resource(), self._refuse)
        return QuietSite(door)  # type: ignore[no-untyped-call]

    def _add(self, route: Route, function: Callable[..., Awaitable[Answer]]) -> None:
        def serve(request: IRequest, **values: Any) -> Deferred[bytes]:
            return self._guard.serve(request, route, function, values)

        self._route(route.rule, route.method, serve)

    def _route(self, rule: str, method: str, function: Callable[..., Any]) -> None:
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        self.app.route(rule, methods=methods, endpoint=f"{method} {rule}")(function)

    def refused(self, request: Any, failure: Any) -> bytes:
        """No route: there is no such page, or not for that method."""
        error = failure.value
        if isinstance(error, MethodNotAllowed):
            request.setHeader("allow", ", ".join(sorted(error.valid_methods or ())))
            return self._refuse(request, 405)
        return self._refuse(request, 404)

    def _refuse(self, request: Any, status: int) -> bytes:
        """Programs get a problem, browsers a page."""
        whose = self._api if is_api(request.path) else self._guard
        return whose.refuse(request, status)

    def static(self, request: Any, name: str) -> bytes:
        """A file that comes with the console; asked for with a version, it may be kept."""
        file: StaticFile | None = self._static.get(name)
        if file is None:
            return self._guard.refuse(request, 404)
        request.setHeader("content-type", file.kind)
        lasting = request.args.get(b"v") is not None
        request.setHeader("cache-control", "max-age=31536000, immutable" if lasting else "no-cache")
        if request.setETag(f'"{file.etag}"'.encode()):
            return b""
        return file.body

    async def mta_sts(self, request: Any) -> bytes:
        """The policy of the domain whose host is asked (RFC 8461, 3.3); 404 if it has none."""
        request.setHeader("content-type", "text/plain; charset=us-ascii")
        host = (request.getHeader(b"host") or b"").decode("ascii", "replace")
        try:
            policy = await self._policy(host)
        except Unavailable:
            request.setResponseCode(503)
            return b""
        if policy is None:
            request.setResponseCode(404)
            return b"There is no such policy.\r\n"
        return policy

    async def paypal(self, request: Any) -> bytes:
        """What PayPal tells of a payment; who it is says its signature, and no session does."""
        octets = request.json()
        if self._paypal is None:
            status = 404
        elif octets is None:
            status = 415
        else:
            raw = request.requestHeaders.getAllRawHeaders()
            fields = {name.lower(): values[-1] for name, values in raw}
            told = {n.decode("latin-1"): v.decode("latin-1") for n, v in fields.items()}
            status = await self._paypal(told, octets)
        request.setResponseCode(status)
        request.setHeader("content-type", "text/plain; charset=us-ascii")
        return b""

    async def metrics(self, request: IRequest) -> IResource:
        """Prometheus' text format."""
        await self._measure()
        return cast(IResource, MetricsResource(registry=self._registry))  # type: ignore[no-untyped-call]

    async def health(self, request: IRequest) -> bytes:
        """200 while mail is taken in, 503 while it is not; says why in JSON."""
        report = await self._health()
        request.setResponseCode(200 if report["ok"] else 503)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return json.dumps(report).encode()
