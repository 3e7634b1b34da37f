"""Mail6M: an SMTP gateway that archives a company's mail and sends it on."""

__version__ = "0.1.0"
