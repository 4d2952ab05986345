"""What a bench reports: rows of a table, and the statistics behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

__all__ = ["Row", "median", "percentile", "table", "write"]


@dataclass(frozen=True)
class Row:
    """One measured figure. `holds` is None where nothing was promised.

    `ratio` is value ÷ floor, or, where pairs were measured, the median of the pairs' ratios.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    goal: str = ""
    holds: bool | None = None


def row(
    name: str,
    value: float,
    unit: str,
    *,
    floor: float | None = None,
    ratio: float | None = None,
    judged: Literal["value", "ratio"] = "value",
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Return a row whose `judged` figure is compared with the limit that is given, if one is."""
    if ratio is None and floor:
        ratio = value / floor
    figure = ratio if judged == "ratio" else value
    times = " ×" if judged == "ratio" else f" {unit}"
    goal, holds = "", None
    if at_most is not None:
        goal, holds = f"≤ {at_most:,g}{times}", figure is not None and figure <= at_most
    elif at_least is not None:
        goal, holds = f"≥ {at_least:,g}{times}", figure is not None and figure >= at_least
    return Row(name, value, unit, floor, ratio, goal, holds)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    position = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, min(len(ordered), int(position)) - 1)]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    head = ("name", "floor", "ours", "unit", "ratio", "goal", "holds")
    verdicts = {None: "", True: "holds", False: "does not hold"}
    lines = [head] + [
        (
            r.name,
            _figure(r.floor),
            _figure(r.value),
            r.unit,
            _figure(r.ratio),
            r.goal,
            verdicts[r.holds],
        )
        for r in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = {1, 2, 4}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JSON; rows of other benches that the file holds already are kept."""
    found: dict[str, dict[str, object]] = {}
    if path.exists():
        found = {entry["name"]: entry for entry in json.loads(path.read_text())}
    measured = {r.name.partition(".")[0] for r in rows}
    kept = [entry for name, entry in found.items() if name.partition(".")[0] not in measured]
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(kept + [asdict(r) for r in rows], indent=2, ensure_ascii=False)
    path.write_text(text + "\n")


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
