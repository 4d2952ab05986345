"""What pending requests wait for, as lists say it: level, people, and what the clock does next."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from approvals.domain import policy as policies
from approvals.models import AccessRequest, Asked, Policy
from approvals.selectors.levels import NAMES_MOST, due_words

__all__ = ["AccessRequest", "WaitingOn", "of"]

_parsed: dict[int, policies.Policy] = {}
_PARSED_MOST = 2_048


@dataclass(frozen=True)
class WaitingOn:
    """One pending request: “Level 2 of 2 · Data owners · Carol, Dan”, “escalates in 11 m”."""

    level: int
    levels: int
    level_name: str
    people: str
    due_at: datetime | None
    due_words: str


def of(records: Iterable[AccessRequest], *, viewer: int) -> dict[uuid.UUID, WaitingOn]:
    """Return what each pending one of `records` waits for (two queries at most)."""
    pending = [record for record in records if record.state == "pending" and record.level]
    if not pending:
        return {}
    _load({record.policy_record_id for record in pending})
    names: dict[uuid.UUID, list[str]] = {record.request_id: [] for record in pending}
    rows = Asked.objects.filter(request_id__in=names).order_by("person__name", "person__username")
    for request_id, person, name, login in rows.values_list(
        "request_id", "person_id", "person__name", "person__username"
    ):
        names[request_id].append("you" if person == viewer else name or login)
    found: dict[uuid.UUID, WaitingOn] = {}
    for record in pending:
        rule = policies.rule(_parsed[record.policy_record_id], record.rule_name)
        chain = rule.for_extension().chain if record.extends else rule.chain
        if chain is None or record.level is None:
            continue
        found[record.request_id] = WaitingOn(
            level=record.level,
            levels=len(chain.levels),
            level_name=record.level_name,
            people=_few(names[record.request_id]),
            due_at=record.due_at,
            due_words=due_words(chain.levels[record.level - 1], record.escalations),
        )
    return found


def _few(names: list[str]) -> str:
    if len(names) > NAMES_MOST:
        return f"{', '.join(names[: NAMES_MOST - 1])}, {len(names) - NAMES_MOST + 1} more"
    return ", ".join(names) or "nobody can decide now; operators see it"


def _load(history_ids: set[int]) -> None:
    """Parse the pinned policies that are not known yet, all by one query; they never change."""
    if missing := history_ids - _parsed.keys():
        if len(_parsed) + len(missing) > _PARSED_MOST:
            _parsed.clear()
            missing = history_ids
        rows = Policy.history.filter(history_id__in=missing).only("history_id", "document")
        for row in rows:
            _parsed[row.history_id] = policies.parse(row.document)
