from __future__ import annotations

import os
import pickle
import struct
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna._unpickle import NUMPY, PLAIN, restricted_load, restricted_loads
from gennas_optuna.errors import DataFileError, MissingFileError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(content: bytes, **options: Any) -> Any:
    return restricted_loads(content, "some.pkl", **options)


# What is read


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(2**60, 2**300)
)
keys = st.text() | st.integers() | st.binary() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(plain, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_is_read_as_python_reads_it(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol=protocol)
    found = load(content)
    assert found == pickle.loads(content) == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.array([b"ab", b"c"]),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(2.5, dtype=np.float16),
        np.zeros((0, 3)),
        np.array([np.nan, np.inf]),
        np.arange(12)[::3],
    ],
    ids=str,
)
def test_arrays_are_read(array: np.ndarray, protocol: int) -> None:
    found = load(pickle.dumps({"a": array, "again": [array]}, protocol=protocol))
    assert type(found["a"]) is np.ndarray
    assert found["a"].dtype == array.dtype
    assert found["a"].flags.writeable
    assert found["again"][0] is found["a"]
    np.testing.assert_array_equal(found["a"], array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "scalar", [np.float64(0.1), np.int32(-4), np.bool_(True), np.bytes_(b"x")]
)
def test_array_scalars_are_read(scalar: np.generic, protocol: int) -> None:
    found = load(pickle.dumps(scalar, protocol=protocol))
    assert type(found) is type(scalar)
    assert found == scalar


def test_both_module_names_of_numpy_are_known() -> None:
    content = pickle.dumps(np.arange(3), protocol=2)
    for core in (b"numpy.core.", b"numpy._core."):
        renamed = content.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", core)
        assert load(renamed).tolist() == [0, 1, 2]


PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x00\x80\xff\x07tb"
    b"U\x06labelsq\x08]q\x09(K\x06K\x09eu."
)
"""As CIFAR's batches were written: texts and array content are 8-bit strings."""


@pytest.mark.parametrize(("encoding", "data"), [("bytes", b"data"), ("latin1", "data")])
def test_python_2_pickles_are_read(encoding: str, data: Any) -> None:
    found = load(PYTHON_2, encoding=encoding)
    assert found[data].tolist() == [[0, 128], [255, 7]]
    assert found[data].dtype == np.uint8
    assert list(found.values())[1] == [6, 9]


def test_python_2_texts_in_another_encoding_are_named() -> None:
    with pytest.raises(DataFileError, match="UnicodeDecodeError"):
        load(PYTHON_2)


# What is refused


class Calls:
    """Unpickles to the result of a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


CALLS = {
    "system": Calls(os.system, "touch hacked"),
    "Popen": Calls(subprocess.Popen, ["touch", "hacked"]),
    "eval": Calls(eval, "open('hacked', 'w')"),
    "getattr": Calls(getattr, "text", "upper"),
    "bytearray": Calls(bytearray, 10**12),
    "Path": Path("x"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("allowed", [NUMPY, PLAIN])
def test_a_pickle_that_calls_is_refused_by_name(
    name: str, protocol: int, allowed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "table.pkl"
    file.write_bytes(pickle.dumps([1, CALLS[name]], protocol=protocol))
    with pytest.raises(DataFileError, match=name) as info:
        restricted_load(file, allowed)
    assert "table.pkl" in str(info.value)
    assert "\n" not in str(info.value)
    assert list(tmp_path.iterdir()) == [file]


def test_arrays_are_refused_where_only_plain_data_is_allowed() -> None:
    with pytest.raises(DataFileError, match=r"numpy\."):
        load(pickle.dumps(np.arange(3)), allowed=PLAIN)


_START = b"\x80\x02"
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
_ARRAY = _RECONSTRUCT + b"(cnumpy\nndarray\n(I0\ntC\x01btR"


def _dtype(state: bytes = b"(I3\nV<\nNNNI-1\nI-1\nI0\nt", code: bytes = b"f8") -> bytes:
    return b"cnumpy\ndtype\n(V" + code + b"\nI0\nI1\ntR" + state + b"b"


def _state(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    return b"(I1\n" + shape + dtype + b"I0\n" + content + b"tb"


def _nested_keys(depth: int) -> bytes:
    """A dict key that is 2**depth numbers, as tuples of the same tuple twice."""
    doubled = b"".join(b"q%c" % i + b"h%c" % i + b"\x86" for i in range(depth))
    return b"}K\x01" + doubled + b"K\x02s."


_EIGHT = b"C\x08aaaaaaaa"
_ONE = b"(I1\nt"


def test_the_parts_of_the_forged_arrays_are_right() -> None:
    found = load(_START + _ARRAY + _state(_ONE, _dtype(), _EIGHT) + b".")
    assert found.tobytes() == b"aaaaaaaa"
    assert found.shape == (1,)


HOSTILE = {
    "an old instance": (b"(S'touch hacked'\nios\nsystem\n.", "os.system"),
    "an object": (b"(cos\nsystem\nS'x'\no.", "os.system"),
    "a new object": (b"cos\nsystem\n)\x81.", "os.system"),
    "a persistent name": (b"Pname\n.", "instruction b'P'"),
    "a persistent object": (b"K\x01Q.", "instruction b'Q'"),
    "an extension": (b"\x82\x01.", "instruction"),
    "attributes of a function": (b"c_codecs\nencode\n}S'x'\nK\x01sb.", "sets attributes"),
    "slots of a function": (b"c_codecs\nencode\n(N}S'a'\nK\x01stb.", "sets attributes"),
    "attributes of a list": (b"]}b.", "sets attributes"),
    "another codec": (b"c_codecs\nencode\n(Vx\nVzlib_codec\ntR.", "but latin1"),
    "a codec of no text": (b"c_codecs\nencode\n(K\x01Vlatin1\ntR.", "but latin1"),
    "a call of a text": (b"S'x'\n)R.", "not callable"),
    "a large array": (
        _RECONSTRUCT + b"(cnumpy\nndarray\n(L100000000000L\ntC\x01btR.",
        "never completed",
    ),
    "another class": (_RECONSTRUCT + b"(K\x01(I0\ntC\x01btR.", "another class"),
    "an unfinished array": (_ARRAY + b".", "never completed"),
    "an array inside out": (_ARRAY + b"q\x01]h\x01ab.", "before it is complete"),
    "an array set twice": (
        _ARRAY + _state(_ONE, _dtype(), _EIGHT) + _state(_ONE, _dtype(), _EIGHT) + b".",
        "sets attributes",
    ),
    "too large a shape": (_ARRAY + _state(b"(L1000000000000L\nt", _dtype(), _EIGHT), "fit"),
    "a shape that overflows": (
        _ARRAY + _state(b"(L4294967296L\nL4294967296L\nt", _dtype(), b"C\x00"),
        "fit",
    ),
    "negative counts": (_ARRAY + _state(b"(I-1\nI-1\nt", _dtype(), _EIGHT), "fit"),
    "many axes": (_ARRAY + _state(b"(" + b"I1\n" * 99 + b"t", _dtype(), _EIGHT), "short tuple"),
    "counts that are texts": (_ARRAY + _state(b"(Vx\nt", _dtype(), _EIGHT), "short tuple"),
    "objects as content": (_ARRAY + _state(_ONE, _dtype(), b"]"), "an array of objects"),
    "a number as a type": (_ARRAY + _state(_ONE, b"K\x01", _EIGHT), "an array of objects"),
    "objects": (b"cnumpy\ndtype\n(VO8\nI0\nI1\ntR.", "arrays of type 'O8'"),
    "a structure": (_dtype(b"(I3\nV|\nN(Va\ntN}tK\x08K\x01K\x00t", b"V8"), "type 'V8'"),
    "fields": (_dtype(b"(I3\nV|\nN(Va\nt}I8\nI1\nI0\nt"), "structures"),
    "a byte order": (_dtype(b"(I3\nVx\nNNNI-1\nI-1\nI0\nt"), "structures"),
    "a list of types": (b"cnumpy\ndtype\n(](Va\nVf8\ntaI0\nI1\ntR.", "text was expected"),
    "a huge scalar": (
        b"cnumpy.core.multiarray\nscalar\n(" + _dtype(code=b"S999999999") + b"C\x00tR.",
        "fit",
    ),
    "a scalar of zeros": (b"cnumpy.core.multiarray\nscalar\n(" + _dtype() + b"tR.", "missing"),
    "a huge memo": (b"K\x01r\xff\xff\xff\x7f", "EOF"),
    "a huge memo as text": (b"K\x01p99999999999999\n", "EOF"),
    "huge bytes": (b"\x8e" + struct.pack("<Q", 2**40) + b"abc.", "EOF"),
    "a huge bytearray": (b"\x96" + struct.pack("<Q", 2**40) + b"abc.", "EOF"),
    "a large bytearray": (b"\x96" + struct.pack("<Q", 2**31) + b"abc.", "EOF"),
    "a huge text": (b"\x8d" + struct.pack("<Q", 2**62) + b"abc.", "EOF"),
    "a huge frame": (b"\x95" + struct.pack("<Q", 2**50) + b"abc.", ""),
    "a negative length": (b"T\xff\xff\xff\xff.", "negative"),
    "a long number": (b"I" + b"9" * 100_000 + b"\n.", "4300"),
    "an empty stack": (b"0.", "IndexError"),
    "a missing mark": (b"K\x01t.", "IndexError"),
    "a missing memo": (b"h\x07.", "index 7"),
    "an odd dict": (b"(K\x01d.", "ValueError"),
    "keys that nest": (_nested_keys(60), "dict key"),
    "keys that are lists": (b"}]K\x01s.", "dict key"),
    "items of a list": (b"]K\x00K\x01s.", "not a dict"),
    "a future protocol": (b"\x80\x63K\x01.", "protocol: 99"),
    "no end": (b"K\x01", "EOF"),
    "noise": (b"\xff\xfe\xfd", "damaged"),
    "a text": (b"hello, world\n", ""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_forged_programs_are_refused_at_no_cost(what: str) -> None:
    program, reason = HOSTILE[what]
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match=rf"some\.pkl.*{reason}") as info:
            load(_START + program)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(info.value)
    assert len(str(info.value)) < 300
    assert peak < 2e6


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", [("a", "f8")]], ids=str)
def test_arrays_of_other_things_are_refused(dtype: Any) -> None:
    for protocol in PROTOCOLS:
        with pytest.raises(DataFileError):
            load(pickle.dumps(np.zeros(2, dtype=dtype), protocol=protocol))


# What is damaged

_SAMPLE = {"333333": {"val_acc": [91.5, 91.25], "n": 3}, "x": np.arange(4), "y": [b"abc", None]}


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(PROTOCOLS))
def test_truncated_pickles_are_refused(data: st.DataObject, protocol: int) -> None:
    content = pickle.dumps(_SAMPLE, protocol=protocol)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DataFileError):
        load(content[:length])


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from(PROTOCOLS))
def test_damaged_pickles_are_plain_data_or_refused(data: st.DataObject, protocol: int) -> None:
    content = bytearray(pickle.dumps(_SAMPLE, protocol=protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = load(bytes(content))
    except DataFileError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        return
    pickle.dumps(value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pkl"):
        restricted_load(tmp_path / "nowhere.pkl")
    with pytest.raises(DataFileError, match="folder"):
        restricted_load(tmp_path)
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(DataFileError, match=r"empty\.pkl' is empty"):
        restricted_load(tmp_path / "empty.pkl")
