"""Reading files that may be missing, huge, special or damaged."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from pathlib import Path

from gennas_optuna._check import shorten
from gennas_optuna.errors import DataFileError, MissingFileError

LIMIT = 2**30
"""The largest file that is read, in bytes, also after decompression."""


def read_bytes(path: Path, *, limit: int = LIMIT) -> bytes:
    """The whole content of a regular file.

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it is a folder or a device, it is empty, it may not be read, or it is
            larger than ``limit``.
    """
    name = shorten(str(path), 200)
    try:
        mode = path.stat().st_mode  # before opening: opening a pipe would wait for its writer
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"no such file: {name}") from None
    except (OSError, ValueError) as error:  # may not be looked at; no possible name
        raise DataFileError(f"{name} cannot be read: {_reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise DataFileError(f"{name} is a folder; give a file")
    if not stat.S_ISREG(mode):
        raise DataFileError(f"{name} is not a regular file")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataFileError(f"{name} cannot be read: {_reason(error)}") from error
    if len(content) > limit:
        raise DataFileError(f"{name} is larger than {limit} bytes")
    if not content:
        raise DataFileError(f"{name} is empty")
    return content


def gunzip(content: bytes, name: str, *, limit: int = LIMIT) -> bytes:
    """Decompress a gzip file's content, up to ``limit`` bytes.

    Raises:
        DataFileError: it is damaged or truncated, or grows beyond ``limit``.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(
            f"{shorten(name, 200)}: truncated or damaged gzip file ({error})"
        ) from error
    if len(plain) > limit:
        raise DataFileError(f"{shorten(name, 200)} decompresses to more than {limit} bytes")
    return plain


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
