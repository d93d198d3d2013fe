"""Bearer tokens of an OpenID Connect issuer: who they were made for, and what that one may do."""

from __future__ import annotations

import hashlib
import time
import urllib.request
from collections.abc import Mapping
from functools import partial
from typing import Any

import jwt
import msgspec
import trio
from tinytown.errors import ConfigError
from tinytown.model.text import shown

from tinytown_townhall.auth import SCOPES, Principal, Scope
from tinytown_townhall.problems import HttpError
from tinytown_townhall.serving import check_issuer_url
from tinytown_townhall.settings import OidcSettings

#: Never a symmetric one: then whoever knows the public key could sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_FETCH_S = 10.0
_KEYS_KEPT_S = 300
#: How long a token that was right is not verified again.
_VERIFIED_S = 60.0
_VERIFIED_KEPT = 1_024
_LEEWAY_S = 30.0
_DISCOVERY = "/.well-known/openid-configuration"
_DISCOVERY_BYTES = 1 << 20


class TokenVerifier:
    """Knows the keys of an issuer. Nothing is fetched before the first token comes."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys: jwt.PyJWKClient | None = None
        self._verified: dict[bytes, tuple[float, Principal]] = {}
        self._one_at_a_time = trio.CapacityLimiter(1)

    def is_verified(self, token: str) -> bool:
        """Whether this token was right a moment ago."""
        return self._known(token) is not None

    async def verify(self, token: str) -> Principal | None:
        """Who the token is for; None if it is not one of the issuer's for this town, or is over.

        Raises: HttpError with status 503 if the issuer's keys cannot be had.
        """
        if known := self._known(token):
            return known
        try:
            claims = await trio.to_thread.run_sync(partial(self._claims, token), limiter=self._one_at_a_time)
        except (jwt.PyJWKClientConnectionError, ConfigError, OSError, ValueError) as error:
            raise HttpError(
                503,
                "issuer_unreachable",
                f"the keys of {self._settings.issuer} cannot be had: {shown(str(error), 200)}",
                hint="try again, or use an API key",
            ) from error
        except jwt.PyJWTError:
            return None
        principal = Principal(name=_name(claims), scopes=self._scopes(claims))
        if len(self._verified) >= _VERIFIED_KEPT:
            self._verified.clear()
        left_s = min(_VERIFIED_S, float(claims["exp"]) - time.time())
        self._verified[_digest(token)] = (time.monotonic() + left_s, principal)
        return principal

    def _known(self, token: str) -> Principal | None:
        until, principal = self._verified.get(_digest(token), (0.0, None))
        return principal if until >= time.monotonic() else None

    def _claims(self, token: str) -> dict[str, Any]:
        if self._keys is None:
            url = self._settings.jwks_url or _discover(self._settings.issuer)
            self._keys = jwt.PyJWKClient(url, lifespan=_KEYS_KEPT_S, timeout=_FETCH_S)
        key = self._keys.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(_ALGORITHMS),
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return claims

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        said = claims.get(self._settings.claim, ())
        words = said.split() if isinstance(said, str) else [each for each in said if isinstance(each, str)]
        named = {self._settings.scopes.get(word, word) for word in words}
        return frozenset(scope for scope in SCOPES if scope in named)


class _Description(msgspec.Struct):
    """What an issuer says of itself, as far as it matters here."""

    issuer: str
    jwks_uri: str


def _discover(issuer: str) -> str:
    """The address of the issuer's keys. Raises: OSError; ValueError for an answer without it."""
    with urllib.request.urlopen(issuer.rstrip("/") + _DISCOVERY, timeout=_FETCH_S) as answer:
        found = msgspec.json.decode(answer.read(_DISCOVERY_BYTES), type=_Description)
    if found.issuer != issuer:
        raise ValueError(f"{_DISCOVERY} describes another issuer: {shown(found.issuer)}")
    check_issuer_url(found.jwks_uri)
    return found.jwks_uri


def _name(claims: Mapping[str, Any]) -> str:
    said = next(
        (claims[name] for name in ("preferred_username", "email", "sub") if isinstance(claims.get(name), str)), ""
    )
    return f"user {shown(said, 60)}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
