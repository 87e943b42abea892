"""Who labels which region at the moment: two people are never given the same one.

A lease lasts ten minutes and is renewed by activity. The leases are kept in a file, too: after a restart of the server
answers that waited in a browser come before anybody else is given their regions.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from s4al.files import TEMPORARY

LEASE_S = 600.0
LEFT_S = 20.0  # a page that is reloaded is back by then
RETURN_S = 30.0  # after a restart every page that is still open has come back by then


@dataclass(frozen=True)
class Lease:
    """`client` is one open page, `annotator` the person in front of it."""

    client: str
    annotator: str
    until: float


class Leases:
    """Not thread-safe: the desk holds its lock.

    Parameters
    ----------
    file : where they are kept over a restart; None for nowhere. One that is damaged counts as none.
    clock : seconds that only go forward, so that a clock that is set back neither ends a lease nor keeps it.
    """

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._by_region = _read(file, clock()) if file else {}

    def take(self, number: int, client: str, annotator: str) -> bool:
        """Give or renew the lease of region `number`; False where another page has it."""
        if self.holder(number, other_than=client) is not None:
            return False
        self._by_region[number] = Lease(client, annotator, self._clock() + LEASE_S)
        return True

    def holder(self, number: int, *, other_than: str) -> Lease | None:
        """The lease in force that another page than `other_than` has."""
        lease = self._by_region.get(number)
        if lease is None or lease.client == other_than or lease.until <= self._clock():
            return None
        return lease

    def release(self, number: int, client: str) -> None:
        lease = self._by_region.get(number)
        if lease is not None and lease.client == client:
            del self._by_region[number]

    def leave(self, client: str) -> None:
        """A page was closed, or is being reloaded: its leases end soon."""
        until = self._clock() + LEFT_S
        for number, lease in self._by_region.items():
            if lease.client == client and lease.until > until:
                self._by_region[number] = replace(lease, until=until)

    def release_others(self, client: str, kept: set[int]) -> None:
        """End the leases of a page but for those that it still wants, and all that have run out."""
        now = self._clock()
        self._by_region = {
            number: lease
            for number, lease in self._by_region.items()
            if lease.until > now and (lease.client != client or number in kept)
        }

    def keep(self) -> None:
        """Write them to the file. A power cut may lose them, a killed server does not: no fsync. Raises OSError."""
        if self._file is None:
            return
        later = time.time() - self._clock()
        rows = [
            [number, *astuple(replace(lease, until=lease.until + later))] for number, lease in self._by_region.items()
        ]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_name(f"{TEMPORARY}{self._file.name}-{os.getpid()}")
        temporary.write_text(json.dumps(rows))
        temporary.replace(self._file)


def _read(file: Path, now: float) -> dict[int, Lease]:
    try:
        rows = json.loads(file.read_bytes())
        leases = {int(number): Lease(str(client), str(name), float(until)) for number, client, name, until in rows}
    except (OSError, TypeError, ValueError):
        return {}
    earlier = now - time.time()
    return {
        number: replace(lease, until=min(max(lease.until + earlier, now + RETURN_S), now + LEASE_S))
        for number, lease in leases.items()
    }
