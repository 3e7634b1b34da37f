"""The options of ``twistd mail6m``, and the TOML file that may have them instead."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from twisted.python import usage

from mail6m.guard.blocklists import read_entry
from mail6m.guard.scanners import check as check_scanner
from mail6m.settings import Settings, SettingsError
from mail6m.signing import signing_name
from mail6m.storage.domains import read_host

_LISTS = {
    "smtp": "an endpoint",
    "web": "an endpoint",
    "mx": "a name",
    "trusted_proxy": "a network",
    "dns": "an address",
    "internal": "a network",
    "dnsbl": "ZONE[=VALUE][*WEIGHT]",
    "tls_cert": "a file",
    "tls_key": "a file",
}
"""Settings that may be given several times, and what each of their values is."""
_CONSOLE_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_PATHS = {"data", "tls_cert", "tls_key", "tls_ca", "rspamd_password_file", "signing_key",
          "paypal_secret_file"}  # fmt: skip
_HELP = {
    "data": "Keys, embedded database, disc images: all state that is not in an external database.",
    "database": "embedded: starts a private PostgreSQL under --data; or a libpq URL.",
    "smtp": "Twisted server endpoint for MX traffic; may be given several times.",
    "web": "Twisted server endpoint for the console; may be given several times.",
    "console_url": "Where browsers reach the console, for links in letters: https://NAME.",
    "signup": "Who may sign up: open, approval (an operator decides) or closed.",
    "hosted_by": "Name, address and telephone of who hosts the site, for its legal notice.",
    "hostname": "The name in the SMTP banner, in Received: and in bounces.",
    "tls_ca": "PEM certificates of authorities for receiving machines; without it, the system's.",
    "smarthost": "HOST[:PORT] where mail that Mail6M itself writes goes; without it, MX look-up.",
    "postmaster": "Address that mail to postmaster without a domain goes on to.",
    "scanner": "Antispam: auto, none, rspamd:URL or spamd:HOST:PORT.",
    "authentication": "SPF, DKIM, ARC and DMARC of mail from outside: on or off.",
    "signing_key": "PEM key that signs our own mail (DKIM) and seals relayed mail (ARC).",
    "signing_domain": "The domain that signs; without it, the hostname.",
    "signing_selector": "Its key is published as SELECTOR._domainkey.DOMAIN.",
    "paypal_client_id": "Who we are to PayPal; with it, customers may pay by it.",
    "paypal_secret_file": "The secret that goes with it, in a file.",
    "paypal_webhook_id": "Of the webhook by which PayPal tells of payments.",
    "paypal_api": "Where PayPal's interface is.",
    "disc_capacity": "Bytes of a disc's image, its file system included.",
}


def _parameters() -> list[list[Any]]:
    parameters: list[list[Any]] = [["config", "c", None, "TOML file with any of these options."]]
    for one in fields(Settings):
        if one.name not in _LISTS:
            default = "" if one.default is MISSING else f" [default: {one.default}]"
            text = _HELP.get(one.name, "see docs/operations.md") + default
            parameters.append([one.name.replace("_", "-"), None, None, text])
    return parameters


class Options(usage.Options):
    """The command line of ``twistd mail6m``; every option may stand in the TOML file, too."""

    synopsis = "[options]"
    longdesc = "Receive, archive and relay mail. See docs/operations.md for what each option does."

    optParameters = _parameters()

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name in _LISTS:
            self[name.replace("_", "-")] = []

    def opt_smtp(self, endpoint: str) -> None:
        """Twisted server endpoint for MX traffic; may be given several times."""
        self["smtp"].append(endpoint)

    def opt_web(self, endpoint: str) -> None:
        """Twisted server endpoint for the console; may be given several times."""
        self["web"].append(endpoint)

    def opt_mx(self, name: str) -> None:
        """A name that customers' MX records point at; may be given several times, in order."""
        self["mx"].append(name)

    def opt_trusted_proxy(self, network: str) -> None:
        """Address or network of a reverse proxy in front of --web; may be given several times."""
        self["trusted-proxy"].append(network)

    def opt_dns(self, resolver: str) -> None:
        """ADDRESS[:PORT] of a resolver that validates DNSSEC; may be given several times."""
        self["dns"].append(resolver)

    def opt_internal(self, network: str) -> None:
        """Address or network of our own, trusted and not held up; may be given several times."""
        self["internal"].append(network)

    def opt_dnsbl(self, entry: str) -> None:
        """ZONE[=VALUE][*WEIGHT], a DNS list of clients; may be given several times."""
        self["dnsbl"].append(entry)

    def opt_tls_cert(self, file: str) -> None:
        """PEM chain for STARTTLS, read again when it changes; may be given several times (SNI)."""
        self["tls-cert"].append(file)

    def opt_tls_key(self, file: str) -> None:
        """PEM key of a --tls-cert, in the same order; read again when it changes."""
        self["tls-key"].append(file)

    def postOptions(self) -> None:
        """Check everything before anything starts."""
        try:
            self["settings"] = read_settings(self)
        except SettingsError as error:
            raise usage.UsageError(str(error)) from error


def read_settings(options: dict[str, Any]) -> Settings:
    """The TOML file's settings under the command line's. Raises `SettingsError`."""
    given: dict[str, Any] = {}
    if options.get("config"):
        given = _read_toml(Path(options["config"]))
    for one in fields(Settings):
        value = options.get(one.name.replace("_", "-"))
        if value:
            given[one.name] = value
    values = {name: _convert(name, value) for name, value in given.items()}
    return check(Settings(**values))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--config {path}: {error}") from error
    known = {one.name for one in fields(Settings)}
    named = {name.replace("-", "_"): value for name, value in table.items()}
    if unknown := sorted(set(named) - known):
        raise SettingsError(f"--config {path}: no such option: {', '.join(unknown)}")
    return named


def _convert(name: str, value: Any) -> Any:
    kind = next(str(one.type) for one in fields(Settings) if one.name == name)
    option = "--" + name.replace("_", "-")
    if name in _LISTS:
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(e, str) for e in given):
            raise SettingsError(f"{option}: {_LISTS[name]}, or a list of them, is needed")
        return tuple(map(Path, given) if name in _PATHS else given)
    if name in _PATHS:
        return Path(str(value))
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{option} {value}: a number is needed") from error
    if not isinstance(value, str):
        raise SettingsError(f"{option}: a text is needed")
    return value


_RANGES = (
    ("quality", 0, 11),
    ("seal_threads", 1, 64),
    ("database_connections", 1, 1_000),
    ("console_connections", 1, 1_000),
    ("api_rate", 1, 100_000),
    ("relay_sessions", 1, 1_000),
    ("scans", 1, 1_000),
    ("max_message_size", 1_024, 1 << 40),
    ("max_line", 1_000, 65_536),
    ("disc_capacity", 100_000, 1 << 40),
    ("dnsbl_threshold", 1, 1_000),
    ("banner_known_for", 0, 31_536_000),
)


def check(settings: Settings) -> Settings:
    """The settings, if they can be used together. Raises `SettingsError`."""
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if isinstance(value, int | float) and value < 0:
            raise SettingsError(f"--{one.name.replace('_', '-')} {value}: it cannot be negative")
    for name, least, most in _RANGES:
        value = getattr(settings, name)
        if not least <= value <= most:
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} {value}: it must be from {least} to {most}")
    if len(settings.tls_cert) != len(settings.tls_key):
        raise SettingsError("--tls-cert and --tls-key go together: a key for each chain, in order")
    check_scanner(settings)
    if settings.smarthost is not None:
        try:
            read_host(settings.smarthost)
        except ValueError as error:
            raise SettingsError(f"--smarthost {error}") from error
    for resolver in settings.dns:
        try:
            ip_address(read_host(resolver).name)
        except ValueError as error:
            raise SettingsError(f"--dns {resolver}: ADDRESS or ADDRESS:PORT is needed") from error
    _check_networks(settings)
    for entry in settings.dnsbl:
        try:
            read_entry(entry)
        except ValueError as error:
            raise SettingsError(f"--dnsbl {entry}: {error}") from error
    if settings.authentication not in ("on", "off"):
        raise SettingsError(f"--authentication {settings.authentication}: on or off")
    if settings.signup not in ("open", "approval", "closed"):
        raise SettingsError(f"--signup {settings.signup}: open, approval or closed")
    if settings.signing_key is not None:
        signing_name(settings)
    if settings.console_url is not None and not _CONSOLE_URL.fullmatch(settings.console_url):
        raise SettingsError(f"--console-url {settings.console_url}: https://NAME is needed")
    _check_paypal(settings)
    if not settings.hostname.isascii() or any(c.isspace() for c in settings.hostname):
        raise SettingsError(f"--hostname {settings.hostname}: an ASCII host name is needed")
    return settings


def _check_paypal(settings: Settings) -> None:
    given = (settings.paypal_client_id, settings.paypal_secret_file, settings.paypal_webhook_id)
    if any(given) and not all(given):
        together = "--paypal-client-id, --paypal-secret-file and --paypal-webhook-id"
        raise SettingsError(f"{together} go together: one of them is missing")
    api = settings.paypal_api
    local = re.fullmatch(r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?/?", api)
    if local is None and not re.fullmatch(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/?", api):
        raise SettingsError(f"--paypal-api {api}: https://NAME is needed")


def _check_networks(settings: Settings) -> None:
    for name in ("trusted_proxy", "internal"):
        for network in getattr(settings, name):
            try:
                ip_network(network)
            except ValueError as error:
                option = "--" + name.replace("_", "-")
                raise SettingsError(f"{option} {network}: {error}") from error
