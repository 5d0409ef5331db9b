"""NAS-Bench-101's search space: repair, embedding, mutation, sampling, what is no cell."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasbench101_cells import (
    CHAIN,
    FIVE_BRANCHES,
    GENNAS,
    INCEPTION,
    LABELS,
    arch_of,
    edges_of,
    sampled,
)

from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import _nasbench101_cell as graph


def decoded(edges: str) -> str:
    ops = {f"op_{i}": LABELS[0] for i in range(1, 6)}
    drawn = {
        f"edge_{i}_{j}": f"{i}{j}" in edges.split() for i, j in itertools.combinations(range(7), 2)
    }
    return edges_of(GENNAS.decode({**drawn, **ops}))


@pytest.mark.parametrize(
    ("drawn", "repaired"),
    [
        ("", "06"),
        ("12 23", "06 12 23"),  # no one edge can use these; they stay, unused
        ("01 12 56", "01 12 25 56"),  # the edge that uses all three
        ("01 13 24 46", "01 12 13 24 46"),  # 12 uses three of them, as 34 does; it comes first
        ("01 13 34 25 56", "01 13 34 45 25 56"),  # 12 uses three, 45 four
        ("16 26 36", "01 16 26 36"),
        (FIVE_BRANCHES, "02 03 04 05 16 26 36 46 56"),  # a branch; its other edge stays, unused
        (CHAIN + " 02 13 24 35", "01 12 13 23 24 34 35 45 56"),  # not 01, 45, 56
        (INCEPTION[0], INCEPTION[0]),
    ],
)
def test_repairs(drawn: str, repaired: str) -> None:
    assert decoded(drawn) == " ".join(sorted(repaired.split()))


def test_all_21_edges_are_thinned_to_nine_over_all_seven_vertices() -> None:
    everything = " ".join(f"{i}{j}" for i, j in itertools.combinations(range(7), 2))
    edges = decoded(everything).split()
    assert len(edges) == 9
    assert {int(edge[0]) for edge in edges} == {0, 1, 2, 3, 4, 5}
    assert {int(edge[1]) for edge in edges} == {1, 2, 3, 4, 5, 6}


@settings(max_examples=300, deadline=None)
@given(st.sets(st.sampled_from(list(itertools.combinations(range(7), 2)))))
def test_repair_keeps_what_it_can(drawn: set[tuple[int, int]]) -> None:
    """Nothing of a valid cell is touched; else one edge comes in, or nine (or eight) are left."""
    repaired = graph.repair(7, drawn)
    used, wanted = graph.live(7, repaired), graph.live(7, drawn)
    assert 1 <= len(used) <= 9
    if wanted and len(wanted) <= 9:
        assert repaired == drawn
    elif wanted:
        assert repaired < drawn
        assert len(used) >= 8
    else:
        assert len(repaired - drawn) == 1


def test_a_small_cell_is_embedded_and_a_large_one_pruned() -> None:
    small = arch_of("01 12", "p")
    assert edges_of(GENNAS.decode(GENNAS.params(small))) == "01 16"
    large = arch_of("03 39 12 45 56 67 78", "11p11111")
    assert edges_of(GENNAS.decode(GENNAS.params(large))) == "01 16"
    assert GENNAS.decode(GENNAS.params(large)).key == small.key == large.key


def test_seven_vertices_survive_decoding_with_their_dead_parts() -> None:
    arch = arch_of("01 16 23 24 35", "3p1p3")
    assert GENNAS.decode(GENNAS.params(arch)) == arch


def test_mutation_rates() -> None:
    """Published: 21 edges with chance 1/7, five operations with 1/5, another one each time."""
    rng = np.random.default_rng(0)
    start = arch_of("01 06 16", "13p3p")
    children = [GENNAS.mutate(start, rng) for _ in range(2000)]
    changed_ops = [
        [a != b for a, b in zip(start.code[1], child.code[1], strict=True)]  # type: ignore[index]
        for child in children
    ]
    assert np.mean(np.sum(changed_ops, axis=1)) == pytest.approx(1, abs=0.08)
    flips = [len(set(edges_of(start).split()) ^ set(edges_of(c).split())) for c in children]
    assert np.mean(flips) == pytest.approx(3, abs=0.15)  # few children here are invalid
    second = [child.code[1][2] for child in children]  # type: ignore[index]
    assert second.count(LABELS[1]) == pytest.approx(200, abs=50)
    assert second.count(LABELS[2]) == pytest.approx(200, abs=50)


def test_samples_have_seven_vertices_and_are_cells() -> None:
    for seed in range(100):
        arch = sampled(seed)
        assert len(arch.code[1]) == 7  # type: ignore[index]
        assert GENNAS.parse(str(arch)) == arch


def test_errors_name_the_fault_on_one_short_line() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for matrix in (nested, "x" * 10_000, {"a": 1}, None):
        with pytest.raises(GenNASError) as info:
            GENNAS.from_matrix(matrix, ["input", "output"])  # type: ignore[attr-defined]
        assert "one row per label" in str(info.value) or "row 0" in str(info.value)
        assert len(str(info.value)) < 600
        assert "\n" not in str(info.value)
