"""Finding the taps of a foreign module: which of its feature maps to use."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from gennas_optuna import _check
from gennas_optuna._tap_maps import Call, Classifier, Reading, first_tensor
from gennas_optuna.errors import InvalidValueError

Size = tuple[int, ...]

BATCH = 3
"""Samples in a traced pass: an odd number that few other axes have."""


def trace(model: nn.Module, run: Callable[[], Any]) -> list[Call]:
    """The calls of all submodules while ``run()`` runs ``model``, in the order they end."""
    calls: list[Call] = []
    counts: Counter[str] = Counter()
    depth = 0

    def hook(path: str, part: nn.Module, output: Any) -> None:
        nonlocal depth
        layer = any(parameter.dim() > 1 for parameter in part.parameters(recurse=False))
        depth += layer
        counts[path] += 1
        tensor = None if isinstance(part, (nn.Dropout, nn.Softmax)) else first_tensor(output)
        shape = () if tensor is None else tuple(tensor.shape)
        calls.append(Call(path, counts[path], shape, layer, depth))

    with hooked(_parts(model), hook):
        run()
    return calls


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    """All submodules by path; the module itself if it has none."""
    return {path: part for path, part in model.named_modules() if path} or {"": model}


@contextmanager
def hooked(
    parts: Mapping[str, nn.Module], hook: Callable[[str, nn.Module, Any], Any]
) -> Iterator[None]:
    """Call ``hook(path, part, output)`` after each forward pass of the parts, for a while."""
    handles = []
    try:
        for path, part in parts.items():
            handles.append(
                part.register_forward_hook(lambda m, _, output, path=path: hook(path, m, output))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def choose(calls: Sequence[Call], classify: Classifier, count: int) -> list[Reading]:
    """The map at the end of each of the last ``count`` resolutions, or of each share of the depth.

    Shares of the depth are taken where the resolution changes less often, or where more than four
    fifths of the layers run at the last one (transformers with a convolutional stem).
    """
    found = [(call, reading) for call in calls if (reading := classify(call, False)) is not None]
    maps = [reading for _, reading in found]
    if not maps:
        raise InvalidValueError(
            "no feature maps were found among the outputs of the module's parts: give taps, the "
            f"paths of {count} of them, such as {_some([call.path for call in calls])}; images "
            "may be too small for it"
        )
    layers: dict[Size, list[int]] = {}
    for call, reading in found:
        if call.layer:
            layers.setdefault(reading.info.size, []).append(call.depth)
    ends = _ends(maps, layers)
    before, depth = (ends[-2].depth if len(ends) > 1 else 0), ends[-1].depth
    long_end = depth - before > 4 / 5 * depth
    if len(ends) >= count and not (long_end and count > 1):
        return _labelled(ends[-count:], calls)
    if long_end:
        maps = [m for m in maps if m.info.size == ends[-1].info.size and m.depth > before]
    else:
        before = 0
    targets = [before + (depth - before) * (i + 1) / count for i in range(count - 1)]
    return _labelled([*_nearest(maps, targets, depth), ends[-1]], calls)


def _ends(maps: list[Reading], layers: Mapping[Size, list[int]]) -> list[Reading]:
    """The end of each resolution, early to late, each resolution smaller than the one before.

    The last map of a resolution is often inside the first block of the next one. So the end is
    the last map of the outermost modules of those after two thirds of the resolution's layers; of
    the last resolution, after all its layers.

    Args:
        maps: all feature maps, in the order of the pass.
        layers: per resolution, the depths of its layers. Resolutions without one (padding,
            pooling) have no end.
    """
    last = {reading.info.size: i for i, reading in enumerate(maps)}
    sizes = sorted((size for size in last if size in layers or not layers), key=last.__getitem__)
    ends: list[Reading] = []
    shrinks = any(math.prod(size) > math.prod(sizes[-1]) for size in sizes)
    for size in reversed(sizes):
        inner, outer = math.prod(size), math.prod(ends[0].info.size) if ends else 0
        if ends and (inner > outer) != shrinks:
            continue  # keys and values of attention, pooled for a while
        depths = sorted(layers.get(size, [0]))
        enough = depths[-1] if not ends else depths[math.ceil(2 / 3 * len(depths)) - 1]
        late = [m for m in maps if m.info.size == size and m.depth >= enough]
        outermost = min(m.path.count(".") for m in late)
        ends.insert(0, [m for m in late if m.path.count(".") == outermost][-1])
    return ends


def _nearest(maps: list[Reading], targets: list[float], final: int) -> list[Reading]:
    """The maps nearest to some depths before the final one, of modules as far out as will do."""
    levels = sorted({m.path.count(".") for m in maps})
    for level in levels:
        # Of modules that end at one depth the last is the outermost.
        ends = {m.depth: m for m in maps if m.path.count(".") <= level and m.depth < final}
        picks = [min((abs(d - t), d) for d in ends)[1] for t in targets] if ends else []
        off = max((abs(p - t) for p, t in zip(picks, targets, strict=False)), default=0.0)
        near = off <= final / (2 * len(targets) + 2) or level == levels[-1]
        if near and len(set(picks)) == len(targets):
            return [ends[pick] for pick in picks]
    if not any(m.path for m in maps):
        raise InvalidValueError(
            "the module has no parts whose outputs could be read: make what it computes modules "
            f"of its own, at least {len(targets) + 1} one after the other"
        )
    found = _some([m.path for m in maps])
    raise InvalidValueError(
        f"the module has fewer than {len(targets) + 1} feature maps at different depths "
        f"({found}): give a task with fewer stages, such as "
        "dataclasses.replace(task, stages=task.stages[-1:])"
    )


def named(
    calls: Sequence[Call], classify: Classifier, model: nn.Module, taps: Sequence[str]
) -> list[Reading]:
    """The taps at some module paths; ``path#2`` is what the second call of a module returns."""
    paths = list(_parts(model))
    readings = []
    for tap in taps:
        path, _, text = tap.partition("#")
        if path not in paths:
            near = difflib.get_close_matches(path, paths, n=5, cutoff=0.4)
            near = near or [p for p in paths if "." not in p]
            raise InvalidValueError(
                f"taps: the module has no part {_check.shorten(path)}; near matches: {_some(near)}"
            )
        found = [call for call in calls if call.path == path]
        if not found:
            raise InvalidValueError(f"taps: {path!r} is not run by the module's forward")
        if text and not (text.isdecimal() and 1 <= int(text) <= len(found)):
            raise InvalidValueError(f"taps: {tap!r}: {path!r} is run {len(found)} times")
        call = found[int(text) - 1] if text else found[-1]
        reading = classify(call, True)
        if reading is None:
            raise InvalidValueError(
                f"taps: the output of {path!r} has shape {call.shape}, which is no feature map "
                f"of a batch of {BATCH}"
            )
        readings.append(reading)
    return _labelled(readings, calls)


def _labelled(readings: list[Reading], calls: Sequence[Call]) -> list[Reading]:
    """Name taps by path, and by the number of the call where a module is called repeatedly."""
    counts = Counter(call.path for call in calls)
    return [
        replace(r, info=replace(r.info, name=f"{r.path}#{r.number}")) if counts[r.path] > 1 else r
        for r in readings
    ]


def _some(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[-8:]) or "none"
