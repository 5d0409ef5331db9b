"""Proxy tasks by name: those in this folder, and files.

Where those that were searched for come from stands in ``provenance/``.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources
from pathlib import Path

from gennas_optuna._check import shorten
from gennas_optuna._files import read_data
from gennas_optuna.errors import MissingFileError
from gennas_optuna.spaces import SearchSpace, get_space, list_spaces
from gennas_optuna.spaces.nds import CELL_SPACES, STAGE_SPACES
from gennas_optuna.task import ProxyTask

_DEFAULTS = {"NCHW": "generic", "LND": "generic-sequence"}
"""The task of a space without one of its own, by the layout of its taps, where there is none with
the preset's name behind it (``generic-fast``)."""

_FAMILIES = dict.fromkeys(STAGE_SPACES, "nds-stages") | dict.fromkeys(CELL_SPACES, "nds-cells")
"""Spaces that share what was found in one of them (see its provenance), by the family's name."""

_ALSO = {"balanced": "fast"}
"""Presets that take what was found at another one; both read the loss in the same way."""


def list_tasks() -> list[str]:
    """The names of the tasks that come with the package."""
    return sorted(_files())


def get_task(
    task: str | Path | ProxyTask,
    space: SearchSpace | None = None,
    *,
    preset: str | None = None,
) -> ProxyTask:
    """Find a proxy task.

    Args:
        task: ``"default"``: the task that was found for ``space`` or its family at this preset
            (``balanced`` shares those of ``fast``) if there is one, else the one named like the
            space, else the generic task of its layout, at this preset if there is one; a name from
            :func:`list_tasks`; the name of a space, for its default; a file that
            :meth:`ProxyTask.load` reads; or a task, which is passed through.
        space: what the default is for; any network for images if not given.
        preset: name of the preset that the default is for.

    Raises:
        MissingFileError: it is neither a name nor a file.
    """
    if isinstance(task, ProxyTask):
        return task
    files = _files()
    name = str(task)
    if name == "default":
        name = _default(space, preset, files)
    elif name not in files and name in list_spaces():
        name = _default(get_space(name), preset, files)
    if name in files:
        return ProxyTask.from_dict(read_data(files[name]), where=f"task {name}")
    try:
        if not name:
            raise MissingFileError
        return ProxyTask.load(name)
    except MissingFileError:
        names = ", ".join(("default", *sorted(files)))
        raise MissingFileError(
            f"task {shorten(name, 200)}: no such file, no space, and not one of {names}"
        ) from None


def packaged_tasks(space: SearchSpace, *, preset: str | None = None) -> list[ProxyTask]:
    """The tasks that come with the package and fit the space's taps, its default first."""
    tasks = [get_task(name, space, preset=preset) for name in ("default", *list_tasks())]
    sequences = tasks[0].sequence is not None
    return list(dict.fromkeys(task for task in tasks if (task.sequence is not None) == sequences))


def found_in(task: ProxyTask) -> str | None:
    """The space that a task of the package was searched in; ``None`` for those that were not."""
    try:
        file = _files("provenance")[task.name]
    except KeyError:
        return None
    return str(read_data(file)["space"])


def family(space: str) -> str:
    """The family of spaces that share a task found in one of them; else the space's own name."""
    return _FAMILIES.get(space, space)


def _default(space: SearchSpace | None, preset: str | None, names: Collection[str]) -> str:
    generic = _DEFAULTS["NCHW" if space is None else space.layout]
    found_at = [name for name in (preset, _ALSO.get(preset or "")) if name]
    places = [] if space is None else [space.name, family(space.name)]
    own = [*(f"{place}-{name}" for name in found_at for place in places), *places]
    own += [f"{generic}-{name}" for name in found_at]
    return next((name for name in own if name in names), generic)


def _files(*within: str) -> dict[str, Path]:
    folder = Path(str(resources.files(__name__))).joinpath(*within)
    return {path.stem: path for path in sorted(folder.glob("*.json"))}
