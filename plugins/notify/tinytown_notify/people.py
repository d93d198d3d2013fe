"""Notifies people through Apprise, which knows the services. Blocking: called in threads, which may outlive a deadline."""

from __future__ import annotations

import logging
import threading
from typing import Any

import apprise
from tinytown.errors import ConfigError
from tinytown_cli.secrets import without_secrets

from tinytown_notify.delivery import Undelivered
from tinytown_notify.news import News

#: Apprise logs what it does, addresses included: this goes nowhere but into `_LogLines`.
_LOGGER = logging.getLogger("apprise")
_LOGGER.propagate = False
_LOGGER.addHandler(logging.NullHandler())


class ApprisePerson:
    """One address of Apprise. `literal`: it is in the settings, where a secret is refused. Raises: ConfigError."""

    def __init__(self, url: str, *, literal: bool) -> None:
        self._url = url
        asset = apprise.AppriseAsset(
            app_id="Tinytown", app_desc="Tinytown", storage_mode="memory", http_redirects=False
        )
        scheme = url.partition("://")[0]
        service: Any = None
        with _LogLines() as lines:
            try:
                service = apprise.Apprise.instantiate(url, asset=asset)  # pyright: ignore[reportUnknownMemberType]
            except Exception as error:  # of one of its many services
                lines.append(f"{type(error).__name__}: {error}")
        if service is None:
            reason = without_secrets("; ".join(lines), url) or "Apprise does not know it"
            raise ConfigError(
                f"expected an address of a service that Apprise knows, got {scheme}://...: {reason}",
                hint="the addresses are listed at https://github.com/caronc/apprise/wiki",
            )
        if literal and service.url(privacy=True) != service.url(privacy=False):
            raise ConfigError(
                f"the {scheme}:// address has a secret in it",
                hint="put it into a variable or a file, and write env:NAME or file:PATH in its place",
            )
        service.redirects = False  # whatever the address says
        self._service = service

    def send(self, news: News) -> None:
        """Notify the person. Raises: Undelivered, with what Apprise says of it."""
        with _LogLines() as lines:
            try:
                sent = self._service.notify(title=news.title, body=news.body, body_format=apprise.NotifyFormat.TEXT)
            except Exception as error:  # Apprise's services are many and of many hands
                raise Undelivered(without_secrets(f"{type(error).__name__}: {error}", self._url)) from None
        if not sent:
            raise Undelivered(without_secrets("; ".join(lines) or "the service did not take it", self._url))


class _LogLines(logging.Handler):
    """What Apprise logs in this thread, which it does in place of raising."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.append(record.getMessage())

    def __enter__(self) -> list[str]:
        _LOGGER.addHandler(self)
        return self._lines

    def __exit__(self, *_: object) -> None:
        _LOGGER.removeHandler(self)
