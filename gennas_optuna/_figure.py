"""What all figures share: how they are made, and how they are written. They need matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gennas_optuna import _check
from gennas_optuna._files import check_writable, write_bytes
from gennas_optuna.errors import DataFileError, MissingFileError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
"""The formats of figures, by the ending of the file's name."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches. It is no part of pyplot's global state.

    Raises:
        MissingFileError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise MissingFileError(
            'figures need matplotlib: pip install "gennas-optuna[plot]"'
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def check_figure(path: Path) -> None:
    """See that a figure could be drawn and written, before the work that it is to show.

    Raises:
        DataFileError: the name has no ending of :data:`ENDINGS`, or the file cannot be written.
        MissingFileError: matplotlib is not installed.
    """
    check_writable(path, ENDINGS)
    new_figure(1, 1)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the name's ending: the whole of it, or nothing.

    Raises:
        DataFileError: it cannot be written; a file of that name is left as it was.
    """
    check_writable(path, ENDINGS)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=150)
    except ValueError as error:  # such as a text that the font cannot set
        reason = _check.shorten(str(error), 200)
        raise DataFileError(f"{path} cannot be drawn: {reason}") from None
    write_bytes(path, buffer.getvalue())
