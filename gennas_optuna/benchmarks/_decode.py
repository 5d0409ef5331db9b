"""From a file or folder to plain data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gennas_optuna._check import shorten
from gennas_optuna._reading import gunzip, read_bytes
from gennas_optuna._unpickle import PLAIN, restricted_loads
from gennas_optuna.errors import DataFileError, GenNASError


@dataclass(frozen=True)
class Several:
    """The contents of a folder's files, or of a file's lines.

    Attributes:
        documents: (name, content) of each, in order; an error takes the place of a content that
            could not be read.
    """

    documents: tuple[tuple[str, Any], ...]


def decode(path: Path) -> tuple[Any, str]:
    """Read a file, or the JSON files of a folder in the order of their names.

    A file may be JSON, JSON lines, either of them compressed with gzip, or a pickle. What it is
    follows from its content.

    Returns:
        The plain data (or :class:`Several`) and the SHA-256 of what was read.

    Raises:
        MissingFileError: there is no such file or folder.
        DataFileError: it is damaged or none of these.
    """
    if _is_folder(path):
        return _folder(path)
    content = read_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    name = str(path)
    if content.startswith(b"\x1f\x8b"):
        content = gunzip(content, name)
    if content.startswith(b"\x80"):
        return restricted_loads(content, name, PLAIN), digest
    try:
        return _json(_text(content)), digest
    except DataFileError as error:
        raise DataFileError(f"{shorten(name, 200)}: {error}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long a name, say: reading it will tell
        return False


def _folder(path: Path) -> tuple[Several, str]:
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise DataFileError(
            f"{shorten(str(path), 200)} cannot be listed: {error.strerror}"
        ) from error
    files = [entry for entry in entries if entry.suffix == ".json"]
    if not files:
        folders = [entry.name for entry in entries if _is_folder(entry)][:5]
        hint = f"; it has folders: {', '.join(map(repr, folders))}" if folders else ""
        raise DataFileError(f"no JSON files in folder {shorten(str(path), 200)}{hint}")
    digest = hashlib.sha256()
    documents: list[tuple[str, Any]] = []
    for file in files:
        try:
            content = read_bytes(file)
            digest.update(f"{file.name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
            document = _json(_text(content))
        except GenNASError as error:
            document = DataFileError(str(error))
        documents.append((file.name, document))
    return Several(tuple(documents)), digest.hexdigest()


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"neither text nor a pickle (byte {error.start} is not UTF-8)"
        ) from error


def _json(text: str) -> Any:
    """JSON, or a JSON value on each line."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataFileError("JSON nested too deeply") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            lines = _lines(text)
            if lines is not None:
                return lines
        raise DataFileError(
            f"not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from error
    except ValueError as error:  # a number of more digits than Python converts
        raise DataFileError(f"not JSON: {error}") from error


def _lines(text: str) -> Several | None:
    """JSON lines, if the first line is an object of its own; later lines may be damaged."""
    documents: list[tuple[str, Any]] = []
    for i, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may have U+2028
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            document = DataFileError(f"not JSON: {' '.join(str(error).split())}")
        if not documents and not isinstance(document, dict):
            return None
        documents.append((f"line {i}", document))
    return Several(tuple(documents))
