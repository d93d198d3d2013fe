"""Writes the API reference: a page for each public module, from its source alone; nothing is imported.

The build of the manual calls `write`; the pages are not kept in the repository. A public module is one that a plugin may import,
as `tests/repository/test_floors.py` has it for the core; of our libraries, those that `LIBRARIES` names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Stability = Literal["stable", "provisional"]

#: What the marks mean, for the head of the pages.
MARKS: Mapping[Stability, str] = {
    "stable": "A change that breaks callers is announced: the old way works for one more release.",
    "provisional": "May change in any release. The notes of the release say so.",
}

#: The public modules of the core that are not stable. All others are.
PROVISIONAL = {
    "tinytown.concurrency",
    "tinytown.entry_points",
    "tinytown.exports",
    "tinytown.files",
    "tinytown.identity",
    "tinytown.interrupts",
    "tinytown.kernel",
    "tinytown.packages",
    "tinytown.plugin",
    "tinytown.protocol",
    "tinytown.redis",
    "tinytown.state",
}

#: The public modules of our libraries, each with the folder of its distribution and its mark.
LIBRARIES: Mapping[str, tuple[str, Stability]] = {
    "tinytown_acp": ("acp", "provisional"),
    "tinytown_adapters": ("adapters", "provisional"),
    "tinytown_api": ("api", "provisional"),
    "tinytown_cli.client": ("cli", "stable"),
    "tinytown_cli.contracts": ("cli", "stable"),
    "tinytown_cli.hookspecs": ("cli", "stable"),
    "tinytown_cli.public": ("cli", "stable"),
    "tinytown_mcp.contracts": ("mcp", "stable"),
    "tinytown_mcp.hookspecs": ("mcp", "stable"),
    "tinytown_prompts.roles": ("prompts", "stable"),
    "tinytown_sinks": ("sinks", "stable"),
    "tinytown_testing": ("testing", "stable"),
    "tinytown_testing.fake_acp": ("testing", "provisional"),
    "tinytown_testing.models": ("testing", "provisional"),
    "tinytown_testing.recordings": ("testing", "provisional"),
    "tinytown_testing.towns": ("testing", "provisional"),
}


@dataclass(frozen=True)
class Entry:
    """A public name: how it is declared, what its docstring says, and what a class has in it."""

    name: str
    signature: str
    text: str
    members: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Page:
    """A public module."""

    name: str
    stability: Stability
    text: str
    entries: tuple[Entry, ...]

    def render(self) -> str:
        """The page, as Markdown."""
        parts = [f"# {self.name}\n", f"*{self.stability.capitalize()}.* {MARKS[self.stability]}\n", f"{self.text}\n"]
        for entry in self.entries:
            parts += [f"## {entry.name}\n", f"```python\n{entry.signature}\n```\n", f"{entry.text}\n"]
            for member in entry.members:
                parts += [f"```python\n{member.signature}\n```\n", f"{member.text}\n"]
        return "\n".join(parts)


@dataclass
class Sources:
    """The modules below some directories, parsed once."""

    tops: tuple[Path, ...]
    _parsed: dict[Path, ast.Module] = field(default_factory=dict[Path, ast.Module])

    def path(self, module: str) -> Path | None:
        """The file of a module; of a package with a stub, the stub."""
        for top in self.tops:
            place = top.joinpath(*module.split("."))
            for path in (place / "__init__.pyi", place / "__init__.py", place.with_suffix(".py")):
                if path.is_file():
                    return path
        return None

    def tree(self, path: Path) -> ast.Module:
        if path not in self._parsed:
            self._parsed[path] = ast.parse(path.read_text("utf-8"))
        return self._parsed[path]

    def docstring(self, module: str) -> str:
        path = self.path(module)
        assert path, module
        path = path.with_suffix(".py")
        return ast.get_docstring(self.tree(path)) or ""

    def find(self, module: str, name: str) -> Entry | None:
        """The entry of a name that a module defines or imports from another one of ours."""
        path = self.path(module)
        if path is None:
            return None
        lines = path.read_text("utf-8").splitlines()
        for node in _statements(self.tree(path).body):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        found = self.find(node.module, alias.name) or _submodule(self, node.module, alias.name)
                        return found and replace(found, name=name)
            elif name in _defined(node):
                return _entry(node, name, lines)
        return None


def _submodule(sources: Sources, package: str, name: str) -> Entry | None:
    module = f"{package}.{name}"
    return Entry(name, f"import {module}", sources.docstring(module)) if sources.path(module) else None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those for type checkers too."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        else:
            yield node


def _defined(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement defines for others: neither type variables, nor what makes a module a plugin."""
    match node:
        case ast.FunctionDef(decorator_list=[ast.Name(id="hookimpl"), *_]):
            return ()
        case ast.Assign(targets=[ast.Name(id="TINYTOWN_HOOK_API")]):
            return ()
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return (node.name,)
        case ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name(id="TypeVar"))):
            return ()
        case ast.Assign(targets=[ast.Name(id=name)]):
            return (name,)
        case _:
            return ()


def public_names(sources: Sources, module: str) -> tuple[str, ...]:
    """The names of a module for others: what it defines without an underscore, and what it exports."""
    path = sources.path(module)
    assert path, module
    tree = sources.tree(path)
    names: list[str] = []
    for node in _statements(tree.body):
        if isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.Assign) and _defined(node) == ("__all__",):
            names += ast.literal_eval(node.value)
        else:
            names += _defined(node)
    return tuple(sorted({name for name in names if not name.startswith("_") and name != "TYPE_CHECKING"}))


def _entry(node: ast.stmt, name: str, lines: list[str]) -> Entry:
    match node:
        case ast.ClassDef():
            bases = ", ".join(ast.unparse(each) for each in (*node.bases, *node.keywords))
            return Entry(
                name, f"class {name}({bases})" if bases else f"class {name}", _text(node), tuple(_members(node))
            )
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return Entry(name, _signature(node), _text(node))
        case _:
            return Entry(name, _shortened(ast.unparse(node)), _comment(node, lines))


def _members(node: ast.ClassDef) -> Iterator[Entry]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.name.startswith("_"):
            if not any(ast.unparse(decorator).endswith(".setter") for decorator in each.decorator_list):
                yield Entry(each.name, _signature(each), _text(each))
        elif (
            isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and not each.target.id.startswith("_")
        ):
            yield Entry(each.target.id, _shortened(ast.unparse(each)), "")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = "".join(
        f"@{name}\n"
        for each in node.decorator_list
        if (name := ast.unparse(each))
        in ("property", "classmethod", "staticmethod", "asynccontextmanager", "contextmanager")
    )
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{decorators}{word} {node.name}({ast.unparse(node.args)}){returns}"


def _text(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.get_docstring(node) or ""


def _comment(node: ast.stmt, lines: list[str]) -> str:
    """The comment ``#:`` above an assignment."""
    number, found = node.lineno - 2, list[str]()
    while number >= 0 and lines[number].startswith("#:"):
        found.insert(0, lines[number][2:].strip())
        number -= 1
    return " ".join(found)


def _shortened(text: str, length: int = 300) -> str:
    return text if len(text) <= length else f"{text[:length]} ..."


def core_modules(core: Path) -> list[str]:
    """The public modules of the core: its own, the fronts of its rooms, and all of ``tinytown.model``."""
    top = core / "tinytown"
    modules = [path.stem for path in top.glob("*.py") if not path.stem.startswith("__")]
    modules += [path.parent.name for path in top.glob("*/__init__.pyi")]
    modules += [f"model.{path.stem}" for path in (top / "model").glob("*.py") if not path.stem.startswith("_")]
    return ["tinytown", *sorted(f"tinytown.{name}" for name in modules)]


def pages(root: Path) -> list[Page]:
    """All pages of the reference."""
    folders = {folder for folder, _ in LIBRARIES.values()}
    sources = Sources((root / "core", *sorted(root / "plugins" / folder for folder in folders)))
    marks: dict[str, Stability] = {
        name: "provisional" if name in PROVISIONAL else "stable" for name in core_modules(root / "core")
    }
    marks |= {name: mark for name, (_, mark) in LIBRARIES.items()}
    made: list[Page] = []
    for module, mark in marks.items():
        entries = [sources.find(module, name) or Entry(name, name, "") for name in public_names(sources, module)]
        made.append(Page(module, mark, sources.docstring(module), tuple(entries)))
    return made


def write(root: Path, directory: Path) -> None:
    """Write the pages into a directory, and an index of them; what was there of an earlier build is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.md"):
        path.unlink()
    for page in pages(root):
        (directory / f"{page.name}.md").write_text(page.render(), "utf-8")
