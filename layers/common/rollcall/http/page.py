"""The page: a folder of files that browsers show, as answers of a Lambda function. Loads no web framework.

`index.html` is a template. In it, `{{base}}` is the path of the API, below which all other addresses are;
`{{assets}}` is where the other files of the folder are; `{{library}}` is the address of the chart library; and
`{{preloads}}` has the browser fetch at once what `main.js` imports, and what that imports.

The scripts and styles have one version together, so that they may name each other by relative addresses. The chart
library has its own, so that browsers keep it when the page changes.
"""

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from rollcall.http.fixed_headers import FOR_A_YEAR, SECURITY_HEADERS
from rollcall.stack.settings import PageSettings

ASSETS = "/assets/{version}/{name}"
INDEX = "index.html"
MAIN = "main.js"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_TEXT = frozenset({".css", ".js", ".svg"})
# A path of an API: what cannot be one comes from nobody but who made the request up.
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?", re.ASCII)
_IMPORT = re.compile(r'^(?:import|\}) .*?from "\./([\w.]+)";$', re.MULTILINE)
# What no view of the page needs.
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

Answer = dict[str, Any]


class Unservable(Exception):
    """The folder is not one of a page; the text names the file and the reason."""


class _Asset(NamedTuple):
    content: bytes
    media_type: str
    compressed: bool
    """Whether it is smaller as gzip."""


class Page:
    """A folder as a page. It is read once, and each file is compressed when it is first asked for.

    Raises `Unservable` for a folder that cannot be served.
    """

    def __init__(self, folder: Path, library: Path, settings: PageSettings) -> None:
        files = {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.name != INDEX}
        charts = _asset(library)
        version, own = _version(files), _version({library.name: charts})
        self._assets = {(version, name): asset for name, asset in files.items()}
        self._assets[own, library.name] = charts
        self._bodies: dict[tuple[str, str], str] = {}
        preloads = "\n".join(
            f'<link rel="modulepreload" href="assets/{version}/{escape(name)}">' for name in _imported(files, MAIN)
        )
        index = (folder / INDEX).read_text()
        for name, text in (
            ("assets", f"assets/{version}"),
            ("library", f"assets/{own}/{library.name}"),
            ("preloads", preloads),
        ):
            index = index.replace("{{" + name + "}}", text)
        unknown = set(re.findall(r"\{\{(.*?)\}\}", index)) - {"base"}
        if unknown:
            raise Unservable(f"{INDEX} names {', '.join(sorted(unknown))}, which nothing fills in")
        self._index = index
        self._shown = settings.shown
        ancestors = " ".join(settings.frame_ancestors) or "'none'"
        self._index_headers = {
            **SECURITY_HEADERS,
            # It names the versions, so that browsers ask for it each time.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": "; ".join(
                (
                    "default-src 'none'",
                    "script-src 'self'",
                    "style-src 'self'",
                    "img-src 'self' data:",
                    "font-src 'self'",
                    # It sends files to presigned URLs.
                    " ".join(["connect-src", "'self'", *settings.upload_origins]),
                    "object-src 'none'",
                    "base-uri 'self'",
                    "form-action 'none'",
                    f"frame-ancestors {ancestors}",
                )
            ),
            "Content-Type": "text/html; charset=utf-8",
            "Cross-Origin-Opener-Policy": "same-origin",
            # A page that embeds this one may demand it.
            "Cross-Origin-Resource-Policy": "cross-origin" if settings.frame_ancestors else "same-origin",
            "Permissions-Policy": _PERMISSIONS,
        }

    def answer(self, event: Mapping[str, Any]) -> Answer:
        """Answer a request that API Gateway hands on."""
        answered = self._answer(event)
        if event["httpMethod"] == "HEAD":
            answered |= {"body": "", "isBase64Encoded": False}
        return answered

    def _answer(self, event: Mapping[str, Any]) -> Answer:
        if not self._shown:
            return _not_found("This stack shows no page.")
        if event["resource"] != ASSETS:
            return _answered(HTTPStatus.OK, self._index_headers, self._index_at(event["requestContext"]["path"]))
        named = event["pathParameters"]
        place = (named["version"], named["name"])
        if place not in self._assets:
            return _not_found("The page has no such part; load it again.")
        return self._asset_at(place, _takes_gzip(event["headers"] or {}))

    def _index_at(self, path: str) -> str:
        """The template for an API at a path, which may come without its last slash."""
        base = f"{path.rstrip('/')}/" if _PATH.fullmatch(path) else "./"
        return self._index.replace("{{base}}", base)

    def _asset_at(self, place: tuple[str, str], compress: bool) -> Answer:
        asset = self._assets[place]
        headers = {
            **SECURITY_HEADERS,
            "Cache-Control": FOR_A_YEAR,
            "Content-Type": asset.media_type,
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if not asset.compressed:
            return _answered(HTTPStatus.OK, headers, b64encode(asset.content).decode(), binary=True)
        headers["Vary"] = "Accept-Encoding"
        if not compress:
            return _answered(HTTPStatus.OK, headers, asset.content.decode())
        if place not in self._bodies:
            self._bodies[place] = b64encode(gzip.compress(asset.content, mtime=0)).decode()
        # API Gateway compresses no answer that says that it is compressed.
        return _answered(HTTPStatus.OK, {**headers, "Content-Encoding": "gzip"}, self._bodies[place], binary=True)


def _asset(path: Path) -> _Asset:
    if path.suffix not in _TYPES:
        raise Unservable(f"{path.name} is of no kind that the page may have: {', '.join(_TYPES)}")
    return _Asset(path.read_bytes(), _TYPES[path.suffix], path.suffix in _TEXT)


def _version(files: Mapping[str, _Asset]) -> str:
    """What changes with the name or the content of any file."""
    digest = sha256()
    for name, asset in files.items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode())
        digest.update(asset.content)
    return digest.hexdigest()[:16]


def _imported(files: Mapping[str, _Asset], name: str) -> list[str]:
    """The scripts that a script needs to begin: itself, what it imports, and what that imports."""
    found, new = set(), {name}
    while new:
        found |= new
        imported = (_IMPORT.findall(files[each].content.decode()) for each in new if each in files)
        new = set().union(*imported) - found
    return sorted(found & files.keys())


def _takes_gzip(headers: Mapping[str, str]) -> bool:
    """Whether `Accept-Encoding` names gzip, and not with the weight 0."""
    (value, *_) = [text for name, text in headers.items() if name.lower() == "accept-encoding"] or [""]
    for part in value.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "x-gzip"):
            return not re.fullmatch(r"q=0(\.0*)?", weight.strip())
    return False


def _not_found(message: str) -> Answer:
    status = HTTPStatus.NOT_FOUND
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "code": "not_found", "message": message}
    return _answered(status, {**SECURITY_HEADERS, "Content-Type": "application/problem+json"}, json.dumps(problem))


def _answered(status: HTTPStatus, headers: Mapping[str, str], body: str, *, binary: bool = False) -> Answer:
    return {"statusCode": int(status), "headers": dict(headers), "body": body, "isBase64Encoded": binary}
