"""The part of Go's text templates that legs use: values, ``if``, ``else``, ``range``, ``with``. Pure.

Undefined names are empty and false. Functions and pipelines are not supported; a template with one is
refused, and the error quotes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(r"(\s*\{\{-|\{\{)\s*(.*?)\s*(-\}\}\s*|\}\})", re.DOTALL)
_PATH = re.compile(r"\.[A-Za-z_][\w.-]*|\.|\$|\$\.[A-Za-z_][\w.-]*")
_DEPTH = 50

Node = str | tuple[str, str, list[Any], list[Any]]


class TemplateError(ValueError):
    """An invalid template; the message quotes the part."""


def render(template: str, values: Mapping[str, Any]) -> str:
    """`template` with `values` put in. Raises: TemplateError."""
    tokens = _tokens(template)
    nodes, end = _parse(tokens, 0, 0)
    if end < len(tokens):
        raise TemplateError(f"{{{{{tokens[end][1]}}}}} without an opening block")
    return "".join(_render(nodes, values, values))


def _tokens(template: str) -> list[tuple[str, str]]:
    """Texts and actions in turn: ``("text", ...)`` or ``("action", ...)``."""
    tokens: list[tuple[str, str]] = []
    at = 0
    for match in _TOKEN.finditer(template):
        tokens += [("text", template[at : match.start()]), ("action", match[2])]
        at = match.end()
    tokens.append(("text", template[at:]))
    return [(kind, text) for kind, text in tokens if text or kind == "action"]


def _parse(tokens: Sequence[tuple[str, str]], at: int, depth: int) -> tuple[list[Node], int]:
    """Nodes up to an ``else`` or ``end`` of an enclosing block."""
    if depth > _DEPTH:
        raise TemplateError("blocks are nested too deeply")
    nodes: list[Node] = []
    while at < len(tokens):
        kind, text = tokens[at]
        if kind == "text":
            nodes.append(text)
            at += 1
            continue
        word, _, rest = text.partition(" ")
        if word in ("else", "end"):
            return nodes, at
        if text.startswith("/*"):
            at += 1
        elif word in ("if", "range", "with"):
            node, at = _parse_block(tokens, at, word, rest.strip(), depth)
            nodes.append(node)
        else:
            _check(text)
            nodes.append(("value", text, [], []))
            at += 1
    if depth:
        raise TemplateError("a block without {{end}}")
    return nodes, at


def _parse_block(tokens: Sequence[tuple[str, str]], at: int, word: str, subject: str, depth: int) -> tuple[Node, int]:
    _check(subject.removeprefix("not ").strip() if word == "if" else subject)
    body, at = _parse(tokens, at + 1, depth + 1)
    otherwise: list[Node] = []
    if at < len(tokens) and tokens[at][1].partition(" ")[0] == "else":
        rest = tokens[at][1].partition(" ")[2].strip()
        if rest:  # else if: a block of its own that shares the end
            inner, _, further = rest.partition(" ")
            node, at = _parse_block(tokens, at, inner, further.strip(), depth + 1)
            return (word, subject, body, [node]), at
        otherwise, at = _parse(tokens, at + 1, depth + 1)
    if at >= len(tokens) or tokens[at][1] != "end":
        raise TemplateError(f"{{{{{word} {subject}}}}} without {{{{end}}}}")
    return (word, subject, body, otherwise), at + 1


def _check(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise TemplateError(f"{{{{{path[:80]}}}}} is not supported; known are if, else, range, with and end")


def _render(nodes: Sequence[Node], here: Any, root: Mapping[str, Any]) -> list[str]:
    out: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
            continue
        word, subject, body, otherwise = node
        negated = word == "if" and subject.startswith("not ")
        value = _value(subject.removeprefix("not ").strip() if negated else subject, here, root)
        if word == "value":
            out.append(_text(value))
        elif word == "range":
            items: list[Any] = [*value] if isinstance(value, list | tuple) else [value] if value else []
            for item in items:
                out += _render(body, item, root)
            if not items:
                out += _render(otherwise, here, root)
        else:
            chosen = body if bool(value) != negated else otherwise
            out += _render(chosen, value if word == "with" and value else here, root)
    return out


def _value(path: str, here: Any, root: Mapping[str, Any]) -> Any:
    current = root if path.startswith("$") else here
    for name in path.removeprefix("$").split("."):
        if name:
            current = current.get(name, "") if isinstance(current, Mapping) else ""  # pyright: ignore
    return current  # pyright: ignore


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))  # pyright: ignore
    return str(value)
