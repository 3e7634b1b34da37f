"""The console's texts, as they stand in its code and templates.

``python -m tests.words`` brings ``locale/en/console.po`` up to them: new ones are added without a
translation, which the tests do not let pass, and those that are gone are taken out.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

HOUSE = Path(__file__).parent.parent / "mail6m"
ENGLISH = HOUSE / "web" / "locale" / "en" / "console.po"
_TEMPLATES = ("**/templates/**.html", "**/templates/letters/**.txt")
_METHODS = [("**.py", "python"), *((pattern, "jinja2") for pattern in _TEMPLATES)]
_OPTIONS = {pattern: {"newstyle_gettext": "true", "silent": "false"} for pattern in _TEMPLATES}
_KEYWORDS: dict[str, Any] = {**DEFAULT_KEYWORDS, "N_": None}


def texts() -> Catalog:
    """Every text that the console shows, with where it stands."""
    catalog = Catalog(project="Mail6M", fuzzy=False)
    found = extract_from_dir(str(HOUSE), _METHODS, _OPTIONS, _KEYWORDS, strip_comment_tags=True)
    for file, _, message, _, context in sorted(found, key=lambda one: (one[0], one[1])):
        catalog.add(message, None, [(file, 1)], context=context)
    return catalog


def english() -> Catalog:
    """The English catalogue."""
    return read_po(io.BytesIO(ENGLISH.read_bytes()), locale="en")


def update() -> None:
    """Bring the English catalogue up to the texts."""
    catalog = english()
    catalog.update(texts(), no_fuzzy_matching=True, update_header_comment=False)
    catalog.obsolete.clear()
    out = io.BytesIO()
    write_po(out, catalog, width=100, no_location=True, omit_header=True, sort_output=True)
    ENGLISH.write_bytes(out.getvalue())


if __name__ == "__main__":
    update()
