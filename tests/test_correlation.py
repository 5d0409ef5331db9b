from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gennas_optuna.correlation import (
    PairedDifference,
    RankCorrelation,
    kendall,
    paired_difference,
    rank_correlation,
    spearman,
)
from gennas_optuna.errors import GenNASError

INF = math.inf


# The two figures


@pytest.mark.parametrize(
    ("x", "y", "rho", "tau"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0, 1.0),
        ([1, 2, 3], [30, 20, 10], -1.0, -1.0),
        # Squared rank differences 1 + 1 + 0 + 0: rho = 1 - 6 * 2 / (4 * 15); 5 of 6 pairs agree.
        ([1, 2, 3, 4], [2, 1, 3, 4], 0.8, 4 / 6),
        # Two equal values share rank 1.5: rho = 1.5 / sqrt(1.5 * 2), tau = 2 / sqrt(2 * 3).
        ([1, 1, 2], [1, 2, 3], 1.5 / math.sqrt(3), 2 / math.sqrt(6)),
        # A diverged run (minus infinity) ranks last, two of them equally.
        ([-INF, 1, 2, 3], [5, 6, 7, 8], 1.0, 1.0),
        ([-INF, -INF, 2], [1, 2, 3], 1.5 / math.sqrt(3), 2 / math.sqrt(6)),
        ([INF, 1, -INF], [1, 2, 3], -1.0, -1.0),
        ([1, 1, 1], [1, 2, 3], 0.0, 0.0),
        ([1, 2, 3], [7, 7, 7], 0.0, 0.0),
        ([-INF, -INF], [1, 2], 0.0, 0.0),
        ([1, 2], [2, 1], -1.0, -1.0),
    ],
)
def test_by_hand(x: list[float], y: list[float], rho: float, tau: float) -> None:
    assert spearman(x, y) == spearman(y, x) == pytest.approx(rho, abs=1e-15)
    assert kendall(x, y) == kendall(y, x) == pytest.approx(tau, abs=1e-15)


def test_the_textbook_formula_without_equal_values() -> None:
    """rho = 1 - 6 sum d^2 / (n (n^2 - 1)); tau = (agreeing - opposed) / pairs; all orders of 5."""
    for order in itertools.permutations(range(5)):
        squares = sum((i - j) ** 2 for i, j in enumerate(order))
        pairs = list(itertools.combinations(range(5), 2))
        balance = sum(1 if order[i] < order[j] else -1 for i, j in pairs)
        assert spearman(range(5), order) == pytest.approx(1 - 6 * squares / 120, abs=1e-15)
        assert kendall(range(5), order) == pytest.approx(balance / 10, abs=1e-15)


values = st.sampled_from([0.0, 1.0, 2.0, 5.5, -3.0, INF, -INF]) | st.floats(allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=2, max_size=30))
def test_against_scipy(pairs: list[tuple[float, float]]) -> None:
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert spearman(x, y) == kendall(x, y) == 0
    else:
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert -1 <= spearman(x, y) <= 1
    assert spearman(x, y) == pytest.approx(-spearman(x, [-v for v in y]), abs=1e-12)


@pytest.mark.parametrize("function", [spearman, kendall, rank_correlation])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, math.nan, 3], [1, 2, 3], r"\[1\] is NaN"),
        ([1, 2, 3], [1, 2, math.nan], r"\[2\] is NaN"),
        ([1, 2], [1, 2, 3], "2, .* 3"),
        ([], [], "at least 2"),
        ([1], [1], "at least 2"),
        ([[1, 2], [3, 4]], [1, 2], "2 axes"),
        (["a", "b"], [1, 2], "not a list of numbers"),
        ([None, 1], [1, 2], "NaN"),
        ([1j, 2], [1, 2], "complex"),
        ([10**400, 1], [1, 2], "not a list of numbers"),
        (5, [1, 2], "0 axes"),
    ],
)
def test_what_has_no_ranks_is_refused(function: Any, x: Any, y: Any, message: str) -> None:
    with pytest.raises(GenNASError, match=message) as info:
        function(x, y)
    assert "\n" not in str(info.value)


# The intervals


def sample(n: int, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return truth + noise * rng.normal(size=n), truth


def test_intervals_against_a_plain_loop() -> None:
    """It draws resamples of its own, so the ends agree but roughly."""
    goodness, truth = sample(80)
    rng = np.random.default_rng(99)
    resamples = [rng.integers(80, size=80) for _ in range(2000)]
    found = rank_correlation(goodness, truth, n_resamples=10_000)
    for name, statistic in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        values = [statistic(goodness[i], truth[i]).statistic for i in resamples]
        low, high = np.percentile(values, [2.5, 97.5])
        assert getattr(found, f"{name}_ci") == pytest.approx((low, high), abs=0.02)
        assert low < getattr(found, name) < high


@pytest.mark.parametrize("n", [30, 1100])
def test_every_resample_has_the_correlation_it_should(n: int) -> None:
    """With one resample the interval is that resample's value, found here by plain means."""
    from gennas_optuna.seeding import numpy_generator

    rng = np.random.default_rng(3)
    goodness = rng.integers(5, size=n).astype(float)
    goodness[0] = -INF
    truth = rng.integers(7, size=n) + goodness.clip(0)
    index = numpy_generator(11, "bootstrap").integers(n, size=(1, n))[0]
    found = rank_correlation(goodness, truth, n_resamples=1, seed=11)
    rho = stats.spearmanr(goodness[index], truth[index]).statistic
    tau = stats.kendalltau(goodness[index], truth[index]).statistic
    assert found.spearman_ci == pytest.approx((rho, rho), abs=1e-12)
    assert found.kendall_ci == pytest.approx((tau, tau), abs=1e-12)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of normal pairs with correlation r, rho is 6/pi asin(r/2) and tau is 2/pi asin(r)."""
    r = 0.7
    rho, tau = 6 / math.pi * math.asin(r / 2), 2 / math.pi * math.asin(r)
    covered = np.zeros(2)
    repeats = 300
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        x, y = rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=60).T
        found = rank_correlation(x, y, n_resamples=300, confidence=0.9, seed=seed)
        covered += [
            found.spearman_ci[0] <= rho <= found.spearman_ci[1],
            found.kendall_ci[0] <= tau <= found.kendall_ci[1],
        ]
    assert (covered / repeats > 0.82).all()
    assert (covered / repeats < 0.95).all()


def test_intervals_depend_on_the_seed_alone() -> None:
    goodness, truth = sample(40)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = rank_correlation(goodness, truth, seed=1)
    assert first == rank_correlation(list(goodness), list(truth), seed=1)
    assert first.spearman_ci != rank_correlation(goodness, truth, seed=2).spearman_ci
    assert before == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_more_confidence_is_a_wider_interval() -> None:
    goodness, truth = sample(50)
    wide, narrow = (rank_correlation(goodness, truth, confidence=c) for c in (0.99, 0.5))
    assert wide.spearman_ci[0] < narrow.spearman_ci[0] < narrow.spearman_ci[1]
    assert narrow.spearman_ci[1] < wide.spearman_ci[1]
    assert wide.kendall_ci[0] < narrow.kendall_ci[0] < narrow.kendall_ci[1] < wide.kendall_ci[1]


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])]
)
def test_no_interval_where_nothing_can_be_said(x: list[float], y: list[float]) -> None:
    found = rank_correlation(x, y)
    assert (found.spearman, found.kendall) == (spearman(x, y), kendall(x, y))
    assert all(map(math.isnan, found.spearman_ci + found.kendall_ci))
    assert found.n == len(x)


def test_a_perfect_ranking() -> None:
    """Resamples repeat architectures, and these are tied on both sides."""
    found = rank_correlation(range(20), range(20))
    assert found == RankCorrelation(1.0, (1.0, 1.0), 1.0, (1.0, 1.0), 20)


def test_diverged_runs_take_part() -> None:
    goodness, truth = sample(50)
    goodness[:3] = -INF
    found = rank_correlation(goodness, truth)
    assert all(map(math.isfinite, found.spearman_ci + found.kendall_ci))
    lowest = np.where(np.isinf(goodness), goodness[3:].min() - 1, goodness)
    assert found == rank_correlation(lowest, truth)


@pytest.mark.parametrize(
    "option",
    [
        {"n_resamples": 0},
        {"n_resamples": 2.5},
        {"confidence": 0},
        {"confidence": 1},
        {"confidence": math.nan},
        {"confidence": "high"},
        {"seed": None},
    ],
)
def test_options_are_checked(option: dict[str, Any]) -> None:
    name = next(iter(option))
    with pytest.raises(GenNASError, match=name):
        rank_correlation([1, 2, 3], [1, 2, 3], **option)
    with pytest.raises(GenNASError, match=name):
        paired_difference([1, 2, 3], [1, 2, 3], [1, 2, 3], **option)


# Two scores


def test_the_difference_of_two_scores() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    good, bad = truth + 0.5 * rng.normal(size=200), truth + 3 * rng.normal(size=200)
    found = paired_difference(good, bad, truth)
    assert found.difference == pytest.approx(spearman(good, truth) - spearman(bad, truth))
    assert 0 < found.ci[0] < found.difference < found.ci[1]
    turned = paired_difference(bad, good, truth)
    assert turned.ci == pytest.approx((-found.ci[1], -found.ci[0]))


def test_a_score_is_no_better_than_itself() -> None:
    goodness, truth = sample(30)
    assert paired_difference(goodness, goodness * 2, truth) == PairedDifference(0, (0, 0), 30)


def test_pairing_narrows_the_interval() -> None:
    """Two scores that err alike: their difference is surer than either of them."""
    rng = np.random.default_rng(1)
    goodness, truth = sample(60)
    other = goodness + 0.1 * rng.normal(size=60)
    low, high = paired_difference(goodness, other, truth).ci
    alone = rank_correlation(goodness, truth).spearman_ci
    assert high - low < 0.5 * (alone[1] - alone[0])
    assert low < 0 < high


def test_no_difference_where_nothing_can_be_said() -> None:
    for truth in ([1, 2], [3, 3, 3]):
        scores = range(len(truth))
        found = paired_difference(scores, scores, truth)
        assert found.difference == 0
        assert all(map(math.isnan, found.ci))
    with pytest.raises(GenNASError, match="goodness_b 2"):
        paired_difference([1, 2, 3], [1, 2], [1, 2, 3])
