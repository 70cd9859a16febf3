"""`python -m firmware_bridge.cart.simcart --pty`: a simulated cart for `edge-difom run --cart`."""

from __future__ import annotations

import os
import select
import sys
import time
import tty
from pathlib import Path

import click

from edge.errors import EdgeDifomError
from firmware_bridge.cart.simcart import faults
from firmware_bridge.cart.simcart.faults import CartFault, SimCart, parse_command, parse_fault

_COLORS = ("off", "green", "amber", "red", "blue", "white")


def _parse_all(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[CartFault, ...]:
    try:
        return tuple(map(parse_fault, texts))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@click.command(
    epilog=(faults.__doc__ or "").partition("\n\n")[2].replace("\n\n", "\n\n\b\n"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--pty",
    "link",
    is_flag=False,
    flag_value="",
    metavar="[LINK]",
    help="Serve a pseudo-terminal, also as LINK.",
)
@click.option(
    "--at", multiple=True, callback=_parse_all, metavar="SECONDS=FAULT", help="Repeatable."
)
@click.option("--seed", default=0, help="Random seed of noise and garbage.")
@click.option("--quiet", is_flag=True, help="Do not report relay and lamp.")
@click.option("--child", is_flag=True, help="End when standard input ends.")
def main(link: str | None, at: tuple[CartFault, ...], seed: int, quiet: bool, child: bool) -> None:
    """Simulate the cart's controller with its own firmware and print the device to open.

    Faults are also read from standard input.
    """
    if link is None:
        raise click.UsageError("--pty [LINK] is required")
    try:
        cart = SimCart(seed=seed, faults=at)
    except EdgeDifomError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    _serve(cart, Path(link) if link else None, quiet=quiet, child=child)


class _Terminal:
    """A pseudo-terminal whose other end stays open here too, so that hosts may come and go."""

    def __init__(self, link: Path | None) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self._link = link
        self.name = os.ttyname(self._slave)
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.name)
            self.name = str(link)

    def close(self) -> None:
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self.master)


def _serve(cart: SimCart, link: Path | None, *, quiet: bool, child: bool) -> None:
    terminal: _Terminal | None = None
    began, last_text = time.monotonic(), ""
    typed: int | None = sys.stdin.fileno()
    try:
        while True:
            master = None if terminal is None else terminal.master
            readable, _, _ = select.select(
                [source for source in (typed, master) if source is not None], [], [], 0.002
            )
            if typed in readable:
                lines = os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
                if not lines:
                    typed = None
                    if child:
                        return
                for line in filter(None, map(str.strip, lines.splitlines())):
                    _order(cart, line)
            data = os.read(master, 4096) if master is not None and master in readable else b""
            now_ms = int((time.monotonic() - began) * 1000)
            out = cart.advance(now_ms)
            cart.receive(data)
            unplugged = now_ms < cart.unplugged_until_ms
            if unplugged and terminal is not None:
                terminal.close()
                terminal = None
            elif not unplugged and terminal is None:
                terminal = _Terminal(link)
                click.echo(terminal.name)
                sys.stdout.flush()
            if terminal is not None and out:
                _write(terminal.master, out)
            if not quiet:
                last_text = _report_changes(cart, last_text)
    except KeyboardInterrupt:
        return
    finally:
        if terminal is not None:
            terminal.close()


def _order(cart: SimCart, line: str) -> None:
    try:
        cart.order(parse_command(line))
    except ValueError as error:
        click.echo(f"error: {error}", err=True)


def _write(descriptor: int, data: bytes) -> None:
    """Write to a descriptor; unread data is lost, as on a wire."""
    try:
        os.write(descriptor, data)
    except BlockingIOError:
        return


def _report_changes(cart: SimCart, last_text: str) -> str:
    """Report relay and lamp on standard error when they change."""
    relay = "overlay" if cart.controller.contact else "pass-through"
    text = f"relay {relay}, faults {cart.controller.faults:#04x}"
    if text != last_text:
        click.echo(
            f"{cart.now_ms / 1000:9.3f} s  {text}, lamp {_COLORS[cart.controller.lamp]}", err=True
        )
    return text


if __name__ == "__main__":
    main()
