"""``[plugins.townhall]``: whether a kernel serves it, where, to whom, and how much."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tinytown_townhall.auth import Scope

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)]


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer of OpenID Connect whose bearer tokens are taken beside API keys.

    - `issuer`: its address, as its tokens say it; `audience`: what tokens for this town name as theirs.
    - `jwks_url`: where its keys are; empty: what the issuer's own description says.
    - `claim`: whose words are scopes; `scopes`: such a word -> the scope that it means here.
    """

    issuer: str
    audience: str
    jwks_url: str = ""
    claim: str = "scope"
    scopes: dict[str, Scope] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the town is served over HTTP.

    - `enabled`: the town's kernel serves it; without it ``tt townhall`` does.
    - `bind`: an address of this machine, or ``unix:PATH`` for a Unix socket; a relative path begins at the town's state.
    - `port`: 0 takes any free one.
    - `auth`: with ``key`` requests carry an API key, and a browser signs in; ``none`` lets everybody in who reaches the socket,
      and is refused unless that is loopback or a Unix socket.
    - `oidc`: an issuer of OpenID Connect whose bearer tokens are taken, too.
    - `hosts`: further names by which browsers may call it; `origins`: pages elsewhere that may change something.
    - `cert_file`, `key_file`: serve TLS. `client_ca_file`: only to clients with a certificate of this authority.
    - `reads_per_minute`, `writes_per_minute`: how much each caller may ask; 0 is no limit.
    - `session_hours`: how long a browser stays signed in.
    """

    enabled: bool = False
    bind: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8787
    auth: Literal["key", "none"] = "key"
    oidc: OidcSettings | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    cert_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    reads_per_minute: Count = 12_000
    writes_per_minute: Count = 1_200
    session_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 720.0
