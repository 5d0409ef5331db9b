"""JSON and YAML files; writes that are never half done."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna._reading import read_bytes
from gennas_optuna.errors import DataFileError

JSON_LIMIT = 2**26
"""The largest JSON file that is read, in bytes."""

YAML_LIMIT = 2**20
"""The largest YAML file that is read: a megabyte takes PyYAML up to ten seconds."""


def read_data(path: Path) -> Any:
    """The content of a JSON or YAML file (by its name; YAML without tags that run code).

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it cannot be read as that.
    """
    yaml = path.suffix in (".yaml", ".yml")
    content = read_bytes(path, limit=YAML_LIMIT if yaml else JSON_LIMIT)
    name = shorten(str(path), 200)
    try:
        return (_load_yaml if yaml else json.loads)(content.decode())
    except RecursionError:
        raise DataFileError(f"{name}: nested too deeply") from None
    except UnicodeDecodeError:
        raise DataFileError(f"{name}: not a text file") from None
    except Exception as error:  # PyYAML raises many kinds where a value does not fit its tag
        kind = "YAML" if yaml else "JSON"
        raise DataFileError(f"{name}: not {kind}: {_one_line(error)}") from None


def _load_yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - slow to import

    return yaml.safe_load(text)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is either the old one or the whole new one, never half.

    Raises:
        DataFileError: it cannot be written.
    """
    try:
        content = text.encode()
    except ValueError as error:
        raise _unwritable(path, _one_line(error)) from None
    write_bytes(path, content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one, never half.

    Raises:
        DataFileError: it cannot be written.
    """
    # Not the tempfile module: its files can be read by their owner only, also after renaming.
    try:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # ValueError: no possible name
        raise _unwritable(path, _one_line(error)) from None


def check_writable(path: Path, endings: Collection[str]) -> None:
    """See that a file could be written, before the work whose outcome it is to hold.

    Args:
        path: the file; it need not exist yet.
        endings: those that its name may have, with the dot.

    Raises:
        DataFileError: the name has another ending, is a folder's, or is in no folder that may be
            written to.
    """
    if path.suffix.lower() not in endings:
        raise _unwritable(path, f"give a name that ends in {', '.join(endings)}")
    folder = path.absolute().parent
    try:
        if not folder.is_dir():
            raise _unwritable(path, f"there is no folder {shorten(str(folder), 200)}")
        if path.is_dir():
            raise _unwritable(path, "it is a folder")
        with tempfile.TemporaryFile(dir=folder):  # permissions alone do not tell
            pass
    except OSError as error:
        raise _unwritable(path, _one_line(error)) from None


def _unwritable(path: Path, reason: str) -> DataFileError:
    return DataFileError(f"{shorten(str(path), 200)} cannot be written: {reason}")


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split())[:300]
