"""Environments of other tools' packages, which cannot share ours, set up once in the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment that holds `packages`, such as "datumaro==1.13.12"; made where it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "s4al" / name
    python, done = cache / "bin" / "python", cache / ".installed"
    wanted = " ".join(packages)
    if not (done.is_file() and done.read_text() == wanted):
        print(f"Setting up {wanted} (once)", flush=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(cache)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
        done.write_text(wanted)
    return python
