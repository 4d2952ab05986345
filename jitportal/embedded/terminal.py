"""What the supervisor prints: lines marked with the process that said them, and a box."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

COLOURS = {
    "demo": "1;37",
    "database": "34",
    "orders-db": "36",
    "bastion": "96",
    "web": "32",
    "beat": "35",
    "due": "33",
    "provisioning": "93",
    "notices": "95",
}
WIDTH = max(map(len, COLOURS))


class Closed(Exception):
    """Nobody reads our output any more."""


class Terminal:
    """Writes whole lines to standard output, in colour when that is a terminal."""

    def __init__(self) -> None:
        self._colourful = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, who: str, text: str) -> None:
        """One line, or several, marked with who said it. Raises Closed."""
        mark = f"{who:<{WIDTH}} │"
        if self._colourful:
            mark = f"\033[{COLOURS.get(who, '37')}m{mark}\033[0m"
        self._write("".join(f"{mark} {_printable(line)}\n" for line in text.splitlines()))

    def box(self, lines: Sequence[str]) -> None:
        """The lines with a frame around them. Raises Closed."""
        width = max(map(len, lines))
        rows = [f"│ {line:<{width}} │" for line in lines]
        edge = "─" * (width + 2)
        self._write("\n".join(["", f"╭{edge}╮", *rows, f"╰{edge}╯", "", ""]))

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except UnicodeEncodeError:
            sys.stdout.write(text.encode("ascii", "replace").decode())
            sys.stdout.flush()
        except (BrokenPipeError, ValueError) as error:
            raise Closed from error


def _printable(line: str) -> str:
    """The line without control characters: a log may hold what a stranger typed."""
    return "".join(letter if letter.isprintable() or letter == "\t" else "·" for letter in line)
