"""Texts for people, marked where they stand; `mail6m.web` knows them in their languages."""

from __future__ import annotations


def N_(message: str) -> str:
    """Mark a text for translation where it stands; it is translated where it is shown."""
    return message
