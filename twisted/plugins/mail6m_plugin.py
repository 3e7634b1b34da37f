"""Makes ``mail6m`` known to twistd."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

mail6m = ServiceMaker(
    "Mail6M",
    "mail6m.tap",
    "An SMTP gateway that archives a company's mail and sends it on",
    "mail6m",
)
