"""Reading pickles of plain data without running what they ask for.

A pickle is a program. This machine for it knows the instructions that make numbers, texts,
lists, tuples and dicts; where a pickle names a function or class it gets a stand-in of ours, and
only for the handful that NumPy's arrays need. A stand-in checks all that it is given, because
NumPy's own believe what they are told: a size in memory, a flag that numbers are pointers.

It is built on the pure-Python unpickler, not on the faster one in C, which makes room for as many
values as a forged index claims and hashes dict keys nested to any depth.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from gennas_optuna._check import shorten
from gennas_optuna._reading import read_bytes
from gennas_optuna.errors import DataFileError


class _Pending(ABC):
    """A value that a later BUILD instruction completes."""

    done = False
    value: Any = None

    def build(self, state: Any) -> Any:
        self.value, self.done = self._build(state), True
        return self.value

    @abstractmethod
    def _build(self, state: Any) -> Any: ...


class _PendingDtype(_Pending):
    """A data type whose byte order comes later."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        self._code = _text(code)
        if not re.fullmatch(r"[biufcS][1-9][0-9]{0,8}", self._code, re.ASCII):
            raise pickle.UnpicklingError(
                f"arrays of type {self._code[:40]!r}; only numbers and byte strings are read"
            )

    def _build(self, state: Any) -> np.dtype[Any]:
        _version, order, *structure = state[:5]
        if structure != [None, None, None] or _text(order) not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("arrays of structures")
        return np.dtype(_text(order) + self._code)


class _PendingArray(_Pending):
    """An array whose shape, type and content come later."""

    def _build(self, state: Any) -> np.ndarray[Any, Any]:
        _version, shape, dtype, fortran, raw = state
        return _array(raw, dtype, shape, "F" if fortran else "C")


_NDARRAY = object()  # stands for the class numpy.ndarray


def _reconstruct(cls: Any, *_placeholder: Any) -> _PendingArray:
    if cls is not _NDARRAY:
        raise pickle.UnpicklingError("an array of another class than numpy.ndarray")
    return _PendingArray()


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray[Any, Any]:
    """An array that is as large as the bytes given for it."""
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("an array of objects, or without content")
    if type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int for n in shape):
        raise pickle.UnpicklingError("an array whose shape is not a short tuple of counts")
    if (
        order not in ("C", "F")
        or min(shape, default=0) < 0
        or math.prod(shape) * dtype.itemsize != len(data)
    ):
        raise pickle.UnpicklingError("an array whose shape does not fit its content")
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order=order)


def _scalar(dtype: Any, raw: Any) -> Any:
    return _array(raw, dtype, ())[()]


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in the old protocols."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("_codecs.encode with anything but latin1")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How Python 3 writes ``b""`` in the old protocols."""
    return b""


def _text(value: Any) -> str:
    """A text that Python 2 may have written as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise pickle.UnpicklingError("a text was expected")
    return value


PLAIN: Mapping[str, Any] = {}
"""Containers, numbers and texts only."""

NUMPY: Mapping[str, Any] = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _PendingDtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")  # before and since NumPy 2
        for name, stand_in in (
            ("multiarray._reconstruct", _reconstruct),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _array),
        )
    },
}
"""The same and NumPy arrays of numbers: the names a pickle may use and what they get."""


def restricted_load(
    path: Path, allowed: Mapping[str, Any] = NUMPY, *, encoding: str = "ASCII"
) -> Any:
    """Read a pickle of plain containers and arrays; nothing in it is executed.

    Args:
        path: the file.
        allowed: :data:`NUMPY`, or :data:`PLAIN` where no arrays are expected.
        encoding: of the texts in a Python 2 pickle; ``"bytes"`` leaves them undecoded and
            ``"latin1"`` never fails.

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it is empty, truncated or damaged, or names something that is not
            allowed.
    """
    return restricted_loads(read_bytes(path), str(path), allowed, encoding=encoding)


def restricted_loads(
    content: bytes, source: str, allowed: Mapping[str, Any] = NUMPY, *, encoding: str = "ASCII"
) -> Any:
    """:func:`restricted_load` for a content that is in memory; ``source`` names it in errors."""
    machine = _Machine(content, allowed, encoding)
    try:
        return machine.run()
    except Exception as error:  # a forged program can fail in any instruction, in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataFileError(
            f"{shorten(source, 200)} is not a pickle of plain data ({reason[:200]})"
        ) from error


class _Dispatch(dict[int, Callable[[Any], None]]):
    """Instruction code -> what it does."""

    def __missing__(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError(f"instruction {bytes([code])!r} is damaged or not allowed")


class _Machine(pickle._Unpickler):
    """The unpickler, with fewer instructions."""

    dispatch: ClassVar[_Dispatch]

    def __init__(self, content: bytes, allowed: Mapping[str, Any], encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self.allowed = allowed
        self.unfinished = 0

    def run(self) -> Any:
        value = self.load()
        if self.unfinished:
            raise pickle.UnpicklingError("an array was begun and never completed")
        return value

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {full[:100]!r}, which is not allowed")
        return self.allowed[full]


def _inst(machine: Any) -> None:
    module, name = (machine.readline()[:-1].decode("ascii") for _ in range(2))
    raise pickle.UnpicklingError(f"it makes an instance of '{module}.{name}'"[:150])


def _reduce(machine: Any) -> None:
    arguments = machine.stack.pop()
    value = machine.stack[-1](*arguments)
    machine.stack[-1] = value
    machine.unfinished += isinstance(value, _Pending)


def _build(machine: Any) -> None:
    """Complete a pending value. What is completed replaces it, so that none is left anywhere."""
    state = machine.stack.pop()
    if not isinstance(machine.stack[-1], _Pending):
        raise pickle.UnpicklingError("it sets attributes of an object")
    machine.stack[-1] = machine.stack[-1].build(state)
    machine.unfinished -= 1


def _resolved(get: Callable[[Any], None]) -> Callable[[Any], None]:
    """A reference to a pending value is one to its result."""

    def instruction(machine: Any) -> None:
        get(machine)
        value = machine.stack[-1]
        if isinstance(value, _Pending):
            if not value.done:
                raise pickle.UnpicklingError("a value is used before it is complete")
            machine.stack[-1] = value.value

    return instruction


_SCALARS = (str, bytes, int, float, type(None), np.generic)


def _update(target: Any, items: list[Any]) -> None:
    """Put keys and values into a dict; a key may not nest, as hashing it could take for ever."""
    for key in items[::2]:
        if type(key) is str:
            continue
        parts = key if type(key) is tuple else (key,)
        if not all(isinstance(part, _SCALARS) for part in parts):
            raise pickle.UnpicklingError("a dict key is not a number or a text")
    if type(target) is not dict:
        raise pickle.UnpicklingError("it puts items into what is not a dict")
    target.update(zip(items[::2], items[1::2], strict=True))


def _setitems(machine: Any) -> None:
    items = machine.pop_mark()
    _update(machine.stack[-1], items)


def _setitem(machine: Any) -> None:
    items = machine.stack[-2:]
    del machine.stack[-2:]
    _update(machine.stack[-1], items)


def _dict(machine: Any) -> None:
    items = machine.pop_mark()
    machine.append({})
    _update(machine.stack[-1], items)


def _bytearray8(machine: Any) -> None:
    # Read, then copy: the inherited one makes room for the claimed size first.
    machine.append(bytearray(machine.read(int.from_bytes(machine.read(8), "little"))))


_INHERITED = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
    "LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES "
    "BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL "
    "STACK_GLOBAL"
)
_OWN: Mapping[str, Callable[[Any], None]] = {
    "INST": _inst,
    "REDUCE": _reduce,
    "BUILD": _build,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "DICT": _dict,
    "BYTEARRAY8": _bytearray8,
}


def _code(name: str) -> int:
    code = getattr(pickle, name)
    assert isinstance(code, bytes)
    return code[0]


_all = pickle._Unpickler.dispatch
_Machine.dispatch = _Dispatch(
    {_code(name): _all[_code(name)] for name in _INHERITED.split()}
    | {_code(name): _resolved(_all[_code(name)]) for name in ("GET", "BINGET", "LONG_BINGET")}
    | {_code(name): instruction for name, instruction in _OWN.items()}
)
