"""The evaluator's contracts: determinism, caching, independence from order and process."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gennas_optuna import (
    GenNASEvaluator,
    GenNASObjective,
    ProxyEvaluator,
    Scale,
    get_space,
    get_task,
)
from gennas_optuna.errors import GenNASError
from gennas_optuna.pool import EvaluatorPool
from gennas_optuna.settings import Preset

SPACE = get_space("nasbench201")
TINY = Preset("tiny", steps=2, scale=Scale(width=4, depth=1))
ARCHS = [SPACE.parse(code) for code in ("421211", "334131", "000444", "111111", "300000")]


def tiny(**options) -> GenNASEvaluator:
    return GenNASEvaluator(**{"preset": TINY, **options})


@pytest.mark.usefixtures("global_random_state_untouched")
def test_losses_do_not_depend_on_the_order() -> None:
    forward = [tiny().evaluate(arch).loss for arch in ARCHS]
    one = tiny()
    backward = [one.evaluate(arch).loss for arch in reversed(ARCHS)][::-1]
    assert forward == backward
    assert len(set(forward)) > 1


@pytest.mark.slow
def test_losses_do_not_depend_on_the_number_of_processes() -> None:
    alone = [tiny().evaluate(arch).loss for arch in ARCHS]
    shared = tiny()
    with EvaluatorPool(shared, workers=2) as pool:
        together = [score.loss for score in pool.map(ARCHS)]
    assert alone == together
    assert [shared.cached(arch).loss for arch in ARCHS] == alone  # type: ignore[union-attr]


def test_losses_do_not_depend_on_threads_of_the_caller() -> None:
    alone = [tiny().evaluate(arch).loss for arch in ARCHS]
    shared = tiny()
    found: dict[int, float] = {}

    def work(i: int) -> None:
        found[i] = shared.evaluate(ARCHS[i]).loss

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(ARCHS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(ARCHS))] == alone


def test_the_callers_thread_count_does_not_matter_and_is_put_back() -> None:
    alone = tiny().evaluate(ARCHS[1]).loss
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert tiny().evaluate(ARCHS[1]).loss == alone
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_encodings_of_one_network_get_one_loss_and_are_trained_once() -> None:
    plain, dead = SPACE.parse("000300"), SPACE.parse("300300")  # a convolution nobody reads
    assert plain.key == dead.key
    assert tiny().evaluate(plain).loss == tiny().evaluate(dead).loss
    evaluator = tiny()
    first, second = evaluator.evaluate(plain), evaluator.evaluate(dead)
    assert second.trace is first.trace
    assert second.params > first.params  # as encoded, so the dead convolution counts


def test_report_steps_do_not_change_the_loss() -> None:
    evaluator = tiny(steps=4, report_steps=range(1, 4))
    seen: list[tuple[int, float]] = []
    score = evaluator.evaluate(ARCHS[1], lambda step, loss: seen.append((step, loss)))
    assert score.trace is not None
    assert [step for step, _ in seen] == [1, 2, 3, 4] == list(score.trace.steps)
    assert tiny(steps=4).evaluate(ARCHS[1]).loss == score.loss
    again: list[tuple[int, float]] = []
    evaluator.evaluate(ARCHS[1], lambda step, loss: again.append((step, loss)))
    assert again == seen


def test_a_stopped_evaluation_is_not_cached() -> None:
    class StopError(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        raise StopError

    evaluator = tiny()
    with pytest.raises(StopError):
        evaluator.evaluate(ARCHS[0], stop)
    assert evaluator.cached(ARCHS[0]) is None


def test_a_network_that_is_stopped_again_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class StopError(Exception):
        pass

    evaluator, seen = tiny(steps=4, report_steps=[1, 2, 3]), []
    trained, measure = [], evaluator._measure
    monkeypatch.setattr(evaluator, "_measure", lambda *a: trained.append(a) or measure(*a))

    def until(last: int) -> None:
        def look(step: int, loss: float) -> None:
            seen.append((step, loss))
            if step == last:
                raise StopError

        seen.clear()
        evaluator.evaluate(ARCHS[0], look)

    for last, trainings in ((2, 1), (2, 1), (1, 1), (3, 2), (3, 2)):
        with pytest.raises(StopError):
            until(last)
        assert [step for step, _ in seen] == list(range(1, last + 1))
        assert len(trained) == trainings
    until(9)  # to the end
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert len(trained) == 3
    whole = tiny(steps=4, report_steps=[1, 2, 3]).evaluate(ARCHS[0]).trace
    assert whole is not None
    assert seen == list(zip(whole.steps, whole.losses, strict=True))


def test_report_steps_that_never_come_are_refused() -> None:
    evaluator = GenNASEvaluator(preset="fast", report_steps=[30], device="cpu")  # 60 in some space
    with pytest.raises(GenNASError, match=r"report_steps=\[30\]: give steps from 1 to 25"):
        evaluator.evaluate(ARCHS[0])
    with pytest.raises(GenNASError, match=r"networks of nasbench201"):
        GenNASObjective(SPACE, preset="fast", report_steps=[30])


def test_threads_compute_in_single_precision_until_the_last_has_ended() -> None:
    """One that begins later goes on when the first, which changed the settings, has ended."""
    expected = tiny(steps=4).evaluate(ARCHS[1]).loss
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        begun = [threading.Event(), threading.Event()]
        go_on = [threading.Event(), threading.Event()]

        def train(i: int) -> float:
            def look(step: int, loss: float) -> None:
                begun[i].set()
                assert go_on[i].wait(60)

            return tiny(steps=4, report_steps=[1]).evaluate(ARCHS[i], look).loss

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(train, 0)
            assert begun[0].wait(60)
            second = pool.submit(train, 1)
            assert begun[1].wait(60)
            go_on[0].set()
            first.result()
            assert torch.get_default_dtype() == torch.float32  # the second is at work
            go_on[1].set()
            assert second.result() == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)


def test_divergence_is_a_status() -> None:
    task = get_task("generic").to_dict()
    task["optimizer"] = {"lr": 1e30}
    evaluator = tiny(task=type(get_task("generic")).from_dict(task), steps=10)
    score = evaluator.evaluate(ARCHS[1])
    assert score.status == "diverged"
    assert score.loss == math.inf


def test_evaluators_survive_pickling() -> None:
    evaluator = tiny()
    loss = evaluator.evaluate(ARCHS[0]).loss
    again = pickle.loads(pickle.dumps(evaluator))
    assert again.cached(ARCHS[0]).loss == loss
    assert again.evaluate(ARCHS[1]).loss == evaluator.evaluate(ARCHS[1]).loss
    objective = pickle.loads(pickle.dumps(GenNASObjective(SPACE, preset=TINY)))
    assert objective.evaluator.evaluate(ARCHS[0]).loss == loss


def test_the_identity_tells_settings_apart() -> None:
    variants = [
        tiny(),
        tiny(seed=1),
        tiny(steps=3),
        tiny(inputs="noise"),
        tiny(inputs=torch.zeros(16, 3, 32, 32)),
        GenNASEvaluator(steps=2),
    ]
    assert len({v.identity(SPACE) for v in variants}) == len(variants)
    assert tiny().identity(SPACE) == tiny(report_steps=[1]).identity(SPACE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": "no such task"}, "no such task"),
        ({"preset": "papre"}, "papre"),
        ({"steps": 0}, "steps"),
        ({"steps": 2, "report_steps": [3]}, "report_steps"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"threads": 0}, "threads"),
        ({"device": "gpu"}, "gpu"),
    ],
)
def test_bad_settings_are_named(options: dict, named: str) -> None:
    with pytest.raises(GenNASError, match=named) as info:
        GenNASEvaluator(**options)
    assert "\n" not in str(info.value)


@contextmanager
def setting(set_: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    set_(value)
    try:
        yield
    finally:
        set_(before)


def matmul_precision(value: str) -> None:
    """By PyTorch's newer interface, after which reading it by the older one is an error."""
    torch.backends.cuda.matmul.fp32_precision = value


def precision() -> tuple[Any, ...]:
    backends: Any = torch.backends
    kinds = [backends.cuda.matmul, *(getattr(backends.mkldnn, k) for k in ("matmul", "conv"))]
    kinds += [backends.cudnn.conv, backends.cudnn.rnn]
    rest = backends.cudnn.benchmark, backends.cudnn.deterministic, torch.get_default_dtype()
    return *(kind.fp32_precision for kind in kinds), *rest


@pytest.mark.parametrize(
    "surroundings",
    [
        partial(torch.autocast, "cpu"),
        torch.no_grad,
        torch.inference_mode,
        partial(setting, torch.set_default_dtype, torch.float64, torch.float32),
        partial(setting, torch.set_default_device, "meta", "cpu"),
        partial(setting, torch.set_float32_matmul_precision, "medium", "highest"),
        partial(setting, partial(setattr, torch.backends.cudnn, "benchmark"), True, False),
        partial(setting, matmul_precision, "tf32", "none"),
    ],
)
def test_the_loss_does_not_depend_on_what_surrounds_it(surroundings: Any) -> None:
    expected = tiny().evaluate(ARCHS[0]).loss
    net = nn.Sequential(*(nn.Conv2d(c, 4, 3, 2, 1) for c in (3, 4, 4)))
    module = tiny().evaluate(net).loss
    with surroundings():
        before = precision()
        assert tiny().evaluate(ARCHS[0]).loss == expected
        assert tiny().evaluate(net).loss == module
        assert precision() == before


@pytest.mark.parametrize("value", ["highest", "medium"])
def test_the_older_interface_to_precision_stays_open(value: str) -> None:
    """Within an evaluation, where PyTorch and a user's module may read it, and afterwards."""
    read = []

    def look(*_: object) -> None:
        read.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))

    with setting(torch.set_float32_matmul_precision, value, "highest"):
        tiny().evaluate(ARCHS[0], look)
        look()
    assert set(read[:-1]) == {("highest", False)}
    assert read[-1] == (value, True)


def test_tasks_for_other_inputs_are_refused() -> None:
    recurrent = get_space("nasbench-nlp")
    arch = recurrent.sample(np.random.default_rng(0))
    with pytest.raises(GenNASError, match=r"'generic' is for images.*'generic-sequence'"):
        GenNASEvaluator("generic").evaluate(arch)
    with pytest.raises(GenNASError, match=r"'generic-sequence' is for sequences.*'generic'"):
        GenNASEvaluator("generic-sequence").evaluate(ARCHS[0])


@pytest.mark.parametrize("arch", ["334131", None, 42])
def test_what_is_no_architecture_is_refused(arch: Any) -> None:
    with pytest.raises(GenNASError, match="give an Architecture"):
        GenNASEvaluator().evaluate(arch)


class TestProxies:
    """Against what is known about them without running the package."""

    def test_params_and_flops_are_the_recorded_ones(self) -> None:
        """Facts of GenNAS's networks: 72,528 parameters and 7,782,400 multiply-accumulates
        without any convolution in the cells (development parity file nb201.json)."""
        assert ProxyEvaluator("params").evaluate(ARCHS[3]).loss == -72_528
        assert ProxyEvaluator("flops").evaluate(ARCHS[3]).loss == -7_782_400

    def test_nothing_flows_where_no_weight_reaches_the_output(self) -> None:
        for proxy in ("synflow", "zico"):
            assert ProxyEvaluator(proxy).evaluate(SPACE.parse("000000")).loss == 0

    def test_synflow_grows_with_a_parallel_path(self) -> None:
        """More paths of positive weights mean more flow."""
        one, two = SPACE.parse("000300"), SPACE.parse("000310")
        proxy = ProxyEvaluator("synflow")
        assert proxy.evaluate(SPACE.parse("100310")).loss < proxy.evaluate(one).loss
        assert proxy.evaluate(two).loss == proxy.evaluate(one).loss

    def test_naswot_is_the_log_determinant_of_agreements(self) -> None:
        """By hand on the same network: forward hooks instead of a dispatch mode."""
        from gennas_optuna.inputs import load_images
        from gennas_optuna.proxies import NASWOT_BATCH
        from gennas_optuna.seeding import torch_generator

        arch = ARCHS[0]
        model = SPACE.build(
            arch, generator=torch_generator(0, "weights", arch.key), canonical=True
        ).train()
        patterns: list[np.ndarray] = []
        for module in model.modules():
            if isinstance(module, torch.nn.ReLU):
                module.register_forward_hook(
                    lambda _m, _i, out: patterns.append((out > 0).flatten(1).numpy())
                )
        images = load_images("photos", count=NASWOT_BATCH, generator=torch_generator(0, "images"))
        with torch.no_grad():
            model(images)
        codes = np.concatenate(patterns, axis=1)
        kernel = (codes[:, None, :] == codes[None, :, :]).sum(-1)
        expected = np.linalg.slogdet(kernel.astype(float)).logabsdet
        found = ProxyEvaluator("naswot", threads=torch.get_num_threads()).evaluate(arch)
        assert -found.loss == pytest.approx(expected, rel=1e-6)

    def test_an_unknown_proxy_is_named(self) -> None:
        with pytest.raises(GenNASError, match="synflow"):
            ProxyEvaluator("synflwo")
