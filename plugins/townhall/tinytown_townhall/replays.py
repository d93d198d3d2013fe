"""Requests that are sent twice and act once: what the first one was answered is kept for a day under its ``Idempotency-Key``.

It is in the town, so that all townhalls of the town know it, and one that was restarted does.
Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from tinytown.protocol import Operation
from tinytown.town import Town

from tinytown_townhall.auth import Principal
from tinytown_townhall.problems import HttpError

HEADER = "idempotency-key"
_KEPT_S = 86_400
#: A request that its townhall did not survive may be sent again after so long.
_PENDING_S = 120
_KEY_CHARACTERS = 255
_ANSWER_BYTES = 64 * 1024


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    request: str
    status: int = 0
    media_type: str = ""
    body: bytes = b""


_decode = msgspec.json.Decoder(_Kept).decode


class Replays:
    """What was answered to requests with a key, for one townhall."""

    def __init__(self, town: Town) -> None:
        self._town = town

    async def begin(self, request: Request, principal: Principal, body: bytes) -> Response | None:
        """What was answered to this request before; None if it is new, and is now to be carried out, and `finish`ed.

        Raises: HttpError 409 while it is being carried out, 422 for a key that came with another request.
        """
        key, fingerprint = self._key(request, principal), _fingerprint(request, body)
        pending = msgspec.json.encode(_Kept(request=fingerprint))
        if await self._town.run(Operation(("SET", key, pending, "NX", "EX", _PENDING_S), bool)):
            return None
        kept = await self._town.run(Operation(("GET", key), lambda reply: None if reply is None else _decode(reply)))
        if kept is not None and kept.request != fingerprint:
            raise HttpError(
                422,
                "key_reused",
                "this Idempotency-Key came with another request before",
                hint="use a new key for each",
            )
        if kept is None or kept.status == 0:
            raise HttpError(
                409,
                "in_progress",
                "a request with this Idempotency-Key is being carried out",
                hint="ask again in a moment",
            )
        headers = {"idempotent-replayed": "true"}
        return Response(kept.body, kept.status, media_type=kept.media_type or None, headers=headers)

    async def finish(self, request: Request, principal: Principal, body: bytes, response: Response) -> None:
        """Keep what was answered, unless it is worth another try: then the same request may be sent again."""
        key, answer = self._key(request, principal), bytes(response.body)
        if response.status_code >= 500 or response.status_code == 429 or len(answer) > _ANSWER_BYTES:
            await self.forget(request, principal)
            return
        kept = _Kept(
            request=_fingerprint(request, body),
            status=response.status_code,
            media_type=response.headers.get("content-type", ""),
            body=answer,
        )
        await self._town.run(Operation(("SET", key, msgspec.json.encode(kept), "EX", _KEPT_S), bool))

    async def forget(self, request: Request, principal: Principal) -> None:
        """Let the same request be sent again."""
        await self._town.run(Operation(("DEL", self._key(request, principal)), int))

    def _key(self, request: Request, principal: Principal) -> str:
        given = request.headers[HEADER]
        if not 0 < len(given) <= _KEY_CHARACTERS:
            raise HttpError(400, "usage", f"expected an Idempotency-Key of 1 to {_KEY_CHARACTERS} characters")
        digest = hashlib.sha256(f"{principal.name}\0{given}".encode()).hexdigest()
        return self._town.operations.keys.plugin_key("townhall", f"reply-{digest}")


def _fingerprint(request: Request, body: bytes) -> str:
    return hashlib.sha256(b"\0".join((request.method.encode(), request.url.path.encode(), body))).hexdigest()
