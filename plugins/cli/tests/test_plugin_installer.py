"""Which command installs Tinytown's own plugins into which environment, and that no other name is ever installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tinytown.errors import NotFound, Refused
from tinytown_cli import plugin_installer
from tinytown_cli.plugin_installer import Python, absent, available, distributions, install_command
from tinytown_testing import Shell

DEADLINE_S = 180.0


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Python:
    """A virtual environment with pip, and a Tinytown that did not come from a clone."""
    monkeypatch.setattr(plugin_installer, "name_directories", lambda text: text)
    return Python(tmp_path / "env", tmp_path / "env/bin/python", has_pip=True, is_virtual=True, is_managed=False)


def test_names_are_those_of_the_table_with_or_without_the_prefix() -> None:
    assert distributions(["git", "tinytown-acp", "git"]) == ["tinytown-git", "tinytown-acp"]
    for name in ("cluade", "tinytown-cluade", "requests", "../git", "git==1", "--upgrade", "core"):
        with pytest.raises(NotFound, match="Tinytown has no plugin"):
            distributions([name])


def test_what_is_available_says_what_it_brings() -> None:
    found = available()
    assert "acp-claude" in found["tinytown-acp"]
    assert "merge" in found["tinytown-git"]


def test_a_virtual_environment_takes_pip_and_one_of_uv_takes_uv(python: Python) -> None:
    assert install_command(["tinytown-git"], python) == [str(python.executable), "-m", "pip", "install", "tinytown-git"]
    assert install_command(["tinytown-git"], replace(python, has_pip=False)) == [
        *("uv", "pip", "install", "--python", str(python.executable)),
        "tinytown-git",
    ]


def test_pipx_injects(python: Python) -> None:
    python.prefix.mkdir()
    (python.prefix / "pipx_metadata.json").write_text("{}")
    assert install_command(["tinytown-git", "tinytown-acp"], python) == [
        *("pipx", "inject", "env"),
        *("tinytown-git", "tinytown-acp"),
    ]


def test_a_tool_of_uv_keeps_what_it_was_installed_with(python: Python) -> None:
    python.prefix.mkdir()
    (python.prefix / "uv-receipt.toml").write_text(
        """[tool]
requirements = [{ name = "tinytown", specifier = ">=0.1" }, { name = "tinytown-git" }, { name = "mine", editable = "/src/mine" }]
"""
    )
    assert install_command(["tinytown-git", "tinytown-acp"], python) == [
        *("uv", "tool", "install", "tinytown>=0.1"),
        *("--with", "tinytown-git", "--with", "/src/mine", "--with", "tinytown-acp"),
    ]


def test_the_python_of_a_system_is_left_alone(python: Python) -> None:
    with pytest.raises(Refused, match="belongs to the system"):
        install_command(["tinytown-git"], replace(python, is_virtual=False, is_managed=True))
    assert install_command(["tinytown-git"], replace(python, is_virtual=False))[1:3] == ["-m", "pip"]


def test_a_tool_of_uv_stays_what_it_was_installed_from(python: Python) -> None:
    python.prefix.mkdir()
    (python.prefix / "uv-receipt.toml").write_text(
        """[tool]
python = "3.12"
requirements = [
    { name = "tinytown", extras = ["a", "b"], specifier = "==0.1" },
    { name = "one", path = "/wheels/one.whl" },
    { name = "two", url = "https://example.org/two.whl" },
    { name = "three", git = "https://example.org/three?rev=1" },
]
"""
    )
    assert install_command(["tinytown-git"], python) == [
        *("uv", "tool", "install", "--python", "3.12", "tinytown[a,b]==0.1"),
        *("--with", "/wheels/one.whl", "--with", "two @ https://example.org/two.whl"),
        *("--with", "three @ git+https://example.org/three?rev=1", "--with", "tinytown-git"),
    ]


def write_wheel(directory: Path, name: str, *, has_script: bool = False) -> None:
    """A wheel with one module. Source: the binary distribution format of the packaging specifications."""
    info = f"{name}-9.9.dist-info"
    files = {
        f"{name}/__init__.py": "FROM_THE_WHEEL = True\ndef main():\n    pass\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if has_script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(directory / f"{name}-9.9-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def test_the_command_installs_from_a_directory_of_wheels(python: Python, tmp_path: Path) -> None:
    venv.create(python.prefix, with_pip=True)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "tinytown_demo")
    command = install_command(["tinytown-demo"], python)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=DEADLINE_S)
    imported = [str(python.executable), "-c", "import tinytown_demo; print(tinytown_demo.FROM_THE_WHEEL)"]
    assert subprocess.run(imported, capture_output=True, text=True, timeout=DEADLINE_S).stdout == "True\n"


def of_wheels(tmp_path: Path) -> dict[str, str]:
    """An environment in which pipx and uv have directories of their own, and a directory of wheels in place of an index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "tinytown", has_script=True)
    for name in ("tinytown_demo", "tinytown_git"):
        write_wheel(wheels, name)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    directories = {"UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "UV_CACHE_DIR", "PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR"}
    kept |= {name: str(tmp_path / name.lower()) for name in directories}
    offline = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels), "UV_NO_CONFIG": "1"}
    return (
        kept
        | offline
        | {"UV_PYTHON": sys.executable, "PIPX_DEFAULT_BACKEND": "uv", "PIPX_DEFAULT_PYTHON": sys.executable}
    )


@pytest.mark.parametrize(
    ("install", "place"),
    [
        (["uv", "tool", "install", "tinytown"], "uv_tool_dir/tinytown"),
        (["pipx", "install", "tinytown"], "pipx_home/venvs/tinytown"),
    ],
    ids=["uv", "pipx"],
)
def test_pipx_and_uv_themselves_put_plugins_beside_the_tinytown_that_they_installed(
    python: Python, tmp_path: Path, install: list[str], place: str
) -> None:
    for program in {install[0], "uv"}:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on PATH")
    environment = of_wheels(tmp_path)

    def run(*command: str) -> None:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    run(*install)
    prefix = tmp_path / place
    theirs = replace(python, prefix=prefix, executable=prefix / "bin" / "python", has_pip=False)
    for wanted in (["tinytown-demo"], ["tinytown-git", "tinytown-demo"]):
        assert wanted[0] in absent(wanted, theirs)
        run(*install_command(wanted, theirs))
        assert absent(["tinytown", *wanted], theirs) == []
    assert absent(["tinytown-acp"], theirs) == ["tinytown-acp"]


def test_the_command_is_shown_and_nothing_is_run(tt: Shell) -> None:
    shown = tt("plugins", "install", "git", "--dry-run", "--json").json
    assert shown["distributions"] == ["tinytown-git"]
    assert shown["installed"] is False
    assert "install" in shown["command"]
    assert sys.executable in shown["command"] or shown["command"][0] in ("uv", "pipx")


def test_an_unknown_name_installs_nothing_and_names_no_package(tt: Shell) -> None:
    answer = tt("plugins", "install", "cluade", code=3)
    assert "tinytown-cluade" not in answer.err
    assert "tt plugins list --available" in answer.err


def test_an_agent_cannot_install_plugins(tt: Shell) -> None:
    tt("init")
    variables = {"TINYTOWN_TOWN": str(tt.directory), "TINYTOWN_AGENT_ID": "x", "TINYTOWN_AGENT_NAME": "ada"}
    answer = tt("plugins", "install", "git", "--dry-run", code=4, env=variables)
    assert "cannot install plugins" in answer.err


def test_what_is_available_is_listed_with_what_is_installed(tt: Shell) -> None:
    (cli,) = [
        each
        for each in tt("plugins", "--available", "--json").json["available"]
        if each["distribution"] == "tinytown-cli"
    ]
    assert cli["version"]
