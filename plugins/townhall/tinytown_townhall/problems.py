"""Errors as problem details (RFC 9457): what each kind of error is over HTTP. Pure.

`code` is the stable word, the same that ``tt --json`` prints; `type` is made of it. ``docs/townhall.md`` lists the statuses.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from tinytown.errors import (
    LimitReached,
    NotFound,
    ProtocolViolation,
    Refused,
    ServerUnreachable,
    TinytownError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:tinytown:problem:"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong. `code` is a stable word, `detail` a sentence, `hint` what to try."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    request_id: str = ""


class HttpError(TinytownError):
    """A request that no operation of the town is to answer: its status, beside code, message and hint."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "", headers: Any = ()) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status = status
        self.headers: dict[str, str] = dict(headers)


#: Codes whose status is not that of their class.
_BY_CODE = {"not_allowed": 403, "limit_reached": 409, "ambiguous": 400}
_BY_CLASS: tuple[tuple[type[TinytownError], int], ...] = (
    (UsageError, 400),
    (NotFound, 404),
    (LimitReached, 409),
    (Refused, 409),
    (ProtocolViolation, 502),
    (ServerUnreachable, 503),
    (TinytownError, 500),
)


def status_of(error: TinytownError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, HttpError):
        return error.status
    return _BY_CODE.get(error.code) or next(status for kind, status in _BY_CLASS if isinstance(error, kind))


def problem_of(error: TinytownError, request_id: str = "") -> Problem:
    """What is answered for an error."""
    status = status_of(error)
    return Problem(
        type=_TYPE + error.code,
        title=HTTPStatus(status).phrase,
        status=status,
        code=error.code,
        detail=error.message,
        hint=error.hint,
        request_id=request_id,
    )
