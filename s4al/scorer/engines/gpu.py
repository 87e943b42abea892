"""Which CUDA GPU there is.

CuPy is imported when a GPU is first asked for; machines without one never load it.
"""

from __future__ import annotations

from dataclasses import dataclass

from s4al.errors import EngineError


@dataclass(frozen=True)
class Gpu:
    """What decides whether a plan made on one GPU runs on another.

    `driver` is the newest CUDA the driver serves, as CUDA numbers it: 13010 is 13.1.
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    driver: int


def find_gpu(device: str = "auto") -> Gpu:
    """The GPU that `device` names: cuda and auto mean the first. Raises EngineError that says what is missing."""
    try:
        import cupy
    except (ImportError, OSError) as error:
        raise EngineError(f"CuPy cannot be imported ({error}).", remedy="Install cupy-cuda13x.") from error
    cuda, number = cupy.cuda.runtime, device.partition(":")[2] or "0"
    if not number.isdecimal():
        raise EngineError(f"There is no CUDA device {number!r}.", remedy="Devices are cuda, cuda:0, cuda:1, ...")
    index = int(number)
    try:
        driver = cuda.driverGetVersion()
        if driver == 0:
            raise EngineError("There is no CUDA driver.", remedy="Install NVIDIA's driver, or work on the CPU.")
        count = cuda.getDeviceCount()
        if index >= count:
            raise EngineError(f"There is no CUDA device {index}; CuPy sees {count}.", remedy="Name another --device.")
        facts = cuda.getDeviceProperties(index)
    except cuda.CUDARuntimeError as error:
        raise EngineError(f"There is no CUDA device that CuPy can use ({error}).", remedy="See nvidia-smi.") from error
    return Gpu(index, facts["name"].decode(), (facts["major"], facts["minor"]), driver)
