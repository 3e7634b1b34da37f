"""What a browser calls itself (RFC 9110, 10.1.5), in the words of people."""

from __future__ import annotations

_LONGEST = 60
"""Characters shown of what is not known here."""

# The first that is found: browsers claim to be those below them, too.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def in_words(agent: str) -> str:
    """``Firefox, Windows``; of what is not known, its own words, cut."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    if not browser:
        return agent if len(agent) <= _LONGEST else agent[: _LONGEST - 1] + "…"
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser}, {system}" if system else browser
