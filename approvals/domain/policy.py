"""The policy: who may ask for an entitlement, for how long, under what conditions, by which chain.

Lives here: the policy as a value, its document form, and what it answers. Default deny: every
refusal carries a code for programs and a sentence that a person can act on.
Doesn't live here: what a chain does with votes and time (`escalation`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from approvals.domain import chain as chains
from approvals.domain import windows as openings
from approvals.domain.chain import Chain, seconds
from approvals.domain.documents import DocumentError, Node
from approvals.domain.windows import Window

RULES_MAX = 50
GROUPS_MAX = 100
LONGEST_MAX_SECONDS = 10 * 365 * 86_400
REASON_MIN_MAX_CHARS = 2_000

Code = Literal[
    "no_policy",
    "not_eligible",
    "too_long",
    "ticket_missing",
    "reason_too_short",
    "auto_approve_risk",
    "not_for_others",
]
#: How far ahead a start may be wished.
LATEST_START = timedelta(days=90)


class PolicyError(DocumentError):
    """A document is no policy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `groups` None means everyone; `chain` None means that it approves by itself."""

    name: str
    groups: frozenset[str] | None
    longest: timedelta
    ticket: bool
    reason_min: int
    """Characters that a reason needs, without the blanks around it."""
    chain: Chain | None
    extension: Chain | None = None
    """The chain of a request that extends access; None: the same as any other's."""
    windows: tuple[Window, ...] = ()
    """When access may start; empty: at any time."""

    def for_extension(self) -> Rule:
        """Return the rule as it holds for a request that extends access."""
        return replace(self, chain=self.extension or self.chain)

    def fits(self, groups: frozenset[str]) -> bool:
        """Say whether members of `groups` may ask by this rule."""
        return self.groups is None or not self.groups.isdisjoint(groups)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order, with distinct names; the first that fits decides. Has at least one."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a policy grants: the rule, its longest duration, and its chain (None: no approval)."""

    rule_name: str
    chain: Chain | None
    longest: timedelta


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a policy says no: `code` for programs, `reason` for whoever is to know.

    `own_reason`, where there is one, says more, for the subject's eyes alone.
    """

    code: Code
    reason: str
    own_reason: str = ""

    def told(self, *, subject: bool) -> str:
        """Return the reason as the subject is told it, or anybody else."""
        return self.own_reason if subject and self.own_reason else self.reason


def parse(document: object) -> Policy:
    """Return the policy that a JSON document describes; nothing in it is guessed or ignored.

    Raises: PolicyError, whose message starts with the path of the first fault.
    """
    fields = Node(document, "", PolicyError).fields(required=("rules",))
    rules: list[Rule] = []
    for node in fields["rules"].items(least=1, most=RULES_MAX):
        rule = _rule(node)
        if any(rule.name == earlier.name for earlier in rules):
            raise node.at("name").fail("is the name of an earlier rule")
        rules.append(rule)
    return Policy(rules=tuple(rules))


def _rule(node: Node) -> Rule:
    fields = node.fields(
        required=("name", "longest"),
        optional=(
            "groups",
            "everyone",
            "ticket",
            "reason_min",
            "auto_approve",
            "levels",
            "last_resort",
            "extension_levels",
            "windows",
        ),
    )
    if ("groups" in fields) == ("everyone" in fields):
        raise node.fail("needs exactly one of groups and everyone")
    if "everyone" in fields and not fields["everyone"].flag():
        raise fields["everyone"].fail("must be true; name groups instead")
    return Rule(
        name=fields["name"].name(),
        groups=_groups(fields["groups"]) if "groups" in fields else None,
        longest=timedelta(seconds=fields["longest"].whole(least=1, most=LONGEST_MAX_SECONDS)),
        ticket=fields["ticket"].flag() if "ticket" in fields else False,
        reason_min=(
            fields["reason_min"].whole(least=0, most=REASON_MIN_MAX_CHARS)
            if "reason_min" in fields
            else 0
        ),
        chain=_chain(node, fields),
        extension=_extension(fields),
        windows=openings.read(fields["windows"]) if "windows" in fields else (),
    )


def _groups(node: Node) -> frozenset[str]:
    names: set[str] = set()
    for item in node.items(least=1, most=GROUPS_MAX):
        name = item.name()
        if name in names:
            raise item.fail("is named twice")
        names.add(name)
    return frozenset(names)


def _chain(node: Node, fields: dict[str, Node]) -> Chain | None:
    if "auto_approve" in fields and fields["auto_approve"].flag():
        for key in ("levels", "last_resort", "extension_levels"):
            if key in fields:
                raise fields[key].fail("has no meaning beside auto_approve")
        return None
    if "levels" not in fields:
        raise node.fail("lacks the key 'levels' (or auto_approve: true)")
    return chains.read_fields(fields)


def _extension(fields: dict[str, Node]) -> Chain | None:
    if "extension_levels" not in fields:
        return None
    return chains.read_fields({**fields, "levels": fields["extension_levels"]})


def dump(policy: Policy) -> dict[str, object]:
    """Return the document that `parse` turns into this very policy."""
    return {"rules": [_dump_rule(rule) for rule in policy.rules]}


def _dump_rule(rule: Rule) -> dict[str, object]:
    document: dict[str, object] = {"name": rule.name}
    if rule.groups is None:
        document["everyone"] = True
    else:
        document["groups"] = sorted(rule.groups)
    document["longest"] = seconds(rule.longest)
    document["ticket"] = rule.ticket
    document["reason_min"] = rule.reason_min
    document["auto_approve"] = rule.chain is None
    if rule.chain is not None:
        document.update(chains.dump(rule.chain))
    if rule.extension is not None:
        document["extension_levels"] = chains.dump(rule.extension)["levels"]
    if rule.windows:
        document["windows"] = openings.dump(rule.windows)
    return document


def resolve(
    policy: Policy | None,
    *,
    risk: str,
    subject_groups: frozenset[str],
    duration: timedelta,
    ticket: str,
    reason: str,
    extends: bool = False,
) -> Resolution | Refused:
    """Return the first rule that fits the subject and the duration, or why nobody may ask so.

    `extends` asks for more time of access that is active: its chain may be another one.

    Raises: ValueError for a duration that is not positive; a form refuses it before.
    """
    rule = _first(policy, risk=risk, subject_groups=subject_groups, duration=duration)
    if isinstance(rule, Refused):
        return rule
    if rule.ticket and not ticket.strip():
        return Refused("ticket_missing", "A ticket is required.")
    if len(reason.strip()) < rule.reason_min:
        return Refused(
            "reason_too_short",
            f"Give a reason of at least {rule.reason_min} characters."
            if rule.reason_min > 1
            else "Give a reason.",
        )
    chain = rule.for_extension().chain if extends else rule.chain
    return Resolution(rule_name=rule.name, chain=chain, longest=rule.longest)


def recheck(
    policy: Policy | None, *, risk: str, subject_groups: frozenset[str], duration: timedelta
) -> Refused | None:
    """Return why today's policy would no longer let the subject ask for this, or None.

    Ticket and reason were given at submission and are not asked again.

    Raises: ValueError for a duration that is not positive.
    """
    rule = _first(policy, risk=risk, subject_groups=subject_groups, duration=duration)
    return rule if isinstance(rule, Refused) else None


def _first(
    policy: Policy | None, *, risk: str, subject_groups: frozenset[str], duration: timedelta
) -> Rule | Refused:
    if duration <= timedelta(0):
        raise ValueError("a duration must be positive")
    if policy is None:
        return Refused("no_policy", "No policy allows anyone to ask for this.")
    longest = longest_for(policy, subject_groups)
    if longest is None:
        return _not_eligible(policy, subject_groups)
    if duration > longest:
        return Refused("too_long", f"Longest is {duration_text(longest)}; ask for less.")
    rule = next(x for x in policy.rules if x.fits(subject_groups) and x.longest >= duration)
    if rule.chain is None and risk != "low":
        return Refused(
            "auto_approve_risk",
            f"The rule “{rule.name}” approves without a person, which only low risk allows; "
            f"this is {risk} risk. Ask an operator to give the rule approvers.",
        )
    return rule


def refused_for_another(rule: Resolution, *, short_name: str) -> Refused | None:
    """Return why nobody but the subject, called `short_name`, may ask under the rule, or None.

    What no person approves is asked for by who gets it, so that somebody answers for it.
    """
    if rule.chain is not None:
        return None
    reason = f"The rule asks nobody, so only {short_name} can ask for it."
    return Refused("not_for_others", reason)


def start_problem(starts_at: datetime | None, *, now: datetime) -> str:
    """Return what is wrong with a start that somebody wishes, in a sentence, or nothing."""
    if starts_at is None:
        return ""
    if starts_at < now - timedelta(minutes=1):
        return "The start lies in the past. Choose a later one."
    if starts_at > now + LATEST_START:
        return "The start may be 90 days ahead at most."
    return ""


def windows_for(
    policy: Policy | None, *, subject_groups: frozenset[str], duration: timedelta
) -> tuple[Window, ...]:
    """Return when access of that length may start by the rule that fits; empty: at any time."""
    rules = policy.rules if policy is not None else ()
    for found in rules:
        if found.fits(subject_groups) and found.longest >= duration:
            return found.windows
    return ()


def _not_eligible(policy: Policy, groups: frozenset[str]) -> Refused:
    able = {group for rule in policy.rules for group in rule.groups or ()}
    mine = _and(groups, "and") if groups else "no group"
    reason = f"Only members of {_and(able, 'or')} may ask for this"
    return Refused("not_eligible", f"{reason}.", f"{reason}; you are in {mine}.")


def _and(names: Iterable[str], word: str) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} {word} {last}" if most else last


def eligible(policy: Policy | None, groups: frozenset[str]) -> bool:
    """Say whether members of `groups` may ask at all, for some duration."""
    return longest_for(policy, groups) is not None


def longest_for(policy: Policy | None, groups: frozenset[str]) -> timedelta | None:
    """Return the longest duration that any rule gives to members of `groups`; None: no rule."""
    rules = policy.rules if policy is not None else ()
    return max((rule.longest for rule in rules if rule.fits(groups)), default=None)


def rule(policy: Policy, name: str) -> Rule:
    """Return the rule of that name, such as the one that a request pinned.

    Raises: LookupError if the policy has none.
    """
    for found in policy.rules:
        if found.name == name:
            return found
    raise LookupError(f"the policy has no rule {name!r}")


def duration_text(length: timedelta) -> str:
    """Return a length as people say it: `8 h`, `1 d 30 min`, `45 s`."""
    left = seconds(length)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
