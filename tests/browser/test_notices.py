"""What letters look like in a mail reader: on a telephone and on a desk, by day and by night."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request

from mail6m.notices.catalogue import KINDS, Kind
from mail6m.web.render import Renderer
from mail6m.web.words import LANGUAGES
from tests.browser.judges import Axe, install

VIEWS = [(390, "light"), (700, "dark")]
"""The French letter in the one, the English one in the other."""
BASE = "https://console.mail6m.test"


@pytest.fixture(scope="module")
def axe() -> Axe:
    """axe-core."""
    install()
    return Axe()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_letter(browser: Browser, axe: Axe, shots: Path, kind: Kind) -> None:
    """It fits, can be read (axe-core), and asks no machine for anything; with long names, too."""
    renderer, asked, faults = Renderer("0"), list[Request](), list[str]()
    values = {"link": BASE + kind.path, **kind.values}
    if kind.topic:
        values["unsubscribe"] = f"{BASE}/desabonnement/12.{kind.topic}.{'x' * 80}"
    if "company" in values:
        values["company"] = "Société" + "dénominationsansespace" * 5
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request))
    for language, (width, theme) in zip(LANGUAGES, VIEWS, strict=True):
        page.set_viewport_size({"width": width, "height": 700})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_content(renderer.letter(kind.name, language, **values).html)
        page.screenshot(path=shots / f"letter-{kind.name}-{width}-{theme}.png", full_page=True)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{width}: it is wider than the window")
        faults += [f"{width} {theme}: {fault}" for fault in axe.faults(page)]
    page.close()
    assert not asked
    assert not faults, "\n".join(dict.fromkeys(faults))
