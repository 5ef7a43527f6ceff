"""Requests of the page itself, and the cookie that they bring.

A browser sends a cookie with whatever request any page makes. So a route that reads the cookie takes requests of the
page alone. It asks for a header that no form can set and that CORS never allows, and for the page's own origin where
the browser tells the origin.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import Header, Request

from rollcall.http.headers import add_headers
from rollcall.http.problems import Refused

PAGE_HEADER = "X-Rollcall-Page"
COOKIE = "rollcall_session"
# Below it are all routes that read the cookie, so that the browser sends it to no other.
COOKIE_ROUTE = "/auth/session"

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS = {"http": 80, "https": 443}
_BASE = re.compile(r"(/[A-Za-z0-9._~-]+)*")


async def own_page(
    request: Request,
    marked: Annotated[
        str | None, Header(alias=PAGE_HEADER, description="`1`, which pages of other origins cannot send")
    ] = None,
) -> None:
    """Refuse what a page of another origin could have a browser send; raises `Refused`."""
    if marked != "1" or len(request.headers.getlist(PAGE_HEADER)) != 1:
        raise Refused(403, "cross_site", f"the page sends {PAGE_HEADER}: 1", parameter=PAGE_HEADER)
    if any(site != "same-origin" for site in request.headers.getlist("sec-fetch-site")):
        raise Refused(403, "cross_site", "the page of this address alone may ask for this", parameter="Sec-Fetch-Site")
    if any(not _is_own(request, origin) for origin in request.headers.getlist("origin")):
        raise Refused(403, "cross_site", "the page of this address alone may ask for this", parameter="Origin")


async def of_json(request: Request) -> None:
    """Refuse a body that a form could send; raises `Refused`."""
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise Refused(415, "invalid_type", "the body has to be application/json", parameter="Content-Type")


def cookie_of(request: Request) -> str | None:
    """The value of the page's cookie; None without one, and where several are sent, of which one is not the page's."""
    pairs = (pair.partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";"))
    found = [value.strip() for name, _, value in pairs if name.strip() == COOKIE]
    return found[0] if len(found) == 1 else None


def set_cookie(request: Request, value: str, seconds: int) -> None:
    """Have the answer set the page's cookie."""
    secure = "" if _is_local(request) else "; Secure"
    path = f"{_base(request)}{COOKIE_ROUTE}"
    attributes = f"Max-Age={seconds}; Path={path}; HttpOnly; SameSite=Strict{secure}"
    add_headers(request, {"Set-Cookie": f"{COOKIE}={value}; {attributes}"})


def delete_cookie(request: Request) -> None:
    """Have the answer delete the page's cookie."""
    set_cookie(request, "", 0)


def _base(request: Request) -> str:
    """What the caller's path has before the route's: the stage, or nothing at a domain's root."""
    path, route = unquote(str(_context(request).get("path", ""))).removesuffix("/"), request.scope["route"].path
    base = path.removesuffix(route)
    return base if path.endswith(route) and _BASE.fullmatch(base) else ""


def _is_local(request: Request) -> bool:
    """Whether the request came by plain HTTP to this machine, where a browser may not take a cookie that is Secure.

    API Gateway says by itself which domain was asked. Emulators do not, and the header tells.
    """
    domain = _context(request).get("domainName") or request.headers.get("host", "")
    return _host(f"//{domain}") in _LOOPBACK and request.headers.get("x-forwarded-proto", "http") == "http"


def _is_own(request: Request, origin: str) -> bool:
    """Whether an origin is the one that the request was sent to."""
    schemes = ("http", "https") if _is_local(request) else ("https",)
    scheme, _, _ = origin.partition("://")
    if scheme not in schemes:
        return False
    return _place(origin, scheme) == _place(f"//{request.headers.get('host', '')}", scheme) is not None


def _place(url: str, scheme: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return host, port or _PORTS[scheme]


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _context(request: Request) -> Mapping[str, Any]:
    """What API Gateway says of a request."""
    event: Mapping[str, Any] = request.scope.get("aws.event") or {}
    return event.get("requestContext") or {}
