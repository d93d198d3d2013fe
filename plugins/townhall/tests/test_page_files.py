"""What of the page can be checked without a browser: what is vendored, what is served, what it may name."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path

from plugins.townhall.tests.conftest import Client

PAGE = Path(str(files("tinytown_townhall") / "page"))
VENDOR = PAGE / "vendor"


def test_what_others_wrote_is_what_its_record_says() -> None:
    record = tomllib.loads((VENDOR / "vendored.toml").read_text())
    assert {path.name for path in VENDOR.glob("*.mjs")} == set(record)
    for name, entry in record.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == entry["sha256"]
        licence = (VENDOR / entry["licence_file"]).read_text()
        assert {"MIT": "Permission is hereby granted", "Apache-2.0": "Apache License"}[entry["licence"]] in licence


def test_the_checker_of_the_tests_is_the_one_that_its_note_says() -> None:
    directory = Path(__file__).with_name("vendor")
    digest = hashlib.sha256((directory / "axe.min.js").read_bytes()).hexdigest()
    assert digest in (directory / "README.md").read_text()
    assert "Mozilla Public License" in (directory / "LICENSE.axe-core").read_text()


def test_modules_import_files_that_are_there() -> None:
    for path in [*PAGE.rglob("*.js"), *PAGE.rglob("*.mjs")]:
        for name in re.findall(r"""(?:from|import)\s*["']([^"']+)["']""", path.read_text()):
            assert name.startswith("."), f"{path.name} imports {name}"
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_no_file_makes_markup_or_code_of_text() -> None:
    risky = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|dangerously|srcdoc"
    )
    for path in [*PAGE.glob("*.js"), *PAGE.glob("views/*.js"), PAGE / "index.html"]:
        assert not risky.search(path.read_text()), path.name


async def test_every_file_is_served_with_its_type_and_kept_by_the_browser(client: Client) -> None:
    types = {
        ".html": "text/html",
        ".css": "text/css",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".svg": "image/svg+xml",
    }
    served = [path for path in PAGE.rglob("*") if path.suffix in types]
    assert len(served) > 15
    for path in served:
        answer = await client.ask("GET", f"/{path.relative_to(PAGE).as_posix()}")
        assert (answer.status, answer.body) == (200, path.read_bytes())
        assert answer.headers["content-type"].startswith(types[path.suffix])
        again = await client.ask(
            "GET", f"/{path.relative_to(PAGE).as_posix()}", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert again.status == 304
    assert (await client.ask("GET", "/vendor/vendored.toml")).status == 404


async def test_every_view_is_the_page(client: Client) -> None:
    index = (PAGE / "index.html").read_bytes()
    for path in ("/", "/board", "/board?as=graph", "/history", "/agents/ada", "/tasks/1f3a"):
        assert (await client.ask("GET", path)).body == index
    assert (await client.ask("GET", "/agents/a/b")).status == 404
