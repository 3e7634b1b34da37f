"""What everybody may read: what Mail6M is, why, how it works, what it costs (the brochure's text).

These pages are the same for everybody who reads the same language: no cookie, no script, and they
may be kept for some minutes. The language is the browser's, or what the address asks for
(``?langue=en``), which the links between them carry on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import escape

from mail6m.billing.showcase import Showcase
from mail6m.web.menu import WAYS
from mail6m.web.routes import Access, page
from mail6m.web.visit import Answer, Html, Plain, Redirect, Visit
from mail6m.web.words import LANGUAGES

LASTING = 300
"""Seconds that a page may be kept."""
PATHS = ("/", *(path for path, _ in WAYS), "/conditions", "/mentions")
"""What search engines are told of."""
_HIDDEN = ("/inscription/", "/mot-de-passe", "/oubli", "/api/")
_MAP = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    ' xmlns:xhtml="http://www.w3.org/1999/xhtml">\n{}</urlset>\n'
)


class PublicPages:
    """The brochure."""

    def __init__(
        self,
        showcase: Showcase,
        hostnames: Sequence[str],
        postmaster: str,
        hosted_by: str,
        console_url: Callable[[], str],
    ) -> None:
        """``hostnames`` are what MX records point at; ``hosted_by`` is who runs the machines."""
        self._showcase = showcase
        self._hostnames = hostnames
        self._postmaster = postmaster
        self._hosted_by = hosted_by
        self._console_url = console_url

    @page("/", Access.PUBLIC)
    async def home(self, visit: Visit) -> Answer:
        """What Mail6M is; who has signed in goes on to where they begin."""
        if visit.signed_in:
            return Redirect(visit.home)
        return await self._priced(visit, "home")

    @page("/pourquoi", Access.ANYBODY)
    async def why(self, visit: Visit) -> Answer:
        """Pourquoi archiver vos e-mails (II, VI)."""
        return self._page(visit, "why")

    @page("/fonctionnement", Access.ANYBODY)
    async def how(self, visit: Visit) -> Answer:
        """Fonctionnement (IV)."""
        return self._page(visit, "how")

    @page("/avantages", Access.ANYBODY)
    async def advantages(self, visit: Visit) -> Answer:
        """Les avantages (V)."""
        return self._page(visit, "advantages")

    @page("/tarifs", Access.ANYBODY)
    async def tariff(self, visit: Visit) -> Answer:
        """Tarification (IX), as it holds today."""
        return await self._priced(visit, "tariff")

    @page("/mise-en-place", Access.ANYBODY)
    async def setting_up(self, visit: Visit) -> Answer:
        """Installation, paramétrage de vos MX et du routage (III, VII.I)."""
        return self._page(visit, "setting_up", hostnames=self._hostnames)

    @page("/conditions", Access.ANYBODY)
    async def conditions(self, visit: Visit) -> Answer:
        """Conditions: what somebody who signs up agrees to."""
        return await self._priced(visit, "conditions")

    @page("/mentions", Access.ANYBODY)
    async def legal(self, visit: Visit) -> Answer:
        """Mentions légales: who answers for the site, and who hosts it (LCEN, art. 1-1)."""
        _, seller = await self._showcase.today()
        values = {"postmaster": self._postmaster, "hosted_by": self._hosted_by}
        return self._page(visit, "legal", seller=seller, **values)

    @page("/robots.txt", Access.ANYBODY)
    async def robots(self, visit: Visit) -> Answer:
        """What search engines should leave alone (RFC 9309)."""
        lines = ["User-agent: *", *(f"Disallow: {path}" for path in _HIDDEN)]
        lines.append(f"Sitemap: {self._base(visit)}/sitemap.xml")
        body = "\n".join(lines) + "\n"
        return Plain(body.encode(), "text/plain; charset=utf-8", lasting=LASTING)

    @page("/sitemap.xml", Access.ANYBODY)
    async def map(self, visit: Visit) -> Answer:
        """The pages for search engines, in both languages."""
        base = escape(self._base(visit))
        entries = [_entry(f"{base}{path}", language) for path in PATHS for language in LANGUAGES]
        return Plain(_MAP.format("".join(entries)).encode(), "application/xml", lasting=LASTING)

    async def _priced(self, visit: Visit, name: str) -> Answer:
        return self._page(visit, name, tariff=(await self._showcase.today()).tariff)

    def _page(self, visit: Visit, name: str, **values: Any) -> Answer:
        values["base"] = self._base(visit)
        return Html(f"public/{name}.html", values, lasting=LASTING)

    def _base(self, visit: Visit) -> str:
        return self._console_url() or visit.base


def _entry(address: str, language: str) -> str:
    others = "".join(
        f'<xhtml:link rel="alternate" hreflang="{one}" href="{address}?langue={one}"/>'
        for one in LANGUAGES
    )
    return f"<url><loc>{address}?langue={language}</loc>{others}</url>\n"
