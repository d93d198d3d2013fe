"""The endpoints as tools for models: one tool for each, with schemas of the same structs. Pure but for `call`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response
from tinytown.errors import UsageError
from tinytown.model.text import shown

from tinytown_townhall.routing import Call, Endpoint

_REF = "#/$defs/{name}"
#: Names of functions whose tools end something that runs, or remove something for good.
_DESTRUCTIVE = re.compile(r"^(remove|delete|drop|prune|kill|restart|cancel|freeze|reclaim)_")


@dataclass(frozen=True, slots=True)
class TownTool:
    """One endpoint as a tool. `arguments` is a struct with the parts of its path, its query and its body side by side."""

    endpoint: Endpoint
    arguments: type[msgspec.Struct]

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def description(self) -> str:
        return f"{self.endpoint.summary}\n\n{self.endpoint.description}".strip()

    @property
    def changes(self) -> bool:
        """Whether a call does more than look."""
        return self.endpoint.method != "GET"

    @property
    def is_destructive(self) -> bool:
        """Whether it ends or removes something."""
        return _DESTRUCTIVE.match(self.name) is not None

    @property
    def input_schema(self) -> dict[str, Any]:
        return object_schema(self.arguments)

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """The schema of its answer; None for a tool that answers nothing."""
        return None if self.endpoint.answer is type(None) else object_schema(self.endpoint.answer)

    async def call(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        """The answer, ready for JSON. Raises: TinytownError."""
        try:
            given = msgspec.convert(dict(arguments), self.arguments)
        except msgspec.ValidationError as error:
            raise UsageError(f"{self.name}: {shown(str(error), 300)}") from error
        values = msgspec.structs.asdict(given)
        endpoint = self.endpoint
        parts = {name: values.pop(name) for name in endpoint.path_parameters}
        for name, kind in (("query", endpoint.query), ("body", endpoint.body)):
            if kind is not None:
                parts[name] = kind(**{field.name: values[field.name] for field in msgspec.structs.fields(kind)})
        answer = await endpoint.function(call, **parts)
        return {} if answer is None else msgspec.to_builtins(answer)


def town_tools(endpoints: Sequence[Endpoint]) -> dict[str, TownTool]:
    """A tool for each endpoint of which a model can make use, by name."""
    tools = [TownTool(endpoint, _arguments(endpoint)) for endpoint in endpoints if _is_tool(endpoint)]
    return {tool.name: tool for tool in tools}


def _is_tool(endpoint: Endpoint) -> bool:
    is_stream = isinstance(endpoint.answer, type) and issubclass(endpoint.answer, Response)
    return endpoint.scope is not None and endpoint.is_tool and not is_stream


def _arguments(endpoint: Endpoint) -> type[msgspec.Struct]:
    fields: list[Any] = [(name, str) for name in endpoint.path_parameters]
    for kind in (endpoint.query, endpoint.body):
        for field in msgspec.structs.fields(kind) if kind is not None else ():
            default = (
                msgspec.field(default=field.default) if field.default is not msgspec.NODEFAULT else msgspec.field()
            )
            fields.append((field.name, field.type, default))
    name = "".join(word.capitalize() for word in endpoint.name.split("_"))
    return msgspec.defstruct(name, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)


def object_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a struct, as one object with what it refers to below ``$defs``."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template=_REF)
    components = dict(components)
    schema: dict[str, Any] = dict(components.pop(reference["$ref"].rpartition("/")[2]))
    schema.pop("title", None)
    return {**schema, "$defs": components} if components else schema
