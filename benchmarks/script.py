"""What the scripts share on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gennas_optuna.errors import GenNASError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OUT = Path(__file__).parent / "out"
"""Where results go by default; ignored by git."""

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="Folder of the published tables.",
)


def kept_option(name: str, folder: str, what: str) -> Callable[[Decorated], Decorated]:
    """An option for the folder where a script keeps something, by default in :data:`OUT`."""
    return click.option(
        f"--{name}",
        type=click.Path(path_type=Path),
        default=OUT / folder,
        help=f"Folder of {what}; default: benchmarks/out/{folder}.",
    )


scores_option = kept_option("scores", "scores", "finished scores")


class Refused(click.ClickException):
    """What the package says of bad input."""

    exit_code = 2


class Script(click.Command):
    """A command that ends in one line and exit status 2 where the package refuses its input."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except GenNASError as error:
            raise Refused(" ".join(str(error).split())) from None
