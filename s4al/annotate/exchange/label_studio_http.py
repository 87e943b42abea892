"""Label Studio's HTTP interface: one address, one token, JSON in and out.

Only the address that a person names is called, and the token goes nowhere else: redirections are refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from s4al.errors import ConfigError, DataError

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"  # as Label Studio's own tools have it
_TIMEOUT_S = 120
_MOST_DIGITS = 10  # of a project's number
_MOST_BYTES = 2**31  # of an answer


def is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


class Server:
    """One Label Studio. `project` is the number in the address that was given, None without."""

    def __init__(self, url: str) -> None:
        self.base, self.project = _parse(url)
        self._token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not self._token or not self._token.isprintable():
            raise ConfigError(
                f"The environment variable {TOKEN_VARIABLE} holds no token of Label Studio.",
                remedy=f"Copy yours from {self.base}/user/account and set the variable.",
            )
        self._access = ""
        self._opener = urllib.request.build_opener(_NoRedirection)

    def get(self, path: str) -> Any:
        return self._json("GET", path)

    def post(self, path: str, value: Any) -> Any:
        return self._json("POST", path, json.dumps(value).encode(), "application/json")

    def patch(self, path: str, value: Any) -> Any:
        return self._json("PATCH", path, json.dumps(value).encode(), "application/json")

    def delete(self, path: str) -> None:
        self._open("DELETE", path).close()

    def upload(self, path: str, uploads: Sequence[Path]) -> Any:
        """Send files as a form does."""
        boundary = secrets.token_hex(16)
        body = bytearray()
        for file in uploads:
            head = f'Content-Disposition: form-data; name="{file.stem}"; filename="{file.name}"'
            body += f"--{boundary}\r\n{head}\r\nContent-Type: image/png\r\n\r\n".encode()
            body += file.read_bytes() + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return self._json("POST", path, bytes(body), f"multipart/form-data; boundary={boundary}")

    def download(self, path: str, target: IO[bytes]) -> None:
        """Write a long answer to a file. Raises DataError, OSError of the file."""
        with self._open("GET", path) as answer:
            left = _MOST_BYTES
            while block := self._read(answer, min(left, 2**20)):
                target.write(block)
                left -= len(block)
                if not left:
                    raise self.refused(f"sends more than {_MOST_BYTES:,} bytes")
            missing = answer.length
        if missing:
            raise self.refused(f"broke off {missing:,} bytes before the end")

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what is missing in an answer, or of another kind, into a DataError."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"answers in a form that is not known here ({type(error).__name__}: {error})"
            raise self.refused(reason) from error

    def refused(self, reason: str) -> DataError:
        return DataError(
            f"Label Studio at {self.base} {reason}.",
            kept="Nothing was changed in the run.",
            remedy="Then run the same command.",
        )

    def _json(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        with self._open(method, path, body, kind) as answer:
            data = self._read(answer, _MOST_BYTES)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.refused(f"does not answer {path} in JSON: is it a Label Studio?") from error

    def _read(self, answer: Any, count: int) -> bytes:
        try:
            return answer.read(count)
        except (OSError, HTTPException) as error:
            raise self.refused(f"broke off ({error})") from error

    def _open(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        try:
            return self._call(method, path, body, kind)
        except urllib.error.HTTPError as error:
            if error.code != 401 or not self._access:
                raise self._problem(method, path, error) from error
            error.close()
        self._access = ""  # it is good for minutes, an upload may take longer
        try:
            return self._call(method, path, body, kind)
        except urllib.error.HTTPError as error:
            raise self._problem(method, path, error) from error

    def _call(self, method: str, path: str, body: bytes | None, kind: str) -> Any:
        headers = {"Authorization": self._authorization(), **({"Content-Type": kind} if kind else {})}
        return self._request(method, path, body, headers)

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.base + path, body, headers, method=method)
        try:
            return self._opener.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise self.refused(f"cannot be reached ({reason})") from error

    def _authorization(self) -> str:
        """A legacy token is sent as it is; a personal access token (a JWT) is changed for one that lasts minutes."""
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        if not self._access:
            body = json.dumps({"refresh": self._token}).encode()
            answer = self._request("POST", "/api/token/refresh", body, {"Content-Type": "application/json"})
            with answer, self.understood():
                self._access = str(json.loads(self._read(answer, 2**16))["access"])
        return f"Bearer {self._access}"

    def _problem(self, method: str, path: str, error: urllib.error.HTTPError) -> DataError:
        with error:  # it holds the connection
            said = " ".join(self._read(error, 300).decode("utf-8", "replace").split())
        if error.code in (401, 403):
            return self.refused(f"does not accept the token in {TOKEN_VARIABLE} for {path}")
        if error.code in range(300, 400):
            place = str(error.headers.get("Location", ""))[:200]
            return self.refused(f"sends {path} elsewhere ({place}); name that address")
        return self.refused(f"answers {method} {path.partition('?')[0]} with {error.code} {error.reason}: {said}")


def _parse(url: str) -> tuple[str, int | None]:
    """The address of the server, and the number of the project where it is one's. Raises ConfigError."""
    try:
        parts = urllib.parse.urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, sound = urllib.parse.urlsplit(""), False
    if not sound or parts.username is not None:
        raise ConfigError(f"{url} is not an address of Label Studio.", remedy="Give it as http://HOST:8080.")
    before, _, after = parts.path.partition("/projects/")
    number = after.partition("/")[0]
    project = int(number) if number.isdecimal() and len(number) < _MOST_DIGITS else None
    return f"{parts.scheme}://{parts.netloc}{before.rstrip('/')}", project


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None
