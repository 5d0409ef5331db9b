"""Reading files that may be missing, huge, special or damaged."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from pathlib import Path

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
    name = repr(str(path))
    try:
        info = path.stat()  # before opening: opening a pipe would wait for its writer
        if stat.S_ISDIR(info.st_mode):
            raise DataFileError(f"{name} is a folder; give a file")
        if not stat.S_ISREG(info.st_mode):
            raise DataFileError(f"{name} is not a regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"no such file: {name}") from None
    except OSError as error:
        raise DataFileError(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with a NUL character
        raise MissingFileError(f"no such file: {name} ({error})") from error
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
        raise DataFileError(f"{name!r}: truncated or damaged gzip file ({error})") from error
    if len(plain) > limit:
        raise DataFileError(f"{name!r} decompresses to more than {limit} bytes")
    return plain
