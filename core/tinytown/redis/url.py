"""Where a server is and how to introduce oneself to it: a URL taken apart, the TLS files, the first commands.

Knows the three URL schemes and keeps the password out of everything that is shown. Does no network IO and imports
neither hiredis, trio nor redis-py, so that quick commands can afford it; `ssl` comes in only with `Address.ssl_context`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import msgspec

from tinytown.errors import ConfigError
from tinytown.protocol.operation import Argument

if TYPE_CHECKING:
    import ssl

Scheme = Literal["redis", "rediss", "unix"]

DEFAULT_PORT = 6379

_HIDDEN = "****"
_SCHEMES: dict[str, Scheme] = {"redis": "redis", "rediss": "rediss", "unix": "unix"}
_FORMS = "redis://[user:password@]host[:port][/db], rediss://... for TLS, or unix:///path[?db=0]"
# What may be shown of a URL that could not be taken apart: a plain host after the last "@", nothing else.
_PLAIN_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/\d*)?"
_PLAIN_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,15}"
#: The URL of most towns and rounds, for which quick commands need no `urllib`, which takes 2 ms to import.
_PLAIN_SOCKET = r"unix://(/[A-Za-z0-9/._-]+)(?:\?password_file=(/[A-Za-z0-9/._-]+))?"
_UNSEEN = r"[\x00-\x20\x7f]"


class Address(msgspec.Struct, frozen=True):
    """A server, the database on it and the credentials for it; `repr` and `redacted` never show the password."""

    scheme: Scheme
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    password_file: str | None = None

    def __repr__(self) -> str:
        return f"Address({self.redacted!r})"

    @property
    def redacted(self) -> str:
        """The URL in its normal form, without what opens it: what messages and `tt status` show. The password is ``****``."""
        url = f"unix://{self.path}"
        if self == Address("unix", path=self.path, password_file=self.password_file) and re.fullmatch(
            _PLAIN_SOCKET, url
        ):
            return url
        from urllib.parse import quote

        user = quote(self.username or "", safe="") + (f":{_HIDDEN}" if self.password else "")
        at = f"{user}@" if user else ""
        if self.scheme == "unix":
            return f"unix://{at}{quote(self.path)}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{at}{host}:{self.port}/{self.db}"

    def handshake(self) -> list[tuple[Argument, ...]]:
        """The commands that open every connection, in order. PING is last: HELLO is answered while a dataset is loading."""
        hello: tuple[Argument, ...] = ("HELLO", 3)
        password = self.password
        if self.password_file:
            with suppress(OSError), open(self.password_file, encoding="utf-8", errors="replace") as file:
                password = file.read().strip()
        if self.username or password:
            hello += ("AUTH", self.username or "default", password or "")
        select: list[tuple[Argument, ...]] = [("SELECT", self.db)] if self.db else []
        return [hello, *select, ("CLIENT", "SETNAME", "tinytown"), ("PING",)]

    def ssl_context(self) -> ssl.SSLContext:
        """A client context that verifies the server and, where configured, shows a certificate of its own.

        Raises: ConfigError naming the file that is missing, unreadable or not what it should be.
        """
        import ssl

        for file in filter(None, (self.ca_file, self.cert_file, self.key_file)):
            try:
                with open(file, "rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"cannot read the file {file}: {error.strerror}", path=file) from error
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise _bad_file("CA certificates", self.ca_file, error) from error
        if self.cert_file is not None:
            try:
                # Without a password OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except ssl.SSLError as error:
                raise _bad_file(
                    "a certificate with its unencrypted key", self.key_file or self.cert_file, error
                ) from error
        return context


def parse_url(
    url: str, *, ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None
) -> Address:
    """The address that `url` stands for; user, password and socket path are percent-decoded.

    The files are for ``rediss`` only. Raises: ConfigError for anything malformed, without showing the password.
    Source: the URI schemes ``redis`` and ``rediss`` as registered with IANA, and redis-py's ``unix``.
    """
    try:
        plain = re.fullmatch(_PLAIN_SOCKET, url)
        address = Address("unix", path=plain[1], password_file=plain[2]) if plain else _take_apart(url)
    except ValueError as error:
        # Only our own words, and `from None`: urlsplit and int repeat pieces of the URL, which may be the password.
        why = f": {error}" if isinstance(error, _Malformed) else ""
        raise ConfigError(
            f"cannot read the server's URL {redact(url)}{why}",
            hint=f"expected {_FORMS}; percent-encode what is special in the password",
            key="redis.url",
        ) from None
    if address.scheme != "rediss" and (ca_file or cert_file or key_file):
        raise ConfigError(
            f"certificate files are given, but {address.redacted} is not encrypted",
            hint="write rediss://, or take them out",
            key="redis.url",
        )
    if key_file and not cert_file:
        raise ConfigError(f"the key file {key_file} is given without its certificate", hint="set cert_file too")
    return msgspec.structs.replace(address, ca_file=ca_file, cert_file=cert_file, key_file=key_file)


def redact(text_url: str) -> str:
    """`text_url` fit to be shown, whatever it is; never raises.

    A URL that can be taken apart comes back in its normal form with ``****``. Of any other only the scheme and a
    plain host after the last ``@`` are kept, because everything else may be a piece of an unescaped password.
    """
    try:
        return _take_apart(text_url).redacted
    except ValueError:
        scheme, separator, rest = text_url.strip().partition("://")
        if not separator or not re.fullmatch(_PLAIN_SCHEME, scheme):
            return _HIDDEN
        _, at, host = rest.rpartition("@")
        return f"{scheme}://{_HIDDEN}" + (f"@{host}" if at and re.fullmatch(_PLAIN_HOST, host) else "")


class _Malformed(ValueError):
    """Says in words of ours, free of pieces of the URL, what is wrong with it."""


def _take_apart(url: str) -> Address:
    from urllib.parse import parse_qsl, unquote, urlsplit

    url = url.strip()  # a newline at the end of a secret file is the commonest slip
    if re.search(_UNSEEN, url):
        # urlsplit drops some of these silently, and the password would be another one.
        raise _Malformed("it contains white space or control characters")
    url.encode()  # lone surrogates could not be sent
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise _Malformed("its scheme is not redis, rediss or unix")
    if "#" in url:
        raise _Malformed("it contains '#', which is written %23 in a password")
    pairs = parse_qsl(parts.query, strict_parsing=True, errors="surrogateescape") if parts.query else []
    options = dict(pairs)
    if len(options) != len(pairs):
        raise _Malformed("it has the same option twice")
    if scheme == "unix":
        path = unquote(parts.path, errors="surrogateescape")  # a path may hold bytes that are no text
        if parts.hostname or "\0" in path or not path.strip("/"):
            raise _Malformed("a unix URL has three slashes and then the path of a socket")
        where = Address(scheme, path=path, db=_database(options.pop("db", "")))
    else:
        if not parts.hostname:
            raise _Malformed("it names no host")
        port = DEFAULT_PORT if parts.port is None else parts.port
        if not port:
            raise _Malformed("port 0 cannot be connected to")
        db = _database(options.pop("db", parts.path.removeprefix("/")))
        where = Address(scheme, host=parts.hostname, port=port, db=db)
    of_unix = options if scheme == "unix" else {}
    username, password = of_unix.pop("username", None), of_unix.pop("password", None)
    password_file = options.pop("password_file", None)
    if options:
        raise _Malformed("it has an option that is not known here")
    username = unquote(parts.username or "", errors="strict") or username
    password = unquote(parts.password or "", errors="strict") or password
    f"{username}{password}".encode()  # as above
    return msgspec.structs.replace(where, username=username, password=password, password_file=password_file)


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _Malformed("its database is not a small number")
    return int(text)


def _bad_file(wanted: str, path: str | None, error: Exception) -> ConfigError:
    return ConfigError(
        f"expected {wanted} in {path or 'the system store'}, which OpenSSL cannot use: {error}",
        hint="it wants PEM files, and a key that fits the certificate",
        path=path,
    )
