"""Click groups whose commands are imported when they are called, with help in sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edge.errors import UsageError
from edge.util.extras import resolve
from edge_difom.cli.suggest import near_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LazyGroup(click.Group):
    """A click group whose commands are references, imported only when they are called.

    Args:
        table: Verb -> (`"module:attribute"`, short help), in the order of the help.
        sections: Title -> verbs, for the help; None lists all verbs under "Commands".
        **attributes: Arguments of `click.Group`.
    """

    def __init__(
        self,
        *,
        table: Mapping[str, tuple[str, str]],
        sections: Mapping[str, Sequence[str]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(**attributes)
        self.table, self.sections = table, sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs of the table, then commands that were added directly."""
        added = (name for name in super().list_commands(ctx) if name not in self.table)
        return [*self.table, *added]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of a verb.

        Raises:
            MissingDependencyError: Its package needs an extra that is not installed.
        """
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        command = resolve(self.table[cmd_name][0])
        assert isinstance(command, click.Command), f"{self.table[cmd_name][0]} is no command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; if it is unknown, suggest a similar one from the whole command tree.

        Raises:
            UsageError: There is no such verb.
        """
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            near = near_command(ctx, args[0])
            raise UsageError(
                f"no command {args[0]!r}",
                expected=", ".join(names),
                hint=f"{near or ctx.command_path} --help",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by section, with the table's short helps, without importing any."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        for title, members in (self.sections or {"Commands": names}).items():
            with formatter.section(title):
                rows = [(name.ljust(width), self._short_help(ctx, name)) for name in members]
                formatter.write_dl(rows)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        if name in self.table:
            return self.table[name][1]
        command = super().get_command(ctx, name)
        return command.get_short_help_str(limit=90) if command else ""
