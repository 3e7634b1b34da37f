"""Désabonnement: what a letter's link ends, for who has the letter (RFC 8058)."""

from __future__ import annotations

from mail6m.notices.catalogue import TOPICS
from mail6m.notices.subscriptions import PATH, Subscriber, Subscriptions
from mail6m.web.routes import Access, one_click, page
from mail6m.web.visit import Answer, Html, NotFound, Visit

FIELD, VALUE = "List-Unsubscribe", "One-Click"
"""What is sent, by a machine or by our own button (RFC 8058, 3.1)."""


class UnsubscribingPages:
    """A way out for who gets letters."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    @page(f"{PATH}<token>", Access.PUBLIC)
    async def ask(self, visit: Visit, token: str) -> Answer:
        """What a letter's link leads to: what would end, and a button."""
        return self._page(self._named(token), token, done=False)

    @one_click(f"{PATH}<token>")
    async def end(self, visit: Visit, token: str) -> Answer:
        """Unsubscribe an address, by the button or by a mail reader's own."""
        subscriber = self._named(token)
        if visit.form.get(FIELD) != VALUE:
            return self._page(subscriber, token, done=False, status=400)
        await self._subscriptions.end(subscriber, visit.client)
        return self._page(subscriber, token, done=True)

    def _named(self, token: str) -> Subscriber:
        subscriber = self._subscriptions.read(token)
        if subscriber is None:
            raise NotFound
        return subscriber

    def _page(self, subscriber: Subscriber, token: str, *, done: bool, status: int = 200) -> Answer:
        values = {
            "address": subscriber.address,
            "topic": TOPICS[subscriber.topic],
            "action": PATH + token,
            "field": (FIELD, VALUE),
            "done": done,
        }
        return Html("unsubscribing.html", values, status)
