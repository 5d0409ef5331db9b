"""What every reader of ground truth must do. Inherit, and say what to read."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution

from gennas_optuna.benchmarks import GroundTruth, Trained, load_truth
from gennas_optuna.errors import DataFileError, GenNASError, InvalidValueError, MissingFileError
from gennas_optuna.spaces import Architecture, SearchSpace
from gennas_optuna.taps import StagedModel


@dataclass(frozen=True)
class TextSpace(SearchSpace):
    """Takes any text for an architecture, so that readers are tested without the real spaces.

    The key forgets spaces: ``[1, 2]`` and ``[1,2]`` are two encodings of one network. Texts with
    ``refused`` in them are malformed.
    """

    name: str = "text"

    def distributions(self) -> dict[str, BaseDistribution]:
        return {}

    def decode(self, params: Mapping[str, Any]) -> Architecture:
        raise NotImplementedError

    def params(self, arch: Architecture) -> dict[str, Any]:
        raise NotImplementedError

    def parse(self, text: str) -> Architecture:
        if "refused" in text or not isinstance(text, str):
            raise InvalidValueError(f"not a text architecture: {text!r}")
        return Architecture(self, text)

    def format(self, arch: Architecture) -> str:
        return str(arch.code)

    def key(self, arch: Architecture) -> str:
        return str(arch.code).replace(" ", "")

    def _network(self, *arguments: Any) -> StagedModel:
        raise NotImplementedError


@cache
def loaded(spec: str, space: SearchSpace | str | None) -> GroundTruth:
    """A table for the tests that only look at it: the large ones are read once."""
    return load_truth(spec, space)


class ReaderContract:
    """Subclasses set ``space``, ``size`` and ``higher_is_better``, and override ``spec``."""

    space: ClassVar[SearchSpace | str | None]
    size: ClassVar[int]
    higher_is_better: ClassVar[bool] = True

    @pytest.fixture
    def spec(self, tmp_path: Path) -> str:
        """What to give to ``load_truth``."""
        raise NotImplementedError

    @pytest.fixture
    def truth(self, spec: str) -> GroundTruth:
        return loaded(spec, self.space)

    def some(self, truth: GroundTruth) -> list[Trained]:
        return truth.sample(min(50, len(truth)), np.random.default_rng(0))

    def test_it_is_a_sequence_of_trained_architectures(self, truth: GroundTruth) -> None:
        assert len(truth) == len(list(truth)) == self.size
        assert truth[0] == next(iter(truth))
        assert truth[-1] == truth[len(truth) - 1]
        assert truth[:2] == (truth[0], truth[1])
        with pytest.raises(IndexError):
            truth[len(truth)]
        for record in truth:
            assert isinstance(record, Trained)
            assert record.arch.space == truth.space
            assert type(record.truth) is float
            assert math.isfinite(record.truth)
            assert record.train_seconds is None or 0 < record.train_seconds < math.inf

    def test_it_says_what_it_is(self, truth: GroundTruth, spec: str) -> None:
        assert truth.name == spec
        assert truth.metric
        assert truth.higher_is_better is self.higher_is_better
        assert len(bytes.fromhex(truth.digest)) == 32
        assert all(count > 0 for count in truth.skipped.values())
        assert len(repr(truth)) < 2000

    def test_architectures_are_found(self, truth: GroundTruth) -> None:
        for record in self.some(truth):
            found = truth.find(truth.space.parse(str(record.arch)))
            assert found is not None
            assert found.arch == record.arch
            assert found == next(r for r in truth if r.arch == record.arch)

    def test_ranks_are_those_of_the_sorted_truth(self, truth: GroundTruth) -> None:
        def better(a: float, b: float) -> bool:
            return a > b if self.higher_is_better else a < b

        for record in self.some(truth):
            found = truth.find(record.arch)
            assert found is not None
            rank = 1 + sum(better(other.truth, found.truth) for other in truth)
            assert truth.rank_of(record.arch) == rank
            assert (truth.goodness(record) == record.truth) is (
                self.higher_is_better or record.truth == 0
            )
        best = max(truth, key=truth.goodness)
        assert truth.goodness(best) == max(map(truth.goodness, truth))
        assert not any(better(other.truth, best.truth) for other in truth)

    def test_samples_depend_on_the_generator_alone(self, truth: GroundTruth) -> None:
        n = min(10, len(truth))
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        first = truth.sample(n, np.random.default_rng(5))
        assert first == truth.sample(n, np.random.default_rng(5))
        assert len(first) == n
        smaller = truth.sample(2, np.random.default_rng(5))
        assert smaller == first[:2]
        others = [truth.sample(n, np.random.default_rng(seed)) for seed in range(20)]
        assert any(other != first for other in others)
        assert before == np.random.get_state()[1].tolist()  # noqa: NPY002

    def test_samples_do_not_repeat_a_record(self, truth: GroundTruth) -> None:
        everything = truth.sample(len(truth), np.random.default_rng(1))
        assert sorted(map(id, everything)) == sorted(map(id, truth))

    @pytest.mark.parametrize("n", [-1, 0, 1, 10**6, 2.5, None, "3"])
    def test_impossible_samples_are_refused(self, truth: GroundTruth, n: Any) -> None:
        with pytest.raises(GenNASError, match="cannot draw"):
            truth.sample(n, np.random.default_rng(0))

    def test_another_spaces_architecture_is_refused(self, truth: GroundTruth) -> None:
        class Other(TextSpace):
            pass

        with pytest.raises(GenNASError, match="belongs to"):
            truth.find(Architecture(Other(), "x"))
        with pytest.raises(GenNASError, match="look up a str"):
            truth.rank_of("x")  # type: ignore[arg-type]

    def test_reading_again_gives_the_same(self, truth: GroundTruth, spec: str) -> None:
        again = load_truth(spec, self.space)
        assert again.records == truth.records
        assert again.digest == truth.digest
        assert again.skipped == truth.skipped

    def test_pickling(self, truth: GroundTruth) -> None:
        again = pickle.loads(pickle.dumps(truth))
        assert again.records == truth.records
        assert again.rank_of(truth[0].arch) == truth.rank_of(truth[0].arch)


class FileReaderContract(ReaderContract):
    """For formats in one small file, which the test may damage. Override ``content``."""

    content: ClassVar[bytes]

    @pytest.fixture
    def spec(self, tmp_path: Path) -> str:
        path = tmp_path / "sound"
        path.write_bytes(self.content)
        return str(path)

    def refuse(self, path: Path, content: bytes) -> None:
        """Assert that a content is refused in one line that names the file."""
        path.write_bytes(content)
        with pytest.raises(GenNASError) as info:
            load_truth(path, self.space)
        assert str(path) in str(info.value)
        assert "\n" not in str(info.value)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=r"no such file: .*nowhere"):
            load_truth(tmp_path / "nowhere", self.space)

    def test_truncated_files_are_refused(self, tmp_path: Path) -> None:
        @settings(max_examples=60, deadline=None, database=None)
        @given(st.integers(0, len(self.content.rstrip()) - 1))
        def check(length: int) -> None:
            self.refuse(tmp_path / "table", self.content[:length])

        check()

    def test_damaged_files_are_read_or_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "table"

        @settings(max_examples=200, deadline=None, database=None)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            start = data.draw(st.integers(0, len(self.content)))
            stop = data.draw(st.integers(start, min(len(self.content), start + 12)))
            path.write_bytes(
                self.content[:start] + data.draw(st.binary(max_size=6)) + self.content[stop:]
            )
            try:
                assert load_truth(path, self.space)
            except GenNASError as error:
                assert "\n" not in str(error)  # noqa: PT017 - either outcome is right

        check()

    def test_the_file_is_opened_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "table"
        path.write_bytes(self.content)
        opened = []
        plain_open = Path.open

        def counting_open(path: Path, *arguments: Any, **options: Any) -> Any:
            opened.append(path)
            return plain_open(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", counting_open)
        load_truth(path, self.space)
        assert opened == [path]


class JsonReaderContract(FileReaderContract):
    """For formats of JSON. Override ``document``, and ``wrong``: what its values may not be."""

    document: ClassVar[Any]
    path_to_truth: ClassVar[tuple[Any, ...]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.content = json.dumps(cls.document).encode()

    def replaced(self, value: Any, where: tuple[Any, ...] | None = None) -> bytes:
        """The document with another value at ``where`` (that of the first truth)."""
        document = json.loads(json.dumps(self.document))
        inner = document
        *path, last = where or self.path_to_truth
        for step in path:
            inner = inner[step]
        inner[last] = value
        return json.dumps(document).encode()

    @pytest.mark.parametrize("value", ["x", True, [1.0], {}, -3, 10**400])
    def test_a_truth_that_is_none_is_refused(self, value: Any, tmp_path: Path) -> None:
        if value == 10**400:
            # As a number it is infinite: a training without result, which is left out.
            path = tmp_path / "table"
            path.write_bytes(self.replaced(value))
            assert len(load_truth(path, self.space)) == self.size - 1
        else:
            self.refuse(tmp_path / "table", self.replaced(value))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
    def test_a_training_without_result_is_left_out(self, value: Any, tmp_path: Path) -> None:
        path = tmp_path / "table"
        path.write_bytes(self.replaced(value))
        before = load_truth(self.write(tmp_path / "whole", self.content), self.space)
        after = load_truth(path, self.space)
        assert len(after) == len(before) - 1
        assert sum(after.skipped.values()) == sum(before.skipped.values()) + 1

    def write(self, path: Path, content: bytes) -> Path:
        path.write_bytes(content)
        return path

    def test_byte_order_mark_and_gzip_make_no_difference(self, tmp_path: Path) -> None:
        import gzip

        expected = load_truth(self.write(tmp_path / "a", self.content), self.space)
        for content in (b"\xef\xbb\xbf" + self.content, gzip.compress(self.content)):
            found = load_truth(self.write(tmp_path / "b", content), self.space)
            assert found.records == expected.records
            assert found.digest != expected.digest

    def test_deep_nesting_is_refused(self, tmp_path: Path) -> None:
        self.refuse(tmp_path / "table", b"[" * 100_000)
        self.refuse(tmp_path / "table", b'{"a":' * 100_000)

    def test_numbers_of_many_digits_are_refused(self, tmp_path: Path) -> None:
        self.refuse(tmp_path / "table", self.content + b"9" * 10_000)
        self.refuse(tmp_path / "table", b"[" + b"9" * 10_000 + b"]")

    def test_damaged_gzip_is_refused(self, tmp_path: Path) -> None:
        import gzip

        packed = gzip.compress(self.content)
        for content in (packed[:-9], packed[:15], packed[:20] + b"x" * 30):
            with pytest.raises(DataFileError, match="gzip"):
                load_truth(self.write(tmp_path / "table", content), self.space)
