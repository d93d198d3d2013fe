"""Who asks: a person whose browser signed in, the holder of an API key, or, without authentication, whoever reaches the socket.

A browser signs in with a link that works once and for ten minutes, or with an API key, and gets a cookie. Links and cookies are
signed with a secret of this machine that is among the town's state, where no box lets an agent look.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import msgspec
from tinytown.errors import UsageError
from tinytown.model.text import shown
from tinytown.state import open_state

Scope = Literal["town.read", "town.write", "agent.manage", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LINK_S = 600

_SECRET_FILE = "townhall.secret"
_SECRET_BYTES = 32


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may ask. `name` is for people and for the audit; ``admin`` among the scopes includes all others."""

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the principal has this scope."""
        return scope in self.scopes or "admin" in self.scopes


PERSON = Principal(name="person", scopes=frozenset(SCOPES))


def check_scopes(words: tuple[str, ...]) -> tuple[Scope, ...]:
    """The scopes that these words name. Raises: UsageError."""
    known: dict[str, Scope] = {scope: scope for scope in SCOPES}
    for word in words:
        if word not in known:
            raise UsageError(f"expected a scope, got {shown(word)!r}", hint=f"one of {', '.join(SCOPES)}")
    return tuple(known[word] for word in words)


class Signer:
    """Signs links and cookies, and knows its own."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._redeemed: dict[str, float] = {}

    @classmethod
    def of_town(cls, root: Path) -> Signer:
        """The signer of the town at `root` on this machine; its secret is made on first use. Raises: OSError."""
        path = open_state(root) / _SECRET_FILE
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_SECRET_BYTES))
        deadline = time.monotonic() + 1
        while len(secret := path.read_bytes()) < _SECRET_BYTES and time.monotonic() < deadline:
            time.sleep(0.01)  # another process is writing it
        return cls(secret)

    def link_code(self) -> str:
        """A code that signs a browser in once, for `LINK_S`."""
        return self._sign("link", secrets.token_urlsafe(9), time.time() + LINK_S)

    def redeem(self, code: str) -> bool:
        """Whether this is a code of `link_code` that nobody has used."""
        now = time.time()
        self._redeemed = {old: until for old, until in self._redeemed.items() if until > now}
        nonce = self._check("link", code)
        if nonce is None or nonce in self._redeemed:
            return False
        self._redeemed[nonce] = now + LINK_S
        return True

    def cookie(self, who: str, hours: float) -> str:
        """What a signed-in browser carries. `who` is the id of the key that it signed in with, or empty for a person."""
        return self._sign("session", who, time.time() + hours * 3600)

    def read_cookie(self, value: str) -> str | None:
        """Who the cookie was made for; None if it is not one of ours, or too old."""
        return self._check("session", value)

    def _sign(self, purpose: str, text: str, until: float) -> str:
        signed = f"{text}.{int(until)}"
        return f"{signed}.{self._mac(purpose, signed)}"

    def _check(self, purpose: str, value: str) -> str | None:
        signed, _, mac = value.rpartition(".")
        text, _, until = signed.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(purpose, signed).encode()):
            return None
        return text if until.isdecimal() and int(until) > time.time() else None

    def _mac(self, purpose: str, signed: str) -> str:
        digest = hmac.new(
            self._secret, f"{purpose}\0{signed}".encode("utf-8", "surrogateescape"), hashlib.sha256
        ).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")


def cookie_name(town: str) -> str:
    """The name of the cookie: browsers send cookies to all ports of a machine, where other towns may be."""
    return f"townhall_{town}"
