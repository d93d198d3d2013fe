"""The front door, for people and for CI: `nox -l` lists what it opens.

Every session works in a virtual environment of its own under `.nox/`; `dev` alone makes the one you work in, `.venv`.
Distributions are `core` and whatever `plugins/*` holds; the root is a meta distribution without a module. Ours need not
be on an index, so a distribution is always installed in one pip command with those of ours that it depends on. What a
session builds or measures lands in the session's scratch directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
CORE = Path("core")
PLUGINS = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("plugins/*/pyproject.toml"))
DISTRIBUTIONS = [CORE, *PLUGINS]
#: Two workers even on one core: most of a test's time is spent waiting for a process or a server.
IN_PARALLEL = ["-n", str(max(2, min(4, os.cpu_count() or 2))), "--dist", "worksteal"]
#: Imports a distribution's modules one by one: what it needs and does not declare is missing here. `conftest`-like
#: modules and `__main__` are programs.
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    assert package.__file__.startswith(sys.prefix), package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""

NPM_CLIS = [
    "@anthropic-ai/claude-code@latest",
    "@openai/codex@latest",
    "@augmentcode/auggie@latest",
    "@google/gemini-cli@latest",
    "@github/copilot@latest",
    "opencode-ai@latest",
    "@zed-industries/claude-code-acp@latest",
    "@zed-industries/codex-acp@latest",
    "@qwen-code/qwen-code@latest",
]
AIDER_PYTHONS = ["python3.12", "python3.11", "python3.10"]


def load(distribution: Path) -> dict[str, Any]:
    """The pyproject.toml of a distribution; `Path()` is the root's."""
    return nox.project.load_toml(ROOT / distribution / "pyproject.toml")


def is_ours(requirement: str) -> bool:
    return Requirement(requirement).name.startswith("tinytown")


def group(name: str, distribution: Path = Path()) -> list[str]:
    """The requirements of a dependency group, empty if there is no such group."""
    project = load(distribution)
    return list(nox.project.dependency_groups(project, name)) if name in project.get("dependency-groups", {}) else []


def test_requirements() -> list[str]:
    """What all tests need beside our distributions."""
    named = dict.fromkeys(text for path in (Path(), *PLUGINS) for text in group("test", path))
    return [text for text in named if not is_ours(text)]


def with_dependencies(*names: str) -> list[Path]:
    """The distributions of these folders (``plugins/NAME``, or ``core``), and those of ours that they depend on."""
    by_name = {load(path)["project"]["name"]: path for path in DISTRIBUTIONS}
    wanted, chosen = [f"tinytown-{name}" for name in names], dict[str, Path]()
    while wanted:
        name = wanted.pop()
        if name not in chosen:
            chosen[name] = by_name[name]
            needed = load(by_name[name])["project"]["dependencies"]
            wanted += [Requirement(text).name for text in needed if is_ours(text)]
    return list(chosen.values())


def editable(paths: Iterable[Path] = DISTRIBUTIONS) -> list[str]:
    """pip arguments that install these distributions from the tree, by default all."""
    return [argument for path in paths for argument in ("-e", f"./{path.as_posix()}")]


def test_paths() -> list[str]:
    """Every directory with tests in it."""
    return ["tests", *(str(path / "tests") for path in PLUGINS if (ROOT / path / "tests").is_dir())]


def run_pytest(session: nox.Session, *default_paths: str) -> None:
    """pytest on what the person named, else on `default_paths`; in parallel, whole files to a worker."""
    given: list[str] = session.posargs
    names_tests = any(not argument.startswith("-") and Path(argument.split("::")[0]).exists() for argument in given)
    parallel: list[str] = [] if any(argument.startswith(("-n", "-s", "--pdb")) for argument in given) else IN_PARALLEL
    session.run("pytest", *parallel, *given, *(() if names_tests else default_paths))


def runs(python: str) -> bool:
    """Whether there is an interpreter of this name that starts; a name on the PATH may be a version manager's promise."""
    return bool(shutil.which(python)) and not subprocess.run([python, "-c", ""], capture_output=True).returncode


@nox.session
def demo(session: nox.Session) -> None:
    """A town of four agents does real work in a fresh git repository: no key, no network, nothing left running."""
    session.install(*(f"./{path}" for path in with_dependencies("demo", "git", "server", "shell", "echo", "journal")))
    session.run("tt", "demo", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make `.venv` with the kernel, every plugin and every tool in it, all editable."""
    if not (ROOT / ".venv").exists():
        session.run(sys.executable, "-m", "venv", ".venv", external=True)
    python = str(ROOT / ".venv" / "bin" / "python")
    tools = [*test_requirements(), *(text for name in ("types", "lint", "docs") for text in group(name))]
    session.run(python, "-m", "pip", "install", *editable(), "nox", *tools, external=True)
    session.log("activate it with: source .venv/bin/activate")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of the kernel and of every plugin; arguments go to pytest, `nox -s tests -- -k reconnect`."""
    session.install(*editable(), *test_requirements())
    run_pytest(session, *test_paths())


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the kernel and every plugin."""
    session.install(*editable(), *group("types"))
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
def walk(session: nox.Session) -> None:
    """What README.md and the page for beginners say, typed from top to bottom, from a fresh clone and an empty home."""
    session.install(*editable(), *test_requirements())
    session.run("pytest", "tests/docs/test_walk.py", *session.posargs, env={"TINYTOWN_WALK": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks of `tests/bench`, beside peers in their own environments; `nox -s bench -- --help` says more."""
    session.install(*(f"./{path}" for path in DISTRIBUTIONS))
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session
def evals(session: nox.Session) -> None:
    """Scores of the prompts of agents, by what the models of the CLIs in TINYTOWN_REAL_CLIS get; `-- claude` chooses."""
    session.install(*editable(), *test_requirements())
    session.run("python", "-m", "tests.evals", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Towns at work while all that can fail does; `nox -s chaos -- --peers` does the same to other task queues."""
    session.install(*(f"./{path}" for path in DISTRIBUTIONS))
    session.run("python", "-m", "tests.chaos", *session.posargs)


def real_cli_places(session: nox.Session) -> str:
    """Directories that hold real coding CLIs: those that TINYTOWN_REAL_CLIS names, else the newest releases, installed.

    They are installed into the scratch directory of the session `real-clis`, with npm and pip.
    """
    if places := os.environ.get("TINYTOWN_REAL_CLIS"):
        return places
    scratch = Path(session.cache_dir).resolve() / "real-clis"
    scratch.mkdir(parents=True, exist_ok=True)
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
    return os.pathsep.join(found)


@nox.session(name="real-clis")
def real_clis(session: nox.Session) -> None:
    """Rounds and towns of the real coding CLIs against a model server on this machine. Needs npm; `-- -k gemini` chooses.

    The newest of each that the registries give is installed; directories that already hold some can be named in
    TINYTOWN_REAL_CLIS instead.
    """
    session.install(*editable(), *test_requirements())
    places = real_cli_places(session)
    in_parallel = [] if any(argument.startswith("-n") for argument in session.posargs) else ["-n", "2"]
    session.run("pytest", "tests/real_clis", *in_parallel, *session.posargs, env={"TINYTOWN_REAL_CLIS": places})


@nox.session
def endurance(session: nox.Session) -> None:
    """Eight agents of real coding CLIs through an hour of outages and kills; `nox -s endurance -- --minutes 10 --seed 2`.

    The CLIs are those of `real-clis`.
    """
    session.install(*(f"./{path}" for path in DISTRIBUTIONS), *test_requirements())
    places = real_cli_places(session)
    session.run("python", "-m", "tests.endurance", *session.posargs, env={"TINYTOWN_REAL_CLIS": places})


@nox.session(reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Build everything through its sdist, and test each plugin from wheels with only what it declares.

    A plugin's environment has its dependencies and the group `test` of its pyproject.toml, from a directory of wheels
    alone. Arguments choose plugins: `nox -s wheels -- echo mcp`. With `--imports` no tests are run: every module of each
    distribution is imported in its own environment.
    """
    names = {argument for argument in session.posargs if not argument.startswith("-")}
    imports_only = "--imports" in session.posargs
    # uv makes an environment in a second where pip needs ten, and there is one for each plugin.
    session.install("build", "uv", *load(CORE)["build-system"]["requires"])
    scratch = Path(session.create_tmp()).resolve()
    # create_tmp() has set it to a directory in a git repository, and tests need directories outside of any.
    session.env.pop("TMPDIR")
    built, wheelhouse, away = scratch / "dist", scratch / "wheelhouse", scratch / "away"
    for directory in (built, wheelhouse, away):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    for path in (*DISTRIBUTIONS, Path()):
        # Through the sdist, so that a file missing there is missed here.
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(built), f"./{path}", silent=True)
    check_meta_distribution(session, built)
    everything = [str(path) for path in sorted(built.glob("*.whl"))]
    session.run("pip", "wheel", "--quiet", "--wheel-dir", str(wheelhouse), *everything, *test_requirements())

    def environment(name: str, *requirements: str) -> Path:
        """The directory of the programs of a new environment with these requirements, all of them from wheels."""
        home = scratch / "environments" / name
        shutil.rmtree(home, ignore_errors=True)
        session.run(
            "uv", "venv", "--quiet", "--no-project", "--no-config", "--python", f"{session.bin}/python", str(home)
        )
        install(home / "bin", *requirements)
        return home / "bin"

    def install(programs: Path, *requirements: str) -> None:
        offline = ["--no-index", "--find-links", str(wheelhouse), "--cache-dir", str(scratch / "cache")]
        python = str(programs / "python")
        session.run("uv", "pip", "install", "--quiet", "--no-config", "--python", python, *offline, *requirements)

    def passes(*command: str) -> bool:
        """Whether a command succeeds; the others are run all the same, as they say more about one cause."""
        try:
            session.run(*command, external=True)
        except CommandFailed:
            return False
        return True

    # The tests see no source of ours: neither the tree nor anything that another distribution's tests have.
    shutil.copy(ROOT / "pyproject.toml", away)
    with session.chdir(away):
        failed: list[str] = []
        if not names:
            core = environment("core", "tinytown-core")
            if not passes(str(core / "python"), "-c", IMPORT_ALL, "tinytown"):
                failed.append("core")
            meta = environment("meta", "tinytown")
            if not all(passes(str(meta / "tt"), *words) for words in (["version"], ["--help"], ["plugins", "--json"])):
                failed.append("meta")
        chosen = [path for path in PLUGINS if not names or path.name in names]
        for path in chosen:
            name = load(path)["project"]["name"]
            programs = environment(path.name, name)
            packages = [package.name for package in (ROOT / path).glob("tinytown_*")]
            imports = passes(str(programs / "python"), "-c", IMPORT_ALL, *packages)
            if imports_only:
                failed += [] if imports else [path.name]
                continue
            install(programs, *group("test", path))
            shutil.copytree(ROOT / path / "tests", away / path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
            parallel = IN_PARALLEL if any("xdist" in text for text in group("test", path)) else []
            if (
                not passes(str(programs / "pytest"), "-q", "-p", "no:cacheprovider", *parallel, str(path))
                or not imports
            ):
                failed.append(path.name)
            shutil.rmtree(away / path)
    if failed:
        session.error(f"from wheels these failed: {', '.join(failed)}")


def check_meta_distribution(session: nox.Session, built: Path) -> None:
    """The wheel `tinytown` holds no module, and all that it depends on is among the wheels."""
    (path,) = built.glob("tinytown-*.whl")
    with zipfile.ZipFile(path) as wheel:
        modules = [name for name in wheel.namelist() if ".dist-info/" not in name]
        (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(wheel.read(metadata).decode())
    names = {Requirement(text).name for text in headers.get_all("Requires-Dist", [])}
    missing = [name for name in sorted(names) if not list(built.glob(f"{name.replace('-', '_')}-*.whl"))]
    if modules or missing or not names:
        session.error(f"the meta distribution holds {modules}, depends on {sorted(names)}, and {missing} is not built")


@nox.session
def minimums(session: nox.Session) -> None:
    """The tests on the lowest versions of our dependencies that pyproject.toml allows."""
    floors: dict[str, Version] = {}
    for path in DISTRIBUTIONS:
        for requirement in map(Requirement, load(path)["project"]["dependencies"]):
            applies = requirement.marker is None or requirement.marker.evaluate()
            if applies and not requirement.name.startswith("tinytown"):
                (floor,) = (Version(clause.version) for clause in requirement.specifier if clause.operator == ">=")
                floors[requirement.name] = max(floor, floors.get(requirement.name, floor))
    pins = [f"{name}=={floor}" for name, floor in floors.items()]
    session.install(*editable(), *pins, *test_requirements())
    run_pytest(session, *test_paths())
