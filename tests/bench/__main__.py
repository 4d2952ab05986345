"""`python -m tests.bench [--only name] [--quick] [--profile]`: measure, print a table, keep it.

The exit status is 0 also where a goal is missed: the table and `.bench/results.json` say so.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from typing import Protocol

from tests.bench import crowd, ledger, lifecycle, pages, removal, rows, startup, targets
from tests.bench.ground import CHECKOUT, Ground, ground


class Bench(Protocol):
    """A bench's `run`."""

    def __call__(self, ground: Ground, *, quick: bool) -> list[rows.Row]: ...


BENCHES: dict[str, Bench] = {
    "pages": pages.run,
    "crowd": crowd.run,
    "lifecycle": lifecycle.run,
    "removal": removal.run,
    "targets": targets.run,
    "ledger": ledger.run,
    "startup": startup.run,
}
#: They only read: whether their data would outlive a crash is all the same, and it is filled faster.
THROW_AWAY = {"pages"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(BENCHES)}, or a row's")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs")
    parser.add_argument("--profile", action="store_true", help="also say where the time goes")
    options = parser.parse_args()
    wanted = (options.only or "").partition(".")[0]
    chosen = {name: bench for name, bench in BENCHES.items() if name.startswith(wanted)}
    if not chosen:
        parser.error(f"no bench begins with {wanted!r}: there are {', '.join(BENCHES)}")
    folder = CHECKOUT / ".bench"
    found: list[rows.Row] = []
    failed: list[str] = []
    for name, bench in chosen.items():
        begun = time.monotonic()
        try:
            with ground(
                folder / "run", say=say, durable=name not in THROW_AWAY, profile=options.profile
            ) as place:
                measured = bench(place, quick=options.quick)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        say(f"{name}: took {time.monotonic() - begun:.0f} s")
        found += [row for row in measured if row.name.startswith(options.only or "")]
        rows.write(found, folder / ("results-quick.json" if options.quick else "results.json"))
    lines = [rows.table(found)]
    missed = [row.name for row in found if row.holds is False]
    if missed:
        lines += ["", f"does not hold: {', '.join(missed)}"]
    if failed:
        lines += ["", f"could not be measured: {', '.join(failed)}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if failed else 0


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
