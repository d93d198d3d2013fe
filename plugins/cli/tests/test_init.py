from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from tinytown.config import load_config
from tinytown_server.server import EmbeddedServer
from tinytown_testing.shell import Shell, stop_towns

NOBODY = 65534


def test_a_town_is_made_whole(tt: Shell) -> None:
    told = tt("init", "--json").json
    assert told["town"] == "here"
    assert told["redis"]["url"] == f"unix://{tt.directory}/.tt/redis.sock"
    assert load_config(tt.directory).name == "here"
    runtime = tt.directory / ".tt"
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert (runtime / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in tt.directory.iterdir()) == [".tt", "tinytown.toml"]
    assert tt("status", "--json").json["agents"] == []


def test_nothing_that_exists_is_overwritten(tt: Shell) -> None:
    tt("init")
    (tt.directory / "tinytown.toml").write_text("name = 'mine'\n")
    assert tt("init", "--json", code=4).error["code"] == "exists"
    assert (tt.directory / "tinytown.toml").read_text() == "name = 'mine'\n"
    (tt.directory / "tinytown.toml").unlink()
    (tt.directory / "tinytown.toml").symlink_to("nowhere")
    assert tt("init", "--json", code=4).error["code"] == "exists"


def test_names_come_from_git_or_the_directory(tt: Shell) -> None:
    repository = tt.directory / "My Shop"
    repository.mkdir()
    git = ["git", "-c", "init.defaultBranch=main", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "checkout", "-q", "-b", "feat/Cart"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "begin"], check=True)
    assert tt("init", "--json", cwd=repository).json["town"] == "my-shop-feat-cart"
    worktree = tt.directory / "elsewhere"
    subprocess.run([*git, "worktree", "add", "-q", "-b", "fix", str(worktree)], check=True)
    assert tt("init", "--json", cwd=worktree).json["town"] == "elsewhere-fix"
    for place in (repository, worktree):
        found = subprocess.run(["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True)
        assert found.stdout == "?? tinytown.toml\n"
    plain = tt.directory / "ÄÖÜ 42!"
    plain.mkdir()
    assert tt("init", "--json", cwd=plain).json["town"] == "42"
    assert tt("init", "--name", "Bad/Name", code=2, cwd=tt.directory).err
    assert not (tt.directory / "tinytown.toml").exists()


def test_a_town_inside_another_needs_to_be_asked_for(tt: Shell) -> None:
    tt("init")
    inner = tt.directory / "inner"
    inner.mkdir()
    refused = tt("init", "--json", cwd=inner, code=4).error
    assert "--inside" in refused["hint"]
    assert list(inner.iterdir()) == []
    tt("init", "--inside", cwd=inner)
    assert tt("status", "--json", cwd=inner).json["town"] == "inner"
    assert tt("status", "--json").json["town"] == "here"


def test_a_moved_town_goes_on(tt: Shell) -> None:
    tt("init", "--name", "nomad")
    tt("spawn", "traveller")
    moved = tt.directory.with_name("moved")
    tt("stop")
    tt.directory.rename(moved)
    told = tt("status", "--json", cwd=moved).json
    assert (told["root"], [each["name"] for each in told["agents"]]) == (str(moved), ["traveller"])
    again = moved.with_name("again")
    moved.rename(again)  # this time with its server running
    assert [each["name"] for each in tt("list", "--json", cwd=again).json["agents"]] == ["traveller"]


def test_a_clone_of_a_town_makes_its_own_runtime_directory(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text("name = 'cloned'\n")
    assert tt("list", "--json").json["agents"] == []
    assert (tt.directory / ".tt" / ".gitignore").read_text() == "*\n"


def test_a_directory_that_cannot_be_written_is_left_as_it_was(tt: Shell) -> None:
    place = Path("/sys")  # root may write anywhere else
    if os.geteuid() != 0:
        place = tt.directory
        place.chmod(0o555)
    before = sorted(place.iterdir())
    told = tt("init", "--name", "readonly", "--town", str(place), "--json", code=1)
    assert "Permission denied" in told.error["message"]
    assert sorted(place.iterdir()) == before
    tt.directory.chmod(0o755)


def test_a_runtime_directory_that_is_not_ours_or_none_at_all_is_told(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text("name = 'x'\n")
    (tt.directory / ".tt").write_text("in the way")
    assert tt("status", "--json", code=5).error["code"] == "directory_not_writable"
    (tt.directory / ".tt").unlink()
    (tt.directory / ".tt").mkdir()
    if os.geteuid() == 0:
        os.chown(tt.directory / ".tt", NOBODY, NOBODY)
        assert tt("status", "--json", code=5).error["code"] == "foreign_directory"
        assert "run tt as its owner" in tt("doctor", code=1).out


def test_what_fails_half_way_leaves_nothing(tt: Shell) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        assert tt("init", "--redis-url", url, "--json", code=5).error["code"] == "server_unreachable"
    assert list(tt.directory.iterdir()) == []
    deep = tt.directory / ("long" * 30)
    deep.mkdir()
    assert tt("init", "--json", cwd=deep, code=5).error["code"] == "socket_path_too_long"
    assert list(deep.iterdir()) == []
    (tt.directory / ".tt").write_text("in the way")
    assert tt("init", code=1).err.startswith("error: ")
    assert [path.name for path in tt.directory.iterdir() if path.name.startswith((".tt", "tiny"))] == [".tt"]


def test_a_password_does_not_go_into_the_towns_file(tt: Shell) -> None:
    told = tt("init", "--redis-url", "redis://:hunter2@127.0.0.1:1", code=2)
    assert "TINYTOWN_REDIS_PASSWORD" in told.err
    assert "hunter2" not in told.err
    assert tt("init", "--redis-url", "http://127.0.0.1", code=2).err
    assert list(tt.directory.iterdir()) == []


def test_an_external_server_is_joined_only_when_asked(tt: Shell) -> None:
    server = EmbeddedServer(tt.directory.parent / "server")
    server.ensure()
    try:
        names = ("one", "two", "three")
        one, two, three = (tt.directory / name for name in names)
        for place in (one, two, three):
            place.mkdir()
        words = ("init", "--name", "many", "--redis-url", server.url, "--json")
        assert tt(*words, cwd=one).json["redis"]["url"] == server.url
        assert not (one / ".tt").exists()
        tt("spawn", "shared", cwd=one)
        assert tt(*words, cwd=two, code=4).error["code"] == "exists"
        assert list(two.iterdir()) == []
        tt(*words, "--join", cwd=two)
        assert [each["name"] for each in tt("list", "--json", cwd=two).json["agents"]] == ["shared"]
        tt("init", "--name", "other", "--json", cwd=three, env={"REDIS_URL": server.url})
        assert tt("list", "--json", cwd=three, env={"REDIS_URL": server.url}).json["agents"] == []
        assert tt("stop", "--json", cwd=one).json["server"] == {"stopped": False}
        assert server.ping()
    finally:
        server.stop()


def test_a_round_makes_no_town(tt: Shell) -> None:
    assert tt("init", code=4, env={"TINYTOWN_ROUND_ID": "a-run"}).err
    assert list(tt.directory.iterdir()) == []


def test_of_two_at_once_one_makes_the_town(tt: Shell) -> None:
    racing = [
        subprocess.Popen(tt.argv("init"), cwd=tt.directory, env=tt.variables, stdout=-1, stderr=-1) for _ in range(3)
    ]
    for each in racing:
        each.communicate(timeout=30)
    assert sorted(each.returncode for each in racing) == [0, 4, 4]
    assert tt("list", "--json").json["agents"] == []
    assert sorted(path.name for path in tt.directory.iterdir()) == [".tt", "tinytown.toml"]


def test_doctor_finds_what_is_wrong_and_says_what_to_do(tt: Shell) -> None:
    outside = tt("doctor", "--json").json
    assert outside["healthy"]
    checks = {"python", "git", "coding CLI", "plugins", "server program", "town"}
    assert {each["check"] for each in outside["findings"]} - {"kinds of agents"} == checks
    tt("init")
    assert tt("doctor").code == 0
    (tt.directory / ".tt").chmod(0o755)
    found = {each["check"]: each for each in tt("doctor", "--json", code=1).json["findings"]}
    assert found["files"]["fix"].startswith("chmod 700")
    stop_towns(tt.directory)
    (tt.directory / "tinytown.toml").write_text("name = 'x'\n[plugins.absent]\n")
    found = {each["check"]: each for each in tt("doctor", "--json", code=1).json["findings"]}
    assert "absent" in found["plugins"]["found"]
    (tt.directory / "tinytown.toml").write_text("nonsense")
    assert "settings" in tt("doctor", code=1).out


def test_a_broken_plugin_takes_neither_tt_plugins_nor_a_typo_down(tt: Shell, tmp_path: Path) -> None:
    (tmp_path / "tinytown_broken.py").write_text("raise RuntimeError('on purpose')\n")
    (tmp_path / "tinytown_extra.py").write_text(
        "import click\nfrom tinytown.contracts import Command\nfrom tinytown.hookspecs import hookimpl\n"
        "TINYTOWN_HOOK_API = 2\n"
        "@hookimpl\ndef tinytown_commands():\n"
        "    return [Command(name, 'Dance.', f'tinytown_extra:{target}')\n"
        "            for name, target in (('dance', 'dance'), ('fall', 'nothing'), ('init', 'dance'))]\n"
        "@click.command()\n@click.argument('style')\ndef dance(style):\n    click.echo(f'dancing {style}')\n"
    )
    for name in ("broken", "extra"):
        info = tmp_path / f"tinytown_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tinytown-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tinytown]\n{name} = tinytown_{name}\n")
    env = {"PYTHONPATH": str(tmp_path)}
    told = tt("plugins", "--json", env=env).json
    found = {each["name"]: each for each in told["plugins"]}
    assert found["broken"]["status"] == "faulty"
    assert "on purpose" in found["broken"]["reason"]
    assert found["extra"]["offers"] == {"commands": ["dance", "fall", "init"]}
    assert "plugin 'extra': the command 'init' is never run: tt has one of this name" in told["problems"]
    assert "broken" in tt("plugins", env=env).out
    assert tt("dance", "tango", env=env).out == "dancing tango\n"
    assert "did you mean dance" in tt("danec", env=env, code=2).err
    assert "tinytown_extra:nothing" in tt("fall", env=env, code=1).err
    blocked = tt("plugins", "--json", env={**env, "TINYTOWN_BLOCK": "broken"}).json["plugins"]
    assert {each["name"]: each["status"] for each in blocked}["broken"] == "blocked"
    assert "tinytown_broken" not in sys.modules
