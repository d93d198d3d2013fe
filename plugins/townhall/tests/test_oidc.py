"""Bearer tokens of an issuer on loopback: whose are taken, for what, and what a wrong one is answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tinytown.errors import ConfigError
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.serving import check_settings
from tinytown_townhall.settings import OidcSettings, Settings

from plugins.townhall.tests.conftest import Answer, Client, open_client


class Issuer:
    """An issuer with a key that can be changed, and a count of what was asked of it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.description: Any = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.rotate("first")

    def rotate(self, kid: str) -> None:
        self.kid, self.key = kid, ec.generate_private_key(ec.SECP256R1())

    def answer(self, path: str) -> Any:
        self.asked.append(path)
        public = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        found = {
            "/.well-known/openid-configuration": self.description,
            "/keys": {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "ES256"}]},
        }
        return found.get(path)

    def token(self, *, key: Any = None, algorithm: str = "ES256", kid: str = "", **claims: Any) -> str:
        said = {
            "iss": self.url, "aud": "town", "sub": "u-17", "exp": time.time() + 600,
            "preferred_username": "grace", "scope": "openid town.read", **claims,
        }  # fmt: skip
        left = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(left, key or self.key, algorithm=algorithm, headers={"kid": kid or self.kid})


@pytest.fixture
def issuer() -> Generator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = issuer.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()


@asynccontextmanager
async def guarded(town_dir: TownDirectory, issuer: Issuer, **more: Any) -> AsyncGenerator[Client]:
    oidc = OidcSettings(**{"issuer": issuer.url, "audience": "town", **more})
    with trio.fail_after(60):
        async with town_dir.connect() as town, open_client(town, auth="key", oidc=oidc) as client:
            yield client


async def ask(client: Client, token: str, method: str = "GET", path: str = "/v1/status") -> Answer:
    return await client.ask(method, path, None if method == "GET" else {}, headers={"Authorization": f"Bearer {token}"})


async def test_a_token_of_the_issuer_is_taken_with_its_scopes(
    town_dir: TownDirectory, issuer: Issuer, no_kernel: None
) -> None:
    async with guarded(town_dir, issuer) as client:
        assert issuer.asked == []
        token = issuer.token()
        assert (await ask(client, token)).status == 200
        assert (await ask(client, token)).status == 200
        assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
        refused = await ask(client, token, "POST", "/v1/town/freeze")
        assert (refused.status, refused.code) == (403, "not_allowed")
        assert "user grace" in refused.json["hint"]
        assert (await ask(client, issuer.token(scope="town.read town.write"), "POST", "/v1/town/freeze")).status == 200
        assert (await ask(client, issuer.token(scope=None))).status == 403


async def test_words_of_another_claim_mean_scopes(town_dir: TownDirectory, issuer: Issuer, no_kernel: None) -> None:
    async with guarded(town_dir, issuer, claim="groups", scopes={"town-admins": "admin"}) as client:
        assert (await ask(client, issuer.token(groups=["staff", "town-admins"], scope=""))).status == 200
        assert (await ask(client, issuer.token(groups=["staff"], scope="admin"))).status == 403
        assert (await ask(client, issuer.token(groups=[7, None], scope=""))).status == 403


async def test_a_wrong_token_is_nobodys(town_dir: TownDirectory, issuer: Issuer, no_kernel: None) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    wrong = [
        issuer.token(aud="elsewhere"),
        issuer.token(iss="http://127.0.0.1:1"),
        issuer.token(exp=time.time() - 60),
        issuer.token(exp=None),
        issuer.token(sub=None),
        issuer.token(key=stranger),
        issuer.token(key="secret" * 8, algorithm="HS256"),
        jwt.encode({"iss": issuer.url, "aud": "town", "sub": "u", "exp": time.time() + 60}, None, algorithm="none"),
        "a.b.c",
    ]
    for token in wrong:
        async with guarded(town_dir, issuer) as client:
            answer = await ask(client, token)
            assert (answer.status, answer.code) == (401, "unauthorized"), token


async def test_keys_that_change_are_fetched_and_guessing_is_slowed(
    town_dir: TownDirectory, issuer: Issuer, no_kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jwt.PyJWKClient
    monkeypatch.setattr(jwt, "PyJWKClient", lambda *args, **more: real(*args, **more, cooldown_duration=0))
    async with guarded(town_dir, issuer) as client:
        assert (await ask(client, issuer.token())).status == 200
        issuer.rotate("second")
        assert (await ask(client, issuer.token())).status == 200
        issuer.asked.clear()
        answers = [(await ask(client, issuer.token(kid=f"guess-{number}"))).status for number in range(30)]
        assert set(answers) == {401, 429}
        assert len(issuer.asked) < 15


async def test_an_issuer_that_is_away_is_named(town_dir: TownDirectory, issuer: Issuer, no_kernel: None) -> None:
    issuer.description = {"issuer": "http://127.0.0.1:1", "jwks_uri": f"{issuer.url}/keys"}
    async with guarded(town_dir, issuer) as client:
        answer = await ask(client, issuer.token())
        assert (answer.status, answer.code) == (503, "issuer_unreachable")
    async with guarded(town_dir, issuer, jwks_url="http://127.0.0.1:9/keys") as client:
        assert (await ask(client, issuer.token())).status == 503


@pytest.mark.parametrize(
    "url", ["http://login.example.org", "file:///etc/passwd", "login.example.org", "ftp://127.0.0.1"]
)
def test_an_issuer_elsewhere_is_asked_over_tls_only(url: str) -> None:
    with pytest.raises(ConfigError, match="expected an https address"):
        check_settings(Settings(oidc=OidcSettings(issuer=url, audience="town")))
    check_settings(Settings(oidc=OidcSettings(issuer="https://login.example.org", audience="town")))
