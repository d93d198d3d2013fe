"""What plugins add: a wrong part is left out and named, and nothing that a plugin does harms the townhall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from tinytown.errors import Refused
from tinytown.town import Town
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.application import all_endpoints
from tinytown_townhall.contracts import Extension
from tinytown_townhall.extensions import Extensions

from plugins.townhall.tests.conftest import open_client


class Answer(msgspec.Struct):
    text: str


class Route(NamedTuple):
    method: str
    path: str
    scope: str
    function: Any


class Panel(NamedTuple):
    view: str = "weather"
    title: str = "Weather"
    icon: str = "M3 12h18"
    module: str = "weather.js"


async def show_weather(call: Any, place: str) -> Answer:
    """The weather of a place."""
    if place == "nowhere":
        raise Refused("there is no weather", hint="ask elsewhere")
    if place == "hell":
        raise ZeroDivisionError
    return Answer(text=f"rain in {place} for {call.town.name}")


async def show_status(call: Any) -> Answer:
    """Has the name of a tool that exists."""
    return Answer(text="")


async def without_types(call, what):  # type: ignore[no-untyped-def]
    """Says nothing of its answer."""


class Weather(Extension):
    name = "weather"
    routes: Sequence[Any] = (Route("GET", "/v1/weather/{place}", "town.read", show_weather),)
    panels: Sequence[Any] = (Panel(),)

    def __init__(self, page: Path, **members: Any) -> None:
        (page / "weather.js").write_text("export const View = () => null;\n")
        self.page = page
        for name, value in members.items():
            setattr(self, name, value)

    async def waiting(self, town: Town) -> Sequence[Any]:
        raise ZeroDivisionError


async def test_routes_panels_and_files_of_a_plugin_are_served(
    town_dir: TownDirectory, tmp_path: Path, no_kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions = Extensions([Weather(tmp_path)])
    monkeypatch.setattr("tinytown_townhall.hall.load_extensions", lambda config, root: extensions)
    async with town_dir.connect() as town, open_client(town) as client:
        assert (await client.get("/v1/weather/York"))["text"] == f"rain in York for {town.name}"
        assert (await client.ask("GET", "/v1/weather/nowhere")).code == "refused"
        assert (await client.ask("GET", "/v1/weather/hell")).code == "internal"
        (panel,) = (await client.get("/v1/panels"))["panels"]
        assert panel["module"] == "/extensions/weather/weather.js"
        assert b"export const View" in (await client.ask("GET", panel["module"])).body
        assert b"<html" in (await client.ask("GET", "/weather")).body
        assert b"<html" in (await client.ask("GET", "/weather/York")).body
        assert (await client.ask("GET", "/extensions/weather/..%2Fsecret")).status == 404
        assert (await client.get("/v1/attention"))["items"] is not None  # what it raises hides nothing else


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route("GET", "/v1/status", "town.read", show_weather), "exists already"),
        (Route("GET", "/v1/weather", "town.read", show_status), "exists already"),
        (Route("GET", "/weather", "town.read", show_weather), "a path below /v1/"),
        (Route("BREW", "/v1/weather", "town.read", show_weather), "got BREW"),
        (Route("GET", "/v1/weather/{place}", "everything", show_weather), "got 'everything'"),
        (Route("GET", "/v1/weather", "town.read", without_types), "a route that is left out"),
    ],
)
def test_a_wrong_route_is_left_out_and_named(
    route: Route, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Route("GET", "/v1/weather/{place}/tomorrow", "town.read", show_weather)
    endpoints = all_endpoints(Extensions([Weather(tmp_path, routes=(route, right))]))
    assert [each.path for each in endpoints if each.tag == "weather"] == [right.path]
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"name": "no word"}, "a lower-case word as name"),
        ({"panels": (Panel(view="board"),)}, "a free lower-case word as view"),
        ({"panels": (Panel(), Panel())}, "a free lower-case word as view"),
        ({"panels": (Panel(icon='"><script>'),)}, "an SVG picture as icon"),
        ({"panels": (Panel(module="away.js"),)}, "no file 'away.js'"),
        ({"panels": (Panel(module="../secret.js"),)}, "'../secret.js'"),
    ],
)
def test_a_wrong_extension_is_left_out_and_named(
    members: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.js").write_text("")
    (tmp_path / "page").mkdir()
    (tmp_path / "other").mkdir()
    extensions = Extensions([Weather(tmp_path / "page", **members), Weather(tmp_path / "other", name="other")])
    assert said in capsys.readouterr().err
    assert [panel.module for panel in extensions.panels] == ["/extensions/other/weather.js"]
