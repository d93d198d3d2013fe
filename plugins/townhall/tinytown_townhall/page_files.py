"""The files of the web page and of the views that plugins add: read once from their packages, and served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


#: Addresses within the page, which it finds its way by itself.
_VIEWS = ("/", "/board", "/history", "/agents/{name}", "/tasks/{id}")
_INDEX = "/index.html"


class PageFiles:
    """The files below ``page``, and below ``/extensions/NAME`` those of plugins. The addresses of views are ``index.html``."""

    def __init__(self, pages: Mapping[str, Traversable] | None = None, views: Iterable[str] = ()) -> None:
        self._views = (*_VIEWS, *(path for view in views for path in (f"/{view}", f"/{view}/{{id}}")))
        self._files: dict[str, tuple[bytes, str, str]] = {}
        self._read(files("tinytown_townhall") / "page", "/")
        for name, directory in (pages or {}).items():
            self._read(directory, f"/extensions/{name}/")

    def _read(self, directory: Traversable, path: str) -> None:
        for each in directory.iterdir():
            if each.is_dir():
                self._read(each, f"{path}{each.name}/")
            elif media_type := _TYPES.get(f".{each.name.rpartition('.')[2]}"):
                content = each.read_bytes()
                tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
                self._files[path + each.name] = (content, media_type, tag)

    def routes(self) -> list[Route]:
        """A route for each file and view."""
        return [Route(path, self._respond, methods=["GET"]) for path in (*self._files, *self._views)]

    async def _respond(self, request: Request) -> Response:
        content, media_type, tag = self._files.get(request.url.path, self._files[_INDEX])
        # Asked again each time, so that a page never mixes two versions.
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)
