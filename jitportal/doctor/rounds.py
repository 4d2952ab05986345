"""All checks in their order, and the round that makes them."""

from collections.abc import Iterator

from jitportal.doctor import database, deployment, work
from jitportal.doctor.finding import Check, Finding, Result

FIRST = Check("database", database.reachable)
CHECKS = (
    Check("role and rights", database.role),
    Check("migrations", database.migrations),
    Check("connections", database.connections),
    Check("clocks", database.clocks),
    Check("addresses", deployment.addresses, needs_database=False),
    Check("Django’s checks", deployment.django_checks, needs_database=False),
    Check("broker", deployment.broker, needs_database=False),
    Check("mail server", deployment.mail, needs_database=False),
    Check("operators", deployment.operators),
    Check("processes", work.alive),
    Check("sealer", work.sealer),
    Check("targets", work.targets),
    Check("what fails", work.stuck),
    Check("what is blocked", work.blocked),
    Check("policies", work.catalogue),
)


def every() -> Iterator[Result]:
    """Yield the result of each check as it comes; without a database, of those that need none."""
    first = _made(FIRST)
    yield first
    for check in CHECKS:
        if first.is_wrong and check.needs_database:
            yield Result(check.name, skipped=True)
        else:
            yield _made(check)


def _made(check: Check) -> Result:
    try:
        return Result(check.name, tuple(check.run()))
    except Exception as error:  # one that breaks must not hide what the others find
        broken = Finding(
            f"The check broke: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "Whether this part is well is not known.",
            "See first to what the other checks say, migrations above all, and run it again.",
        )
        return Result(check.name, (broken,))
