"""The HTTP interface of the page. Regions are numbers; no path, and no name of a file, comes from a client.

    GET  /?token=T                     the page, and the cookie
    GET  /admin?token=T                who labelled what (the owner's token)
    GET  /api/round                    classes, colours, what kind of round it is
    POST /api/lease                    {round, client, annotator, holding: [numbers], more} -> {regions, lost, progress}
    POST /api/leave                    {client, annotator}: the page was closed
    GET  /api/regions/N?client=&annotator=   a message (below) with all that is shown of a region
    POST /api/regions/N/answer         a message: {round, client, annotator, seconds, tool} and class ids, a byte each
    POST /api/regions/N/skip           {round, client, annotator, seconds, tool}
    POST /api/classes                  {name} -> {id}
    GET  /api/regions/N/painted?which=first|second     POST /api/regions/N/reopen     (owner)

A message is a length (4 bytes, little-endian), so many bytes of JSON, then parts one after the other. A region's JSON
names them, `parts: [{name, type, shape}]`: arrays (uint8, uint16) segments, guess, uncertainty and mine, the answer
that this person gave; and pictures (image/png, image/jpeg) view and thumbnail. An error is `{what, kept, remedy}` with
a status of 4xx. A script has to send what a browser does: the cookie, and with POST an `Origin` of this server.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s4al.annotate.colours import alike, told_apart
from s4al.annotate.page import overview
from s4al.annotate.page.desk import Desk, Person, StaleLease, UnknownRegion, checked_name
from s4al.annotate.page.guard import Application, Guard, Refused, Tokens, cookie_name
from s4al.errors import ConfigError, DataError, RunStateError, S4alError, StorageError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_MOST_JSON = 2**16
_COMPRESSED_FROM = 2**18  # bytes of a message: less is sent faster than it is packed
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_CLIENT = re.compile(r"[A-Za-z0-9-]{8,64}")
_STATUS = {UnknownRegion: 404, StaleLease: 409, RunStateError: 409, StorageError: 507}


@dataclass(frozen=True)
class PageSettings:
    """What the page is told: whose name it begins with ("" = it asks), and what comes after the round."""

    annotator: str
    next_command: str
    bound: str = "127.0.0.1"


def build_app(desk: Desk, tokens: Tokens, settings: PageSettings) -> Application:
    """The guarded ASGI application."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    pages = _Pages(desk, settings)
    region = "/api/regions/{number:int}"
    app = Starlette(
        routes=[
            Route("/", pages.page),
            Route("/admin", pages.admin),
            Route("/static/{name}", pages.asset),
            Route("/api/round", pages.round),
            Route("/api/lease", pages.lease, methods=["POST"]),
            Route("/api/leave", pages.leave, methods=["POST"]),
            Route("/api/classes", pages.add_class, methods=["POST"]),
            Route(region, pages.region),
            Route(f"{region}/painted", pages.painted),
            Route(f"{region}/answer", pages.answer, methods=["POST"]),
            Route(f"{region}/skip", pages.skip, methods=["POST"]),
            Route(f"{region}/reopen", pages.reopen, methods=["POST"]),
        ],
        exception_handlers={S4alError: _explain, Refused: _refuse},
    )
    largest = max(((q.y1 - q.y0) * (q.x1 - q.x0) for q in desk.round.queries), default=0)
    return Guard(
        app,
        bound=settings.bound,
        cookie=cookie_name(desk.round.run.root),
        tokens=tokens,
        most_bytes=largest + _MOST_JSON,
    )


class _Pages:
    """The endpoints. What reads or writes files runs in a thread, so that one slow image holds up nobody else."""

    def __init__(self, desk: Desk, settings: PageSettings) -> None:
        self._desk, self._settings = desk, settings
        folder = resources.files("s4al.annotate.page") / "static"
        self._assets = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
        self._modules = sorted(name for name in self._assets if name.endswith(".js") and name != "admin.js")

    # ------------------------------------------------------------------------------------------------- pages

    async def page(self, request: Request) -> Response:
        is_owner = request.scope["role"] == "owner"
        return _html("page.html", round=self._about_round(), is_owner=is_owner, modules=self._modules)

    async def admin(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        _owner_only(request)
        number = request.query_params.get("page", "1")
        page = int(number) if number.isdecimal() and len(number) < 9 else 1
        content = await run_in_threadpool(overview.overview, self._desk, page)
        return _html("admin.html", run=self._desk.round.run.root.name, next=self._settings.next_command, **content)

    async def asset(self, request: Request) -> Response:
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in self._assets:
            raise Refused(404, "There is no such file.")
        return Response(self._assets[name], media_type=_MEDIA_TYPES[Path(name).suffix])

    # --------------------------------------------------------------------------------------------------- api

    async def round(self, request: Request) -> Response:
        return _json_response(self._about_round())

    def _about_round(self) -> dict[str, Any]:
        desk, round = self._desk, self._desk.round
        names, colours = round.class_names, round.palette
        apart = told_apart(len(names))
        return {
            "id": desk.round_id,
            "run": round.run.root.name,
            "cycle": round.cycle,
            "classes": [
                {"id": i, "name": name, "colour": colours[i].tolist(), "apart": apart[i].tolist()}
                for i, name in enumerate(names)
            ],
            "alike": alike(colours),
            "blank": desk.blank,
            "annotator": self._settings.annotator,
            "next": self._settings.next_command,
        }

    async def lease(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        body = _parsed(await _body(request, _MOST_JSON))
        holding, more = body.get("holding", []), body.get("more", 0)
        if not (isinstance(holding, list) and all(type(n) is int for n in holding) and type(more) is int):
            raise ConfigError("`holding` is a list of numbers of regions, `more` is a number.")
        self._desk.check_round(body.get("round"))
        return _json_response(await run_in_threadpool(self._desk.lease, _person(body), holding, more))

    async def leave(self, request: Request) -> Response:
        self._desk.leave(_person(_parsed(await _body(request, _MOST_JSON))))
        return _json_response({})

    async def region(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        person = _person(dict(request.query_params))
        return await run_in_threadpool(self._message, request.path_params["number"], person)

    def _message(self, number: int, person: Person) -> Response:
        from starlette.responses import Response

        prepared, mine_HW, seconds = self._desk.prepared(number, person)
        arrays = dict(prepared.arrays) if mine_HW is None else {**prepared.arrays, "mine": mine_HW}
        parts = [
            (name, str(array.dtype), array.shape, np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
            for name, array in arrays.items()
        ]
        parts += [(name, kind, (len(data),), data) for name, (kind, data) in prepared.pictures.items()]
        listed = [{"name": name, "type": kind, "shape": shape} for name, kind, shape, _ in parts]
        about = json.dumps({**prepared.about, "parts": listed, "seconds": seconds}).encode()
        message = b"".join([len(about).to_bytes(4, "little"), about, *(data for *_, data in parts)])
        headers = {}
        if len(message) > _COMPRESSED_FROM:
            message, headers = gzip.compress(message, 1), {"content-encoding": "gzip"}
        return Response(message, media_type="application/octet-stream", headers=headers)

    async def answer(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        query = self._desk.query(request.path_params["number"])
        about, labels = _unpacked(await _body(request, (query.y1 - query.y0) * (query.x1 - query.x0) + _MOST_JSON))
        self._desk.check_round(about.get("round"))
        seconds, tool = _seconds_and_tool(about)
        save = self._desk.answer
        return _json_response(await run_in_threadpool(save, query.number, _person(about), labels, seconds, tool))

    async def skip(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        body = _parsed(await _body(request, _MOST_JSON))
        number = request.path_params["number"]
        self._desk.check_round(body.get("round"))
        seconds, tool = _seconds_and_tool(body)
        return _json_response(await run_in_threadpool(self._desk.skip, number, _person(body), seconds, tool))

    async def add_class(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        name = _parsed(await _body(request, _MOST_JSON)).get("name")
        if not isinstance(name, str):
            raise ConfigError("A class has a name.", remedy="Type one.")
        return _json_response({"id": await run_in_threadpool(self._desk.add_class, name)})

    async def reopen(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        _owner_only(request)
        await run_in_threadpool(self._desk.reopen, request.path_params["number"])
        return _json_response({"reopened": request.path_params["number"]})

    async def painted(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        _owner_only(request)
        which = "second" if request.query_params.get("which") == "second" else "first"
        picture = await run_in_threadpool(overview.painted_answer, self._desk, request.path_params["number"], which)
        return Response(picture, media_type="image/png")


def _owner_only(request: Request) -> None:
    if request.scope["role"] != "owner":
        raise Refused(403, "That is for whoever runs this round.", "Use the second link that s4al printed.")


def _person(body: dict[str, Any]) -> Person:
    client = body.get("client")
    if not (isinstance(client, str) and _CLIENT.fullmatch(client)):
        raise ConfigError("`client` names the open page: 8 to 64 letters, digits and hyphens.")
    return Person(client, checked_name(body.get("annotator")))


def _seconds_and_tool(body: dict[str, Any]) -> tuple[float, str]:
    seconds, tool = body.get("seconds", 0.0), body.get("tool", "page")
    number = float(seconds) if isinstance(seconds, int | float) and abs(seconds) < 1e9 else 0.0
    return number, tool if isinstance(tool, str) and re.fullmatch(r"[a-z+-]{1,64}", tool) else "page"


async def _body(request: Request, most: int) -> bytes:
    """Raises Refused beyond `most` bytes, which the guard's own bound may be above."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"The request is larger than {most:,} bytes.", "Nothing was stored. Reload the page.")
        parts.append(part)
    return b"".join(parts)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError("The request is not JSON.", kept="Nothing was stored.") from error
    if not isinstance(value, dict):
        raise ConfigError("The request is not a JSON object.", kept="Nothing was stored.")
    return value


def _unpacked(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON and the rest of a message."""
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 or length > min(len(data) - 4, _MOST_JSON):
        raise DataError("The answer was cut off on its way.", kept="Nothing was stored.", remedy="Send it again.")
    return _parsed(data[4 : 4 + length]), data[4 + length :]


def _json_response(value: Any, status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(value, status)


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, S4alError)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 422)
    return _json_response({"what": error.what, "kept": error.kept, "remedy": error.remedy}, status)


async def _refuse(request: Request, error: Exception) -> Response:
    from starlette.responses import PlainTextResponse

    assert isinstance(error, Refused)
    if request.url.path.startswith("/api/"):
        return _json_response({"what": error.what, "kept": "", "remedy": error.remedy}, error.status)
    return PlainTextResponse(f"{error.what} {error.remedy}\n", error.status)


def _html(name: str, **values: Any) -> Response:
    from starlette.responses import HTMLResponse

    return HTMLResponse(_templates().get_template(name).render(**values))


@lru_cache(maxsize=1)
def _templates() -> Any:
    import jinja2

    loader = jinja2.FileSystemLoader(str(resources.files("s4al.annotate.page") / "templates"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
