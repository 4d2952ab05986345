"""What would happen if a request were sent now: the chain that it would take, or the refusal.

Nothing is written; `services.requests.submit` decides for itself when it is sent.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from approvals.domain import policy as policies
from approvals.domain import windows
from approvals.domain.durations import words
from approvals.models import AccessRequest, Entitlement, User
from approvals.selectors import chains, requests
from approvals.selectors.catalogue import Offer
from approvals.selectors.chains import ChainView

__all__ = [
    "AccessRequest",
    "Entitlement",
    "Preview",
    "Wishes",
    "at_once",
    "preview",
    "usual_rule",
    "why_not",
    "wishes",
]

_USUAL_LENGTHS = [
    timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30),
    timedelta(hours=1), timedelta(hours=2), timedelta(hours=4), timedelta(hours=8),
    timedelta(days=1), timedelta(days=3), timedelta(days=7), timedelta(days=30),
]  # fmt: skip
_CHOICES = 5
_MOST_ASK_FOR = timedelta(hours=1)


@dataclass(frozen=True)
class Preview:
    """What sending would lead to. `refusal` is a sentence; `chain` None without one: at once."""

    refusal: str
    chain: ChainView | None
    rule_name: str
    duplicate: AccessRequest | None
    windows: str = ""
    """When it may start, in words; nothing where that is at any time."""
    opens_at: datetime | None = None
    """When the access would begin because the wished start is outside these hours."""
    never_opens: bool = False
    """The hours leave no time after the wished start."""


class Wishes(NamedTuple):
    """What a form may offer a person: lengths, and what its policy will want to know."""

    longest: timedelta | None
    lengths: list[timedelta]
    ticket: bool
    ticket_always: bool
    reason_min: int
    shorter: str


def preview(
    *,
    entitlement: Entitlement,
    offer: Offer,
    subject: User,
    requester: User,
    duration: timedelta,
    now: datetime,
    starts_at: datetime | None = None,
    extends: uuid.UUID | None = None,
) -> Preview:
    """Return the chain that a request of this duration would take (two queries).

    `extends` names active access that it would prolong. A ticket and a reason are taken as given:
    the form asks for them by itself.
    """
    if extends is None:
        duplicate = requests.open_for(subject=subject.pk, entitlement=entitlement.pk)
    else:
        duplicate = requests.extension_of(extends)
    if offer.retired:
        return Preview(f"{entitlement} is retired; nobody can ask for it.", None, "", duplicate)
    if duplicate is not None and not requests.is_visible(duplicate, to=requester):
        return Preview(requests.already_open(duplicate, to=requester), None, "", None)
    rule = policies.resolve(
        offer.policy,
        risk=entitlement.risk,
        subject_groups=offer.groups,
        duration=duration,
        extends=extends is not None,
        ticket="given",
        reason="r" * policies.REASON_MIN_MAX_CHARS,
    )
    if isinstance(rule, policies.Refused):
        told = rule.told(subject=subject.pk == requester.pk)
        return Preview(told, None, "", duplicate)
    if subject.pk != requester.pk:
        alone = policies.refused_for_another(rule, short_name=subject.get_short_name())
        if alone is not None:
            return Preview(alone.reason, None, "", duplicate)
    if problem := policies.start_problem(starts_at, now=now):
        return Preview(problem, None, "", duplicate)
    view = None
    if rule.chain is not None:
        view = chains.preview(
            rule.chain,
            requester=requester.pk,
            subject=subject.pk,
            owner=entitlement.resource.owner_id,
            now=now,
        )
    limits = policies.windows_for(offer.policy, subject_groups=offer.groups, duration=duration)
    if extends is not None or not limits:
        return Preview("", view, rule.rule_name, duplicate)
    begins = None if starts_at is None else windows.next_open([limits], at=starts_at)
    return Preview(
        "", view, rule.rule_name, duplicate, windows.text(limits),
        opens_at=begins if begins != starts_at else None,
        never_opens=starts_at is not None and begins is None,
    )  # fmt: skip


def usual_rule(offer: Offer) -> str:
    """Return the name of the rule for what most ask for, an hour or less; empty without any."""
    rules = _fitting(offer)
    fitting = [rule for rule in rules if rule.longest >= _MOST_ASK_FOR] or rules[-1:]
    return fitting[0].name if fitting else ""


def wishes(*, entitlement: Entitlement, offer: Offer) -> Wishes:
    """Return what to offer and ask; empty where the person may not ask at all."""
    rules = _fitting(offer)
    longest = offer.longest if offer.eligible else None
    if longest is None:
        return Wishes(None, [], ticket=False, ticket_always=False, reason_min=0, shorter="")
    lengths = [length for length in _USUAL_LENGTHS if length <= longest]
    if not lengths or lengths[-1] != longest:
        lengths.append(longest)
    return Wishes(
        longest=longest,
        lengths=lengths[-_CHOICES:],
        ticket=any(rule.ticket for rule in rules),
        ticket_always=all(rule.ticket for rule in rules),
        reason_min=max(rule.reason_min for rule in rules),
        shorter=_shorter(rules, risk=entitlement.risk),
    )


def why_not(*, entitlement: Entitlement, offer: Offer, own: bool) -> str:
    """Return why the person may not ask for it, in a sentence; empty when they may.

    `own` says that it is for that person's eyes alone.
    """
    if offer.retired:
        return f"{entitlement} is retired; nobody can ask for it."
    found = policies.resolve(
        offer.policy,
        risk=entitlement.risk,
        subject_groups=offer.groups,
        duration=timedelta(seconds=1),
        ticket="given",
        reason="r" * policies.REASON_MIN_MAX_CHARS,
    )
    return found.told(subject=own) if isinstance(found, policies.Refused) else ""


def at_once(*, entitlement: Entitlement, offer: Offer) -> str:
    """Return “approved at once”, perhaps with up to how long, or nothing where people decide."""
    rules = _fitting(offer)
    if entitlement.risk != "low" or not rules or rules[0].chain is not None:
        return ""
    if rules[0].longest == offer.longest:
        return "approved at once"
    return f"up to {words(rules[0].longest)} approved at once"


def _fitting(offer: Offer) -> Sequence[policies.Rule]:
    if offer.policy is None:
        return []
    return [rule for rule in offer.policy.rules if rule.fits(offer.groups)]


def _shorter(rules: Sequence[policies.Rule], *, risk: str) -> str:
    """Return a hint where a shorter wish needs fewer approvals than the longest one."""
    needed = [_approvals(rule) for rule in rules if rule.chain is not None or risk == "low"]
    if len(needed) < 2 or needed[0] >= max(needed):
        return ""
    first = words(rules[0].longest)
    if needed[0] == 0:
        return f"Up to {first} is approved at once."
    noun = "approval" if needed[0] == 1 else "approvals"
    return f"Shorter is approved faster: up to {first} needs {needed[0]} {noun}."


def _approvals(rule: policies.Rule) -> int:
    return sum(level.quorum for level in rule.chain.levels) if rule.chain is not None else 0
