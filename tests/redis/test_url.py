from __future__ import annotations

import string
import sys
from pathlib import Path
from subprocess import run
from urllib.parse import quote

import pytest
import trustme
from hypothesis import example, given, settings, strategies as st
from tinytown.errors import ConfigError
from tinytown.redis.url import Address, parse_url, redact


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", Address("redis", "host")),
        ("redis://host/", Address("redis", "host")),
        ("REDIS://Host:6380/2\n", Address("redis", "host", 6380, db=2)),
        ("redis://host?db=3", Address("redis", "host", db=3)),
        ("redis://:pw@host", Address("redis", "host", password="pw")),
        ("redis://user@host", Address("redis", "host", username="user")),
        ("redis://user:@host", Address("redis", "host", username="user")),
        ("redis://us%3Aer:p%40%2F%23w@host", Address("redis", "host", username="us:er", password="p@/#w")),
        ("redis://user:p@w@host", Address("redis", "host", username="user", password="p@w")),
        ("rediss://[::1]:7000", Address("rediss", "::1", 7000)),
        ("unix:///run/s", Address("unix", path="/run/s")),
        ("unix:///run/a%20b?db=4", Address("unix", path="/run/a b", db=4)),
        ("unix://user:pw@/run/s", Address("unix", path="/run/s", username="user", password="pw")),
        ("unix:///s?password_file=/k", Address("unix", path="/s", password_file="/k")),
        ("unix:///a%20b?password_file=/%ff%2B&db=2", Address("unix", path="/a b", db=2, password_file="/\udcff+")),
        ("redis://u@host?password_file=/run/k", Address("redis", "host", username="u", password_file="/run/k")),
        ("unix:///s?username=u&password=p%26w", Address("unix", path="/s", username="u", password="p&w")),
    ],
)
def test_a_url_is_taken_apart_and_decoded(url: str, expected: Address) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "hunter2", "localhost:6379", "http://host", "redis://", "redis:///0", "redis://:hunter2", "redis://host:0",
        "redis://host:99999", "redis://host:port", "redis://host/zero", "redis://host/-1", "redis://host/0/1",
        "redis://host/٣", "redis://host/123456", "redis://host?timeout=3", "redis://host?db", "redis://host?db=1&db=2",
        "redis://host#x", "redis://host#", "redis://ho st", "redis://h\tost", "redis://[::1", "redis://u:%ff@host",
        "redis://u:hunter2#x@host", "redis://u:hunter2/x@host", "redis://u:12?hunter2@host", "redis://\udcff@host",
        "unix:///s?password=hunter2%ff",
        "redis://host?password=hunter2", "unix://", "unix:///", "unix://relative/path", "unix:///a%00b", "unix:///s?db=x",
        "unix://u:hunter2/x@/s", "redis://a\uff0fb@host",
    ],
)  # fmt: skip
def test_a_malformed_url_is_a_config_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.fields["key"] == "redis.url"
    assert caught.value.__suppress_context__


def test_certificate_files_are_refused_where_nothing_is_encrypted() -> None:
    with pytest.raises(ConfigError, match="not encrypted"):
        parse_url("redis://host", ca_file="ca.pem")
    with pytest.raises(ConfigError, match="without its certificate"):
        parse_url("rediss://host", key_file="key.pem")


SECRETS = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: f"se{text}cret")
HOSTS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=9).map(lambda text: f"h{text}.example")


@settings(deadline=None)
@given(SECRETS, HOSTS, st.sampled_from(["redis", "rediss"]), st.sampled_from(["", ":6379", ":6379/0", "/15", "?db=1"]))
@example("se@/cret", "hx.example", "redis", "/0")
@example("se@b?db=1&cret", "hx.example", "redis", "")
@example("se:12?cret", "hx.example", "redis", "?db=1")
def test_no_password_typed_into_a_url_without_quoting_is_ever_shown(
    secret: str, host: str, scheme: str, end: str
) -> None:
    url = f"{scheme}://user:{secret}@{host}{end}"
    shown = [redact(url)]
    try:
        address = parse_url(url)
    except ConfigError as error:
        shown += [str(error), repr(error), repr(error.fields)]
    else:
        shown += [address.redacted, repr(address), str(address)]
    assert not any("cret" in text for text in shown)
    assert host in shown[0] or "?" in url or "#" in url


@settings(deadline=None)
@given(
    SECRETS, st.sampled_from(["redis://u:{}@h:1/2", "rediss://:{}@h", "unix://u:{}@/s?db=1", "unix:///s?password={}"])
)
def test_a_quoted_password_arrives_whole_and_is_shown_nowhere(secret: str, form: str) -> None:
    url = form.format(quote(secret, safe=""))
    address = parse_url(url)
    assert address.password == secret
    for text in (address.redacted, redact(url), repr(address)):
        assert "cret" not in text
    assert "****" in address.redacted
    assert secret in address.handshake()[0]


@settings(deadline=None)
@given(st.text() | st.text("redis:/@?#%&=[].0a\x00 \udcff"))
def test_redact_never_raises(text: str) -> None:
    assert isinstance(redact(text), str)


@settings(deadline=None)
@given(st.sampled_from(["redis://h:1/2", "rediss://u@[::1]:7/0", "unix://u@/s%20x?db=3"]))
def test_a_redacted_url_without_a_password_can_be_parsed_again(url: str) -> None:
    assert parse_url(parse_url(url).redacted) == parse_url(url)


def test_the_handshake_authenticates_selects_and_ends_with_a_ping() -> None:
    assert parse_url("redis://h").handshake() == [("HELLO", 3), ("CLIENT", "SETNAME", "tinytown"), ("PING",)]
    assert parse_url("redis://:pw@h/2").handshake()[:2] == [("HELLO", 3, "AUTH", "default", "pw"), ("SELECT", 2)]
    assert parse_url("redis://u@h").handshake()[0] == ("HELLO", 3, "AUTH", "u", "")


def test_a_password_is_read_from_its_file_for_each_connection_and_shown_nowhere(tmp_path: Path) -> None:
    address = parse_url(f"unix:///s?password_file={tmp_path}/key")
    assert address.handshake()[0] == ("HELLO", 3)
    for password in ("hunter2", "hunter3"):
        (tmp_path / "key").write_text(f"{password}\n")
        assert address.handshake()[0] == ("HELLO", 3, "AUTH", "default", password)
    assert address.redacted == "unix:///s"
    assert "hunter" not in repr(address)


@pytest.mark.parametrize("which", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_an_unusable_certificate_file_is_a_config_error_that_names_it(
    tmp_path: Path, which: str, content: str | None
) -> None:
    ca = trustme.CA()
    files = {"ca_file": tmp_path / "ca", "cert_file": tmp_path / "cert", "key_file": tmp_path / "key"}
    issued = ca.issue_cert("host")
    ca.cert_pem.write_to_path(files["ca_file"])
    issued.cert_chain_pems[0].write_to_path(files["cert_file"])
    issued.private_key_pem.write_to_path(files["key_file"])
    names = {name: str(path) for name, path in files.items()}
    parse_url("rediss://host", **names).ssl_context()
    files[which].unlink() if content is None else files[which].write_text(content)
    with pytest.raises(ConfigError, match=str(tmp_path)) as caught:
        parse_url("rediss://host", **names).ssl_context()
    assert caught.value.fields["path"] in names.values()


def test_a_key_with_a_passphrase_is_refused_instead_of_asking_on_the_terminal(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    issued = trustme.CA().issue_cert("host")
    key = s.load_pem_private_key(issued.private_key_pem.bytes(), None)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    (tmp_path / "key").write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x"))
    )
    address = parse_url("rediss://host", cert_file=str(tmp_path / "cert"), key_file=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match="unencrypted key"):
        address.ssl_context()


@pytest.mark.parametrize("module", ["tinytown.redis.url", "tinytown_cli.blocking_client"])
def test_quick_commands_are_not_slowed_by_expensive_imports(module: str) -> None:
    program = f"import {module}, sys; print(*sys.modules)"
    loaded = run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert {"trio", "redis", "ssl", "asyncio", "dataclasses", "hashlib"}.isdisjoint(loaded)
    assert ("hiredis" in loaded) is (module == "tinytown_cli.blocking_client")
