"""JSON and YAML files; writes that are never half done."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from gennas_optuna._reading import read_bytes
from gennas_optuna.errors import DataFileError


def read_data(path: Path) -> Any:
    """The content of a JSON or YAML file (by its name; YAML without tags that run code).

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it cannot be read as that.
    """
    content = read_bytes(path)
    try:
        text = content.decode()
        if path.suffix in (".yaml", ".yml"):
            import yaml  # noqa: PLC0415 - slow to import

            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise DataFileError(f"{path}: not YAML: {_one_line(error)}") from None
        return json.loads(text)
    except RecursionError:
        raise DataFileError(f"{path}: nested too deeply") from None
    except UnicodeDecodeError:
        raise DataFileError(f"{path}: not a text file") from None
    except json.JSONDecodeError as error:
        raise DataFileError(f"{path}: not JSON: {_one_line(error)}") from None
    except DataFileError:
        raise
    except ValueError as error:  # a number of more digits than Python converts
        raise DataFileError(f"{path}: {_one_line(error)}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the whole new one, never half."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataFileError(f"{path}: cannot be written: {error.strerror}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
