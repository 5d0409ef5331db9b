"""The training loop against the paper's evaluator and against plain PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import parity
from gennas_optuna.cost import count_cost
from gennas_optuna.errors import GenNASError
from gennas_optuna.regression import ImageHead, SequenceHead, fit, make_heads
from gennas_optuna.spaces import Architecture, Scale, SearchSpace, get_space, list_spaces
from gennas_optuna.taps import StagedModel, TapInfo
from gennas_optuna.task import Batch
from gennas_optuna.task_parts import Noise, Optimizer, Stage

NB201 = get_space("nasbench201")
PAPER = tuple(Stage(weight=weight) for weight in (0.25, 0.5, 1.0))


def axes(*sizes: int) -> list[torch.Tensor]:
    views = [[-1 if i == k else 1 for k in range(4)] for i in range(4)]
    return [
        torch.arange(n, dtype=torch.float64).view(v) for n, v in zip(sizes, views, strict=True)
    ]


def parity_batch() -> Batch:
    """The inputs and targets of training_cv.json, by its formulas."""
    n, c, h, w = axes(8, 3, 32, 32)
    x = torch.sin(
        2.1 * n + 1.9 * c + (0.37 + 0.11 * n) * h + (0.53 + 0.07 * c) * w + 0.013 * (n + 1) * h * w
    )
    targets = []
    for stage, channels in enumerate((64, 48, 16)):
        n, c, h, w = axes(8, channels, 8, 8)
        targets.append(torch.cos(0.3 * n + 0.7 * c + 0.4 * h + 0.9 * w + stage))
    return Batch(x, tuple(targets), Noise())


def parity_losses(arch: Architecture, *, canonical: bool) -> tuple[float, ...]:
    generator = torch.Generator().manual_seed(0)
    batch = parity_batch()
    model = arch.space.build(arch, generator=generator, canonical=canonical)
    heads = make_heads(model, batch, generator=generator)
    parity.fill(model)
    parity.fill(heads)
    optimizer = Optimizer(lr=0.01)
    trace = fit(model, heads, batch, PAPER, optimizer=optimizer, steps=4, eval_steps=(1, 2, 3))
    assert trace.steps == (1, 2, 3, 4)
    return trace.losses


@pytest.mark.parametrize(
    ("code", "losses"),
    [("421211", [16.58631113, 11.7146705, 8.922352833, 5.49291334])],
)
@pytest.mark.parametrize("canonical", [False, True])
def test_losses_of_the_papers_evaluator(code: str, losses: list[float], canonical: bool) -> None:
    """Four SGD steps under fixed weights, from the development parity file."""
    found = parity_losses(NB201.parse(code), canonical=canonical)
    assert found == pytest.approx(losses, rel=1e-6)


PARITY_SPACES = {
    "nb201": lambda enc: (get_space("nasbench201"), enc["key"]),
    "nb101": lambda enc: (get_space("nasbench101"), _json([enc["matrix"], enc["ops"]])),
    "macro": lambda enc: (get_space("nasbench-macro"), enc["key"]),
}


def _json(value: object) -> str:
    import json

    return json.dumps(value)


@pytest.mark.slow
def test_every_recorded_training_of_the_registered_spaces() -> None:
    checked = 0
    for row in parity.load("parity/training_cv.json")["archs"]:
        if row["space"] not in PARITY_SPACES:
            continue  # the spaces of the NDS files are checked with their own tests
        space, text = PARITY_SPACES[row["space"]](row["enc"])
        losses = parity_losses(space.parse(text), canonical=False)
        assert losses == pytest.approx(row["eval_losses"], rel=1e-6), row["enc"]
        checked += 1
    assert checked == 9
    assert {"nasbench101", "nasbench-macro"} <= set(list_spaces())


def test_heads_of_the_papers_code() -> None:
    """The three head outputs with 64 channels under the fill rule."""
    for row in parity.load("parity/nb201.json")["archs"][:8]:
        model = parity.fill(
            NB201.build(NB201.parse(row["key"]), generator=torch.Generator().manual_seed(0))
        )
        heads = [ImageHead(tap, torch.Size((2, 64, 8, 8))) for tap in model.taps]
        with torch.no_grad():
            taps = model(parity.images())
            for head, tap, expected in zip(heads, taps, row["heads"], strict=True):
                parity.assert_fingerprint(parity.fill(head)(tap), expected)


class Line(StagedModel):
    """The smallest network: one convolution, one tap."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.taps = (TapInfo("conv", channels, (8, 8)),)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (F.relu(self.norm(self.conv(x))),)


def line(seed: int = 0, noise: float = 0.0, stage: Stage | None = None):
    generator = torch.Generator().manual_seed(seed)
    model = Line()
    with torch.no_grad():
        for parameter in model.conv.parameters():
            parameter.uniform_(-0.3, 0.3, generator=generator)
    batch = Batch(
        torch.randn(4, 3, 8, 8, generator=generator),
        (torch.randn(4, 6, 8, 8, generator=generator),),
        Noise("gaussian", noise),
    )
    return model, make_heads(model, batch, generator=generator), batch, (stage or Stage(),)


@pytest.mark.parametrize(
    "optimizer",
    [
        Optimizer("sgd", 0.05, 0.9, 0.1, "matrices"),
        Optimizer("sgd", 0.05, 0.0, 0.1, "all"),
        Optimizer("adam", 0.01, 0.0, 0.1, "all"),
    ],
)
def test_updates_are_plain_pytorchs(optimizer: Optimizer) -> None:
    """A loop written the obvious way, with weight decay on the right parameters by hand."""
    model, heads, batch, stages = line()
    twin, twin_heads, *_ = line()
    trace = fit(model, heads, batch, stages, optimizer=optimizer, steps=5)

    head = twin_heads[0]
    matrices = [twin.conv.weight, head.conv.weight]
    others = [twin.conv.bias, *twin.norm.parameters(), *head.norm.parameters(), head.conv.bias]
    decay = optimizer.weight_decay
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": decay if optimizer.decay == "all" else 0},
    ]
    if optimizer.kind == "sgd":
        updates = torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum)
    else:
        updates = torch.optim.Adam(groups, lr=optimizer.lr)
    for _ in range(5):
        updates.zero_grad()
        ((head(twin(batch.inputs)[0]) - batch.targets[0]) ** 2).mean().backward()
        updates.step()
    twin.eval()
    head.eval()
    with torch.no_grad():
        expected = ((head(twin(batch.inputs)[0]) - batch.targets[0]) ** 2).mean()
    assert trace.loss == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(model.conv.weight, twin.conv.weight, atol=1e-6)


def test_noise_comes_from_the_seed_alone() -> None:
    def loss(seed: int) -> float:
        model, heads, batch, stages = line(noise=0.5)
        before = torch.get_rng_state()
        trace = fit(model, heads, batch, stages, optimizer=Optimizer(), steps=3, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return trace.loss

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_evaluations_along_the_way_do_not_change_the_end() -> None:
    def trace(eval_steps):
        model, heads, batch, stages = line(noise=0.5)
        optimizer = Optimizer()
        return fit(
            model, heads, batch, stages, optimizer=optimizer, steps=6, eval_steps=eval_steps
        )

    assert trace(()).losses[-1] == trace(range(1, 7)).losses[-1]
    assert trace((2, 4)).losses == trace(range(1, 7)).losses[1::2]


def test_the_training_weight_trains_and_the_weight_reports() -> None:
    def conv(stage: Stage) -> tuple[torch.Tensor, float]:
        model, heads, batch, stages = line(stage=stage)
        trace = fit(model, heads, batch, stages, optimizer=Optimizer(), steps=3)
        return model.conv.weight, trace.loss

    plain, loss = conv(Stage(weight=1.0))
    same, scaled = conv(Stage(weight=0.25, train_weight=1.0))
    assert torch.equal(plain, same)
    assert scaled == pytest.approx(0.25 * loss)
    other, _ = conv(Stage(weight=1.0, train_weight=0.25))
    assert not torch.equal(plain, other)


def test_divergence_ends_the_training() -> None:
    model, heads, batch, stages = line()
    seen: list[int] = []
    trace = fit(
        model,
        heads,
        batch,
        stages,
        optimizer=Optimizer(lr=1e25),
        steps=50,
        eval_steps=range(1, 51),
        on_eval=lambda step, _: seen.append(step),
    )
    assert trace.status == "diverged"
    assert trace.loss == math.inf
    assert len(trace.steps) < 50
    assert seen == list(trace.steps[:-1])  # only finite losses are reported


def test_what_on_eval_raises_passes_through() -> None:
    class StopError(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        assert step == 2
        assert loss > 0
        raise StopError

    model, heads, batch, stages = line()
    with pytest.raises(StopError):
        fit(
            model,
            heads,
            batch,
            stages,
            optimizer=Optimizer(),
            steps=9,
            eval_steps=[2],
            on_eval=stop,
        )


def test_bad_settings_are_refused() -> None:
    model, heads, batch, _ = line()
    with pytest.raises(GenNASError, match="steps"):
        fit(model, heads, batch, (Stage(),), optimizer=Optimizer(), steps=0)
    with pytest.raises(GenNASError, match="weight"):
        fit(model, heads, batch, (Stage(train_weight=0.0),), optimizer=Optimizer(), steps=1)


def test_sequence_heads_start_as_published() -> None:
    batch = Batch(torch.zeros(8, 4, 48), (torch.zeros(8, 4, 48),), Noise())

    class Identity(StagedModel):
        taps = (TapInfo("output", 40, (8,), "LND"),)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (x,)

    heads = make_heads(Identity(), batch, generator=torch.Generator().manual_seed(0))
    head = heads[0]
    assert isinstance(head, SequenceHead)
    assert head.weight.shape == (48, 40)
    weight = head.weight.detach()
    assert float(weight.abs().max()) <= 0.1
    assert float(weight.std()) == pytest.approx(0.2 / math.sqrt(12), rel=0.05)
    assert not head.bias.any()


@pytest.mark.parametrize(
    ("code", "params", "macs"),
    [("000000", 72_528, 7_782_400), ("421211", None, None)],
)
def test_cost(code: str, params: int | None, macs: int | None) -> None:
    arch = NB201.parse(code)
    cost = count_cost(NB201.skeleton(arch), (3, 32, 32))
    if params is None:
        row = next(r for r in parity.load("parity/nb201.json")["archs"] if r["key"] == code)
        params, macs = row["params_executed"], row["macs"]
    assert cost == (params, macs)


def test_initial_weights_are_pytorchs_default() -> None:
    """Uniform in +-1/sqrt(fan-in), weights and biases alike."""
    space: SearchSpace = NB201
    net = space.build(
        space.parse("333333"), generator=torch.Generator().manual_seed(0), scale=Scale(depth=1)
    )
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 2000]
    assert len(convs) > 10
    for conv in convs:
        bound = 1 / math.sqrt(conv.weight[0].numel())
        weight = conv.weight.detach()
        assert float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        if conv.bias is not None:
            assert float(conv.bias.detach().abs().max()) <= bound
