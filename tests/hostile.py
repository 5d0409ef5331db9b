"""Bad input: how it is judged, and a corpus of files that no reader of ours should take.

``python -m benchmarks.bad_input`` runs the tests of ``test_hostile_*.py`` and prints how many
inputs of each kind there were. The fixtures of these tests are in ``conftest.py``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, settings

from gennas_optuna.errors import GenNASError

SECONDS = 60
"""After this an input counts as a hang."""

ROOM = 3 * 2**30
"""Bytes of address space that reading may take beyond what the process has."""

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


# How an input is judged ----------------------------------------------------------------------


class Hang(BaseException):
    """An input took too long."""


@contextmanager
def guarded() -> Iterator[None]:
    """Neither time nor memory without end. Memory that is refused is an error like any other."""

    def stop(*_: object) -> None:
        raise Hang

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    if pages:
        limit = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(read: Callable[[], Any]) -> str | None:
    """The message of the one error that may come, ``None`` if the input was taken."""
    with guarded():
        try:
            read()
        except GenNASError as error:
            message = str(error)
            assert 10 < len(message) < 2000, message
            assert len(message.splitlines()) == 1, message
            return message
    return None


# What is hostile, whoever reads it -----------------------------------------------------------


class Runs:
    """Its pickle runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_bomb(size: int) -> bytes:
    """Some megabytes that say they are, and are, ``size`` bytes: an array of zeros."""
    buffer = io.BytesIO()
    shape = (size // 3072, 32, 32, 3)
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"))
        for _ in range(size // 2**24):
            file.write(bytes(2**24))
    return buffer.getvalue()


def anchors(depth: int) -> str:
    """A billion laughs: each line names the one before it nine times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join(lines)


def hostile(canary: Path) -> dict[str, bytes]:
    """Files that no reader of ours should take, by what they are."""
    deep = 100_000
    run = f"os.system('touch {canary}')"
    pickled = {f"pickle, protocol {p}": pickle.dumps(Runs(canary), protocol=p) for p in range(6)}
    texts = {
        "spaces": "   \n\n  ",
        "a word": "hello",
        "a word in JSON": '"hello"',
        "a number": "42",
        "null": "null",
        "NaN": "NaN",
        "an empty list": "[]",
        "an empty mapping": "{}",
        "a number of 10,000 digits": "9" * 10_000,
        "deep lists": "[" * deep + "]" * deep,
        "deep lists, cut off": "[" * deep,
        "deep mappings": '{"a":' * deep + "1" + "}" * deep,
        "deep mappings of tasks": '{"stages":' * deep + "1" + "}" * deep,
        "deep in a table": '[["a",' + "[" * 900 + "]" * 900 + "]]",
        "a million entries": "[" + "0," * 10**6 + "0]",
        "a long string": '["' + "x" * 10**5 + '"]',
        "a lone surrogate": '["\\ud800"]',
        "Python": f"__import__('os').{run}",
        "Python in a list": f"[__import__('os').{run}]",
        "a shell command": f"$(touch {canary})",
        "HTML": "<html><body>404 Not Found</body></html>",
        "a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "an XML bomb": '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        "CSV": "arch,accuracy\na,1\n",
        "tags": f"!!python/object/apply:os.system ['touch {canary}']",
        "a tag in a task": f"stages: !!python/object/apply:os.system ['touch {canary}']",
        "a module tag": "!!python/module:os {}",
        "a name tag": "!!python/name:os.system ''",
        "a new-object tag": f"!!python/object/new:os.system ['touch {canary}']",
        "an unknown tag": "!secret 1",
        "anchors": anchors(12),
        "anchors as stages": anchors(12) + "\nstages: *a11",
        "a structure in itself": "stages: &s [*s]",
        "a mapping in itself": "&m {stages: *m}",
        "a key that is a list": "? [a, b]\n: 1",
        "a merge of itself": "&a {<<: *a}",
        "tabs": "stages:\n\t- a",
        "two documents": "a: 1\n---\nb: 2",
        "a sexagesimal number": "stages: 190:20:30.15",
        "a date": "2001-12-14t21:59:43.10-05:00",
        "an impossible date": "stages: 2001-99-99",
        "binary": "stages: !!binary 0",
    }
    endless: list[Any] = []
    endless.append(endless)
    tables = {  # architectures that JSON cannot write
        "bytes in a pickled table": [[b"x", 5.0]],
        "a key that is a tuple in a pickled table": [[{(1, 2): 3}, 5.0]],
        "a list in itself in a pickled table": [[endless, 5.0]],
    }
    pickled |= {name: pickle.dumps(table) for name, table in tables.items()}
    plain = json.dumps([["a", 1.0]] * 1000).encode()
    return {
        "nothing": b"",
        "zeros": bytes(1000),
        "noise": np.random.default_rng(0).bytes(10_000),
        "a byte order mark": b"\xff\xfe[\x00]\x00",
        "Latin-1": b'["\xe9"]',
        **{name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()},
        **pickled,
        **{f"{name}, gzip": gzip.compress(content) for name, content in pickled.items()},
        "a pickle, cut off": pickle.dumps([1.0] * 1000)[:-5],
        "a pickle that asks for memory": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        "a pickle of lists in lists": b"\x80\x04" + b"]" * 1000 + b"a" * 999 + b".",
        "a pickle in itself": b"\x80\x04]\x94h\x00a.",
        "eval in a pickle": b"cbuiltins\neval\n(S'"
        + f'__import__("os").{run}'.encode()
        + b"'\ntR.",
        "gzip, cut off": gzip.compress(plain)[:-20],
        "gzip, damaged": gzip.compress(plain)[:30] + b"\0" * 30,
        "gzip of gzip": gzip.compress(gzip.compress(plain)),
        "gzip of nothing": gzip.compress(b""),
        "deflate": zlib.compress(plain),
        "a zip": zipped({"a.json": plain}),
        "a zip of pickles": zipped({"archive/data.pkl": pickle.dumps(Runs(canary))}),
        "a PNG's beginning": b"\x89PNG\r\n\x1a\n" + bytes(40),
        "a torch file": torch_file(Runs(canary)),
        "SQLite": b"SQLite format 3\0" + bytes(84),
    }


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
