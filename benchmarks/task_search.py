r"""The proxy-task search measured: TPE against the paper's evolution, found tasks against others.

    python -m benchmarks.task_search nasbench201 --truth hpo-bench:cifar10 --out OUT
    python -m benchmarks.task_search nasbench101 --truth TABLES/nasbench101/nasbench1_cifar10.json \
        --search-truth TABLES/nasbench101/nasbench1_search_20.json --published TASKS#CONF_NB101 \
        --out OUT

Runs several searches of each sampler to an equal number of trained architectures, and ranks
architectures that took no part in them with every task found, the generic one and, if given, the
published one. Writes SPACE.json, SPACE.md and SPACE.png into ``--out``, and the tasks found with
where they came from. A run that is stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
from scipy import stats

from benchmarks.ranking import without_size
from benchmarks.script import Script
from gennas_optuna import ProxyTask, get_space, get_task, load_truth, plots
from gennas_optuna._cli_tune import COMPLETE_ONLY
from gennas_optuna._files import write_text
from gennas_optuna._task_bound import upper_bound
from gennas_optuna._task_result import (
    correlate_losses,
    importances,
    losses_of,
    mean_rank,
    score_tasks,
)
from gennas_optuna._task_study import completed, finished, open_study
from gennas_optuna.correlation import spearman
from gennas_optuna.presets import found_in, packaged_tasks
from gennas_optuna.report import correlation_record
from gennas_optuna.samplers import make_sampler
from gennas_optuna.seeding import numpy_generator
from gennas_optuna.task_search import ProxyTaskObjective, draw_distinct, search_task
from gennas_optuna.task_space import FORMS, ProxyTaskSpace


@click.command(cls=Script)
@click.argument("space")
@click.option("--truth", required=True, help="Table that held-out architectures are from.")
@click.option("--search-truth", help="Table of the search's architectures, if another.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for it all.")
@click.option("--archs", default=20, show_default=True, help="Architectures of the search.")
@click.option("--evaluations", default=2000, show_default=True, help="Trained, in each search.")
@click.option("--searches", default=3, show_default=True, help="Of each sampler.")
@click.option("--sampler", "samplers", multiple=True, default=("tpe", "evolution"))
@click.option("--task-space", type=click.Choice(FORMS), default="flat", show_default=True)
@click.option("--heldout", default=100, show_default=True, help="Held-out architectures.")
@click.option("--generic", help="The generic task, if not the layout's own.")
@click.option("--published", help="The published task: FILE#NAME.")
@click.option("--preset", default="paper", show_default=True)
@click.option("--unsized", is_flag=True, help="The preset without counting the size.")
@click.option("--transfer", is_flag=True, help="Start from the tasks found in other spaces.")
@click.option("--steps", type=int, help="If not the preset's.")
@click.option("--inputs", default="photos", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of all but the samplers.")
@click.option("--workers", default=1, show_default=True)
def main(space: str, out: Path, samplers: tuple[str, ...], searches: int, **given: Any) -> None:
    """Measure the search of a proxy task for SPACE."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    chosen, seed, workers = get_space(space), given["seed"], given["workers"]
    if given["unsized"]:
        given["preset"] = without_size(given["preset"])
    truth = load_truth(given["truth"], chosen)
    objective = _objective(chosen, truth, given, prune=True)
    heldout = draw_distinct(
        truth, given["heldout"], seed=seed, what="held-out set", without=objective.archs
    )
    start: list[ProxyTask] = []
    if given["transfer"]:
        start = [task for task in packaged_tasks(chosen) if found_in(task) != space]
    studies: dict[str, list[optuna.Study]] = {}
    rows: list[dict[str, Any]] = []
    tasks: list[ProxyTask] = []
    for sampler in samplers:
        own = objective
        if sampler in COMPLETE_ONLY:
            own = _objective(chosen, truth, given, prune=False)
        for number in range(searches):
            label = f"{sampler}-{number}"
            study = open_study(
                str(out / f"{space}.journal"),
                label,
                partial(make_sampler, sampler, own.tasks),
                seed=number,
            )
            found = search_task(own, study, n_evaluations=given["evaluations"], start=start)
            task = replace(found.task, name=f"{space}-{label}")
            task.save(out / f"{task.name}.json")
            _write_json(out / f"{task.name}.provenance.json", found.provenance())
            studies.setdefault(sampler, []).append(study)
            tasks.append(task)
            rows.append(
                {
                    "label": label,
                    "method": sampler,
                    "search": correlation_record(found.correlation),
                    "n_trials": found.n_trials,
                    "n_completed": found.n_completed,
                    "n_evaluations": found.n_evaluations,
                    "saved": 1 - found.n_evaluations / (found.n_trials * len(objective.archs)),
                    "importances": importances(study),
                }
            )
            click.echo(f"{label}: {found.correlation.spearman:.3f} on the search's own", err=True)
    layout = {"NCHW": "generic", "LND": "generic-sequence"}[chosen.layout]
    others = {"generic": given["generic"] or layout, "published": given["published"]}
    for label, name in others.items():
        if name is not None:
            tasks.append(get_task(name))
            rows.append({"label": label, "method": label})
    losses = score_tasks(
        tasks,
        objective.make_evaluator,
        heldout,
        workers=workers,
        cache=out / f"{space}-scores.jsonl",
    )
    for row, task, own_losses in zip(rows, tasks, losses, strict=True):
        row["task"] = task.digest
        row["heldout"] = correlation_record(correlate_losses(own_losses, truth, heldout))
    goodness = np.array([truth.goodness(record) for record in heldout])
    report = {
        **objective.conditions,
        "heldout_truth": Path(truth.name).name,
        "n_heldout": len(heldout),
        "evaluations": given["evaluations"],
        "rows": rows,
        "means": _means(rows, losses, goodness),
        "curves": _curves(studies),
        "pruning": _replays(studies, objective),
    }
    _write_json(out / f"{space}.json", report)
    write_text(out / f"{space}.md", _markdown(report))
    plots.save(plots.plot_best_so_far(studies), out / f"{space}.png")
    click.echo(_markdown(report))


def _objective(space: Any, truth: Any, given: dict[str, Any], prune: bool) -> ProxyTaskObjective:
    table = truth
    if given["search_truth"] is not None:
        table = load_truth(given["search_truth"], space)
    names = ("preset", "steps", "inputs", "seed", "workers")
    return ProxyTaskObjective(
        space,
        table,
        n_archs=given["archs"],
        tasks=ProxyTaskSpace.of(space, given["task_space"]),
        prune=prune,
        **{name: given[name] for name in names},
    )


def _means(
    rows: Sequence[dict[str, Any]], losses: Sequence[Sequence[float]], goodness: Any
) -> list[dict[str, Any]]:
    """Per method the mean Spearman over its searches, and how much better than the others.

    Intervals are bootstrap ones over architectures, drawn together for all that is compared.
    """
    by_method: dict[str, list[Any]] = {}
    for row, own in zip(rows, losses, strict=True):
        by_method.setdefault(row["method"], []).append(-np.array(own))
    for method in list(by_method):
        if len(by_method[method]) > 1:
            together = mean_rank([-scores for scores in by_method[method]])
            by_method[f"{method}, mean rank"] = [-np.array(together)]

    def mean(method: str, index: Any) -> float:
        return float(np.mean([spearman(s[index], goodness[index]) for s in by_method[method]]))

    def difference(method: str, other: str, index: Any) -> float:
        return mean(method, index) - mean(other, index)

    baselines = [name for name in ("generic", "published") if name in by_method]
    found = []
    for method, some in by_method.items():
        entry: dict[str, Any] = {"method": method, "searches": len(some)}
        entry["spearman"] = _with_interval(partial(mean, method), len(goodness))
        for other in baselines:
            if other != method:
                gap = partial(difference, method, other)
                entry[f"over_{other}"] = _with_interval(gap, len(goodness))
        found.append(entry)
    return found


def _with_interval(statistic: Callable[[Any], float], n: int) -> list[float]:
    """A statistic of architectures by number: its value and its 95 % interval."""
    every = np.arange(n)
    result = stats.bootstrap(
        (every,),
        statistic,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=numpy_generator(0, "bootstrap"),
    )
    return [statistic(every), *map(float, result.confidence_interval)]


def _curves(studies: dict[str, list[optuna.Study]]) -> dict[str, Any]:
    """Best so far of each method, and what it takes to reach what another ends with."""
    curves = {name: [plots.best_so_far(s) for s in some] for name, some in studies.items()}
    means = {name: plots.mean_curve(some) for name, some in curves.items()}
    reach = [
        {
            "method": name,
            "goal": other,
            "best": float(means[other][1][-1]),
            "evaluations": _first(means[name], means[other][1][-1]),
            "of": float(means[other][0][-1]),
            "each": [
                _first(curve, goal[1][-1])
                for curve, goal in zip(curves[name], curves[other], strict=True)
            ],
        }
        for name in curves
        for other in curves
        if other != name
    ]
    points = {name: [[x.tolist(), y.tolist()] for x, y in some] for name, some in curves.items()}
    return {"reach": reach, "points": points}


def _first(curve: tuple[Any, Any], value: float) -> float | None:
    x, y = curve
    reached = np.flatnonzero(y >= value - 1e-12)
    return float(x[reached[0]]) if len(reached) else None


def _replays(
    studies: dict[str, list[optuna.Study]], objective: ProxyTaskObjective
) -> list[dict[str, Any]]:
    """What the exact bound would have saved in searches that ran without it, and lost."""
    found = []
    for name, some in studies.items():
        for number, study in enumerate(some):
            if name not in COMPLETE_ONLY:
                continue
            best, spent, lost = -1.0, 0, 0
            trials = sorted(completed(study), key=lambda trial: trial.number)
            for trial in trials:
                scores = [-loss for loss in losses_of(trial)]
                needed = len(scores)
                for k in range(2, len(scores)):
                    bound = upper_bound(scores[:k], objective.goodness, objective.statistic)
                    if bound <= best:
                        needed = k
                        break
                spent += needed
                value = trial.value or 0.0
                lost += needed < len(scores) and value > best
                best = max(best, value)
            total = len(objective.archs) * len(trials)
            found.append(
                {
                    "label": f"{name}-{number}",
                    "n_trials": len(finished(study)),
                    "saved": 1 - spent / total,
                    "lost_bests": lost,
                }
            )
    return found


def _markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['space']}: {report['n_archs']} architectures in the search, "
        f"{report['n_heldout']} held out ({report['heldout_truth']}), "
        f"{report['evaluations']} trained per search",
        "",
        "| task | Spearman, search | Spearman, held out (95 %) | Kendall, held out (95 %) | trials "
        "| evaluations saved |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [row["label"], f"{row['search']['spearman']:.3f}" if "search" in row else ""]
        own = row["heldout"]
        cells += [_cell([own[name], *own[f"{name}_ci"]]) for name in ("spearman", "kendall")]
        cells += [str(row.get("n_trials", "")), f"{row['saved']:.0%}" if "saved" in row else ""]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| method | mean Spearman, held out (95 %) | over generic | over published |",
        "|---|---|---|---|",
    ]
    for entry in report["means"]:
        keys = ("spearman", "over_generic", "over_published")
        cells = [f"{entry['method']} ({entry['searches']})"]
        cells += [_cell(entry[key]) if key in entry else "" for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for entry in report["curves"]["reach"]:
        taken = "not reached" if entry["evaluations"] is None else f"{entry['evaluations']:.0f}"
        lines.append(
            f"- {entry['method']} to reach the {entry['best']:.3f} that {entry['goal']} ends with "
            f"after {entry['of']:.0f} evaluations (means over searches): {taken}"
        )
    for entry in report["pruning"]:
        lines.append(
            f"- the exact bound, applied to the trials of {entry['label']}: saves "
            f"{entry['saved']:.0%} of the evaluations, loses {entry['lost_bests']} new bests"
        )
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
    value, low, high = values
    if low is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
