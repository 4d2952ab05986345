"""The work itself: processes, the sealer, targets, what is stuck, and the catalogue."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import connections

from approvals.domain import policy as policies
from approvals.models import Entitlement, Policy, Resource
from approvals.selectors import clock, failing, lanes, processes
from approvals.services import process_words, provisioning
from audit.selectors import log as ledger
from audit.selectors import staleness
from jitportal.doctor.finding import Finding

#: Seconds that all targets together may take to answer.
TARGETS_SECONDS = 30.0
#: Findings of one kind that are named one by one.
NAMED_MOST = 10
#: A key that has been blocked for longer than this is said.
BLOCKED = timedelta(minutes=5)


def alive() -> Iterator[Finding]:
    """Beat and a worker of each queue live, messages reach them, and no incident is open."""
    now = clock.now()
    for kind, state in processes.states(now=now).items():
        if state == "ok":
            continue
        undelivered = state.startswith("lives")
        words = process_words.about(f"queue:{kind}" if undelivered else kind)
        who = "Beat" if kind == processes.BEAT else f"The worker of the queue {kind}"
        verb = "" if undelivered or state.startswith("never") else "is "
        yield Finding(f"{who} {verb}{state}.".replace("never", "was never"), words.means, words.do)
    for incident in processes.open_incidents():
        family = incident.kind.partition(":")[0]
        if family in ("lane", "ends"):
            words = process_words.about(incident.kind)
            yield Finding(incident.text, words.means, words.do)


def sealer() -> Iterator[Finding]:
    """The sealer lives, and the newest checkpoint is fresh."""
    if ledger.current() is None:
        yield Finding(
            "Nothing was ever sealed.",
            "Until it is sealed, what happened could be changed unnoticed by a database "
            "administrator.",
            "Make a key (`manage.py ledger_key`) and start the sealer (`manage.py ledger_seal`); "
            "see docs/production.md.",
        )
        return
    found = staleness.stale(clock.now())
    if found is not None:
        yield Finding(
            f"The sealer is silent. {found.text}",
            "What happens is recorded, but until it is sealed a database administrator could "
            "change it unnoticed.",
            "Start it, and read its log: systemctl status jitportal-sealer.",
        )


def targets() -> Iterator[Finding]:
    """Every target answers and lets the portal work, and its secret can be read."""
    resources = list(Resource.objects.filter(is_retired=False).order_by("name"))
    answers: dict[str, str] = {}

    def ask(resource: Resource) -> None:
        try:
            health = provisioning.check(resource)
            answers[resource.name] = "" if health.ok else health.message
        except Exception as error:  # a connector that breaks is a finding, too
            answers[resource.name] = f"The connector broke: {type(error).__name__}."
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=ask, args=(resource,), daemon=True) for resource in resources
    ]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + TARGETS_SECONDS
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    for resource in resources:
        answer = answers.get(resource.name, f"It has not answered in {TARGETS_SECONDS:g} s.")
        if answer:
            yield Finding(
                f"The target {resource.name} can't be worked with. {answer}",
                "Access to it is neither made nor removed.",
                "Do what the message says. Secrets are read from this process's environment: run "
                "doctor where the provisioning worker runs, with its environment.",
            )


def stuck() -> Iterator[Finding]:
    """Nothing has failed for long."""
    now = clock.now()
    for row in failing.rows(limit=NAMED_MOST):
        lasts = now - row.failing_since
        if lasts < (settings.STUCK_AFTER if row.is_removal else timedelta(hours=1)):
            continue
        about = " of ".join(part for part in (row.subject, row.entitlement) if part)
        where = f" at {row.target}" if row.target else ""
        yield Finding(
            f"{row.what}{where}{f' ({about})' if about else ''} has failed {row.attempts} times "
            f"since {row.failing_since:%Y-%m-%d %H:%M} UTC: {row.last_error[:200]}",
            "Access that should be gone is still there."
            if row.is_removal
            else "What was promised has not happened.",
            f"Mend what the error names, then try again at {settings.PORTAL_URL}/operations/.",
        )


def blocked() -> Iterator[Finding]:
    """No work waits for long behind other work that fails."""
    found = lanes.blocked(now=clock.now(), for_longer_than=BLOCKED, limit=NAMED_MOST)
    for row in found:
        count = "100 or more items wait" if row.behind >= 100 else f"{row.behind} more wait"
        yield Finding(
            f"{row.topic} of the key {row.key} fails since "
            f"{row.failing_since:%Y-%m-%d %H:%M} UTC, and {count} behind it: "
            f"{row.last_error[:200]}",
            "Work of one key is done in its order, so that the later grants and removals of the "
            "same access wait.",
            f"Mend what the error names, then try again at {settings.PORTAL_URL}/operations/.",
        )


def catalogue() -> Iterator[Finding]:
    """Every policy can be read, and everything that is offered has one."""
    for policy in Policy.objects.order_by("name"):
        try:
            policies.parse(policy.document)
        except policies.PolicyError as error:
            yield Finding(
                f"The policy {policy.name} can't be read: {error}",
                "Nobody can ask for what it governs.",
                "Correct it under Policies; see docs/policies.md.",
            )
    bare = list(
        Entitlement.objects.filter(
            policy=None, is_retired=False, resource__is_retired=False
        ).select_related("resource")[: NAMED_MOST + 1]
    )
    if bare:
        names = ", ".join(str(each) for each in bare[:NAMED_MOST])
        more = " and more" if len(bare) > NAMED_MOST else ""
        yield Finding(
            f"Entitlements without a policy: {names}{more}.",
            "Nobody may ask for them.",
            "Give each a policy under Resources, or retire it.",
            level="note",
        )
