"""What holds for every search space that has a name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contracts.space_contract import check_parameters
from gennas_optuna.errors import InvalidValueError, UnknownNameError
from gennas_optuna.spaces import Scale, get_space, list_spaces, register_space
from gennas_optuna.spaces._base import draw
from gennas_optuna.spaces._init import initialize
from gennas_optuna.spaces.nds import CELL_SPACES


@pytest.mark.parametrize("name", list_spaces())
def test_a_thousand_parameter_sets(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    distributions = space.distributions()
    for _ in range(1000):
        check_parameters(space, {name: draw(rng, dist) for name, dist in distributions.items()})


DRAWS = {"nasbench101": 60, "nasbench-macro": 60, "nasbench201": 20}
"""Networks of the spaces in which every one is wired in its own way; of others a few."""


@pytest.mark.parametrize(
    "name", [name for name in list_spaces() if get_space(name).layout == "NCHW"]
)
def test_every_parameter_of_canonical_networks_trains(name: str) -> None:
    """None is left over that no tap depends on."""
    space, rng = get_space(name), np.random.default_rng(11)
    depth = {"nasbench-macro": None, **dict.fromkeys(CELL_SPACES, 5)}.get(name, 1)
    shape = (3, 16, 16)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    for _ in range(DRAWS.get(name, 8)):
        model = space.build(
            space.sample(rng),
            generator=torch.Generator().manual_seed(0),
            scale=Scale(width=8, depth=depth),
            canonical=True,
            input_shape=shape,
        )
        torch.stack([tap.square().mean() for tap in model(x)]).sum().backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("DARTS_in", "darts-in"),
        ("DARTS_fix-w-d_in", "darts-fix-w-d-in"),
        ("ResNeXt-A", "resnext-a"),
        ("NAS-Bench-101", "nasbench101"),
    ],
)
def test_names_as_publications_write_them(given: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
        get_space(given)


@pytest.mark.parametrize("value", [None, 42, [], {}, np.zeros(3)], ids=repr)
def test_names_that_are_no_texts(value: object) -> None:
    with pytest.raises(UnknownNameError, match="search space"):
        get_space(value)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="form"):
        get_space("nasbench201", form=value)
    with pytest.raises(InvalidValueError, match="name"):
        register_space(value, lambda: get_space("nasbench201"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, [2]])
@pytest.mark.parametrize("name", ["width", "depth"])
def test_sizes_that_are_no_whole_numbers(name: str, value: object) -> None:
    with pytest.raises(InvalidValueError, match=f"scale {name}"):
        Scale(**{name: value})  # type: ignore[arg-type]


def test_initial_weights_need_a_generator(global_random_state_untouched: None) -> None:
    space = get_space("nasbench201")
    with pytest.raises(InvalidValueError, match=r"give a PyTorch generator, such as torch\."):
        initialize(space.skeleton(space.parse("421211")), generator=None)  # type: ignore[arg-type]


def test_methods_of_a_subclass_of_its_own_are_its_own() -> None:
    class Wider(type(get_space("nasbench201"))):  # type: ignore[misc]
        def times(self, scale: float, text: int) -> float:
            return scale * text

    assert Wider().times(2.0, 3) == 6
    with pytest.raises(InvalidValueError, match="text=3"):
        Wider().parse(3)
