"""What commands of ``gennas`` share: options, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gennas_optuna import _check
from gennas_optuna import _cli_report as report
from gennas_optuna._evaluator import Evaluator, Score
from gennas_optuna.evaluator import GenNASEvaluator
from gennas_optuna.proxies import ProxyEvaluator
from gennas_optuna.score_file import ScoreFile
from gennas_optuna.settings import DEFAULT_PRESET, PRESETS
from gennas_optuna.spaces import Architecture, SearchSpace, get_space

Command = TypeVar("Command", bound=Callable[..., Any])


def space_options(command: Command) -> Command:
    """SPACE and --form."""
    for option in (
        click.option("--form", metavar="FORM", help="Which network of the space; see `spaces`."),
        click.argument("space"),
    ):
        command = option(command)
    return command


JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on standard output."
)

TASK_OPTION = click.option(
    "--task",
    default="default",
    metavar="TASK",
    help="Proxy task: 'default', a name, or FILE (FILE#NAME for one of several).",
)

TRAINING_OPTIONS = (
    click.option(
        "--preset",
        default=DEFAULT_PRESET,
        show_default=True,
        help=f"How to train: {', '.join(PRESETS)}.",
    ),
    click.option(
        "--steps", type=click.IntRange(min=1), help="Training steps, if not the preset's."
    ),
    click.option(
        "--inputs",
        default="photos",
        show_default=True,
        metavar="INPUTS",
        help="Unlabelled images: 'photos', 'noise', a folder, CIFAR's, an .npz file.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Of everything that is drawn.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="A PyTorch device; 'auto': a GPU if there is one.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="PyTorch threads per worker.",
    ),
)
"""How architectures are trained, on any task."""

_RUN_OPTIONS = (
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes; results do not depend on it.",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of finished scores: read first, then added to.",
    ),
    JSON_OPTION,
)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """A decorator that adds them to a command, listed in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


scoring_options = with_options(TASK_OPTION, *TRAINING_OPTIONS, *_RUN_OPTIONS)
"""How architectures are scored, on how many processes, and what is printed."""


def chosen_space(name: str, form: str | None) -> SearchSpace:
    """The space of SPACE and --form."""
    return get_space(name) if form is None else get_space(name, form=form)


def make_evaluator(options: dict[str, Any], proxy: str = "gennas") -> Evaluator:
    """The evaluator of the scoring options."""
    common = {name: options[name] for name in ("inputs", "seed", "device", "threads")}
    if proxy != "gennas":
        return ProxyEvaluator(proxy, **common)
    chosen = {name: options[name] for name in ("preset", "steps")}
    return GenNASEvaluator(options["task"], **chosen, **common)


def procedure(evaluator: Evaluator, space: SearchSpace) -> dict[str, Any]:
    """How architectures are trained, for reports; all ``None`` for proxies without training."""
    if not isinstance(evaluator, GenNASEvaluator):
        return {"preset": None, "steps": None, "task": None}
    task = evaluator.task_for(space)
    return {
        "preset": evaluator.preset.name,
        "steps": evaluator.steps_for(space),
        "task": task.name,
    }


class ScoreCache:
    """The ``--cache`` file, if one was given."""

    def __init__(self, path: Path | None, evaluator: Evaluator, space: SearchSpace) -> None:
        self.file = None if path is None else ScoreFile(path)
        self.evaluator = evaluator
        self.known: set[str] = set()
        if self.file is not None:
            self.known = self.file.restore(evaluator, space)
            self.file.check_writable()
            report.note(f"{_check.amount(len(self.known), 'score')} taken from {path}")

    def add(self, arch: Architecture, score: Score) -> None:
        """Keep a score that is new."""
        if self.file is not None and arch.key not in self.known:
            self.file.append(self.evaluator, arch, score)
            self.known.add(arch.key)
