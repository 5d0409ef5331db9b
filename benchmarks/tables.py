"""The published tables that hold the true quality of each space's architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from gennas_optuna import get_space, load_truth
from gennas_optuna.benchmarks import GroundTruth


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        space: name of its search space.
        truth: where it stands below ``--data``, or the name that :func:`load_truth` knows.
        published: name of the proxy task that GenNAS's authors published for such networks.
        samples: how many of its architectures ``docs/results.md`` ranks, or all if it has fewer.
        skip: how many of the draw it leaves out before those, because they took part in the
            choice of a preset.
    """

    space: str
    truth: str
    published: str
    samples: int = 60
    skip: int = 0

    @property
    def label(self) -> str:
        """Its last name, for people."""
        return Path(self.truth).name.removeprefix("hpo-bench:")

    def load(self, data: Path) -> GroundTruth:
        """Read it; ``data`` is the folder of the published tables."""
        known = self.truth.startswith("hpo-bench:")
        return load_truth(self.truth if known else str(data / self.truth), get_space(self.space))


TABLES = (
    Table("nasbench201", "hpo-bench:cifar10", "CONF_NB101", 300),
    Table("nasbench201", "hpo-bench:cifar100", "CONF_NB101", 300),
    Table("nasbench201", "hpo-bench:imagenet16-120", "CONF_NB101", 300),
    Table("nasbench101", "nasbench101/nasbench1_cifar10.json", "CONF_NB101", 300),
    Table("darts-in", "nds/DARTS_in.json", "CONF_DARTS"),
    Table("darts-fix-w-d-in", "nds/DARTS_fix-w-d_in.json", "CONF_DARTS"),
    Table("enas-in", "nds/ENAS_in.json", "CONF_DARTS"),
    Table("pnas-in", "nds/PNAS_in.json", "CONF_DARTS"),
    Table("nasnet-in", "nds/NASNet_in.json", "CONF_DARTS"),
    Table("amoeba-in", "nds/Amoeba_in.json", "CONF_DARTS"),
    Table("resnext-a-in", "nds/ResNeXt-A_in.json", "CONF_RESNET"),
    Table("resnext-b-in", "nds/ResNeXt-B_in.json", "CONF_RESNET"),
    Table("nasbench-macro", "nasbench_macro/nas-bench-macro_cifar10.json", "CONF_NB101"),
    Table("nasbench-nlp", "nasbenchnlp/train_logs_single_run", "CONF_NLP", 150, skip=80),
    Table("nasbench-nlp", "nasbenchnlp/train_logs_wikitext-2", "CONF_NLP", 150),
)


def tables_for(spaces: Sequence[str]) -> list[Table]:
    """All tables of the spaces named, or of all spaces if none is.

    Raises:
        click.UsageError: there is no table of one, or no such space.
    """
    known = list(dict.fromkeys(table.space for table in TABLES))
    for space in spaces:
        if space not in known:
            raise click.UsageError(
                f"there is no table of trained architectures of space {space!r}: give one of "
                f"{', '.join(known)}"
            )
    return [table for table in TABLES if not spaces or table.space in spaces]


def table_for(space: str) -> Table:
    """The first table of a space; raises as :func:`tables_for`."""
    return tables_for([space])[0]
