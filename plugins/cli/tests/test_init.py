from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

from tinytown.config import load_config
from tinytown_server.server import EmbeddedServer
from tinytown_testing.installed import install_plugin
from tinytown_testing.shell import Shell, stop_towns

NOBODY = 65534


def test_init_creates_the_directories_and_the_settings_of_a_town(tt: Shell) -> None:
    answer = tt("init", "--json").json
    assert answer["town"] == "here"
    assert answer["redis"]["url"] == f"unix://{tt.state()}/redis.sock"
    assert load_config(tt.directory).name == "here"
    state = tt.state()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert os.listdir(tt.directory) == ["tinytown.toml"]
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
    assert tt("init", "--inside", "--json", cwd=worktree).json["town"] == "elsewhere-fix"
    for place in (repository, worktree):
        git_status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True
        )
        assert git_status.stdout == "?? tinytown.toml\n"
    plain = tt.directory / "ÄÖÜ 42!"
    plain.mkdir()
    assert tt("init", "--json", cwd=plain).json["town"] == "aou-42"
    assert tt("init", "--name", "Bad/Name", code=2, cwd=tt.directory).err
    assert not (tt.directory / "tinytown.toml").exists()


def test_letters_with_accents_become_those_without(tt: Shell) -> None:
    assert "try 'uni-2'" in tt("init", "--name", "Ünï 2", code=2).err
    place = tt.directory / "Café Ünï"
    place.mkdir()
    assert tt("init", "--json", cwd=place).json["town"] == "cafe-uni"


def test_a_town_inside_another_needs_an_explicit_option(tt: Shell) -> None:
    tt("init")
    inner = tt.directory / "inner"
    inner.mkdir()
    refused = tt("init", "--json", cwd=inner, code=4).error
    assert "--inside" in refused["hint"]
    assert list(inner.iterdir()) == []
    tt("init", "--inside", cwd=inner)
    assert tt("status", "--json", cwd=inner).json["town"] == "inner"
    assert tt("status", "--json").json["town"] == "here"


def test_a_moved_town_keeps_working(tt: Shell) -> None:
    tt("init", "--name", "nomad")
    tt("spawn", "traveller")
    moved = tt.directory.with_name("moved")
    tt("stop")
    tt.directory.rename(moved)
    status = tt("status", "--json", cwd=moved).json
    assert (status["root"], [agent["name"] for agent in status["agents"]]) == (str(moved), ["traveller"])
    again = moved.with_name("again")
    moved.rename(again)  # this time with its server running
    assert [agent["name"] for agent in tt("list", "--json", cwd=again).json["agents"]] == ["traveller"]


def test_a_clone_of_a_town_makes_its_own_state_directory(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text("name = 'cloned'\n")
    assert tt("list", "--json").json["agents"] == []
    assert tt.state().is_dir()


def test_a_read_only_directory_is_not_changed(tt: Shell) -> None:
    place = Path("/sys")  # root may write anywhere else
    if os.geteuid() != 0:
        place = tt.directory
        place.chmod(0o555)
    before = sorted(place.iterdir())
    result = tt("init", "--name", "readonly", "--town", str(place), "--json", code=1)
    assert "Permission denied" in result.error["message"]
    assert sorted(place.iterdir()) == before
    tt.directory.chmod(0o755)


def test_a_state_directory_of_another_user_or_a_file_in_its_place_is_an_error(tt: Shell) -> None:
    (tt.directory / "tinytown.toml").write_text("name = 'x'\n")
    tt.state().parent.mkdir(parents=True)
    tt.state().write_text("in the way")
    assert tt("status", "--json", code=4).error["code"] == "foreign_directory"
    tt.state().unlink()
    tt.state().mkdir()
    if os.geteuid() == 0:
        os.chown(tt.state(), NOBODY, NOBODY)
        assert tt("status", "--json", code=4).error["code"] == "foreign_directory"
        assert "run tt as its owner" in tt("doctor", code=1).out


def test_a_failed_init_leaves_no_files(tt: Shell) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        assert tt("init", "--redis-url", url, "--json", code=5).error["code"] == "server_unreachable"
    assert list(tt.directory.iterdir()) == []
    assert list(tt.state().parent.iterdir()) == []
    tt.state().parent.rmdir()
    tt.state().parent.write_text("in the way")
    assert tt("init", code=1).err.startswith("error: ")
    assert list(tt.directory.iterdir()) == []


def test_a_password_does_not_go_into_the_towns_file(tt: Shell) -> None:
    result = tt("init", "--redis-url", "redis://:hunter2@127.0.0.1:1", code=2)
    assert "TINYTOWN_REDIS_PASSWORD" in result.err
    assert "hunter2" not in result.err
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
        assert tt(*words, cwd=one).json["redis"]["url"] == server.url.partition("?")[0]
        assert os.listdir(one) == ["tinytown.toml"]
        tt("spawn", "shared", cwd=one)
        assert tt(*words, cwd=two, code=4).error["code"] == "exists"
        assert list(two.iterdir()) == []
        tt(*words, "--join", cwd=two)
        assert [agent["name"] for agent in tt("list", "--json", cwd=two).json["agents"]] == ["shared"]
        tt("init", "--name", "other", "--json", cwd=three, env={"REDIS_URL": server.url})
        assert tt("list", "--json", cwd=three, env={"REDIS_URL": server.url}).json["agents"] == []
        assert tt("stop", "--json", cwd=one).json["server"] == {"stopped": False}
        assert server.ping()
    finally:
        server.stop()


def test_init_is_refused_inside_a_round(tt: Shell) -> None:
    assert tt("init", code=4, env={"TINYTOWN_ROUND_ID": "a-run"}).err
    assert list(tt.directory.iterdir()) == []


def test_of_two_concurrent_inits_one_succeeds(tt: Shell) -> None:
    racing = [tt.start("init") for _ in range(3)]
    for process in racing:
        process.communicate(timeout=30)
    assert sorted(process.returncode for process in racing) == [0, 4, 4]
    assert tt("list", "--json").json["agents"] == []
    assert os.listdir(tt.directory) == ["tinytown.toml"]


def test_doctor_names_each_problem_with_its_fix(tt: Shell) -> None:
    outside = tt("doctor", "--json").json
    assert outside["healthy"]
    checks = {"python", "git", "coding CLI", "plugins", "server program", "town"}
    assert {finding["check"] for finding in outside["findings"]} - {
        "not installed",
        "kinds of agents",
        "your settings",
    } == checks
    tt("init")
    assert tt("doctor").code == 0
    tt.state().chmod(0o755)
    findings = {finding["check"]: finding for finding in tt("doctor", "--json", code=1).json["findings"]}
    assert findings["files"]["fix"].startswith("chmod 700")
    stop_towns(tt.directory)
    (tt.directory / "tinytown.toml").write_text("name = 'x'\n[plugins.absent]\n")
    findings = {finding["check"]: finding for finding in tt("doctor", "--json", code=1).json["findings"]}
    assert "absent" in findings["plugins"]["found"]
    (tt.directory / "tinytown.toml").write_text("nonsense")
    assert "settings" in tt("doctor", code=1).out


def test_a_faulty_plugin_breaks_neither_tt_plugins_nor_the_hint_for_a_typo(tt: Shell, tmp_path: Path) -> None:
    install_plugin(tmp_path, "broken", "raise RuntimeError('on purpose')\n")
    install_plugin(
        tmp_path,
        "extra",
        "import click\nfrom tinytown_cli.contracts import Command\nfrom tinytown.hookspecs import hookimpl\n"
        "TINYTOWN_HOOK_API = 2\n"
        "@hookimpl\ndef tinytown_commands():\n"
        "    return [Command(name, 'Dance.', f'tinytown_extra:{target}')\n"
        "            for name, target in (('dance', 'dance'), ('fall', 'nothing'), ('init', 'dance'))]\n"
        "@click.command()\n@click.argument('style')\ndef dance(style):\n    click.echo(f'dancing {style}')\n",
    )
    env = {"PYTHONPATH": str(tmp_path)}
    answer = tt("plugins", "--json", env=env).json
    plugins = {plugin["name"]: plugin for plugin in answer["plugins"]}
    assert plugins["broken"]["status"] == "faulty"
    assert "on purpose" in plugins["broken"]["reason"]
    assert plugins["extra"]["offers"] == {"commands": ["dance", "fall", "init"]}
    assert "plugin 'extra': the command 'init' is never run: tt has one of this name" in answer["problems"]
    assert "broken" in tt("plugins", env=env).out
    assert tt("dance", "tango", env=env).out == "dancing tango\n"
    assert "did you mean dance" in tt("danec", env=env, code=2).err
    assert "tinytown_extra:nothing" in tt("fall", env=env, code=1).err
    blocked = tt("plugins", "--json", env={**env, "TINYTOWN_BLOCK": "broken"}).json["plugins"]
    assert {entry["name"]: entry["status"] for entry in blocked}["broken"] == "blocked"
    assert "tinytown_broken" not in sys.modules
