"""A townhall: what all requests share, and who is known to it."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio
from starlette.requests import HTTPConnection
from tinytown.concurrency import open_background
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.town import Town
from tinytown_cli.kernel_process import ensure_kernel

from tinytown_townhall.auth import PERSON, Principal, Scope, Signer, cookie_name
from tinytown_townhall.extensions import Extensions, load_extensions
from tinytown_townhall.feed import EventFeed
from tinytown_townhall.keys import KeyStore
from tinytown_townhall.limits import RateLimit
from tinytown_townhall.live import LiveTown
from tinytown_townhall.problems import HttpError
from tinytown_townhall.recent import Recent
from tinytown_townhall.settings import Settings

if TYPE_CHECKING:
    from tinytown_townhall.oidc import TokenVerifier

_FAILED_LOGINS_PER_MINUTE = 20
_FAILED_LOGINS_AT_ONCE = 10


class Hall:
    """What all requests of one townhall share. `closing` is set when its streams are to end; tasks in `nursery`
    live as long as the townhall."""

    def __init__(
        self,
        town: Town,
        settings: Settings,
        signer: Signer,
        extensions: Extensions,
        closing: trio.Event,
        nursery: trio.Nursery,
    ) -> None:
        self.town = town
        self.settings = settings
        self.signer = signer
        self.extensions = extensions
        self.closing = closing
        self.nursery = nursery
        self.feed = EventFeed(town, extensions.event_text)
        self.live = LiveTown(town, self.feed, extensions)
        self.began = time.monotonic()
        self.cookie_name = cookie_name(town.name)
        self.keys = KeyStore(town)
        self._tokens = _token_verifier(settings)
        self.status = Recent(town, town.status)
        self.reads = RateLimit(settings.reads_per_minute)
        self.writes = RateLimit(settings.writes_per_minute)
        self._failed_logins = RateLimit(_FAILED_LOGINS_PER_MINUTE, burst=_FAILED_LOGINS_AT_ONCE)

    async def start_kernel(self) -> None:
        """Start a kernel in the background where none runs, as commands do. Raises: TinytownError."""
        await trio.to_thread.run_sync(ensure_kernel, _OwnTown(self.town.root))

    async def admit(self, connection: HTTPConnection, scope: Scope, *, changes: bool) -> Principal:
        """Who asks, if it has the scope. Raises: HttpError with status 401, 403 or 429."""
        principal = await self.identify(connection)
        if principal is None:
            raise HttpError(
                401,
                "unauthorized",
                "expected an API key or a browser that is signed in",
                hint="send Authorization: Bearer KEY (tt auth key create), or open the link that tt auth link prints",
                headers={"www-authenticate": "Bearer"},
            )
        if not principal.may(scope):
            raise HttpError(
                403, "not_allowed", f"expected the scope {scope}", hint=f"{principal.name} does not have it"
            )
        if wait_s := (self.writes if changes else self.reads).take(principal.name):
            raise too_often(principal.name, wait_s)
        return principal

    def now_ms(self) -> int:
        """The time, in milliseconds since 1970."""
        return int(time.time() * 1000)

    async def sign_in(self, code: str, request: HTTPConnection) -> tuple[Principal, str] | None:
        """Who signs in with the code of a link or a key, and the id of the key; None if it is neither. Raises: HttpError."""
        self._refuse_guessing(request)
        if self.signer.redeem(code):
            return PERSON, ""
        if record := await self.keys.verify(code):
            return record.principal, record.id
        await self._note_failure(request, "a sign-in with a wrong or used code")
        return None

    async def identify(self, request: HTTPConnection) -> Principal | None:
        """Who asks; None for nobody that is known. Raises: HttpError for one who has guessed too often."""
        if self.settings.auth == "none":
            return PERSON
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        key = bearer.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
        if key:
            return await self._holder(key, request)
        who = self.signer.read_cookie(request.cookies.get(self.cookie_name, ""))
        if who:
            record = await self.keys.by_id(who)
            return record.principal if record else None
        return None if who is None else PERSON

    async def _holder(self, text: str, request: HTTPConnection) -> Principal | None:
        """Who holds the key or token with this text; None for a wrong one, which is noted."""
        tokens = self._tokens if not text.startswith("ttk_") else None
        if not (tokens or self.keys).is_verified(text):
            self._refuse_guessing(request)
        if tokens:
            principal = await tokens.verify(text)
        else:
            principal = record.principal if (record := await self.keys.verify(text)) else None
        if principal is None:
            what = "a wrong or expired token" if tokens else "a wrong, expired or revoked key"
            await self._note_failure(request, what)
        return principal

    def _refuse_guessing(self, request: HTTPConnection) -> None:
        if wait_s := self._failed_logins.take(_address(request), tokens=0):
            raise too_often("this address", wait_s)

    async def _note_failure(self, request: HTTPConnection, what: str) -> None:
        self._failed_logins.take(_address(request))
        await self.emit("townhall_refused", who=_address(request) or "a local process", reason=what)

    async def audit(self, principal: Principal, method: str, path: str, status: str, *, request_id: str = "") -> None:
        """Report a request that may have changed something, with how it ended. The cached status holds no longer."""
        self.status.forget()
        about = {"principal": principal.name, "method": method, "path": path[:200], "status": status}
        await self.emit("townhall_request", **about, **({"request_id": request_id} if request_id else {}))

    async def emit(self, type_: str, **members: str) -> None:
        """Report something as an event of the town; without its server it is printed."""
        try:
            await self.town.run(self.town.operations.emit(type_, members))
        except TinytownError as error:
            print(f"townhall: cannot report {type_}: {error.message}", file=sys.stderr)


class _OwnTown(NamedTuple):
    root: Path

    def running_kernel(self) -> int | None:
        return running_kernel(self.root)


def _token_verifier(settings: Settings) -> TokenVerifier | None:
    if settings.oidc is None:
        return None
    from tinytown_townhall.oidc import TokenVerifier  # late: it imports cryptography

    return TokenVerifier(settings.oidc)


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client else ""


def too_often(who: str, wait_s: float) -> HttpError:
    """The error for one who has to wait."""
    return HttpError(
        429,
        "rate_limited",
        f"{who} asks too often",
        hint=f"ask again in {wait_s:.1f} s",
        headers={"retry-after": str(max(1, round(wait_s)))},
    )


@asynccontextmanager
async def open_hall(town: Town, settings: Settings, closing: trio.Event) -> AsyncGenerator[Hall]:
    """A townhall of `town`, kept current until the block is left. Raises: OSError if its secret cannot be kept."""
    signer = await trio.to_thread.run_sync(Signer.of_town, town.root)
    extensions = await trio.to_thread.run_sync(load_extensions, town.config, town.root)
    async with open_background() as nursery:
        hall = Hall(town, settings, signer, extensions, closing, nursery)
        with town.subscribe(hall.feed.take), town.subscribe(hall.live.take), town.subscribe(hall.keys.take):
            nursery.start_soon(hall.live.run)
            yield hall
