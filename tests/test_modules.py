"""Any module is scored by the loss of its backbone, and stays as it was."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from plain_modules import Failing, Language, Stages, quick
from torch import nn
from torch.nn.utils import prune

from gennas_optuna import GenNASError, GenNASEvaluator, get_task
from gennas_optuna._module_copy import redraw
from gennas_optuna._module_taps import ModuleTaps
from gennas_optuna._tap_finder import trace
from gennas_optuna.regression import fit, make_heads
from gennas_optuna.seeding import torch_generator
from gennas_optuna.settings import PRESETS
from gennas_optuna.taps import StagedModel, TapInfo

# The user's module ---------------------------------------------------------------------------


def seen_state(model: nn.Module) -> dict:
    """All that may not change, and counts of the hooks."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "state": copy.deepcopy(model.state_dict()),
        "objects": [id(p) for p in (*model.parameters(), *model.buffers())],
        "versions": [p._version for p in (*model.parameters(), *model.buffers())],
        "modes": [m.training for m in model.modules()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "requires": [p.requires_grad for p in model.parameters()],
        "hooks": [[len(getattr(m, name)) for name in hooks] for m in model.modules()],
        "names": [sorted(m.__dict__) for m in model.modules()],
    }


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.usefixtures("global_random_state_untouched")
@pytest.mark.parametrize("init", ["redraw", "as_given"])
@pytest.mark.parametrize("fails", ["no", "always", "in training"])
def test_the_module_is_as_before(init: str, fails: str) -> None:
    generator = torch.random.get_rng_state()
    model = Stages() if fails == "no" else Failing(fails == "in training")
    inner = model if fails == "no" else model.net
    inner(torch.randn(4, 3, 32, 32)).sum().backward()  # gradients and running means
    torch.random.set_rng_state(generator)
    inner.b.eval()
    inner.a[0].weight.requires_grad_(False)
    seen = []
    inner.a.register_forward_hook(lambda *_: seen.append("forward"))
    inner.c.register_full_backward_hook(lambda *_: seen.append("backward"))
    before = seen_state(model)
    assert before["grads"][2] is not None
    if fails == "no":
        quick(model, init=init)
    else:
        with pytest.raises(GenNASError, match="KeyError: 'no such thing'"):
            quick(model, init=init)
    assert same(before, seen_state(model))
    assert seen == []


def test_hooks_are_removed_when_the_pass_fails() -> None:
    model = Failing().eval()
    with pytest.raises(KeyError):
        trace(model, lambda: model(torch.zeros(3, 3, 32, 32)))
    assert all(not m._forward_hooks for m in model.modules())
    tapped = ModuleTaps(Failing(training_only=True), (3, 32, 32)).train()
    with pytest.raises(GenNASError):
        tapped(torch.zeros(3, 3, 32, 32))
    assert all(not m._forward_hooks for m in tapped.modules())


# The loss ------------------------------------------------------------------------------------


class ByHand(StagedModel):
    """What :class:`Stages` is as a backbone, written down."""

    taps = (TapInfo("a", 4, (16, 16)), TapInfo("b", 8, (8, 8)), TapInfo("c", 4, (4, 4)))

    def __init__(self, net: Stages) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a = self.net.a(x)
        b = self.net.b(a)
        return a, b, self.net.c(b)


def test_the_loss_is_that_of_the_same_backbone_by_hand() -> None:
    net = Stages()
    found = quick(net, init="as_given", preset="paper", steps=6)
    evaluator, task = GenNASEvaluator(preset="paper", steps=6), get_task("generic")
    model = ByHand(copy.deepcopy(net))
    batch = evaluator._batch(task, model, (3, 32, 32))
    heads = make_heads(model, batch, generator=torch_generator(0, "heads", "module"))
    expected = fit(model, heads, batch, task.stages, optimizer=task.optimizer, steps=6)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert [tap.name for tap in found.taps] == ["a", "b", "c"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_default_task_is_the_one_for_modules_at_the_preset(preset: str) -> None:
    name = "generic" if preset == "paper" else "generic-fast"
    found = quick(Stages(), preset=preset, steps=10)
    assert found.loss == quick(Stages(), preset=preset, steps=10, task=name).loss


def test_redrawn_weights_make_the_loss_the_architectures() -> None:
    torch.manual_seed(1)
    first, second, other = Stages(), Stages(), Stages(8)
    assert not torch.equal(first.head.weight, second.head.weight)
    loss = quick(first).loss
    assert quick(other).loss != loss
    assert quick(second).loss == loss == quick(first).loss
    assert quick(first, seed=1).loss != loss
    given = quick(first, init="as_given").loss
    assert given == quick(first, init="as_given").loss != quick(second, init="as_given").loss
    with torch.no_grad(), torch.inference_mode():
        assert quick(first).loss == loss


@pytest.mark.slow
def test_another_process_finds_the_same_loss() -> None:
    code = (
        "from plain_modules import Stages; from gennas_optuna import score;"
        "print(score(Stages(), steps=2, verbose=False).loss.hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == quick(Stages()).loss.hex()


def test_threads_find_the_same_losses() -> None:
    nets = [Stages(width) for width in (2, 3, 4, 5)]  # with dropout
    alone = [quick(net).loss for net in nets]
    found: dict[int, float] = {}

    def work(i: int) -> None:
        found[i] = quick(nets[i]).loss

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(nets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(nets))] == alone


def test_kept_names_parameters_without_a_method_to_draw_them() -> None:
    class Scaled(Stages):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x) * self.scale))

    class Past(Scaled):
        def reset_parameters(self) -> None:  # as old code writes it
            self.scale.data.uniform_(0.5, 1.5)

    assert quick(Scaled()).kept == ("scale",)
    assert quick(Past()).kept == ()
    assert quick(Scaled(), init="as_given").kept == ()


def test_the_evaluator_takes_modules_too() -> None:
    evaluator = pickle.loads(pickle.dumps(GenNASEvaluator(steps=2)))
    steps: list[int] = []
    found = evaluator.evaluate(Stages(), lambda step, _: steps.append(step))
    assert found.loss == quick(Stages()).loss
    assert steps == [1, 2] == list(found.trace.steps)
    small = evaluator.evaluate(Stages(), input_shape=(3, 16, 16), taps=["a", "b.0", "c"])
    assert [(tap.name, tap.size) for tap in small.taps] == [
        ("a", (8, 8)),
        ("b.0", (4, 4)),
        ("c", (2, 2)),
    ]


def test_images_may_have_other_sizes_and_channels() -> None:
    grey = nn.Sequential(*(nn.Conv2d(c, 4, 3, 2, 1) for c in (1, 4, 4)))
    assert [tap.size for tap in quick(grey, (1, 28, 28)).taps] == [(14, 14), (7, 7), (4, 4)]
    five = nn.Sequential(*(nn.Conv2d(c, 4, 3, 2, 1) for c in (5, 4, 4)))
    taps = quick(five, (5, 48, 32)).taps
    assert [tap.size for tap in taps] == [(24, 16), (12, 8), (6, 4)]


def test_lazy_layers_and_double_precision() -> None:
    lazy = nn.Sequential(*(nn.LazyConv2d(4, 3, 2, 1) for _ in range(3)))
    plain = nn.Sequential(*(nn.Conv2d(c, 4, 3, 2, 1) for c in (3, 4, 4)))
    assert quick(lazy).loss == quick(plain).loss == quick(plain.double()).loss
    assert plain[0].weight.dtype == torch.float64


# Cost ----------------------------------------------------------------------------------------


def test_cost_counts_what_fused_kernels_hide() -> None:
    lstm = quick(nn.LSTM(12, 20, 2), (8, 12))
    assert lstm.flops == 8 * 4 * (20 * 12 + 20 * 20 + 2 * 20 * 20)
    assert lstm.params == sum(p.numel() for p in nn.LSTM(12, 20, 2).parameters())
    found = quick(Language(), (10,))
    attention = 10 * (3 * 12 * 12) + 10 * 12 * 12 + 2 * 10 * 10 * 12
    assert found.flops == 2 * (attention + 2 * 10 * 12 * 24) + 10 * 12 * 50
    convs = 16**2 * 4 * 27 + 8**2 * 8 * 36 + 4**2 * 4 * 72 + 40
    assert quick(Stages()).flops == convs


class Bare(nn.Module):
    """Computes with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight)


# Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (3, {}, "model=3: give a Module"),
        (Stages(), {"input_shape": (3, 32)}, "forward failed on a batch of inputs of shape"),
        (Stages(), {"input_shape": ()}, r"give \(C, H, W\)"),
        (Stages(), {"input_shape": (3, 0, 32)}, "input_shape=0"),
        (Stages(), {"input_shape": 32}, "input_shape=32: give a list"),
        (Stages(), {"input_shape": (4, 32, 32)}, "RuntimeError"),
        (Stages(), {"task": "generic-sequence"}, "is for sequences"),
        (nn.LSTM(4, 4), {"task": "generic", "input_shape": (8, 4)}, "is for images"),
        (Stages(), {"init": "mine"}, "choose one of redraw, as_given"),
        (Stages(), {"taps": ["a", "b"]}, "has 3 stages"),
        (Stages(), {"taps": ["a", "b", "b"]}, "one stands twice"),
        (Stages(), {"taps": ["a", "b", 3]}, "give a str"),
        (Stages(), {"taps": "abc"}, "give a list"),
        (Stages(), {"taps": ["a", "b", "c.O"]}, r"no part 'c.O'; near matches: .*c.0"),
        (Stages(), {"taps": ["a", "b", "zzzz"]}, "near matches: a, b, c, drop, head"),
        (Stages(), {"taps": ["a", "b", "head"]}, r"has shape \(3, 10\), which is no feature map"),
        (Stages(), {"input_shape": (8,)}, "no nn.Embedding"),
        (nn.Flatten(), {}, "no feature maps"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {}, r"fewer than 3 .*stages=task.stages\[-1:\]"),
        (nn.Conv2d(3, 4, 3), {}, "no parts whose outputs could be read: .* at least 3"),
        (Bare(), {}, "no parts whose outputs could be read: .* at least 3"),
    ],
    ids=lambda value: (
        str(value)[:40].replace("\n", " ") if not isinstance(value, nn.Module) else ""
    ),
)
def test_bad_input_is_one_clear_error(model, options: dict, text: str) -> None:
    with pytest.raises(GenNASError, match=text) as caught:
        quick(model, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_modules_are_refused() -> None:
    compiled = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    with pytest.raises(GenNASError, match="TorchScript"):
        quick(compiled)
    net = Stages()
    net.a = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    with pytest.raises(GenNASError, match=r"its part 'a' is compiled by TorchScript"):
        quick(net)


class Viewing(Stages):
    """Reads its last map as many hand-written networks do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = self.c(self.b(self.a(x)))
        return last.view(len(x), -1)


def test_the_layout_of_a_modules_weights_does_not_matter() -> None:
    laid_out = Viewing().to(memory_format=torch.channels_last)
    assert quick(laid_out).loss == quick(Viewing()).loss


def test_modules_that_keep_what_they_compute() -> None:
    """Weight norm and pruning keep the weight that they compute, a part of a graph."""
    normed, pruned = Stages(), Stages()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer weight norm
        nn.utils.weight_norm(normed.b[0])
    prune.l1_unstructured(pruned.b[0], "weight", 0.5)
    for net, kept in ((normed, {"b.0.weight_g", "b.0.weight_v"}), (pruned, {"b.0.weight_orig"})):
        found = quick(net)
        assert math.isfinite(found.loss)
        assert set(found.kept) == kept


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_with_buffers() -> None:
    parts = [nn.Sequential(nn.LazyConv2d(4, 3, 2, 1), nn.LazyBatchNorm2d()) for _ in range(3)]
    assert math.isfinite(quick(nn.Sequential(*parts)).loss)


def test_threads_find_the_same_loss_and_leave_settings_alone() -> None:
    """Encoders have a fast path in evaluation mode, which hides multiply-accumulates."""
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    evaluator = GenNASEvaluator(steps=1)

    def found(_: int) -> tuple[float, int]:
        score = evaluator.evaluate(net, input_shape=(4, 8))
        return score.loss, score.flops

    with ThreadPoolExecutor(4) as pool:
        scores = set(pool.map(found, range(16)))
    assert scores == {found(0)}
    assert torch.backends.mha.get_fastpath_enabled()


def test_modules_that_cannot_be_copied_drawn_or_trained_say_why() -> None:
    class Odd(Stages):
        def reset_parameters(self) -> None:
            raise ZeroDivisionError("odd")

    with pytest.raises(GenNASError, match=r"Odd.reset_parameters failed: ZeroDivisionError: odd"):
        quick(Odd())
    assert math.isfinite(quick(Odd(), init="as_given").loss)
    locked = Stages()
    locked.lock = threading.Lock()
    with pytest.raises(GenNASError, match="cannot be copied"):
        quick(locked)
    with pytest.raises(GenNASError, match="cannot be copied"):
        quick(Stages().to("meta"))

    class Spoilt(Stages):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x).exp()
            y = self.c(self.b(x))
            x.add_(1)  # exp needs its result in the backward pass
            return y

    with pytest.raises(GenNASError, match="cannot be trained: RuntimeError"):
        quick(Spoilt())


def test_what_a_callback_raises_comes_out_as_it_is() -> None:
    def stop(step: int, loss: float) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        quick(Stages(), on_eval=stop)


def test_layers_start_by_pytorchs_rule_and_other_parameters_by_the_models() -> None:
    class Own(Stages):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.randn(4, 1, 1))

        def _init_weights(self, part: nn.Module) -> None:
            if isinstance(part, nn.Conv2d):
                nn.init.constant_(part.weight, 5.0)
            elif isinstance(part, Own):
                nn.init.constant_(part.position, 5.0)

    model = Own()
    assert redraw(model) == ()
    assert (model.position == 5).all()
    weight = model.a[0].weight.detach()
    bound = 1 / math.sqrt(27)  # PyTorch's default: uniform in +-1/sqrt(fan-in)
    assert float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.2)
