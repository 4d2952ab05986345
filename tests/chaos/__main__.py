"""`python -m tests.chaos [--minutes N] [--outage N] [--requests N] [--seed S]`: break, then check.

Prints a table of scenario, invariant and what was seen, and keeps it in `.chaos/results.json`. The
exit status is 1 where anything doesn't hold. The same seed breaks the same things at the same time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.ground import CHECKOUT
from tests.chaos import availability, invariants
from tests.chaos.findings import Facts, Row
from tests.chaos.run import Run

REQUESTS_A_MINUTE = 300
FOLDER = CHECKOUT / ".chaos"


def main() -> int:
    """Do one run, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long clients work (15)")
    parser.add_argument("--requests", type=int, help="about how many (300 a minute)")
    parser.add_argument("--seed", type=int, help="repeat the disturbances of an earlier run")
    parser.add_argument("--keep", action="store_true", help="keep logs and journals")
    parser.add_argument("--outage", type=float, help="its minutes (a third of the time)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    requests = options.requests or int(options.minutes * REQUESTS_A_MINUTE)
    if options.outage is not None and not 0 < options.outage < options.minutes:
        parser.error("The outage is shorter than the whole.")
    rows = do(
        FOLDER,
        seconds=options.minutes * 60,
        requests=requests,
        seed=seed,
        outage=options.outage and options.outage * 60,
        keep=options.keep,
    )
    sys.stdout.write(table(rows) + "\n")
    wrong = [row for row in rows if not row.holds]
    sys.stdout.write(f"\nseed {seed}: {'VIOLATED' if wrong else 'all of it holds'}\n")
    return 1 if wrong else 0


def do(
    folder: Path,
    *,
    seconds: float,
    requests: int,
    seed: int,
    outage: float | None = None,
    keep: bool = False,
) -> list[Row]:
    """Do a run in the folder; return its table, which is also in `results.json` there."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o711, parents=True)
    say(f"chaos: seed {seed}, {seconds:.0f} s, about {requests} requests")
    begun = time.monotonic()
    run = Run(place, say=say, seed=seed)
    with run.stack:
        evidence = run.go(seconds=seconds, requests=requests, outage=outage)
        facts = Facts(evidence)
        rows = check(facts)
    result = {
        "seed": seed,
        "load_seconds": seconds,
        "took_seconds": round(time.monotonic() - begun),
        "on": time.strftime("%Y-%m-%d"),
        "clients": evidence.clients,
        "done": dict(evidence.done),
        "notices": facts.notices,
        "rows": [row.as_json() for row in rows],
    }
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    told = {key: asdict(request) for key, request in facts.requests.items()}
    (place / "requests.json").write_text(json.dumps(told) + "\n")
    (place / "evidence.json").write_text(json.dumps(vars(evidence), default=str) + "\n")
    if not keep and all(row.holds for row in rows):
        shutil.rmtree(place, ignore_errors=True)
    return rows


def check(facts: Facts) -> list[Row]:
    """Return the table of a run."""
    checks = (
        invariants.drained,
        invariants.acknowledged,
        invariants.gap_free,
        invariants.no_access_without_grant,
        invariants.no_access_at_the_database,
        invariants.nothing_early,
        invariants.claimed_once,
        invariants.one_effect,
        invariants.one_vote,
        invariants.mails,
        availability.clean_answers,
        availability.back_again,
        availability.outage,
        availability.sealed,
        availability.processes,
    )
    return [row for check_one in checks for row in check_one(facts)]


def table(rows: list[Row]) -> str:
    """Return the rows as text, with examples below what doesn't hold."""
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("scenario", "invariant")]
    lines: list[str] = []
    for row in rows:
        mark = "holds" if row.holds else "WRONG"
        lines.append(
            f"{mark}  {row.scenario:<{widths[0]}}  {row.invariant:<{widths[1]}}  {row.seen}"
        )
        lines += [f"         {example}" for example in row.examples]
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
