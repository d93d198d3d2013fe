"""Who is let in: hosts, origins, keys, sessions, scopes, limits; and that it is on record."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tinytown.errors import ConfigError
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory
from tinytown_townhall import auth, keys
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.auth import Signer
from tinytown_townhall.extensions import Extensions
from tinytown_townhall.keys import KeyStore, new_key, store_key
from tinytown_townhall.limits import RateLimit
from tinytown_townhall.serving import check_settings
from tinytown_townhall.settings import Settings

from plugins.townhall.tests.conftest import Answer, Client, eventually, open_client


@asynccontextmanager
async def guarded(town_dir: TownDirectory, **settings: Any) -> AsyncGenerator[Client]:
    """A townhall that asks who one is."""
    with trio.fail_after(60):
        async with town_dir.connect() as town, open_client(town, auth="key", **settings) as client:
            yield client


async def make_key(client: Client, *scopes: str, expires_at: str | None = None, name: str = "ci") -> str:
    record, text = new_key(name, auth.check_scopes(scopes), expires_at)
    await client.town.run(store_key(client.town.operations, record))
    return text


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def events(client: Client, type_: str) -> list[dict[str, Any]]:
    return [
        event for event in (await client.town.run(client.town.operations.latest_events(100))) if event.type == type_
    ]


# -- names and origins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8787", 200), ("127.0.0.1:80", 200), ("[::1]:8787", 200), ("town.example", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost@evil", 421),
        ("", 421), ("[", 421), ("0.0.0.0", 421),
    ],
)  # fmt: skip
async def test_it_answers_to_its_own_names_only(
    client: Client, town_dir: TownDirectory, host: str, status: int
) -> None:
    async with open_client(client.town, hosts=("town.example",)) as named:
        assert (await named.ask("GET", "/health", headers={"Host": host})).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Origin": "https://board.example"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_a_foreign_page_changes_nothing(client: Client, headers: dict[str, str], status: int) -> None:
    async with open_client(client.town, origins=("https://board.example",)) as allowed:
        answer = await allowed.ask("POST", "/v1/tasks", {"description": "x"}, headers)
    assert answer.status == status
    assert len(await client.town.tasks()) == (status == 201)
    assert "access-control-allow-origin" not in answer.headers


async def test_a_form_of_a_foreign_page_is_no_request(client: Client) -> None:
    body = json.dumps({"description": "x"}).encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await client.ask("POST", "/v1/tasks", raw=body, headers={"Content-Type": media_type})
        assert answer.code == "media_type"
    assert await client.town.tasks() == ()


async def test_browsers_are_told_what_a_page_may_do(client: Client) -> None:
    for path in ("/", "/v1/status", "/v1/nothing"):
        headers = (await client.ask("GET", path)).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-request-id"]
        assert "server" not in headers


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "town.example"])
def test_nobody_is_let_in_unknown_from_elsewhere(bind: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_settings(Settings(bind=bind, auth="none"))
    assert raised.value.code == "open_to_all"
    check_settings(Settings(bind=bind))
    for own in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "unix:x.sock"):
        check_settings(Settings(bind=own, auth="none"))


@pytest.mark.parametrize(
    "settings",
    [
        {"cert_file": "x"},
        {"key_file": "x"},
        {"client_ca_file": "x"},
        {"bind": "unix:x", "cert_file": "x", "key_file": "y"},
    ],
)
def test_half_of_tls_is_an_error(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        check_settings(Settings(**settings))


# -- keys ------------------------------------------------------------------------------------------------


async def test_without_a_key_only_probes_answer(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        for path in ("/health", "/ready", "/openapi.json", "/", "/v1/session"):
            assert (await client.ask("GET", path)).status == 200
        closed = [each for each in all_endpoints(Extensions()) if each.scope]
        assert len(closed) > 40
        for each in closed:
            answer = await client.ask(
                each.method, re.sub(r"{\w+}", "x", each.path), None if each.method == "GET" else {}
            )
            assert (answer.status, answer.code) == (401, "unauthorized"), each.path
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_may_do_what_its_scopes_say(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        reader, writer = await make_key(client, "town.read"), await make_key(client, "town.write", name="bot")
        admin = await make_key(client, "admin", name="root")
        task, agent = {"description": "x"}, {"name": "ada", "cli": "scripted"}
        tried = {
            key: [
                (await client.ask("GET", "/v1/status", headers=bearer(key))).status,
                (await client.ask("POST", "/v1/tasks", task, bearer(key))).status,
                (await client.ask("POST", "/v1/agents/prune", {}, bearer(key))).status,
            ]
            for key in (reader, writer, admin)
        }
        assert list(tried.values()) == [[200, 403, 403], [403, 201, 403], [200, 201, 200]]
        assert (await client.ask("POST", "/v1/agents", agent, {"X-API-Key": writer})).code == "not_allowed"
        who = await client.ask("GET", "/v1/session", headers=bearer(reader))
        assert (who.json["principal"], who.json["scopes"]) == ("key ci", ["town.read"])


async def test_wrong_expired_and_revoked_keys_are_refused(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        key = await make_key(client, "admin")
        old = await make_key(client, "admin", expires_at="2020-01-01T00:00:00.000Z", name="old")
        assert (await client.ask("GET", "/v1/town", headers=bearer(key))).status == 200
        wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
        for bad in (wrong, old, "ttk_00000000_" + "A" * 43, "x", key + "\u00ff", "ttk_" + "a" * 5000):
            assert (
                await client.ask("GET", "/v1/town", headers=bearer(bad.encode().decode("latin-1")))
            ).status == 401, bad
        record = await client.hall.keys.by_id(key.split("_")[1])
        assert record is not None
        await client.town.run(keys.forget_key(client.town.operations, record))

        async def is_gone() -> bool:
            return (await client.ask("GET", "/v1/town", headers=bearer(key))).status == 401

        await eventually(is_gone)
        refused = await events(client, "townhall_refused")
        assert refused
        assert key not in str(refused)


async def test_the_town_keeps_a_hash_and_no_key(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        key = await make_key(client, "admin")
        data = await client.town.run(client.town.operations.plugin_data("townhall"))
        assert key.split("_", 2)[2] not in str(data)
        assert "$argon2id$" in str(data)
        await client.ask("GET", "/v1/town", headers=bearer(key))
        assert (await client.town.run(keys.last_used(client.town.operations.keys))).keys() == {key.split("_")[1]}


async def test_a_key_that_was_right_is_not_hashed_each_time(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0
    verify = keys._is_right

    def count(hash_: str, secret: str) -> bool:
        nonlocal hashed
        hashed += 1
        return verify(hash_, secret)

    monkeypatch.setattr(keys, "_is_right", count)
    async with guarded(town_dir) as client:
        key = await make_key(client, "town.read")
        for _ in range(5):
            assert (await client.ask("GET", "/v1/town", headers=bearer(key))).status == 200
        assert hashed == 1


async def test_guessing_is_slowed_down(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        tried = [
            (await client.ask("GET", "/v1/town", headers=bearer(f"wrong {number}"))).status for number in range(30)
        ]
        assert set(tried) == {401, 429}
        assert tried[-1] == 429
        assert (await client.ask("GET", "/v1/town")).status == 401  # who sends no key is not held up
        assert len(await events(client, "townhall_refused")) < 25


async def test_records_that_are_none_are_no_keys(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        for value in (
            {"id": "x"},
            [],
            "text",
            {"id": "1", "name": "a", "scopes": ["all"], "hash": "h", "created_at": "", "expires_at": None},
        ):
            await client.town.run(client.town.operations.set_plugin_field("townhall", "key-x", value))
            assert await KeyStore(client.town).by_id("x") is None


# -- browsers --------------------------------------------------------------------------------------------


def cookie_of(answer: Answer) -> str:
    text = answer.headers["set-cookie"]
    assert "HttpOnly" in text
    assert "SameSite=strict" in text
    return text.partition(";")[0]


async def test_a_link_signs_a_browser_in_once(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        code = Signer.of_town(client.town.root).link_code()
        answer = await client.ask("POST", "/v1/session", {"code": code})
        assert answer.json["principal"] == "person"
        signed_in = {"Cookie": cookie_of(answer)}
        assert (await client.ask("GET", "/v1/status", headers=signed_in)).status == 200
        assert (await client.ask("POST", "/v1/tasks", {"description": "x"}, signed_in)).status == 201
        assert (await client.ask("POST", "/v1/session", {"code": code})).status == 401
        out = await client.ask("DELETE", "/v1/session", headers=signed_in)
        assert "Max-Age=0" in out.headers["set-cookie"]


async def test_a_key_signs_a_browser_in_until_it_is_revoked(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        key = await make_key(client, "town.read")
        signed_in = {"Cookie": cookie_of(await client.ask("POST", "/v1/session", {"code": key}))}
        assert (await client.ask("GET", "/v1/status", headers=signed_in)).status == 200
        assert (await client.ask("POST", "/v1/tasks", {"description": "x"}, signed_in)).status == 403
        record = await client.hall.keys.by_id(key.split("_")[1])
        assert record is not None
        await client.town.run(keys.forget_key(client.town.operations, record))

        async def is_gone() -> bool:
            return (await client.ask("GET", "/v1/status", headers=signed_in)).status == 401

        await eventually(is_gone)


async def test_forged_and_old_cookies_are_nothing(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        signer, other = client.hall.signer, Signer(b"x" * 32)
        good = signer.cookie("", 1)
        bad = [
            "",
            "x",
            ".",
            "..",
            other.cookie("", 1),
            signer.cookie("", -1),
            signer.link_code(),
            good[:-1],
            good.replace(".", "..", 1),
        ]
        name = client.hall.cookie_name
        for value in bad:
            assert (await client.ask("GET", "/v1/status", headers={"Cookie": f"{name}={value}"})).status == 401, value
        assert (await client.ask("GET", "/v1/status", headers={"Cookie": f"townhall_other={good}"})).status == 401
        assert (await client.ask("GET", "/v1/status", headers={"Cookie": f"{name}={good}"})).status == 200


def test_codes_of_links_end(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer(b"x" * 32)
    code = signer.link_code()
    real = auth.time.time
    monkeypatch.setattr(auth.time, "time", lambda: real() + auth.LINK_S + 1)
    assert not signer.redeem(code)


async def test_the_secret_is_for_this_user_alone(town_dir: TownDirectory) -> None:
    async with guarded(town_dir) as client:
        path = town_dir.state / "townhall.secret"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        again = Signer.of_town(client.town.root)
        assert client.hall.signer.redeem(again.link_code())


# -- limits and records ----------------------------------------------------------------------------------


async def test_a_caller_that_asks_too_often_waits(client: Client) -> None:
    async with open_client(client.town, reads_per_minute=60) as limited:
        statuses = [(await limited.ask("GET", "/v1/town")).status for _ in range(30)]
        assert set(statuses) == {200, 429}
        slow = await limited.ask("GET", "/v1/town")
        assert int(slow.headers["retry-after"]) >= 1
        assert (await limited.ask("GET", "/health")).status == 200
        assert (await limited.ask("POST", "/v1/tasks", {"description": "x"})).status == 201


def test_tokens_come_back_with_time() -> None:
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.take("a") for _ in range(10)] == [0.0] * 10
    assert 0 < limit.take("a") <= 1
    assert limit.take("b") == 0
    now = 1.0
    assert limit.take("a", tokens=0) == 0
    assert limit.take("a") == 0
    assert limit.take("a") > 0


async def test_every_write_is_on_record(client: Client) -> None:
    answer = await client.ask("POST", "/v1/tasks", {"description": "x"})
    refused = await client.ask("POST", "/v1/tasks", {"description": ""})
    await client.ask("GET", "/v1/tasks")
    reported = [event.fields for event in await events(client, "townhall_request")]
    assert [(each["status"], each["request_id"]) for each in reported] == [
        ("201", answer.headers["x-request-id"]),
        ("400", refused.headers["x-request-id"]),
    ]
    assert reported[0]["principal"] == "person"
    assert (reported[0]["method"], reported[0]["path"]) == ("POST", "/v1/tasks")


# -- the commands ----------------------------------------------------------------------------------------


def test_keys_are_made_listed_and_revoked(tt: Shell) -> None:
    tt("init")
    made = tt.json("auth", "key", "create", "ci", "--scope", "town.read", "--expires", "30d")
    assert re.fullmatch(r"ttk_[0-9a-f]{8}_[\w-]{43}", made["key"])
    (listed,) = tt.json("auth", "key", "list")["keys"]
    assert (listed["name"], listed["scopes"], listed["last_used_at"]) == ("ci", ["town.read"], None)
    assert listed["expires_at"] > listed["created_at"]
    assert made["key"] not in str(listed)
    assert tt("auth", "key", "create", "ci", "--json", code=4).error["code"] == "exists"
    assert tt("auth", "key", "create", "x", "--scope", "everything", "--json", code=2).error["code"] == "usage"
    assert tt.json("auth", "key", "revoke", "ci")["revoked"] == made["id"]
    assert tt("auth", "key", "revoke", "ci", "--json", code=3).error["code"] == "not_found"
    kept = tt.json("auth", "key", "create", "bot", "--key-file", "bot.key")
    assert "key" not in kept
    assert stat.S_IMODE(os.stat(tt.directory / "bot.key").st_mode) == 0o600
    assert tt("auth", "key", "create", "bot2", "--key-file", "bot.key", "--json", code=2).error["code"] == "usage"
    assert re.fullmatch(r"http://127\.0\.0\.1:8787/#code=.+", tt.json("auth", "link")["url"])
