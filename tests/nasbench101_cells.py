"""Cells of NAS-Bench-101 in short notation, enumerated, renumbered and hashed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from gennas_optuna.spaces import Architecture, get_space
from gennas_optuna.spaces import _nasbench101_cell as graph

GENNAS = get_space("nasbench101")
FIRST_RELEASE = get_space("nasbench101", form="first-release")
LABELS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
SHORT = {"3": LABELS[0], "1": LABELS[1], "p": LABELS[2]}


def lists(edges: str, ops: str) -> list[Any]:
    """``[matrix, labels]`` from edges such as ``"01 12"`` and operations such as ``"3p"``."""
    size = len(ops) + 2
    matrix = [[0] * size for _ in range(size)]
    for edge in edges.split():
        matrix[int(edge[0])][int(edge[1])] = 1
    return [matrix, ["input", *(SHORT[op] for op in ops), "output"]]


def arch_of(edges: str, ops: str) -> Architecture:
    return GENNAS.parse(json.dumps(lists(edges, ops)))


def edges_of(arch: Architecture) -> str:
    matrix, _ = arch.code  # type: ignore[misc]
    return " ".join(f"{i}{j}" for i, row in enumerate(matrix) for j, x in enumerate(row) if x)


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


INCEPTION = ("01 02 03 05 16 26 34 46 56", "1333p")
"""The example of the benchmark's README."""

CHAIN = "01 12 23 34 45 56"
FIVE_BRANCHES = "01 02 03 04 05 16 26 36 46 56"


def wl_hash(arch: Architecture) -> str:
    """The benchmark's own hash of a graph, written from its definition."""
    pruned = graph.prune(graph.Cell(*arch.code))  # type: ignore[misc]
    size = len(pruned.ops)
    labels = [-1, *(LABELS.index(op) for op in pruned.ops[1:-1]), -2]
    md5 = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
    columns = list(zip(*pruned.matrix, strict=True))
    hashes = [
        md5(str((sum(row), sum(column), label)))
        for row, column, label in zip(pruned.matrix, columns, labels, strict=True)
    ]
    for _ in range(size):
        hashes = [
            md5(
                "".join(sorted(hashes[i] for i in range(size) if pruned.matrix[i][v]))
                + "|"
                + "".join(sorted(hashes[i] for i in range(size) if pruned.matrix[v][i]))
                + "|"
                + hashes[v]
            )
            for v in range(size)
        ]
    return md5(str(sorted(hashes)))


def all_cells(size: int) -> Iterator[Architecture]:
    """Every cell of ``size`` vertices that loses none by pruning, in every numbering."""
    pairs = list(itertools.combinations(range(size), 2))
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        edges = [pair for pair, used in zip(pairs, chosen, strict=True) if used]
        # Where only vertex 0 has no edge in and only the last has none out, all are on paths.
        if {i for i, _ in edges} != set(range(size - 1)) or len(edges) > 9:
            continue
        if {j for _, j in edges} != set(range(1, size)):
            continue
        for ops in itertools.product("31p", repeat=size - 2):
            yield Architecture(GENNAS, graph.cell(edges, [SHORT[op] for op in ops]))


def moved(cell: graph.Cell, order: Sequence[int]) -> graph.Cell:
    """The same graph with vertex ``order[k]`` of ``cell`` as vertex k."""
    edges = {(order.index(i), order.index(j)) for i, j in cell.edges}
    return graph.cell(edges, [cell.ops[old] for old in order[1:-1]])


def renumbered(arch: Architecture, priorities: Sequence[int]) -> Architecture:
    """The same graph with its inner vertices in another order in which no edge goes back."""
    cell = graph.Cell(*arch.code)  # type: ignore[misc]
    last = len(cell.ops) - 1
    order = [0]
    while len(order) < last:
        ready = [
            v
            for v in range(1, last)
            if v not in order and all(i in order for i, j in cell.edges if j == v)
        ]
        order.append(min(ready, key=lambda v: priorities[v]))
    return GENNAS.parse(json.dumps(moved(cell, [*order, last])))


def sampled(seed: int) -> Architecture:
    return GENNAS.sample(np.random.default_rng(seed))


seeds = st.integers(0, 2**32)
orders = st.permutations(range(7))
