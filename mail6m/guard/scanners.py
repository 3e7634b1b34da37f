"""The scanners that the setting ``scanner`` means."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from mail6m.guard.rspamd import CONTROLLER_PORT, Rspamd
from mail6m.guard.rspamd import PORT as RSPAMD_PORT
from mail6m.guard.scanner import Scanner
from mail6m.guard.spamd import PORT as SPAMD_PORT
from mail6m.guard.spamd import Spamd
from mail6m.model import Host
from mail6m.settings import Settings, SettingsError
from mail6m.storage.domains import read_host

HERE = "127.0.0.1"


def scanners(reactor: Any, settings: Settings) -> list[Scanner]:
    """Those to be asked, in order; none for ``none``. Raises `SettingsError`."""
    kind, _, where = settings.scanner.partition(":")
    if kind == "rspamd":
        return [_rspamd(reactor, settings, where.rstrip("/"))]
    if kind == "spamd":
        return [Spamd(reactor, _host(where), settings.hostname)]
    if kind == "none":
        return []
    return [
        _rspamd(reactor, settings, f"http://{HERE}:{RSPAMD_PORT}"),
        Spamd(reactor, Host(HERE, SPAMD_PORT), settings.hostname),
    ]


def check(settings: Settings) -> None:
    """Look at the setting without asking anybody. Raises `SettingsError`."""
    kind, colon, where = settings.scanner.partition(":")
    if kind == "rspamd" and where:
        _machine(where)
    elif kind == "spamd" and where:
        _host(where)
    elif colon or kind not in ("auto", "none"):
        raise SettingsError(
            f"--scanner {settings.scanner}: auto, none, rspamd:URL, spamd:HOST:PORT"
        )
    if settings.rspamd_controller is not None:
        _machine(settings.rspamd_controller)


def _rspamd(reactor: Any, settings: Settings, url: str) -> Rspamd:
    controller = settings.rspamd_controller or f"http://{Host(_machine(url), CONTROLLER_PORT)}"
    password, file = None, settings.rspamd_password_file
    if file is not None:
        try:
            password = file.read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"--rspamd-password-file {file}: {error}") from error
    return Rspamd(reactor, url, controller.rstrip("/"), password)


def _machine(url: str) -> str:
    """The host of an HTTP address. Raises `SettingsError`."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise SettingsError(
            f"rspamd is reached by an address like http://127.0.0.1:11333, not {url}"
        )
    return parts.hostname


def _host(where: str) -> Host:
    try:
        return read_host(where, SPAMD_PORT)
    except ValueError as error:
        raise SettingsError(f"--scanner spamd:{error}") from error
