"""Who may talk to the page, before anything of a request is looked at.

The page is for one machine, or for people who were given its link. Against other sites open in the same browser: the
`Host` must be ours (a foreign name that resolves to this machine is refused: DNS rebinding), a request that changes
something must come from our own page (`Origin`), and the cookie is `SameSite=Strict`. Against everybody else: a random
token in the first link, later the cookie. Bodies are bounded, whatever their header says.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Role = Literal["annotator", "owner"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),  # the first link holds the token
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_OPEN_PATHS = "/static/"  # the page's own script and style, the same for everybody


class Refused(Exception):
    """A request that is answered with `status` and a reason."""

    def __init__(self, status: int, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.status, self.what, self.remedy = status, what, remedy


@dataclass(frozen=True)
class Tokens:
    """Random; `annotator` opens the page, `owner` also who labelled what."""

    annotator: str
    owner: str

    @classmethod
    def new(cls) -> Tokens:
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    def role(self, token: str) -> Role | None:
        if secrets.compare_digest(token.encode(), self.owner.encode()):
            return "owner"
        return "annotator" if secrets.compare_digest(token.encode(), self.annotator.encode()) else None


def cookie_name(root: Path) -> str:
    """Of a run: cookies do not know ports, and two runs may be served at once."""
    return f"s4al-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"


class Guard:
    """ASGI middleware: refuses, or calls `app` with `scope["role"]` set, and puts the safety headers on every answer.

    Parameters
    ----------
    bound : the address the server listens at, as given with --host.
    cookie : its name.
    most_bytes : of a request's body.
    """

    def __init__(self, app: Application, *, bound: str, cookie: str, tokens: Tokens, most_bytes: int) -> None:
        self._app, self._bound, self._cookie, self._tokens = app, bound, cookie, tokens
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started = False
        set_cookie: list[tuple[bytes, bytes]] = []

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_HEADERS, *set_cookie]
            await send(message)

        try:
            if scope["type"] != "http":
                raise Refused(403, "Only HTTP is spoken here.")
            token = self._admit(scope)
            if token:
                value = f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict"
                set_cookie.append((b"set-cookie", value.encode()))
            await self._app(scope, self._bounded(scope, receive), guarded_send)
        except Refused as refusal:
            if started:
                raise
            await _refuse(refusal, scope, guarded_send)

    def _admit(self, scope: Scope) -> str:
        """Set the role; the token for a new cookie, where the request brought one in its link. Raises Refused."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not is_our_host(host, self._bound):
            raise Refused(421, "This server does not answer to that name.", "Use the link that s4al printed.")
        scope["role"] = None
        if scope["path"].startswith(_OPEN_PATHS):
            return ""
        _check_origin(scope, headers, host)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most_bytes:
            raise _too_large(self._most_bytes)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        scope["role"] = self._tokens.role(given) if given else None
        if scope["role"] is not None:
            return given
        scope["role"] = self._tokens.role(_cookie_value(headers.get("cookie", ""), self._cookie))
        if scope["role"] is None:
            raise Refused(403, "This link is not valid (any more).", "Open the link that `s4al label serve` printed.")
        return ""

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        left = self._most_bytes

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(self._most_bytes)
            return message

        return bounded


def is_our_host(header: str, bound: str) -> bool:
    """Whether a Host header names this server. Its port may be another one: of a tunnel (ssh -L).

    An IP address cannot be rebound to another server, a foreign name can; beyond loopback the addresses under which
    this machine is known are not known to it, so all of them are taken there.
    """
    name = _host_name(header).lower()
    if name in _LOOPBACK_NAMES:
        return True
    if bound in _LOOPBACK_NAMES:
        return False
    own_names = {bound.lower(), socket.gethostname().lower()}
    return name in own_names or _is_address(name)


def _host_name(header: str) -> str:
    """Without port and brackets; "" where it is malformed."""
    if header.startswith("["):
        name, closed, port = header[1:].partition("]")
        return name if closed and (not port or (port[0] == ":" and port[1:].isdecimal())) else ""
    name, colon, port = header.partition(":")
    return name if not colon or port.isdecimal() else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_origin(scope: Scope, headers: dict[str, str], host: str) -> None:
    """Raises Refused: another site's page asks for it."""
    origin = headers.get("origin", "")
    ours = origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
    changes = scope["method"] not in ("GET", "HEAD")
    foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] not in (
        "/",
        "/admin",
    )
    if foreign or (origin and not ours) or (changes and not ours):
        raise Refused(403, "Only this server's own page may ask for that.", "Open the page by its link.")


def _cookie_value(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _too_large(most_bytes: int) -> Refused:
    return Refused(413, f"The request is larger than {most_bytes:,} bytes.", "Nothing was stored. Reload the page.")


async def _refuse(refusal: Refused, scope: Scope, send: Send) -> None:
    """JSON for the script, one plain line for a person."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    if scope["path"].startswith("/api/"):
        kind, body = b"application/json", json.dumps({"what": refusal.what, "kept": "", "remedy": refusal.remedy})
    else:
        kind, body = b"text/plain; charset=utf-8", f"{refusal.what} {refusal.remedy}\n"
    # What is left of a body is never read: the connection ends.
    headers = [
        (b"content-type", kind),
        (b"connection", b"close"),
        (b"content-length", str(len(body.encode())).encode()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
