"""What the scripts share on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gennas_optuna.errors import GenNASError

OUT = Path(__file__).parent / "out"
"""Where results go by default; ignored by git."""


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
