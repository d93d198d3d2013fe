"""A server that answers nonsense gets an error, whatever command reads it: no internal error, no traceback, no endless wait."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown_cli.main import run

#: Replies of the wrong type, shape or encoding. Source: the Redis serialization protocol, RESP3.
NONSENSE = {
    "text": b"$3\r\nabc\r\n",
    "number": b":7\r\n",
    "null": b"_\r\n",
    "no text": b"$-1\r\n",
    "numbers": b"*2\r\n:1\r\n:2\r\n",
    "empty": b"*0\r\n",
    "table": b"%1\r\n+a\r\n:1\r\n",
    "not UTF-8": b"$3\r\n\xff\xfe\xfd\r\n",
    "empty JSON": b"$2\r\n[]\r\n",
    "not a number": b",nan\r\n",
    "true": b"#t\r\n",
    "error without words": b"-\r\n",
    "five thousand digits": b":" + b"9" * 5_000 + b"\r\n",
    "deep": b"*1\r\n" * 5_000 + b":1\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "negative length": b"$-7\r\n",
    "end": b"",
}
READING = (
    "status", "status --deep --tasks", "list", "task list", "task show x", "task tree", "inbox", "events", "hosts",
    "history", "why", "costs", "accounts", "budget", "dead list", "backlog list", "questions", "trace x", "recover",
    "top --once", "doctor --no-task",
)  # fmt: skip
WRITING = ("send ada hello", "assign ada true --no-start", "spawn ada --cli shell --no-start", "kill ada")


class NonsenseServer:
    """Accepts connections; the handshake is right, and the town's setup, but every other answer is `reply`."""

    def __init__(self) -> None:
        self.reply = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as commands:
            while head := commands.readline():
                words: list[bytes] = []
                for _ in range(int(head[1:])):
                    words.append(commands.read(int(commands.readline()[1:])))
                    commands.read(2)
                if not (answer := self._answer(words)):
                    return
                connection.sendall(answer)

    def _answer(self, words: list[bytes]) -> bytes:
        match words:
            case [b"HELLO", *_]:
                return b"%2\r\n+server\r\n+valkey\r\n+version\r\n+9.1.2\r\n"
            case [b"CLIENT" | b"SELECT" | b"AUTH", *_]:
                return b"+OK\r\n"
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"FCALL", name, *_] if name.endswith(b"town_setup"):
                return b"$1\r\n2\r\n"
            case _:
                return self.reply


@pytest.fixture(scope="module")
def server() -> Iterator[NonsenseServer]:
    server = NonsenseServer()
    yield server
    server.close()


@pytest.fixture
def town(server: NonsenseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "town"
    root.mkdir()
    (root / "tinytown.toml").write_text(
        f'name = "odd"\nid = "odd-12345678"\n[redis]\nurl = "redis://127.0.0.1:{server.port}"\n'
    )
    (tmp_path / "home").mkdir()
    for name in ("TINYTOWN_TOWN", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINYTOWN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


@pytest.mark.usefixtures("town", "deadline")
@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_an_error_that_is_no_internal_one(server: NonsenseServer, reply: bytes) -> None:
    server.reply = reply
    for line in (*READING, *WRITING):
        said, shown = io.StringIO(), io.TextIOWrapper(io.BytesIO(), write_through=True)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            code = run(line.split())
        text = said.getvalue() + shown.buffer.getvalue().decode()  # type: ignore[attr-defined]
        assert "internal error" not in text, f"tt {line}: {text}"
        assert "Traceback" not in text, f"tt {line}: {text}"
        assert 0 <= code <= 5, f"tt {line} ended with {code}"
