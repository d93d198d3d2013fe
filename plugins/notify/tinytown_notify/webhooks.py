"""Posts events to a webhook, signed. Blocking: called in threads.

Source: the Standard Webhooks specification, version 1.0.0 (names of headers, signature).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import requests
from tinytown import __version__
from tinytown.errors import ConfigError

from tinytown_notify.delivery import Undelivered
from tinytown_notify.queue import Item

SECRET_PREFIX = "whsec_"

#: Answers about this one request: the same again would be refused again.
_REFUSALS = {400, 413, 415, 422}
#: Answers of a receiver that is away or busy, about no request in particular.
_AWAY = {408, 425, 429, 502, 503, 504}
_REDIRECTS = {307, 308}
_LONGEST_CHAIN = 3
_LONGEST_ANSWER_BYTES = 64 << 10
_LONGEST_WAIT_S = 3600.0


def signing_key(secret: str) -> bytes:
    """The key that a secret gives: ``whsec_`` and base64, or any text as it is. Raises: ConfigError for broken base64."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError(
            "expected base64 behind whsec_ in the secret of a webhook", hint="copy the secret as the receiver shows it"
        ) from error


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of the header ``webhook-signature``."""
    signed = hmac.digest(key, f"{message_id}.{timestamp_s}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


class Webhook:
    """One receiver, over connections that stay open. `origin` makes ids unique among towns.

    With a `size` above 1 a request has an array of events.
    """

    def __init__(self, url: str, *, key: bytes | None, origin: str, timeout_s: float, size: int) -> None:
        self._url = url
        self._key = key
        self._origin = origin
        self._timeout_s = timeout_s
        self._size = size
        self._session = requests.Session()

    def send(self, items: Sequence[Item]) -> None:
        """Post the events in one request. Raises: Undelivered."""
        contents = [item.content for item in items]
        body = b"[%s]" % b",".join(contents) if self._size > 1 else contents[0]
        message_id = f"{self._origin}_{items[0].id}"
        now_s = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": f"tinytown-notify/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
        }
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, message_id, now_s, body)
        try:
            self._post(headers, body)
        except requests.Timeout as error:
            raise Undelivered(f"no answer within {self._timeout_s:g} s") from error
        except (requests.RequestException, ValueError) as error:  # some ValueErrors of URLs come through
            raise Undelivered(f"no connection: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _post(self, headers: Mapping[str, str], body: bytes) -> None:
        url, chain = self._url, 0
        while True:
            with self._session.post(
                url, data=body, headers=headers, timeout=self._timeout_s, allow_redirects=False, stream=True
            ) as answer:
                next(answer.iter_content(_LONGEST_ANSWER_BYTES), b"")  # so that the connection can be used again
            if answer.status_code not in _REDIRECTS or chain == _LONGEST_CHAIN:
                break
            chain += 1
            url = urljoin(url, answer.headers.get("location", ""))
            if _origin(url) != _origin(self._url):
                raise Undelivered(f"it redirects to {urlsplit(url).hostname}; if that is meant, configure that address")
        status = answer.status_code
        if 200 <= status < 300:
            return
        text = f"it answered {status} {answer.reason}".rstrip()
        wait_s = _wait_s(answer.headers.get("retry-after", ""))
        raise Undelivered(text, answered=status not in _AWAY, final=status in _REFUSALS, wait_s=wait_s)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _wait_s(retry_after: str) -> float:
    """The seconds that a header Retry-After asks for, an hour at most; 0 without a sensible one. Source: RFC 9110, 10.2.3."""
    try:
        wait_s = float(retry_after) if retry_after.strip().isdigit() else _until(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(wait_s, 0.0), _LONGEST_WAIT_S)


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
