"""The server's life: its address, its links, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s4al import files
from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.page.guard import Tokens
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore, Progress
from s4al.errors import ConfigError, RunStateError
from s4al.run.state import Run

PORT = 8765
_TOKENS = "page.json"
_GRACE_S = 5  # for answers that are being stored when the server is asked to stop
_WARM = 4  # regions made ready before the first page is opened


@dataclass(frozen=True)
class Links:
    """`page` is for whoever labels, `overview` for whoever runs the round."""

    page: str
    overview: str


def serve(
    run: Run,
    *,
    host: str,
    port: int,
    blank: bool,
    overlap: float | None,
    annotator: str,
    next_command: str,
    ready: Callable[[Round, Links], None],
    complete: Callable[[Progress], None],
) -> Progress:
    """Serve the open round until SIGINT or SIGTERM; returns how far it is by then.

    Parameters
    ----------
    host : to listen at; loopback is for this machine alone.
    port : 0 takes a free one.
    ready : called with the links when the server listens.
    complete : called when the last region is done.

    Raises
    ------
    RunStateError : nothing is asked. ConfigError : the address is none of this machine's, or taken.
    """
    import uvicorn

    round = Round.open(run)
    store = AnswerStore(round)
    desk = Desk(round, store, blank=blank, overlap=overlap, on_complete=lambda: complete(store.progress()))
    tokens = _tokens(run.answers_folder(round.cycle))
    app = build_app(desk, tokens, PageSettings(annotator, next_command, host))
    listening = _listen(host, port)
    with listening:
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_S
        )
        base = f"http://{_url_host(host)}:{listening.getsockname()[1]}"
        ready(round, Links(f"{base}/?token={tokens.annotator}", f"{base}/admin?token={tokens.owner}"))
        threading.Thread(target=_warm, args=(desk,), name="s4al-warm", daemon=True).start()
        _run(uvicorn.Server(config), listening)
    return store.progress()


def _run(server: object, listening: socket.socket) -> None:
    """Until a signal. uvicorn hears it, ends in order, and raises it again: by then it has nothing to do any more."""
    import uvicorn

    assert isinstance(server, uvicorn.Server)
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda signum, frame: None) for each in signals}
    try:
        server.run(sockets=[listening])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _tokens(folder: Path) -> Tokens:
    """Of this round, kept for its time and for its owner alone: after a restart open pages still may send answers."""
    path = folder / _TOKENS
    try:
        tokens = Tokens(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        tokens = Tokens.new()
    except (TypeError, ValueError) as error:
        remedy = "Delete it: the links will be others."
        raise RunStateError(f"{path} is damaged: {error}.", kept="All answers are kept.", remedy=remedy) from error
    with files.storage_errors(f"writing {path}"):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        files.write_json(path, vars(tokens))
        path.chmod(0o600)
    return tokens


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address, family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        number = (error.errno if isinstance(error, OSError) else None) or 0
        reason = os.strerror(number) if number > 0 else str(error)  # an address that is no address has none
        raise ConfigError(
            f"The page cannot be served at {host}, port {port}: {reason}.",
            remedy="Name another --port (0 takes a free one), or another --host.",
        ) from error
    # Connections inherit it. asyncio sees to it for sockets of its own alone, and each answer would wait 40 ms for the
    # browser's acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _url_host(host: str) -> str:
    """What people type: a server that listens everywhere is reached by its name."""
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _warm(desk: Desk) -> None:
    """Makes the first regions ready, so that the first picture is there at once. Failures are told to whoever asks."""
    from s4al.annotate.colours import told_apart
    from s4al.errors import S4alError

    told_apart(len(desk.round.class_names))
    for query in desk.round.queries[:_WARM]:
        try:
            desk.pictures.prepared(query)
        except S4alError:
            return
