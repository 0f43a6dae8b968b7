"""Static files under names that change with their content, so that browsers keep them for ever."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

from flask import Flask, Response, abort, request

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """One file as it is served."""

    address: str
    body: bytes
    packed: bytes
    mimetype: str


class StaticFiles:
    """The files of web/static, read once."""

    def __init__(self) -> None:
        folder = resources.files("web").joinpath("static")
        found = (_read(entry.name, entry.read_bytes()) for entry in folder.iterdir())
        self._files = dict(found)
        self._by_address = {file.address: file for file in self._files.values()}

    def mount(self, app: Flask) -> None:
        """Serve them under /static."""
        app.add_url_rule("/static/<name>", "static_file", self._serve)

    def address(self, name: str) -> str:
        """Return the address of a file, relative to the root of the pages."""
        return f"static/{self._files[name].address}"

    def _serve(self, name: str) -> Response:
        file = self._by_address.get(name) or abort(404, "There is no such file.")
        packed = request.accept_encodings.quality("gzip") > 0
        response = Response(file.packed if packed else file.body, mimetype=file.mimetype)
        response.headers["Cache-Control"] = _FOR_EVER
        response.headers["Vary"] = "Accept-Encoding"
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        return response


def _read(name: str, body: bytes) -> tuple[str, StaticFile]:
    stem, _, kind = name.rpartition(".")
    digest = hashlib.sha256(body).hexdigest()[:12]
    address = f"{stem}.{digest}.{kind}"
    return name, StaticFile(address, body, gzip.compress(body, mtime=0), _TYPES[kind])
