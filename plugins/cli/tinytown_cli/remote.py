"""A town on another machine: `TownClient` over HTTPS, by way of its townhall.

Operations go to the townhall as they would go to the town's server, and come back the same way; which of them are served, and
with which right, is the townhall's to say. `SERVED` are the commands that do without the town's machine. Those with a scope of
their own (`TownCommand.scope`) are run by the townhall, see `remote_command`; `REASONS` says why the others are not served.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from tinytown import __version__
from tinytown.config import Config
from tinytown.errors import (
    NotFound,
    ProtocolViolation,
    Refused,
    ServerUnreachable,
    TinytownError,
    UsageError,
)
from tinytown.identity import inside_a_round
from tinytown.model.text import shown
from tinytown.protocol import SCHEMA, Reply
from tinytown.redis import Address, Parser

from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.caller import Caller
from tinytown_cli.client import TownClient
from tinytown_cli.kernel_process import Kernel

if TYPE_CHECKING:
    from http.client import HTTPConnection

URL_VARIABLE = "TINYTOWN_URL"
KEY_FILE_VARIABLE = "TINYTOWN_KEY_FILE"
PATH = "/functions"

#: The commands that run here and ask the town's server by way of the townhall.
SERVED = frozenset(
    {
        *"status list spawn interrupt resume close kill restart remove wait assign send inbox events estop thaw".split(),
        *"why trace costs accounts hosts questions answer".split(),
        *"help version completion".split(),
        *(
            f"task {word}"
            for word in "list show result complete fail cancel reopen hold release requeue current why tree import export".split()
        ),
        *(f"backlog {word}" for word in "list add claim assign-all remove".split()),
        *(f"dead {word}" for word in "list show redrive drop".split()),
        *("accounts list", "accounts unpark"),
    }
)

_MACHINE = "it is about the machine that it runs on"
_FILES = "it reads or writes files on the town's machine"
_ROUND = "it is for an agent in its round, which has its town already"
_TERMINAL = "it is a program for a terminal on the town's machine; the page of the townhall shows the same"
_RIGHTS = "settings, plugins, channels and keys are managed on the town's machine alone"
_END = "it starts, ends or empties what a townhall serves"

#: Commands that are for the town's machine -> why.
REASONS = {
    **dict.fromkeys("init uninstall where bootstrap towns demo metrics migrate".split(), _MACHINE),
    **dict.fromkeys((f"service {word}" for word in "install status uninstall".split()), _MACHINE),
    **dict.fromkeys(("plugin new", "plugin test", "plugin record", "mcp", "beads from-gastown"), _MACHINE),
    **dict.fromkeys(("restore", "gc", "ledger restore", "rescue restore", "rescue prune"), _FILES),
    **dict.fromkeys((f"beads {word}" for word in "export import ready sync".split()), _FILES),
    **dict.fromkeys((*(f"formula {word}" for word in "check list run show".split()), "sling"), _FILES),
    **dict.fromkeys("agent-tools prime done handoff escalate hook".split(), _ROUND),
    **dict.fromkeys(("conductor", "top", "group watch", "convoy watch"), _TERMINAL),
    **dict.fromkeys(("config set", "config unset", "plugins install"), _RIGHTS),
    **dict.fromkeys(("auth link", "auth key create", "auth key list", "auth key revoke"), _RIGHTS),
    **dict.fromkeys((f"notify {word}" for word in "dead drop list redeliver test".split()), _RIGHTS),
    **dict.fromkeys("start stop reload reset townhall".split(), _END),
}

_KEY_BYTES = 4_096
_ANSWER_BYTES = 256 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a townhall says of its town. `settings` are those that commands go by."""

    root: str
    version: str
    schema: str | int
    settings: dict[str, Any]


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    detail: str
    hint: str = ""


def refuse_command(command: str) -> UsageError:
    """The error for a command that needs the town's machine; to be raised by the caller."""
    reason = REASONS.get(command, "it is for the town's machine")
    return UsageError(
        f"tt {command} does not work with --url: {reason}",
        hint=f"run it there; for a town on this machine, unset {URL_VARIABLE}"
        if os.environ.get(URL_VARIABLE)
        else "run it there",
        code="not_served",
    )


def runs_here(name: str, scope: str) -> bool:
    """Whether the command `name` for `--url` runs on this machine; if not, the townhall runs it, with the `scope` of its own.

    Raises: UsageError for a command that `--url` is not for.
    """
    if name not in SERVED and not scope:
        raise refuse_command(name)
    return name in SERVED


class HttpClient(BlockingClient):
    """Sends commands to the townhall at `url` with a key; see `BlockingClient`, whose errors have HTTP's own beside them."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 15.0) -> None:
        parts = _check_url(url)
        super().__init__(Address("unix", path=url), timeout_s=timeout_s)
        self.url = url.rstrip("/")
        self._parts = parts
        self._key = key
        self._http: HTTPConnection | None = None

    def welcome(self) -> Welcome:
        """What the townhall says of its town. Raises: Refused for one of another version."""
        raw = self._request("GET", b"", time.monotonic() + self.timeout_s)
        try:
            found = msgspec.json.decode(raw, type=Welcome)
        except msgspec.DecodeError as error:
            raise _no_townhall(self.url) from error
        if found.schema != SCHEMA or found.version.split(".")[:2] != __version__.split(".")[:2]:
            raise Refused(
                f"the townhall is of Tinytown {shown(found.version, 40)}, and this is {__version__}",
                hint=f"install the same version here: pip install tinytown=={shown(found.version, 40)}",
                code="version_mismatch",
            )
        return found

    def __enter__(self) -> HttpClient:
        return self

    def connect(self) -> None:
        """Nothing: a request connects."""

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None

    def _request_replies(self, packed: list[bytes], deadline: float) -> tuple[list[Reply], TinytownError | None]:
        try:
            raw = self._request("POST", b"".join(packed), deadline)
        except ServerUnreachable as error:
            return [], error
        replies = list(Parser(self.address).replies(raw))
        if len(replies) != len(packed):
            raise _no_townhall(self.url)
        return replies, None

    def post(self, path: str, body: bytes = b"", *, timeout_s: float | None = None) -> bytes:
        """What the townhall answers to a JSON `body`, within `timeout_s` seconds (default: those of the client)."""
        return self._request("POST", body, time.monotonic() + (timeout_s or self.timeout_s), path=path)

    def _request(self, method: str, body: bytes, deadline: float, *, path: str = PATH) -> bytes:
        """The body of the answer. Raises: ServerUnreachable; what a problem means; ProtocolViolation."""
        import http.client
        import ssl

        left_s = max(0.001, deadline - time.monotonic())
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        headers |= {"Content-Type": "application/json" if path != PATH else "application/vnd.redis"} if body else {}
        try:
            if self._http is None:
                self._http = _connection(self._parts, left_s)
                self._http.connect()
            self._http.sock.settimeout(left_s)
            self._http.request(method, self._parts.path.rstrip("/") * (not self._is_unix) + path, body or None, headers)
            response = self._http.getresponse()
            raw = response.read(_ANSWER_BYTES)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise ServerUnreachable(
                f"the certificate of {self.url} is not to be trusted: {error.verify_message}",
                hint="for a certificate of an authority of your own, set SSL_CERT_FILE to the authority's certificate",
                code="certificate_refused",
            ) from error
        except TimeoutError as error:
            self.close()
            raise ServerUnreachable(f"the townhall at {self.url} did not answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerUnreachable(
                f"cannot reach the townhall at {self.url}: {shown(str(reason), 200)}",
                hint="does tt townhall run there, and is it https or http?",
            ) from error
        except BaseException:
            self.close()
            raise
        if response.status >= 400:
            raise self._error(response.status, raw)
        return raw

    @property
    def _is_unix(self) -> bool:
        return self._parts.scheme == "http+unix"

    def _error(self, status: int, raw: bytes) -> TinytownError:
        try:
            problem = msgspec.json.decode(raw, type=_Problem)
        except msgspec.DecodeError:
            return _no_townhall(self.url)
        code, text, hint = (shown(each, 500) for each in (problem.code, problem.detail, problem.hint))
        if status == 401:
            return Refused(
                f"the townhall does not accept this key: {text}" if self._key else "the townhall wants a key",
                hint=f"tt auth key create makes one on the town's machine; name its file with --key-file or {KEY_FILE_VARIABLE}",
                code="unauthorized",
            )
        if code == "not_served":
            return UsageError(text, hint=hint, code=code)
        if status == 404 and code == "not_found":
            return ProtocolViolation(
                f"the townhall at {self.url} does not serve the command line", hint="is it of the same version?"
            )
        kind = {400: UsageError, 503: ServerUnreachable}.get(status, Refused if status < 500 else TinytownError)
        return kind(text, hint=hint, code=code)


class RemoteTown(TownClient):
    """A town over its townhall. No kernel of it runs on this machine, and its files are not here."""

    is_remote = True

    def __init__(self, client: HttpClient, welcome: Welcome) -> None:
        super().__init__(Path(welcome.root), msgspec.convert(welcome.settings, Config), client)
        self.caller = Caller()
        self._client = client

    @property
    def server_url(self) -> str:
        """Where the townhall is."""
        return self._client.url

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """What the townhall answers, as `HttpClient.post`."""
        return self._client.post(path, body, timeout_s=timeout_s)

    def running_kernel(self) -> int | None:
        """None: it would be one of this machine."""
        return None

    def ensure_kernel(self, *, may_start: bool) -> Kernel | None:
        """A kernel on the town's machines, started by the townhall."""
        hosts = self.run(self.operations.status(agents=False)).hosts
        if hosts or not may_start:
            return Kernel(hosts[0].pid) if hosts else None
        self._client.post("/v1/town/start")
        started = self.run(self.operations.status(agents=False)).hosts
        return Kernel(started[0].pid, started=True) if started else None

    def reconnect(self) -> None:
        """Nothing: the next request connects."""


@contextlib.contextmanager
def open_remote_town(
    url: str, key_file: str | None, *, on_connect: Callable[[str], None] | None = None
) -> Generator[RemoteTown]:
    """The town of the townhall at `url`, with the key in a file. `on_connect` gets one line that names both.

    Raises: UsageError; NotFound without the file; ServerUnreachable; Refused for a wrong key or another version.
    """
    if inside_a_round():
        raise Refused("an agent's round has its town already", hint="leave out --url", code="not_allowed")
    with HttpClient(url, read_key(key_file) if key_file else "") as client:
        town = RemoteTown(client, client.welcome())
        if on_connect is not None:
            on_connect(f"town {town.config.name} at {town.directory}, townhall {client.url}")
        yield town


def read_key(path: str) -> str:
    """The key in a file. Raises: NotFound; UsageError for a file that holds anything else, or that others may read."""
    try:
        with open(path, "rb") as file:
            mode, raw = os.fstat(file.fileno()).st_mode, file.read(_KEY_BYTES + 1)
    except OSError as error:
        raise NotFound(
            f"cannot read the key file {shown(path, 200)}: {error.strerror}",
            hint="tt auth key create NAME --key-file FILE writes one on the town's machine",
        ) from error
    if mode & 0o077:
        raise UsageError(
            f"other users of this machine may read the key in {shown(path, 200)}", hint=f"chmod 600 {shown(path, 200)}"
        )
    text = raw.decode("ascii", "replace").strip()
    if not text or len(raw) > _KEY_BYTES or not text.isprintable() or " " in text or not text.isascii():
        raise UsageError(f"expected one key in {shown(path, 200)}, got something else")
    return text


def _check_url(url: str) -> SplitResult:
    """The parts of the address of a townhall. Raises: UsageError for one that a key must not be sent to."""
    hint = "write it as tt townhall prints it, for example https://town.example.org:8787"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"expected the address of a townhall, got {shown(url, 200)!r}", hint=hint) from error
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("expected the address of a townhall without user, query and fragment", hint=hint)
    if parts.scheme == "http" and (parts.hostname or "") not in _LOOPBACK:
        raise UsageError(
            "expected https: over http everybody on the way could read the key",
            hint="http is for a townhall on this machine; [plugins.townhall] cert_file and key_file serve https",
        )
    if parts.scheme not in ("https", "http", "http+unix") or not (parts.hostname or parts.scheme == "http+unix"):
        raise UsageError(f"expected the address of a townhall, got {shown(url, 200)!r}", hint=hint)
    return parts


def _connection(parts: SplitResult, timeout_s: float) -> HTTPConnection:
    import http.client
    import socket
    import ssl

    if parts.scheme == "https":
        # The default context checks certificates and names, against SSL_CERT_FILE where it is set.
        return http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout_s, context=ssl.create_default_context()
        )
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)

    class UnixConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout_s)
            self.sock.connect(unquote(parts.path))

    return UnixConnection("localhost", timeout=timeout_s)


def _no_townhall(url: str) -> ProtocolViolation:
    return ProtocolViolation(f"what answers at {url} is no townhall", hint="is the address right?")
