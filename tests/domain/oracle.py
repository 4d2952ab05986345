"""A second, independent reading of the chain's cases: it plays every second, one by one.

It shares nothing with the product: it works on the case's plain JSON values, keeps mutable
state, and knows no due moment but by counting seconds. Slow and simple on purpose.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Case = dict[str, Any]


class World:
    """A case's state while its seconds pass."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.people: dict[str, dict[str, Any]] = deepcopy(case["people"])
        self.state = "pending"
        self.level = 0
        self.steps = 0
        self.left = self.current()["within"]
        self.quiet = 0
        self.approvals = 0
        self.voted: list[str] = []
        self.reminders: list[int] = []

    def current(self) -> dict[str, Any]:
        level: dict[str, Any] = self.case["chain"]["levels"][self.level]
        return level

    def named(self, source: dict[str, Any]) -> list[str]:
        kind = source["kind"]
        if kind == "owner":
            return [self.case["owner"]]
        if kind == "person":
            return [source["name"]]
        if kind == "group":
            return [who for who, facts in self.people.items() if source["name"] in facts["groups"]]
        trail = [self.case["subject"]]
        for _ in range(source.get("of", 1)):
            above = self.people.get(trail[-1], {}).get("manager")
            if above is None:
                return []
            trail.append(above)
        return [trail[-1]]

    def is_active(self, who: str) -> bool:
        return who in self.people and bool(self.people[who]["active"])

    def may_decide(self) -> list[str]:
        if self.state != "pending":
            return []
        level = self.current()
        base = list(level["from"])
        for step in level["escalate"][: self.steps]:
            if not step["keep"]:
                base = []
            base += step["to"]
        asked = [who for source in base for who in self.named(source)]
        spare = level["fallback"] + self.case["chain"]["last_resort"]
        while len(self.free(asked)) < level["quorum"] - self.approvals and spare:
            asked += self.named(spare[0])
            spare = spare[1:]
        return self.free(asked)

    def free(self, asked: list[str]) -> list[str]:
        barred = [self.case["requester"], self.case["subject"], *self.voted]
        return sorted({who for who in asked if self.is_active(who) and who not in barred})

    def second_passes(self, now: int) -> None:
        """Changes, then escalation or lapse, then a reminder that falls on this second."""
        for change in self.case["changes"]:
            if change["at"] == now:
                self.people[change["person"]].update(change["set"])
        if self.state != "pending" or now == 0:
            return
        self.left -= 1
        self.quiet += 1
        level = self.current()
        if self.left == 0 and self.steps == len(level["escalate"]):
            self.state = "lapsed"
        elif self.left == 0:
            self.left = level["escalate"][self.steps]["within"]
            self.steps += 1
            self.quiet = 0
        elif level.get("remind") and self.quiet % level["remind"] == 0:
            self.reminders.append(now)

    def decide(self, actor: str, verdict: str) -> str:
        if self.state in ("approved", "denied"):
            return "refused:settled"
        if self.state == "lapsed":
            return "refused:lapsed"
        if actor == self.case["requester"] or actor == self.case["subject"]:
            return "refused:self_decision"
        if not self.is_active(actor):
            return "refused:inactive"
        if actor in self.voted:
            return "refused:already_voted"
        if actor not in self.may_decide():
            return "refused:not_an_approver"
        self.voted.append(actor)
        if verdict == "deny":
            self.state = "denied"
            return "accepted"
        self.approvals += 1
        if self.approvals == self.current()["quorum"]:
            self.level += 1
            self.approvals = self.steps = self.quiet = 0
            if self.level == len(self.case["chain"]["levels"]):
                self.state = "approved"
            else:
                self.left = self.current()["within"]
        return "accepted"

    def answer(self, now: int) -> dict[str, Any]:
        pending = self.state == "pending"
        return {
            "at": now,
            "state": self.state,
            "level": self.level + 1 if pending else None,
            "waiting_on": self.may_decide(),
            "missing": self.current()["quorum"] - self.approvals if pending else 0,
            "due": now + self.left if pending else None,
            "escalations": self.steps if pending else 0,
            "reminders": list(self.reminders),
        }


def expect(case: Case, *, until: int) -> Case:
    """Return the case with what is expected of every decision, and asked at every second."""
    told = deepcopy(case)
    world = World(case)
    told["ask"] = []
    for now in range(until + 1):
        world.second_passes(now)
        for decision in told["decisions"]:
            if decision["at"] == now:
                decision["expect"] = world.decide(decision["actor"], decision["verdict"])
        told["ask"].append(world.answer(now))
    return told
