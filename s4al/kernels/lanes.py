"""Short vectors inside Numba: sixteen float32 (or int32) values that the compiler must keep in one register.

Numba leaves vectorisation to LLVM's loop vectoriser, which turns innermost loops into vectors, while the kernel needs
its innermost loop to run over classes with the vectors across pixels. Here a `Lanes` value *is* an LLVM vector, so a
loop compiles to the instructions that it reads like: one zmm register on AVX-512, two ymm on AVX2, four on NEON.
Arithmetic mixes with scalars, which are broadcast.

Nothing here sets fast-math flags: the order of operations is the written one and NaN survives.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

_ELEMENT = {types.float32: ir.FloatType(), types.int32: ir.IntType(32), types.boolean: ir.IntType(1)}


class Lanes(types.Type):
    """The Numba type of `count` values of one scalar type."""

    def __init__(self, element: types.Type, count: int) -> None:
        self.element = element
        self.count = count
        super().__init__(name=f"Lanes({element}, {count})")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(_ELEMENT[self.element], self.count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


F32X16 = Lanes(types.float32, 16)
F32X4 = Lanes(types.float32, 4)
I32X16 = Lanes(types.int32, 16)
BOOL16 = Lanes(types.boolean, 16)


def _broadcast(builder: ir.IRBuilder, scalar: ir.Value, lanes: ir.VectorType) -> ir.Value:
    undefined = ir.Constant(lanes, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), None))


def _widest(args: tuple[types.Type, ...]) -> Lanes | None:
    """The one Lanes type among the arguments; None where there is none or the others do not match it."""
    lanes = next((arg for arg in args if isinstance(arg, Lanes) and arg != BOOL16), None)
    return lanes if lanes and all(arg in (lanes, lanes.element) for arg in args) else None


def _as_lanes(
    context: Any, builder: ir.IRBuilder, args: tuple[types.Type, ...], values: tuple[ir.Value, ...]
) -> list[ir.Value]:
    lanes = _widest(args)
    assert lanes is not None, args
    return [
        value if isinstance(arg, Lanes) else _broadcast(builder, value, lanes.llvm)
        for arg, value in zip(args, values, strict=True)
    ]


def _operator(function: Callable, instruction: Callable, operands: Lanes, result: Lanes) -> None:
    @type_callable(function)
    def typer(context: Any) -> Callable:
        return lambda a, b: result if _widest((a, b)) == operands else None

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        return instruction(builder, *_as_lanes(context, builder, signature.args, args))

    for a, b in ((operands, operands), (operands, operands.element), (operands.element, operands)):
        lower_builtin(function, a, b)(lower)


for _lanes in (F32X16, F32X4):
    _operator(operator.add, ir.IRBuilder.fadd, _lanes, _lanes)
    _operator(operator.sub, ir.IRBuilder.fsub, _lanes, _lanes)
    _operator(operator.mul, ir.IRBuilder.fmul, _lanes, _lanes)
_operator(operator.truediv, ir.IRBuilder.fdiv, F32X16, F32X16)
# Ordered comparisons: false where either side is NaN.
_operator(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), F32X16, BOOL16)
_operator(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), F32X16, BOOL16)
_operator(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), F32X16, BOOL16)
_operator(operator.add, ir.IRBuilder.add, I32X16, I32X16)
_operator(operator.sub, ir.IRBuilder.sub, I32X16, I32X16)
_operator(operator.lshift, ir.IRBuilder.shl, I32X16, I32X16)
_operator(operator.rshift, ir.IRBuilder.ashr, I32X16, I32X16)


def _intrinsic(function: Callable) -> Any:
    """numba.extending.intrinsic, whose result type checkers would call with the typing context."""
    return intrinsic(function)


@_intrinsic
def splat(typingctx: Any, scalar: Any) -> Any:
    """Sixteen copies of a float32 or int32."""
    lanes = {types.float32: F32X16, types.int32: I32X16}[scalar]
    return lanes(scalar), lambda context, builder, signature, args: _broadcast(builder, args[0], lanes.llvm)


@_intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one instruction where the machine has one."""
    lanes = _widest((a, b, c))
    if lanes is None:
        return None

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        name = f"llvm.fmuladd.v{lanes.count}f32"
        declaration = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes.llvm, [lanes.llvm] * 3), name
        )
        return builder.call(declaration, _as_lanes(context, builder, signature.args, args))

    return lanes(a, b, c), generate


@_intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """Lane by lane: a where the condition holds, else b."""
    lanes = _widest((a, b))
    if condition != BOOL16 or lanes is None:
        return None

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        where_true, where_false = _as_lanes(context, builder, signature.args[1:], args[1:])
        return builder.select(args[0], where_true, where_false)

    return lanes(condition, a, b), generate


def _conversion(instruction: str, source: Lanes, target: Lanes, doc: str) -> Any:
    def convert(typingctx: Any, a: Any) -> Any:
        if a != source:
            return None
        return target(a), lambda context, builder, signature, args: getattr(builder, instruction)(args[0], target.llvm)

    convert.__doc__ = doc
    return _intrinsic(convert)


bits_of = _conversion("bitcast", F32X16, I32X16, "The bit patterns of sixteen float32.")
from_bits = _conversion("bitcast", I32X16, F32X16, "Sixteen float32 with these bit patterns.")
to_float = _conversion("sitofp", I32X16, F32X16, "int32 to float32.")
to_int = _conversion("fptosi", F32X16, I32X16, "float32 to int32, towards zero; undefined for NaN.")


def _pointer(
    context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, index: ir.Value, to: ir.Type
) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), to.as_pointer())


def _loader(lanes: Lanes) -> Any:
    def load(typingctx: Any, array: Any, index: Any) -> Any:
        """`lanes.count` consecutive float32 of a flat array, from any alignment; no bounds check."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
            return builder.load(_pointer(context, builder, array, args[0], args[1], lanes.llvm), align=4)

        return lanes(array, types.intp), generate

    return _intrinsic(load)


load4 = _loader(F32X4)
load16 = _loader(F32X16)


@_intrinsic
def repeat4(typingctx: Any, array: Any, index: Any) -> Any:
    """Four copies of array[index]; no bounds check."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        pointer = _pointer(context, builder, array, args[0], args[1], ir.FloatType())
        return _broadcast(builder, builder.load(pointer), F32X4.llvm)

    return F32X4(array, types.intp), generate


@_intrinsic
def copy(typingctx: Any, source: Any, target: Any, index: Any, count: Any) -> Any:
    """target[index : index + count] = source[:count] for flat uint8 arrays that do not overlap; no bounds check."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        start = context.get_constant(types.intp, 0)
        source_pointer = _pointer(context, builder, source, args[0], start, ir.IntType(8))
        target_pointer = _pointer(context, builder, target, args[1], args[2], ir.IntType(8))
        cgutils.raw_memcpy(builder, target_pointer, source_pointer, args[3], 1)
        return context.get_dummy_value()

    return types.none(source, target, types.intp, types.intp), generate


@_intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write lanes to a flat array, at any alignment, no bounds check; int32 into uint8 keeps the low byte."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        stored, target = args[2], value.llvm
        if array.dtype == types.uint8:
            target = ir.VectorType(ir.IntType(8), value.count)
            stored = builder.trunc(stored, target)
        builder.store(stored, _pointer(context, builder, array, args[0], args[1], target), align=1)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), generate


@_intrinsic
def widen(typingctx: Any, scalar: Any) -> Any:
    """A logit as float32: of float32 itself, or of float16 as its bits in uint16 (Numba has no float16 on the CPU)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        if scalar == types.float32:
            return args[0]
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(scalar), generate


@_intrinsic
def claim(typingctx: Any, counter: Any) -> Any:
    """Add one to counter[0] atomically and give back what it was: how threads share out numbered work."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        pointer = context.make_array(counter)(context, builder, args[0]).data
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate
