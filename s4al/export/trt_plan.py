"""A trained cycle as a TensorRT engine: export, plan from this machine's cache, and the gate before anybody uses it."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from s4al.errors import EngineError, StorageError
from s4al.export.onnx_export import Precision, export_onnx
from s4al.export.parity import Parity, check_parity
from s4al.export.scoring_network import ScoringNetwork, scoring_network
from s4al.export.stage import make_card, measure_on_probes
from s4al.run.state import Run
from s4al.scorer.engines.device import CudaDevice
from s4al.scorer.engines.engine import available_cores
from s4al.scorer.engines.gpu import Gpu
from s4al.scorer.engines.model_card import INPUT, ModelCard
from s4al.scorer.engines.plan_cache import Entry, Facts, PlanCache
from s4al.scorer.engines.trt_adapter import LoadedPlan, TensorRt
from s4al.scorer.engines.trt_engine import TrtEngine, find_trt
from s4al.watch import Watch


@dataclass(frozen=True)
class OpenedPlan:
    """An engine that has passed the gate, and where its plan lies in the cache."""

    engine: TrtEngine
    parity: Parity
    path: Path
    bytes: int
    seconds: float


def open_tensorrt(
    run: Run, cycle: int, *, batch_size: int, threads: int = 0, device: str = "auto", watch: Watch
) -> TrtEngine:
    """The engine for `s4al score`, in fp16; see `open_plan`."""
    return open_plan(
        run, cycle, precision="fp16", batch_size=batch_size, threads=threads, device=device, watch=watch
    ).engine


def open_plan(
    run: Run,
    cycle: int,
    *,
    precision: Precision,
    batch_size: int,
    threads: int = 0,
    device: str = "auto",
    watch: Watch,
) -> OpenedPlan:
    """Build the plan of a trained cycle, or take it from the cache, with the first library that serves the GPU.

    Full TensorRT takes minutes to build, so one plan serves every network of the same structure and is given the
    weights of the cycle each time. TensorRT for RTX takes seconds, and every cycle has its own.

    Raises
    ------
    EngineError : no GPU, no library that serves it, no place for plans, or no plan that computes what the network does.
    RunStateError.
    """
    started = time.monotonic()
    gpu, libraries, refusals = find_trt(device)
    network = scoring_network(run, cycle)
    card = make_card(run, cycle, network)
    model = export_onnx(network, card, precision)
    setting = _Setting(run, network, card, model, precision, batch_size, threads or available_cores(), gpu, watch)
    remedy = ""
    for trt in libraries:
        try:
            engine, parity, entry = setting.open(trt)
        except (EngineError, StorageError) as error:  # without a place for plans the other engines still work
            refusals.append(error.what)
            remedy = error.remedy
            continue
        engine.passed_over = tuple(refusals)
        return OpenedPlan(engine, parity, entry.path, len(entry.data), time.monotonic() - started)
    raise EngineError(" ".join(refusals), kept="No plan was kept.", remedy=remedy)


def build_plan(run: Run, cycle: int, *, precision: Precision, watch: Watch) -> OpenedPlan:
    """`s4al export --format trt`: have the plan in the cache, checked. Raises as `open_plan` does."""
    try:
        find_trt()
    except EngineError as error:  # TensorRT for RTX would build without a GPU
        raise EngineError(
            error.what,
            kept="No plan was built: what cannot be run here cannot be checked.",
            remedy="See s4al doctor. --format onnx works everywhere.",
        ) from error
    settings = run.config.scorer
    return open_plan(
        run, cycle, precision=precision, batch_size=settings.batch_size, threads=settings.threads, watch=watch
    )


def structure(model: bytes) -> bytes:
    """An ONNX file without its weights and metadata: all that refitting a plan cannot change.

    Single numbers stay, they are settings of layers.
    """
    proto = onnx.ModelProto.FromString(model)
    del proto.metadata_props[:]
    for tensor in proto.graph.initializer:
        if tensor.data_type in (tensor.FLOAT, tensor.FLOAT16) and math.prod(tensor.dims) > 1:
            for field in ("raw_data", "float_data", "int32_data"):  # the last holds float16
                tensor.ClearField(field)
    return proto.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class _Setting:
    """What is the same for every library that is tried."""

    run: Run
    network: ScoringNetwork
    card: ModelCard
    model: bytes
    precision: Precision
    batch_size: int
    threads: int
    gpu: Gpu
    watch: Watch

    def open(self, trt: TensorRt) -> tuple[TrtEngine, Parity, Entry]:
        """Raises EngineError."""
        cache, device = PlanCache(self.watch), CudaDevice(self.gpu)
        plan, facts, entry = self._load(trt, cache)
        engine = TrtEngine(
            plan,
            self.card,
            device,
            batch_size=self.batch_size,
            threads=self.threads,
            provider=f"{trt}, {self.precision}, {self.gpu.name}",
        )
        try:
            parity = self._gate(engine, cache, facts, entry)
        except EngineError:
            cache.remove(facts)
            raise
        return engine, parity, entry

    def _load(self, trt: TensorRt, cache: PlanCache) -> tuple[LoadedPlan, Facts, Entry]:
        whole = self._facts(trt, self.model)
        if not trt.refits:
            return self._load_or_build(trt, cache, whole, refittable=False)
        shared = self._facts(trt, structure(self.model))
        plan, facts, entry = self._load_or_build(trt, cache, shared, refittable=True)
        try:
            trt.refit(plan, self.model)
        except EngineError as error:
            self.watch.note(f"{error.what} It is built for these weights alone.")
            return self._load_or_build(trt, cache, whole, refittable=False)
        return plan, facts, entry

    def _load_or_build(
        self, trt: TensorRt, cache: PlanCache, facts: Facts, *, refittable: bool
    ) -> tuple[LoadedPlan, Facts, Entry]:
        entry = cache.find(facts)
        if entry is not None:
            try:
                return trt.load_plan(entry.data), facts, entry
            except EngineError as error:
                self.watch.note(f"A plan in the cache is made again: {error.what}")
                cache.remove(facts)
        self.watch.note(f"Building a plan with {trt} for {self.gpu.name}.")
        timing_facts = self._facts(trt, None)
        timing = cache.find(timing_facts) if trt.refits else None
        data, measured = trt.build_plan(
            self.model,
            INPUT,
            self._shapes(),
            compute_capability=self.gpu.compute_capability,
            refittable=refittable,
            timing_cache=timing.data if timing else b"",
        )
        if measured:
            cache.store(timing_facts, measured)
        return trt.load_plan(data), facts, cache.store(facts, data)

    def _facts(self, trt: TensorRt, model: bytes | None) -> Facts:
        """Of a plan for `model`; of the timing cache where it is None."""
        about_model = (
            {
                "model": hashlib.sha256(model).hexdigest(),
                "precision": self.precision,
                "batch_size": self.batch_size,
            }
            if model is not None
            else {}
        )
        return Facts(
            "timing" if model is None else "plan",
            trt.name,
            trt.version,
            self.gpu.name,
            "{}.{}".format(*self.gpu.compute_capability),
            self.gpu.driver,
            **about_model,
        )

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        image = self.card.height, self.card.width, 3
        return (1, *image), (self.batch_size, *image), (self.batch_size, *image)

    def _gate(self, engine: TrtEngine, cache: PlanCache, facts: Facts, entry: Entry) -> Parity:
        """The figures of these weights with this plan: measured when they first meet, then remembered.

        The limits are the run's, so remembered figures are held against them again.
        """
        weights = hashlib.sha256(self.model).hexdigest()
        known = entry.checked.get(weights)
        if known is None:
            parity, _ = measure_on_probes(self.run, self.network, engine)
        else:
            parity = Parity(**known)
        check_parity(
            parity,
            self.run.config.export,
            f"The plan of {engine.provider}",
            "Score with --engine ort or torch; s4al doctor says what is installed.",
            kept="The plan was removed.",
        )
        if known is None:
            cache.record(facts, weights, asdict(parity))
        return parity
