"""The console's two languages, and templates that are translated when they are compiled.

The French text is the key, word for word the brochure's; ``locale/en/console.po`` has the English.
It is read as it is at the start, so that there is nothing to compile.
"""

from __future__ import annotations

import io
import re
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

LANGUAGES = ("fr", "en")
"""The first one is for those who ask for neither."""

_LANGUAGE = re.compile(r"([a-zA-Z]+)(?:-[a-zA-Z0-9-]+)?(?:\s*;\s*[qQ]=([01](?:\.[0-9]{0,3})?))?")
_SPECIAL = re.compile("[&<>\"']").search
_VALUE = re.compile(r"%\((\w+)\)s")
_TIGHT = re.compile(r" (?=[:;?!»])|(?<=«) ")


def preferred(header: str) -> str:
    """The language that an Accept-Language asks for most (RFC 9110, 12.5.4)."""
    best, weight = LANGUAGES[0], 0.0
    for part in header.split(","):
        match = _LANGUAGE.fullmatch(part.strip())
        if match is None or (language := match[1].lower()) not in LANGUAGES:
            continue
        if (quality := float(match[2] or 1)) > weight:
            best, weight = language, quality
    return best


@cache
def translations(language: str) -> NullTranslations:
    """The texts in that language."""
    if language == LANGUAGES[0]:
        return _French()
    file = resources.files("mail6m.web").joinpath("locale", language, "console.po")
    catalog = read_po(io.BytesIO(file.read_bytes()), locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return Translations(compiled)


class _French(NullTranslations):
    """French as the code has it, with the spaces that no line may end at."""

    def gettext(self, message: str) -> str:
        """The text itself."""
        return _unbroken(message)

    def ngettext(self, singular: str, plural: str, n: int) -> str:
        """None, and a half, are singular in French."""
        return _unbroken(singular if n < 2 else plural)

    def ungettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """The same; Jinja takes this one where there is one, and Babel's knows no French."""
        return self.ngettext(msgid1, msgid2, n)


@lru_cache(maxsize=2_000)
def _unbroken(text: str) -> str:
    return _TIGHT.sub("\u00a0", text)


def escaped(value: Any) -> str:
    """As `markupsafe.escape` has it; most texts need none of it, and are not copied."""
    if type(value) is str:
        return escape(value) if _SPECIAL(value) else value
    return value if type(value) is Markup else escape(value)


class _Code(CodeGenerator):
    """Templates as Python: a page escapes three hundred values."""

    def _output_child_pre(self, node: Any, frame: Any, finalize: Any) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile and finalize.src is None:
            self.write("environment.escaped(")
        else:
            super()._output_child_pre(node, frame, finalize)


class TranslatedEnvironment(Environment):
    """Templates in one language: a text is looked up when its template is compiled.

    ``_("…")`` would be a call with a copy of the whole context each time a page has it, and half
    of what a page takes; so it becomes part of what stands around it. A dot is for attributes
    alone, and not for what a dictionary has, too.
    """

    code_generator_class = _Code
    escaped = staticmethod(escaped)
    getattr = staticmethod(getattr)  # type: ignore[assignment]

    def __init__(self, words: NullTranslations, **options: Any) -> None:
        super().__init__(extensions=["jinja2.ext.i18n"], **options)
        self._translation = _Translation(words)
        self.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]

    def compile(self, source: Any, name: Any = None, filename: Any = None, *more: Any) -> Any:
        """See `jinja2.Environment.compile`."""
        tree = self.parse(source, name, filename) if isinstance(source, str) else source
        return super().compile(self._translation.visit(tree), name, filename, *more)


class _Translation(NodeTransformer):
    """Puts texts in the place of ``_("…")``; like Jinja's own gettext, they are safe markup."""

    def __init__(self, words: NullTranslations) -> None:
        self._words = words

    def visit_Output(self, output: nodes.Output) -> nodes.Node:
        """What a page says: a text is as many pieces of it as there are values in it."""
        pieces: list[nodes.Expr] = []
        for piece in output.nodes:
            if isinstance(piece, nodes.Call) and _is_text(piece):
                values = {value.key: self.visit(value.value) for value in piece.kwargs}
                said = _VALUE.split(self._said(piece))
                for text, name in zip(said[::2], [*said[1::2], ""], strict=True):
                    pieces.append(nodes.TemplateData(text.replace("%%", "%"), lineno=piece.lineno))
                    if name:
                        pieces.append(values[name])
            else:
                pieces.append(self.visit(piece))
        return nodes.Output(pieces, lineno=output.lineno)

    def visit_Call(self, call: nodes.Call) -> nodes.Node:
        """Elsewhere, as in an argument, it is a constant, and a ``%``."""
        self.generic_visit(call)
        if not _is_text(call):
            return call
        said = nodes.Const(self._said(call), lineno=call.lineno)
        pairs = [nodes.Pair(nodes.Const(value.key), value.value) for value in call.kwargs]
        marked = nodes.MarkSafeIfAutoescape(said, lineno=call.lineno)
        return nodes.Mod(marked, nodes.Dict(pairs, lineno=call.lineno), lineno=call.lineno)

    def _said(self, call: nodes.Call) -> str:
        [text] = call.args
        assert isinstance(text, nodes.Const), "other texts than constants are translated by a visit"
        return self._words.gettext(text.value)


def _is_text(call: nodes.Call) -> bool:
    return isinstance(call.node, nodes.Name) and call.node.name == "_"
