"""Prometheus' text format, version 0.0.4: a family is a name, its type, and its samples.

Source: Prometheus, Exposition formats, text-based format.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `samples` are a suffix of the name (or none), labels, and the value."""

    name: str
    help: str
    kind: Literal["gauge", "histogram"]
    samples: Sequence[tuple[str, Labels, float]]


def gauge(name: str, help: str, samples: Iterable[tuple[Labels, float]]) -> Family:
    """Return a metric that goes up and down."""
    return Family(name, help, "gauge", [("", labels, value) for labels, value in samples])


def histogram(
    name: str,
    help: str,
    *,
    bounds: Sequence[float],
    at_most: Sequence[int],
    count: int,
    sum: float,
) -> Family:
    """Return a histogram: `at_most` are cumulative counts, one for each of `bounds`."""
    buckets = [
        ("_bucket", {"le": _number(bound)}, float(number))
        for bound, number in zip(bounds, at_most, strict=True)
    ]
    last = [("_bucket", {"le": "+Inf"}, float(count)), ("_sum", {}, sum), ("_count", {}, count)]
    return Family(name, help, "histogram", [*buckets, *last])


def write(families: Iterable[Family]) -> str:
    """Return the whole text; families without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        about = family.help.replace("\\", "\\\\").replace("\n", "\\n")
        lines += [f"# HELP {family.name} {about}", f"# TYPE {family.name} {family.kind}"]
        lines += [
            f"{family.name}{suffix}{_labels(labels)} {_number(value)}"
            for suffix, labels, value in family.samples
        ]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value):
        return str(int(value))
    return repr(float(value))
