"""The floor of the lifecycle: pgbench runs the very statements that the portal was seen to send."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_COUNT = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)
_DIGITS = 12


class FloorFailed(Exception):
    """pgbench could not run the statements, so there is nothing to compare with."""


def script(statements: list[str], *, request_id: str, subject: int) -> str:
    """Return the pgbench script: each run has a request of its own, each client a subject.

    Everything else stands as it was captured: no later statement names a key that an earlier one
    returned, and constant hashes still make a chain.
    """
    dashed = f"{request_id[:-_DIGITS]}:jpb_request"
    bare = dashed.replace("-", "")
    lines = [
        "\\set jpb_round :jpb_round + 1",
        "\\set jpb_request :jpb_round * 100 + :client_id",
        f"\\set jpb_subject {subject} + :client_id",
    ]
    for statement in statements:
        text = statement.replace(request_id, dashed).replace(request_id.replace("-", ""), bare)
        lines.append(text.replace(str(subject), ":jpb_subject").rstrip().rstrip(";") + ";")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Measured:
    """How often a second the script ran, how often in all, and the client's processor time."""

    rate: float
    count: int
    cpu_seconds: float


def measure(
    *, program: str, url: str, script: Path, clients: int, seconds: int, first_round: int
) -> Measured:
    """Return what `clients` connections together reach.

    `first_round` keeps the requests of two measurements apart. Raises: FloorFailed.
    """
    address = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    environment = {
        f"PG{name.upper()}": address[name] for name in ("host", "port", "user", "password")
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(
        [
            *(program, "--no-vacuum", "--protocol", "simple", "--file", str(script)),
            *("--client", str(clients), "--jobs", "2", "--time", str(seconds)),
            *("--define", f"jpb_round={1_000_000_000 + first_round}"),
            address["dbname"],
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found, counted = _RATE.search(finished.stdout), _COUNT.search(finished.stdout)
    failed = _FAILED.search(finished.stdout)
    if finished.returncode or not found or not counted or (failed and int(failed[1])):
        raise FloorFailed(finished.stderr[-2000:] or finished.stdout[-2000:])
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(float(found[1]), int(counted[1]), cpu_seconds)
