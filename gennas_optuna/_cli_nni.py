"""``gennas nni``: experiments for NNI. Nothing of NNI is imported until a command is used."""

from __future__ import annotations

import click


class _NNICommands(click.Group):
    """The commands of ``nni_strategy``, which is there only with NNI."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._imported())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._imported().get(cmd_name)

    @staticmethod
    def _imported() -> dict[str, click.Command]:
        try:
            from nni_strategy._commands import COMMANDS  # noqa: PLC0415
        except ImportError as error:
            raise click.ClickException(str(error)) from None
        return COMMANDS


@click.group(name="nni", cls=_NNICommands)
def nni_group() -> None:
    """Search with NNI: write an experiment, check one.

    Needs pip install "gennas-optuna[nni]".
    """
