"""Burns an image on a disc, with Debian's xorriso."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mail6m.shelves.disc.layout import DiscError

PROGRAM = "xorriso"
LONGEST = 3_600.0
"""Seconds for a disc at the slowest speed there is, and a check."""


def burn(image: Path, device: str) -> None:
    """Burn an image, and let xorriso compare what it reads. Blocking.

    ``device`` is as in ``/dev/sr0``, or ``stdio:FILE`` for a file in a drive's place (xorriso(1)).
    Raises `DiscError` with what xorriso complained of.
    """
    command = [PROGRAM, "-as", "cdrecord", "-v", f"dev={device}", "-data", str(image)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LONGEST, check=False
        )
    except FileNotFoundError:
        raise DiscError(f"{PROGRAM} is not installed: apt install {PROGRAM}") from None
    except subprocess.TimeoutExpired:
        raise DiscError(f"{PROGRAM} was not ready after {LONGEST:.0f} s") from None
    if done.returncode:
        complaints = [
            line for line in done.stderr.splitlines() if "FAILURE" in line or "SORRY" in line
        ]
        told = complaints[-1] if complaints else f"status {done.returncode}"
        raise DiscError(f"{PROGRAM} could not burn {image.name} on {device}: {told}")
