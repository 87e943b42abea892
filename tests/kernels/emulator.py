"""A stand-in for CuPy whose device is emulator.cpp: the launcher and the kernel's text run on the CPU as they are."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import shutil
import subprocess
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

GUARD_BYTES = 8192
ERASED = 0xFF  # NaN as a float of either size


class Emulator:
    """The part of CuPy that the launcher uses, to be put into `sys.modules`.

    Compiles once per text and options, into `folder`. A launch raises AssertionError for what no correct kernel does:
    threads that wait for each other for ever, stores outside of the arrays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._libraries: dict[tuple[str, tuple[str, ...]], ctypes.CDLL] = {}
        self._memory: list[weakref.ref] = []
        self.cuda = SimpleNamespace(get_current_stream=_Stream)

    def empty(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> _DeviceArray:
        """Erased memory between two stretches of more."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(GUARD_BYTES + size + GUARD_BYTES, ERASED, np.uint8)
        self._memory = [ref for ref in self._memory if ref() is not None] + [weakref.ref(memory)]
        return memory[GUARD_BYTES : GUARD_BYTES + size].view(dtype).reshape(shape).view(_DeviceArray)

    def asarray(self, array: np.ndarray) -> _DeviceArray:
        copy = self.empty(array.shape, array.dtype)
        copy[:] = array
        return copy

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str) -> SimpleNamespace:  # noqa: N802
        assert backend == "nvrtc"
        return SimpleNamespace(get_function=lambda name: _Function(self, self.library(code, options), name))

    def library(self, code: str, options: tuple[str, ...]) -> ctypes.CDLL:
        if (code, options) not in self._libraries:
            self._libraries[code, options] = self._compile(code, options)
        return self._libraries[code, options]

    def _compile(self, code: str, options: tuple[str, ...]) -> ctypes.CDLL:
        name = hashlib.sha256(repr((code, options)).encode()).hexdigest()[:16]
        kernel, library = self._folder / f"{name}.cu", self._folder / f"{name}.so"
        kernel.write_text(code, encoding="utf-8")
        compiler = shutil.which("g++")
        assert compiler is not None
        command = [compiler, "-O1", "-march=native", "-fno-strict-aliasing", "-shared", "-fPIC", *options]
        command += ["-DENTRY=region_scores", f'-DKERNEL="{kernel}"', str(Path(__file__).with_name("emulator.cpp"))]
        subprocess.run([*command, "-o", str(library)], check=True, timeout=120)
        loaded = ctypes.CDLL(str(library))
        loaded.launch.restype = loaded.signature.restype = ctypes.c_char_p
        return loaded

    def assert_nothing_stored_outside_of_arrays(self) -> None:
        guards = [
            np.concatenate([memory[:GUARD_BYTES], memory[-GUARD_BYTES:]])
            for ref in self._memory
            if (memory := ref()) is not None
        ]
        self._memory.clear()  # or a failed test, whose traceback keeps its arrays, would fail the next one
        assert all((guard == ERASED).all() for guard in guards), "a store outside of the arrays"


class _Stream(contextlib.nullcontext):
    def synchronize(self) -> None:
        pass


class _DeviceArray(np.ndarray):
    """An array that gives its address as CuPy's do."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self) -> np.ndarray:
        return np.array(self)


class _Function:
    """A kernel of a compiled library; called as CuPy's are."""

    def __init__(self, emulator: Emulator, library: ctypes.CDLL, name: str) -> None:
        assert name == "region_scores"
        self._emulator = emulator
        self._library = library

    def __call__(self, grid: tuple, block: tuple, arguments: tuple[np.generic, ...], *, shared_mem: int) -> None:
        sizes = {"P": 8, "I": 4, "F": 4}
        kinds = {"P": "u", "I": "i", "F": "f"}
        signature = self._library.signature().decode()
        assert [(a.dtype.kind, a.dtype.itemsize) for a in arguments] == [(kinds[s], sizes[s]) for s in signature]
        values = [np.array(argument) for argument in arguments]  # each with an address
        error = self._library.launch(
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block, *[1] * (3 - len(block))),
            ctypes.c_size_t(shared_mem),
            (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values)),
        )
        assert error is None, error.decode()
        self._emulator.assert_nothing_stored_outside_of_arrays()
