"""The front door, for people and for CI: `nox -l` lists what it opens. Knows no plugin by name but the demo's.

Every session works in a virtual environment of its own under `.nox/`; `dev` alone makes the one you work in, `.venv`.
Plugins are found by globbing `plugins/*`. The root is always named first in the same pip command as a plugin, because
`tinytown` need not be on an index. What a session builds or measures lands in the session's scratch directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
PLUGINS = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("plugins/*/pyproject.toml"))
DISTRIBUTIONS = [Path(), *PLUGINS]
DEMO_PLUGINS = ["echo", "journal", "shell"]
#: Two workers even on one core: most of a test's time is spent waiting for a process or a server.
IN_PARALLEL = ["-n", str(max(2, min(4, os.cpu_count() or 2))), "--dist", "worksteal"]

NPM_CLIS = [
    "@anthropic-ai/claude-code",
    "@openai/codex",
    "@augmentcode/auggie",
    "@google/gemini-cli",
    "@github/copilot",
    "opencode-ai",
]
AIDER_PYTHONS = ["python3.12", "python3.11", "python3.10"]

PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def group(name: str) -> list[str]:
    """The requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def editable(*plugins: Path) -> list[str]:
    """pip arguments that install the root and `plugins` from the tree, the root first."""
    return [argument for path in (Path(), *plugins) for argument in ("-e", f"./{path.as_posix()}")]


def test_paths() -> list[str]:
    """Every directory with tests in it."""
    return ["tests", *(str(path / "tests") for path in PLUGINS if (ROOT / path / "tests").is_dir())]


def run_pytest(session: nox.Session, *default_paths: str) -> None:
    """pytest on what the person named, else on `default_paths`; in parallel, whole files to a worker."""
    given = session.posargs
    names_tests = any(not argument.startswith("-") and Path(argument.split("::")[0]).exists() for argument in given)
    parallel = [] if any(argument.startswith(("-n", "-s", "--pdb")) for argument in given) else IN_PARALLEL
    session.run("pytest", *parallel, *given, *([] if names_tests else default_paths))


def runs(python: str) -> bool:
    """Whether there is an interpreter of this name that starts; a name on the PATH may be a version manager's promise."""
    return bool(shutil.which(python)) and not subprocess.run([python, "-c", ""], capture_output=True).returncode


@nox.session
def demo(session: nox.Session) -> None:
    """A town of four agents does real work in a fresh git repository: no key, no network, nothing left running."""
    session.install(".", *(f"./plugins/{name}" for name in DEMO_PLUGINS))
    session.run("python", "-m", "tinytown", "demo", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make `.venv` with the kernel, every plugin and every tool in it, all editable."""
    if not (ROOT / ".venv").exists():
        session.run(sys.executable, "-m", "venv", ".venv", external=True)
    python = str(ROOT / ".venv" / "bin" / "python")
    groups = [requirement for name in ("test", "types", "lint", "docs") for requirement in group(name)]
    session.run(python, "-m", "pip", "install", *editable(*PLUGINS), "nox", *groups, external=True)
    session.log("activate it with: source .venv/bin/activate")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of the kernel and of every plugin; arguments go to pytest, `nox -s tests -- -k reconnect`."""
    session.install(*editable(*PLUGINS), *group("test"))
    run_pytest(session, *test_paths())


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the kernel and every plugin."""
    session.install(*editable(*PLUGINS), *group("types"))
    packages = [str(package) for path in PLUGINS for package in sorted(path.glob("tinytown_*"))]
    search_path = os.pathsep.join(str(path) for path in PLUGINS)
    session.run("mypy", "core/tinytown", *packages, env={"MYPYPATH": search_path})
    session.run("pyright", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff's rules and format, and spelling. `nox -s lint -- --fix` repairs what can be."""
    session.install(*group("lint"))
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "core", "plugins", "tests", "docs", "noxfile.py", "README.md", "pyproject.toml")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the manual; a warning (a broken link, a page nobody leads to) is an error. Arguments: where to put it."""
    session.install(*group("docs"))
    scratch = Path(session.create_tmp()).resolve()
    site = Path(session.posargs[0]).resolve() if session.posargs else scratch / "site"
    strict = ["--builder", "html", "--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "--quiet"]
    session.run("sphinx-build", *strict, "--doctree-dir", str(scratch / "doctrees"), "docs", str(site))
    session.log(f"the manual: {site / 'index.html'}")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks of `tests/bench`, beside peers in their own environments; `nox -s bench -- --help` says more."""
    session.install(".", *(f"./{path}" for path in PLUGINS))
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Towns at work while all that can fail does; `nox -s chaos -- --peers` does the same to other task queues."""
    session.install(".", *(f"./{path}" for path in PLUGINS))
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session(name="real-clis")
def real_clis(session: nox.Session) -> None:
    """Rounds and towns of the real coding CLIs against a model server on this machine. Needs npm; `-- -k gemini` chooses.

    The newest of each that the registries give is installed into the scratch directory; directories that already hold
    some can be named in TINYTOWN_REAL_CLIS instead.
    """
    session.install(*editable(*PLUGINS), *group("test"))
    places = os.environ.get("TINYTOWN_REAL_CLIS", "")
    if not places:
        scratch = Path(session.create_tmp()).resolve()
        session.run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(scratch), *NPM_CLIS, external=True)
        found = [str(scratch / "node_modules" / ".bin")]
        # aider asks for a Python of its own: an older one than many people have.
        python = next((name for name in AIDER_PYTHONS if runs(name)), None)
        if python is None:
            session.warn(f"aider is left out: none of {', '.join(AIDER_PYTHONS)} is here")
        else:
            session.run(python, "-m", "venv", str(scratch / "aider"), external=True)
            pip = str(scratch / "aider" / "bin" / "pip")
            session.run(pip, "install", "--quiet", "--upgrade", "aider-chat", external=True)
            found.append(str(scratch / "aider" / "bin"))
        places = os.pathsep.join(found)
    in_parallel = [] if any(argument.startswith("-n") for argument in session.posargs) else ["-n", "2"]
    session.run("pytest", "tests/real_clis", *in_parallel, *session.posargs, env={"TINYTOWN_REAL_CLIS": places})


@nox.session(reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Build wheel and sdist of everything, install the wheels where no source is in sight, use and test them there."""
    session.install("build")
    scratch = Path(session.create_tmp()).resolve()
    built, away = scratch / "dist", scratch / "away"
    for directory in (built, away):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    for path in DISTRIBUTIONS:
        # Through the sdist, so that a file missing there is missed here.
        session.run("python", "-m", "build", "--outdir", str(built), str(path))
    session.install(*map(str, sorted(built.glob("*.whl"))), *group("test"))
    for path in PLUGINS:
        shutil.copytree(ROOT / path / "tests", away / path / "tests")
    with session.chdir(away):
        session.run("python", "-c", "import sys, tinytown; sys.exit(not tinytown.__file__.startswith(sys.prefix))")
        session.run("tt", "version")
        session.run("tt", "--help", silent=True)
        session.run("python", "-m", "tinytown", "plugins", "--json")
        session.run("pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", ".", "-p", "no:cacheprovider", ".")


@nox.session
def minimums(session: nox.Session) -> None:
    """The tests on the lowest versions of our dependencies that pyproject.toml allows."""
    floors: dict[str, Version] = {}
    for path in DISTRIBUTIONS:
        project = nox.project.load_toml(ROOT / path / "pyproject.toml")["project"]
        for requirement in map(Requirement, project["dependencies"]):
            applies = requirement.marker is None or requirement.marker.evaluate()
            if applies and not requirement.name.startswith("tinytown"):
                (floor,) = (Version(clause.version) for clause in requirement.specifier if clause.operator == ">=")
                floors[requirement.name] = max(floor, floors.get(requirement.name, floor))
    pins = [f"{name}=={floor}" for name, floor in floors.items()]
    session.install(*editable(*PLUGINS), *pins, *group("test"))
    run_pytest(session, *test_paths())
