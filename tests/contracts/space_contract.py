"""What every search space must do. Inherit, and set ``space`` and a few known texts."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gennas_optuna import ProxyEvaluator
from gennas_optuna.cost import count_cost
from gennas_optuna.errors import GenNASError, InvalidValueError
from gennas_optuna.spaces import Architecture, Scale, SearchSpace, get_space


def parameter_sets(space: SearchSpace) -> st.SearchStrategy[dict[str, Any]]:
    """Any value of any distribution of the space."""

    def values(dist: optuna.distributions.BaseDistribution) -> st.SearchStrategy[Any]:
        if isinstance(dist, optuna.distributions.CategoricalDistribution):
            return st.sampled_from(dist.choices)
        if isinstance(dist, optuna.distributions.IntDistribution):
            return st.integers(0, (dist.high - dist.low) // dist.step).map(
                lambda k: dist.low + k * dist.step
            )
        assert isinstance(dist, optuna.distributions.FloatDistribution)
        return st.floats(dist.low, dist.high)

    return st.fixed_dictionaries({k: values(d) for k, d in space.distributions().items()})


def check_parameters(space: SearchSpace, params: dict[str, Any]) -> None:
    """A parameter set is an architecture, which survives its text and its parameters."""
    arch = space.decode(params)
    assert isinstance(arch, Architecture)
    assert arch.space == space
    again = space.parse(str(arch))
    assert again == arch
    assert hash(again) == hash(arch)
    assert again.key == arch.key
    assert space.decode(space.params(arch)).key == arch.key


class SpaceContract:
    """Subclasses set ``space``; ``small`` keeps the networks of the test small."""

    space: ClassVar[SearchSpace]
    small: ClassVar[Scale] = Scale()
    batch: ClassVar[int] = 2
    malformed: ClassVar[tuple[str, ...]] = ("", "nonsense", "[", "[[[[", "{}", "null", "9" * 50)
    build_examples: ClassVar[int] = 10
    untrained: ClassVar[tuple[str, ...]] = ()
    """Endings of the names of parameters that keep their initial values."""

    # Parameters and texts

    def test_every_parameter_set_is_an_architecture(self) -> None:
        """Extreme ones too; a thousand ordinary ones of each space are in ``test_spaces.py``."""

        @settings(max_examples=100, deadline=None, database=None)
        @given(parameter_sets(self.space))
        def check(params: dict[str, Any]) -> None:
            check_parameters(self.space, params)

        check()

    def test_parameters_fit_their_distributions(self) -> None:
        distributions = self.space.distributions()
        for seed in range(20):
            params = self.space.params(self.space.sample(np.random.default_rng(seed)))
            assert list(params) == list(distributions)
            for name, value in params.items():
                assert distributions[name]._contains(distributions[name].to_internal_repr(value))

    def test_an_optuna_trial_suggests_an_architecture(self) -> None:
        params = self.space.params(self.space.sample(np.random.default_rng(1)))
        plain = self.space.suggest(optuna.trial.FixedTrial(params))
        prefixed = self.space.suggest(
            optuna.trial.FixedTrial({f"a_{k}": v for k, v in params.items()}), prefix="a_"
        )
        assert plain == prefixed == self.space.decode(params)

    def test_a_missing_parameter_is_named(self) -> None:
        params = self.space.params(self.space.sample(np.random.default_rng(1)))
        name = next(iter(params))
        with pytest.raises(GenNASError, match=name):
            self.space.decode({k: v for k, v in params.items() if k != name})

    def test_a_value_out_of_range_is_named(self) -> None:
        params = self.space.params(self.space.sample(np.random.default_rng(1)))
        name = next(iter(params))
        with pytest.raises(GenNASError, match=name):
            self.space.decode({**params, name: "no such value"})

    def test_malformed_texts_are_refused(self) -> None:
        for text in self.malformed:
            with pytest.raises(GenNASError) as info:
                self.space.parse(text)
            assert "\n" not in str(info.value)

    def test_any_text_parses_or_is_refused(self) -> None:
        good = [str(self.space.sample(np.random.default_rng(seed))) for seed in range(5)]

        @settings(max_examples=200, deadline=None, database=None)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            text = data.draw(st.sampled_from(good))
            start = data.draw(st.integers(0, len(text)))
            stop = data.draw(st.integers(start, min(len(text), start + 8)))
            text = text[:start] + data.draw(st.text(max_size=8)) + text[stop:]
            try:
                arch = self.space.parse(text)
            except GenNASError:
                return
            assert self.space.parse(str(arch)) == arch

        check()

    def test_pickling_and_equality(self) -> None:
        arch = self.space.sample(np.random.default_rng(3))
        again = pickle.loads(pickle.dumps(arch))
        assert again == arch
        assert again.key == arch.key
        assert len({arch, again}) == 1

    # Search moves

    def test_sampling_depends_on_the_generator_alone(self) -> None:
        def draws(seed: int) -> list[Architecture]:
            rng = np.random.default_rng(seed)
            return [self.space.sample(rng) for _ in range(10)]

        assert draws(5) == draws(5)
        assert draws(5) != draws(6)
        assert len(set(draws(5))) > 1

    def test_mutation_moves_and_stays_in_the_space(self) -> None:
        rng = np.random.default_rng(0)
        arch = start = self.space.sample(rng)
        for _ in range(30):
            arch = self.space.mutate(arch, rng)
            assert self.space.decode(self.space.params(arch)).key == arch.key
        assert arch != start

    # Networks

    def build(self, arch: Architecture, **options: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        return self.space.build(arch, generator=generator, **{"scale": self.small, **options})

    def inputs(self) -> torch.Tensor:
        """A batch of random inputs of the space's shape; override for other layouts."""
        shape = (self.batch, *self.space.input_shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))

    def test_networks_run_forward_and_backward(self) -> None:
        x = self.inputs()
        rng = np.random.default_rng(11)
        for _ in range(self.build_examples):
            arch = self.space.sample(rng)
            for canonical in (False, True):
                model = self.build(arch, canonical=canonical)
                taps = model(x)
                assert len(taps) == len(model.taps)
                for tap, info in zip(taps, model.taps, strict=True):
                    if info.layout == "NCHW":
                        assert tuple(tap.shape) == (self.batch, info.channels, *info.size)
                    else:
                        assert tuple(tap.shape) == (*info.size, self.batch, info.channels)
                    assert torch.isfinite(tap).all()
                total = sum((tap.square().mean() for tap in taps), torch.zeros(()))
                total.backward()
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        assert torch.isfinite(parameter.grad).all()
                    else:  # a dead part of the encoding
                        assert not canonical or name.endswith(self.untrained)

    def test_the_size_of_what_is_trained_is_counted_right(self) -> None:
        """It is not counted again where nothing with parameters was left out."""
        rng = np.random.default_rng(4)
        evaluator = ProxyEvaluator("flops", device="cpu")
        for _ in range(3):
            arch = self.space.sample(rng)
            skeleton = self.space.skeleton(arch, canonical=True)
            cost = count_cost(skeleton, evaluator.input_shape(self.space))
            assert evaluator.evaluate(arch).loss == -cost.flops

    def test_building_is_deterministic_and_leaves_global_state_alone(self) -> None:
        arch = self.space.sample(np.random.default_rng(2))
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        first, second = self.build(arch), self.build(arch)
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b)
        for a, b in zip(first(self.inputs()), second(self.inputs()), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002

    # Wrong arguments

    @pytest.mark.parametrize("value", [None, 42, b"x", "x", [], {}, int, np.zeros(3)], ids=repr)
    def test_arguments_of_another_kind_are_refused(self, value: Any) -> None:
        space, generator = self.space, torch.Generator()
        arch = space.sample(np.random.default_rng(2))
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        for call in (
            lambda: space.decode(value),
            lambda: space.params(value),
            lambda: space.suggest(value),
            lambda: space.parse(value),
            lambda: space.format(value),
            lambda: space.key(value),
            lambda: space.sample(value),
            lambda: space.mutate(value, np.random.default_rng(0)),
            lambda: space.mutate(arch, value),
            lambda: space.skeleton(value),
            lambda: space.build(value, generator=generator),
            lambda: space.build(arch, generator=value),
        ):
            with pytest.raises(InvalidValueError, match="give") as info:
                call()
            assert "\n" not in str(info.value)
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002

    @pytest.mark.parametrize("option", ["scale", "canonical", "input_shape", "init"])
    def test_options_of_another_kind_are_refused(self, option: str) -> None:
        arch = self.space.sample(np.random.default_rng(2))
        for value in (42, b"x", [0], {}, object(), np.zeros(3)):
            with pytest.raises(InvalidValueError, match=option):
                self.build(arch, **{option: value})

    def test_a_fraction_is_no_whole_number(self) -> None:
        params = self.space.params(self.space.sample(np.random.default_rng(2)))
        for name, distribution in self.space.distributions().items():
            if isinstance(distribution, optuna.distributions.IntDistribution):
                with pytest.raises(InvalidValueError, match=name):
                    self.space.decode({**params, name: float(params[name])})

    def test_another_spaces_architecture_is_refused(self) -> None:
        class Other(type(self.space)):  # type: ignore[misc]
            pass

        space = self.space
        arch = space.sample(np.random.default_rng(2))
        foreign = Architecture(Other(**vars(space)), arch.code)
        unlike = get_space("nasbench201" if space.name != "nasbench201" else "nasbench101")
        for other in (foreign, unlike.sample(np.random.default_rng(2))):
            for call in (
                lambda: space.params(other),  # noqa: B023
                lambda: space.format(other),  # noqa: B023
                lambda: space.key(other),  # noqa: B023
                lambda: space.mutate(other, np.random.default_rng(0)),  # noqa: B023
                lambda: space.skeleton(other),  # noqa: B023
                lambda: self.build(other),  # noqa: B023
            ):
                with pytest.raises(InvalidValueError, match="belongs to"):
                    call()
