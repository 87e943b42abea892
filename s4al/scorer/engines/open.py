"""Which engine runs an exported network.

    ort     ONNX Runtime; the default, and the fastest on a CPU
    torch   the network itself, handed in from above: the scorer knows no trainer
    trt     TensorRT, or TensorRT for RTX; handed in from above too, which exports the network in half precision

`auto` takes the first that works and says so: trt where there is a GPU, then ort, then torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s4al.config import EngineName
from s4al.errors import EngineError
from s4al.scorer.engines.cpu_engines import OrtEngine, TorchEngine
from s4al.scorer.engines.engine import Engine, EngineRequest, LoadNetwork, Networks, available_cores
from s4al.scorer.engines.gpu import find_gpu
from s4al.scorer.engines.model_card import ModelCard, read_model
from s4al.watch import Watch

CPU_BATCH = 4  # more does not make a CPU faster
TRT_BATCH = 32  # a plan is made for one batch size, before anybody can try several


def open_engine(
    model: Path,
    request: EngineRequest | None = None,
    *,
    batch_size: int = 0,
    threads: int = 0,
    watch: Watch | None = None,
) -> Engine:
    """Load an exported model.

    Parameters
    ----------
    request : without one, ONNX Runtime on whatever there is. Its networks are needed by the engines torch and trt, and
        for `auto` to try them.
    batch_size : 0 for `CPU_BATCH` on the CPU and `TRT_BATCH` with TensorRT. The engines of a GPU, which are
        `DeviceEngine`s, start with it; see `device_engines.settle_batch_size`.
    threads : 0 for all cores.

    Raises
    ------
    EngineError : the model cannot be used, or no engine serves it; says what is missing.
    """
    request, watch = request or EngineRequest(), watch or Watch()
    name, device = request.engine or "auto", request.device
    data, card = read_model(model)
    load_network = request.networks.folded if request.networks else None
    settings = {"batch_size": batch_size, "threads": threads or available_cores()}
    refusals: list[str] = []
    for candidate, where in _candidates(name, device, request.networks):
        try:
            if candidate == "trt":
                engine = _open_trt(request.networks, card, device=where, watch=watch, **settings)
            elif where == "cpu":
                engine = _open_on_cpu(candidate, data, card, load_network, **settings)
            else:
                engine = _open_on_device(candidate, data, card, load_network, where, **settings)
        except EngineError as error:
            refusals.append(f"{candidate}: {error.what}")
            continue
        engine.passed_over = (*refusals, *engine.passed_over)
        chosen = f"engine {engine.name} ({engine.provider})"
        watch.note(" ".join([f"{chosen}; could not be used:", *engine.passed_over]) if engine.passed_over else chosen)
        return engine
    place = "a GPU" if name == "trt" and device == "auto" else "this machine" if device == "auto" else device
    raise EngineError(
        f"No engine can run {model.name} on {place}. {' '.join(refusals)}",
        remedy="Install what is missing, or name another --engine.",
    )


def _candidates(name: EngineName, device: str, networks: Networks | None) -> list[tuple[str, str]]:
    """(engine, device) pairs in the order they are tried.

    Whoever has no GPU and asked for none is not told that TensorRT needs one.
    """
    on_gpu = "cuda" if device == "auto" else device
    gpu: list[tuple[str, str]] = [("trt", device), ("ort", on_gpu), ("torch", on_gpu)]
    cpu: list[tuple[str, str]] = [("ort", "cpu"), ("torch", "cpu")]
    if name == "trt":
        return gpu[:1]
    pairs = cpu if device == "cpu" else gpu if device != "auto" else (gpu + cpu if _has_gpu() else cpu)
    wanted = [pair for pair in pairs if name in ("auto", pair[0])]
    return [pair for pair in wanted if pair[0] != "trt" or networks is not None]


def _has_gpu() -> bool:
    try:
        find_gpu()
    except EngineError:
        return False
    return True


def _open_on_cpu(
    name: str, model: bytes, card: ModelCard, load_network: LoadNetwork | None, *, batch_size: int, threads: int
) -> Engine:
    batch_size = batch_size or CPU_BATCH
    if name == "ort":
        return OrtEngine(model, card, batch_size=batch_size, threads=threads)
    return TorchEngine(load_network, card, batch_size=batch_size, threads=threads)


def _open_on_device(
    name: str,
    model: bytes,
    card: ModelCard,
    load_network: LoadNetwork | None,
    where: str,
    *,
    batch_size: int,
    threads: int,
) -> Engine:
    from s4al.scorer.engines.device import CudaDevice
    from s4al.scorer.engines.device_engines import OrtDeviceEngine, TorchDeviceEngine

    device = CudaDevice(find_gpu(where))
    if name == "ort":
        return OrtDeviceEngine(model, card, device, batch_size=batch_size, threads=threads)
    return TorchDeviceEngine(load_network, card, device, batch_size=batch_size, threads=threads)


def _open_trt(networks: Networks | None, card: ModelCard, *, device: str, **settings: Any) -> Engine:
    if device == "cpu":
        raise EngineError("TensorRT needs a GPU, and the device is to be the CPU.", remedy="Leave out --device cpu.")
    if networks is None:
        raise EngineError(
            "The TensorRT engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
        )
    engine = networks.open_trt(device=device, batch_size=settings.pop("batch_size") or TRT_BATCH, **settings)
    if engine.card != card:
        raise EngineError("The TensorRT engine is of another network than the exported model.", remedy="Export again.")
    return engine
