"""How a browser signs in and out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.responses import Response
from tinytown import __version__

from tinytown_townhall.auth import SCOPES, Scope
from tinytown_townhall.problems import HttpError
from tinytown_townhall.routing import Call, Endpoints, json_response

SESSION = Endpoints("session")


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code of a link of ``tt auth link``, or an API key."""

    code: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, and what this townhall is."""

    principal: str | None
    scopes: Sequence[Scope]
    auth: str
    version: str


@SESSION.get("/v1/session", None)
async def show_session(call: Call) -> Session:
    """Who the caller is; without a key or a cookie nobody."""
    principal = await call.hall.identify(call.http)
    return Session(
        principal=principal.name if principal else None,
        scopes=[scope for scope in SCOPES if principal and principal.may(scope)],
        auth=call.hall.settings.auth,
        version=__version__,
    )


@SESSION.post("/v1/session", None)
async def sign_in(call: Call, body: SignIn) -> Session:
    """Sign a browser in: it gets a cookie."""
    hall = call.hall
    who = await hall.sign_in(body.code, call.http)
    if who is None:
        raise HttpError(
            401,
            "unauthorized",
            "this link or key is not valid, or was used already",
            hint="tt auth link prints a new link",
        )
    principal, key_id = who
    answer = Session(
        principal=principal.name,
        scopes=[scope for scope in SCOPES if principal.may(scope)],
        auth=hall.settings.auth,
        version=__version__,
    )
    response = json_response(answer)
    response.set_cookie(
        hall.cookie_name,
        hall.signer.cookie(key_id, hall.settings.session_hours),
        max_age=int(hall.settings.session_hours * 3600),
        secure=call.http.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response  # type: ignore[return-value]


@SESSION.delete("/v1/session", None)
async def sign_out(call: Call) -> None:
    """Sign this browser out."""
    response = Response(status_code=204)
    response.delete_cookie(call.hall.cookie_name)
    return response  # type: ignore[return-value]
