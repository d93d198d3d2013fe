"""What plugins add to the townhall. The hook that returns it is in `hookspecs`.

A plugin need not import this module, nor depend on this distribution: anything with these members will do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from tinytown.town import Town


class Caller(Protocol):
    """Who sends a request, and the town that it is about: the first argument of a route's function."""

    @property
    def town(self) -> Town:
        """The town."""
        ...

    @property
    def asker(self) -> str:
        """For reasons that people read: ``requested by NAME in the townhall``."""
        ...


class Route(Protocol):
    """Something that can be asked: over HTTP, and as a tool of models.

    `path` begins with ``/v1/``; parts of it in braces are parameters of `function`. Besides these it may have a `body` and a
    `query`, both msgspec Structs with ``forbid_unknown_fields=True``. It returns a Struct, or None. Its name is that of the tool
    and its docstring the description of both. Raises: TinytownError, which becomes a problem with its code; anything else
    is answered as an internal error.
    """

    @property
    def method(self) -> str:
        """``GET``, which only looks, ``POST``, ``PATCH`` or ``DELETE``."""
        ...

    @property
    def path(self) -> str: ...

    @property
    def scope(self) -> str:
        """What a caller needs: ``town.read``, ``town.write``, ``agent.manage`` or ``admin``."""
        ...

    @property
    def function(self) -> Callable[..., Awaitable[Any]]: ...


class Panel(Protocol):
    """A view of the web page, with a place in its navigation.

    `view` is one word, the first part of its address; a second part is the `id` that the view is shown. `module` is a file below
    the extension's `page`: a JavaScript module that exports ``View``, a component of the page's own ``/ui.js``, with the property
    ``id``. `icon` is the path of an SVG picture of 24 by 24 units.
    """

    @property
    def view(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def icon(self) -> str: ...

    @property
    def module(self) -> str: ...


class Waiting(Protocol):
    """One thing that waits for a person. `label` says in a word what it is; `link` is the address in the page where
    it is decided."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def since(self) -> str | None:
        """Since when it waits, as RFC 3339."""
        ...

    @property
    def agent(self) -> str | None: ...

    @property
    def task(self) -> str | None: ...

    @property
    def link(self) -> str: ...


@runtime_checkable
class Extension(Protocol):
    """What a plugin adds: `routes`, `panels`, and the directory `page` with the files of the panels, if there are any.

    The page's files are served to everybody who reaches the townhall, so they hold no secret.
    """

    name: str
    routes: Sequence[Route] = ()
    panels: Sequence[Panel] = ()
    page: Traversable | None = None

    async def waiting(self, town: Town) -> Sequence[Waiting]:
        """What waits for a person. Called when something has happened and a page is open, at most five times a second.

        Raises: TinytownError; what it raises is reported once, and then nothing of it waits.
        """
        ...
