"""The proxy task: what an architecture is trained to regress, and how."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gennas_optuna import _check
from gennas_optuna._files import read_data, write_text
from gennas_optuna._published_task import is_published, published_to_plain
from gennas_optuna.errors import InvalidValueError
from gennas_optuna.seeding import torch_generator
from gennas_optuna.signals import Signal
from gennas_optuna.taps import TapInfo
from gennas_optuna.task_parts import (
    SEQUENCE_OPTIMIZER,
    Noise,
    Optimizer,
    SequenceInput,
    Stage,
    from_fields,
)


@dataclass(frozen=True)
class Batch:
    """A task made concrete: the same for every architecture that is compared.

    Attributes:
        inputs: (B, 3, H, W), or (T, B, D) for sequences; float32.
        targets: one per tap: (B, C, S, S), or (T, B, D).
        noise: added to the inputs at every step.
    """

    inputs: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    noise: Noise

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``, images in PyTorch's faster layout for convolutions."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            layout = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
            return tensor.to(device, memory_format=layout)

        return Batch(moved(self.inputs), tuple(map(moved, self.targets)), self.noise)


@dataclass(frozen=True)
class ProxyTask:
    """A frozen description of the regression that stands in for training (GenNAS section 3).

    Attributes:
        name: for people; not part of the task's identity.
        stages: one per tap, early to late.
        noise: on the input.
        batch_size: number of samples B.
        target_size: height and width S of image targets.
        sequence: makes the inputs a synthetic sequence; ``None``: images.
        optimizer: how a network is trained on it.
    """

    stages: tuple[Stage, ...]
    noise: Noise = field(default=Noise())
    batch_size: int = 16
    target_size: int = 8
    sequence: SequenceInput | None = None
    optimizer: Optimizer = field(default=Optimizer())
    name: str = field(default="custom", compare=False)

    def __post_init__(self) -> None:
        if not _check.sequence(self.stages, "stages"):
            raise InvalidValueError("stages: give at least one")
        object.__setattr__(self, "stages", tuple(self.stages))
        _check.whole(self.batch_size, "batch_size", low=2, high=65536)
        _check.whole(self.target_size, "target_size", low=1, high=1024)
        for i, stage in enumerate(self.stages):
            _check.instance(stage, f"stages[{i}]", Stage)
        _check.instance(self.noise, "noise", Noise)
        _check.instance(self.optimizer, "optimizer", Optimizer)
        if self.sequence is not None:
            _check.instance(self.sequence, "sequence", SequenceInput)
        if not isinstance(self.name, str):
            raise InvalidValueError(f"name={_check.shorten(self.name)}: give a text")
        if not any(stage.weight for stage in self.stages):
            raise InvalidValueError("stages: at least one weight must be above 0")
        if not any(stage.training_weight for stage in self.stages):
            raise InvalidValueError("stages: at least one train_weight must be above 0")
        for i, stage in enumerate(self.stages):
            for signal in stage.signals:
                most = signal.max_channels()
                if self.sequence is None and most is not None and stage.head_channels > most:
                    raise InvalidValueError(
                        f"stages[{i}]: {signal.kind} offers {most} maps, fewer than the "
                        f"{stage.head_channels} channels of the stage: give more frequencies "
                        "or a smaller multiplier"
                    )

    # Making it concrete ---------------------------------------------------------------------

    def materialize(
        self,
        images: torch.Tensor | None,
        taps: Sequence[TapInfo],
        generator: torch.Generator,
    ) -> Batch:
        """Draw the inputs (of a sequence task) and targets.

        Args:
            images: ``batch_size`` normalised images (B, 3, H, W); not used by sequence tasks.
            taps: of the networks that will be trained, to check that they fit the task.
            generator: source of every draw. Each signal draws from a stream of its own, so
                changing one leaves the others as they were.

        Raises:
            InvalidValueError: the number or layout of the taps does not fit.
        """
        _check.instance(generator, "generator", torch.Generator)
        layout = "NCHW" if self.sequence is None else "LND"
        if len(taps) != len(self.stages) or any(tap.layout != layout for tap in taps):
            raise InvalidValueError(
                f"task {self.name!r} has {len(self.stages)} stages for taps of layout {layout}; "
                f"the network has {len(taps)}: {', '.join(f'{t.name} {t.layout}' for t in taps)}"
            )
        seed = int(torch.randint(2**62, (), generator=generator))
        if self.sequence is not None:
            inputs = self._sequence(self.sequence, self.sequence.signals, seed, "input")
            targets = [
                self._sequence(self.sequence, stage.signals, seed, i)
                for i, stage in enumerate(self.stages)
            ]
            return Batch(inputs, tuple(targets), self.noise)
        if images is None or images.dim() != 4 or len(images) != self.batch_size:
            shape = None if images is None else tuple(images.shape)
            raise InvalidValueError(
                f"images of shape {shape}: task {self.name!r} needs ({self.batch_size}, 3, H, W)"
            )
        size = (self.target_size, self.target_size)
        targets = [
            _total(stage.signals, self.batch_size, stage.head_channels, size, seed, i, images)
            for i, stage in enumerate(self.stages)
        ]
        return Batch(images, tuple(targets), self.noise)

    def _sequence(
        self, spec: SequenceInput, signals: tuple[Signal, ...], seed: int, part: object
    ) -> torch.Tensor:
        size = (spec.length, spec.dimension)
        maps = _total(signals, self.batch_size, 1, size, seed, part, None)
        return maps[:, 0].transpose(0, 1).contiguous()

    # Files ----------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The plain form that :meth:`from_dict` reads."""
        data: dict[str, Any] = {
            "name": self.name,
            "batch_size": self.batch_size,
            "target_size": self.target_size,
            "noise": asdict(self.noise),
            "optimizer": asdict(self.optimizer),
            "stages": [stage.to_dict() for stage in self.stages],
        }
        if self.sequence is not None:
            data["sequence"] = self.sequence.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "task") -> ProxyTask:
        """Read the plain form, or the nested form in which the paper's tasks are published.

        Raises:
            InvalidValueError: naming the entry that is unknown, missing or out of range.
        """
        if isinstance(data, Mapping) and is_published(data):
            data = published_to_plain(data, where)
        _check.mapping(data, where, allowed=_check.field_names(cls), required=("stages",))
        values = dict(data)
        values["stages"] = tuple(
            from_fields(Stage, stage, f"{where} stages[{i}]")
            for i, stage in enumerate(_check.sequence(data["stages"], f"{where} stages"))
        )
        if values.get("sequence") is not None:
            values["sequence"] = from_fields(SequenceInput, data["sequence"], f"{where} sequence")
            values.setdefault("optimizer", asdict(SEQUENCE_OPTIMIZER))
        if "noise" in values:
            values["noise"] = from_fields(Noise, values["noise"], f"{where} noise")
        if "optimizer" in values:
            values["optimizer"] = from_fields(Optimizer, values["optimizer"], f"{where} optimizer")
        try:
            return cls(**values)
        except InvalidValueError as error:
            raise InvalidValueError(f"{where}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write JSON, or YAML if the name ends in ``.yaml`` or ``.yml``; never half a file."""
        path = Path(path)
        if path.suffix in (".yaml", ".yml"):
            import yaml  # noqa: PLC0415 - only where needed: it is slow to import

            text = yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)
        else:
            text = json.dumps(self.to_dict(), indent=2) + "\n"
        write_text(path, text)

    @classmethod
    def load(cls, path: str | Path) -> ProxyTask:
        """Read a task from a JSON or YAML file.

        Args:
            path: the file, in either form that :meth:`from_dict` reads. ``FILE#NAME`` takes one
                task out of a file of several (under ``configs``, or at the top).

        Raises:
            MissingFileError: there is no such file.
            DataFileError: it is neither JSON nor YAML.
            InvalidValueError: it is no task, or no task of that name is in it.
        """
        file, member = _split(str(path))
        data = read_data(file)
        if member:
            tasks = data.get("configs", data) if isinstance(data, Mapping) else {}
            if not isinstance(tasks, Mapping) or member not in tasks:
                names = _check.shorten(list(tasks) if isinstance(tasks, Mapping) else [], 400)
                raise InvalidValueError(
                    f"{_check.shorten(str(file), 200)}: no task {_check.shorten(member)} in it; "
                    f"there are: {names}"
                )
            data = tasks[member]
        task = cls.from_dict(data, where=_check.shorten(str(path), 200))
        if task.name == "custom":
            object.__setattr__(task, "name", member or file.stem)
        return task

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the task's content (not its name)."""
        data = {k: v for k, v in self.to_dict().items() if k != "name"}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _split(path: str) -> tuple[Path, str]:
    """``FILE#NAME`` in two, unless there is a file of the whole name."""
    if "#" not in path or os.path.isfile(path):
        return Path(path), ""
    file, _, member = path.rpartition("#")
    return Path(file), member


def _total(
    signals: tuple[Signal, ...],
    batch: int,
    channels: int,
    size: tuple[int, int],
    seed: int,
    part: object,
    images: torch.Tensor | None,
) -> torch.Tensor:
    total = torch.zeros(batch, channels, *size)
    for signal in signals:
        total += signal.level * signal.draw(
            batch=batch,
            channels=channels,
            size=size,
            generator=torch_generator(seed, part, signal.kind),
            images=images,
        )
    return total
