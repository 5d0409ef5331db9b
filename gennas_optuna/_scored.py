"""Scores beside the truth, read from what the commands write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gennas_optuna import _check
from gennas_optuna._check import shorten
from gennas_optuna._files import read_data
from gennas_optuna.benchmarks import load_truth
from gennas_optuna.correlation import RankCorrelation, rank_correlation
from gennas_optuna.errors import DataFileError, InvalidValueError, MissingFileError
from gennas_optuna.score_file import ScoreFile, score_from_dict


@dataclass(frozen=True)
class Scored:
    """Architectures with their losses and their true qualities.

    Attributes:
        space: name of the search space.
        proxy: what ranks: ``gennas``, or a proxy whose value is minus the loss.
        truth: what the qualities are from.
        metric: what they are, with the unit.
        losses: one an architecture; ``inf`` where the training diverged.
        qualities: in the same order.
        correlation: signed, so that a good ranking is positive.
    """

    space: str
    proxy: str
    truth: str
    metric: str
    losses: tuple[float, ...]
    qualities: tuple[float, ...]
    correlation: RankCorrelation


def read_ranking(path: Path) -> Scored:
    """What ``gennas rank --json`` printed into a file.

    Raises:
        MissingFileError: there is no such file.
        DataFileError: it holds something else.
    """
    data = read_data(path)
    try:
        records = [(row["loss"], row["truth"]) for row in data["records"]]
        losses = tuple(_number(loss, "loss") for loss, _ in records)
        qualities = tuple(_check.number(truth, "truth") for _, truth in records)
        correlation = RankCorrelation(
            spearman=_check.number(data["spearman"], "spearman", low=-1, high=1),
            spearman_ci=_interval(data["spearman_ci"]),
            kendall=_check.number(data["kendall"], "kendall", low=-1, high=1),
            kendall_ci=_interval(data["kendall_ci"]),
            n=len(records),
        )
        names = {name: str(data[name]) for name in ("space", "proxy", "truth", "metric")}
    except (KeyError, TypeError, ValueError) as error:
        raise DataFileError(
            f"{shorten(str(path), 200)} is no output of `gennas rank --json` "
            f"({type(error).__name__}: {shorten(str(error))}); for a --cache file give --truth"
        ) from None
    return Scored(losses=losses, qualities=qualities, correlation=correlation, **names)


def match_scores(
    path: Path, truth: str, *, space: str | None = None, identity: str | None = None
) -> Scored:
    """The scores of a ``--cache`` file whose architectures a table knows, each network once.

    Args:
        path: the file.
        truth: the table, see :func:`load_truth`.
        space: take the scores of this space; may be left out if there is one.
        identity: take those that were found in this way (task, preset, steps, inputs, seed); may
            be left out if there is one.

    Raises:
        InvalidValueError: there is a choice of spaces or identities, or the table knows fewer
            than two of the architectures.
        DataFileError: the file holds something else.
        MissingFileError: there is no such file, or nothing in it.
    """
    name, file = shorten(str(path), 200), ScoreFile(path)
    entries = list(file.entries())
    if not entries:
        raise MissingFileError(f"{name}: there are no scores in it, or there is no such file")
    try:
        space = _only(name, "--space", space, [entry["space"] for _, entry in entries])
        entries = [(number, e) for number, e in entries if e["space"] == space]
        identity = _only(name, "--identity", identity, [e["identity"] for _, e in entries])
    except (KeyError, TypeError) as error:
        raise file.no_score(1, error) from None
    table = load_truth(truth, space)
    pairs: dict[str, tuple[float, float, float]] = {}
    proxy = identity
    for number, entry in entries:
        try:
            if entry["identity"] != identity:
                continue
            arch, score = table.space.parse(entry["arch"]), score_from_dict(entry["score"])
        except (KeyError, TypeError, ValueError) as error:
            raise file.no_score(number, error) from None
        if score.trace is not None:  # something was trained
            proxy = "gennas"
        known = table.find(arch)
        if known is not None:
            pairs[table.space.benchmark_key(arch)] = score.loss, known.truth, table.goodness(known)
    if len(pairs) < 2:
        raise InvalidValueError(
            f"{name}: {table.name} knows {len(pairs)} of its architectures; two are the least"
        )
    losses, qualities, goodness = zip(*pairs.values(), strict=True)
    correlation = rank_correlation([-loss for loss in losses], goodness)
    return Scored(
        space=table.space.name,
        proxy=proxy,
        truth=table.name,
        metric=table.metric,
        losses=losses,
        qualities=qualities,
        correlation=correlation,
    )


def _only(file: str, option: str, given: str | None, found: Sequence[Any]) -> str:
    """The one that was asked for, or the only one that there is."""
    numbers = Counter(map(str, found))
    if given in numbers or (given is None and len(numbers) == 1):
        return given or next(iter(numbers))
    there = ", ".join(f"{name} ({number})" for name, number in numbers.most_common(10))
    what = f"no scores of {shorten(given)}" if given else "scores of several"
    raise InvalidValueError(f"{file} has {what}: give {option}, one of {there}")


def _interval(ends: Any) -> tuple[float, float]:
    low, high = (float("nan") if end is None else _check.number(end, "interval") for end in ends)
    return low, high


def _number(value: Any, where: str) -> float:
    return float("inf") if value is None else _check.number(value, where)
