"""What the DNS has said so far, for evaluations that do not wait.

An evaluation asks for what it needs. What is not known is raised as `Missing`; somebody looks it
up, and the evaluation starts again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from dns.rdtypes.txtbase import TXTBase

from mail6m.resolver import Answer, DnsFailure

Question = tuple[str, str]
"""A name, and the kind of records asked for."""


class Missing(Exception):
    """Answers to these questions are needed first."""

    def __init__(self, *questions: Question) -> None:
        super().__init__(*questions)
        self.questions = frozenset(questions)


class Answers:
    """Answers to one message's questions: those that were looked up for it, and known ones."""

    def __init__(self, known: Callable[[str, str], Answer | None]) -> None:
        self._known = known
        self._found: dict[Question, Answer | DnsFailure] = {}
        self.ttl = 86_400
        """Seconds that all that has been told so far may be kept; may be set anew."""

    def add(self, question: Question, answer: Answer | DnsFailure) -> None:
        """This is what came of looking it up."""
        self._found[question] = answer

    def records(self, name: str, kind: str) -> Answer:
        """The answer, at once. Raises `Missing`, or `DnsFailure` when there was none."""
        question = name, kind
        answer = self._found.get(question) or self._known(name, kind)
        if answer is None:
            raise Missing(question)
        if isinstance(answer, DnsFailure):
            self.ttl = 0
            raise answer
        self._found[question] = answer  # so that it does not expire half way
        self.ttl = min(self.ttl, answer.ttl)
        return answer

    def texts(self, name: str) -> list[bytes]:
        """The TXT records of a name, each with its strings put together. Raises as `records`."""
        answer = self.records(name, "TXT")
        return [b"".join(cast(TXTBase, record).strings) for record in answer.records]
