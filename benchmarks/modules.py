"""How GenNAS ranks published image classifiers: taps, scores, and correlation with accuracy.

    python -m benchmarks.modules --out SCORES.jsonl

Each network is built by ``transformers`` from its configuration, without weights, and scored by
one call of ``gennas_optuna.score``. Finished scores stand in the file, one a line, so a run that
is stopped goes on where it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.published import MODELS, Published
from benchmarks.script import Script
from gennas_optuna import score
from gennas_optuna.correlation import paired_difference, rank_correlation
from gennas_optuna.cost import Cost
from gennas_optuna.settings import Size, get_preset


@click.command(cls=Script)
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of scores.")
@click.option("--size", default=64, show_default=True, help="Height and width of the images.")
@click.option("--preset", default="balanced", show_default=True, help="How to train.")
@click.option("--steps", type=int, help="Optimiser steps, if not the preset's.")
@click.option("--task", default="default", show_default=True, help="Proxy task.")
@click.option("--init", default="redraw", show_default=True, help="redraw or as_given.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--device", default="auto", show_default=True, help="A PyTorch device.")
def main(names: tuple[str, ...], out: Path, **settings: Any) -> None:
    """Print the tables for the models NAMES (all, if none is named)."""
    unknown = set(names) - {model.name for model in MODELS}
    if unknown:
        known = ", ".join(model.name for model in MODELS)
        raise click.UsageError(f"no model {', '.join(sorted(unknown))}; there are {known}")
    models = [model for model in MODELS if not names or model.name in names]
    done = _finished(out, settings)
    for model in models:
        if model.name not in done:
            done[model.name] = _score(model, settings)
            entry = {"name": model.name, "settings": settings, "score": done[model.name]}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            click.echo(f"{model.name}: {done[model.name]['loss']}", err=True)
    _show_models(models, done)
    if len(models) > 2:
        _show_correlations(models, done)
        _show_families(models, done)
        _show_exponents(models, done, str(settings["preset"]))


def _finished(out: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores by name; a last line that was cut off is ignored."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    scores = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            if number == len(lines):
                continue
            raise
        if entry["settings"] == settings:
            scores[entry["name"]] = entry["score"]
    return scores


def _score(model: Published, settings: dict[str, Any]) -> dict[str, Any]:
    size = settings["size"]
    torch.manual_seed(settings["seed"])
    options = {name: value for name, value in settings.items() if name != "size"}
    found = score(model.build(size), (3, size, size), verbose=False, **options)
    taps = [asdict(tap) for tap in found.taps]
    kept = {"taps": taps, "kept": list(found.kept), "loss": found.loss, "status": found.status}
    return {**kept, "params": found.params, "flops": found.flops, "cpu": found.cpu_seconds}


def _show_models(models: Sequence[Published], done: dict[str, dict[str, Any]]) -> None:
    click.echo("| model | ImageNet top-1 | GenNAS loss | params | MACs | CPU s | taps |")
    click.echo("|---|---|---|---|---|---|---|")
    for model in sorted(models, key=lambda model: done[model.name]["loss"]):
        s = done[model.name]
        taps = ", ".join(f"`{t['name']}` {t['channels']}x{t['size'][0]}" for t in s["taps"])
        loss = f"{s['loss']:.4f}" if s["status"] == "ok" else s["status"]
        click.echo(
            f"| {model.name} | {model.top1:.1f} | {loss} | {s['params'] / 1e6:.1f} M "
            f"| {s['flops'] / 1e6:.0f} M | {s['cpu']:.0f} | {taps} |"
        )


def _show_correlations(models: Sequence[Published], done: dict[str, dict[str, Any]]) -> None:
    truth = [model.top1 for model in models]
    scores = [done[model.name] for model in models]
    goodness = {
        "GenNAS": [-s["loss"] for s in scores],
        "params": [float(s["params"]) for s in scores],
        "FLOPs": [float(s["flops"]) for s in scores],
    }
    click.echo(f"\n{len(models)} models, 95 % intervals:\n")
    click.echo("| ranked by | Spearman | Kendall | GenNAS minus it (Spearman) |")
    click.echo("|---|---|---|---|")
    for name, values in goodness.items():
        found = rank_correlation(values, truth)
        row = [name, _interval(found.spearman, found.spearman_ci)]
        row.append(_interval(found.kendall, found.kendall_ci))
        gap = paired_difference(goodness["GenNAS"], values, truth)
        row.append("" if name == "GenNAS" else _interval(gap.difference, gap.ci))
        click.echo(f"| {' | '.join(row)} |")


def _show_families(models: Sequence[Published], done: dict[str, dict[str, Any]]) -> None:
    click.echo("\n| family | pairs in the right order | of |\n|---|---|---|")
    families: dict[str, list[Published]] = {}
    for model in models:
        families.setdefault(re.split(r"[- ]", model.name)[0], []).append(model)
    right = of = 0
    for family, some in families.items():
        pairs = list(combinations(some, 2))
        good = sum(
            (a.top1 > b.top1) == (done[a.name]["loss"] < done[b.name]["loss"]) for a, b in pairs
        )
        right, of = right + good, of + len(pairs)
        if pairs:
            click.echo(f"| {family} | {good} | {len(pairs)} |")
    click.echo(f"| all | {right} | {of} |")


def _show_exponents(
    models: Sequence[Published], done: dict[str, dict[str, Any]], preset: str
) -> None:
    """What the ranking would be if size counted for less or more."""
    click.echo("\n| power of the FLOPs | Spearman (95 %) | Kendall (95 %) |\n|---|---|---|")
    own = get_preset(preset).size
    scores = [done[model.name] for model in models]
    costs = [Cost(score["params"], score["flops"]) for score in scores]
    for exponent in (0.0, 0.02, 0.05, 0.1, 0.2):
        goodness = [
            -score["loss"] / own.factor(cost) * Size(flops=exponent).factor(cost)
            for score, cost in zip(scores, costs, strict=True)
        ]
        found = rank_correlation(goodness, [model.top1 for model in models])
        row = [_interval(found.spearman, found.spearman_ci)]
        row.append(_interval(found.kendall, found.kendall_ci))
        click.echo(f"| {exponent:g} | {' | '.join(row)} |")


def _interval(value: float, ends: tuple[float, float]) -> str:
    return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


if __name__ == "__main__":
    main()
