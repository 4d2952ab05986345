"""A target that is a folder: for tests and benches that need calls to be slow, lost or refused.

It keeps the connector protocol for real, across processes: whoever opens the same folder sees the
same accesses and the same record of calls, and a kill -9 loses neither.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from approvals.connectors.protocol import (
    Connector,
    Field,
    GrantSpec,
    Health,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    Settings,
    Step,
    TransientError,
    untouched,
)


class Noop(Connector):
    """Grants and revokes in `folder/journal.jsonl`, as `control` says."""

    key: ClassVar[str] = "noop"
    title: ClassVar[str] = "Nothing"
    glyph: ClassVar[str] = "NO"
    needs_secret: ClassVar[bool] = False
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = ()
    entitlement_fields: ClassVar[tuple[Field, ...]] = (
        Field(name="name", label="Name", help="Whatever it is called."),
    )

    def __init__(self, folder: Path) -> None:
        self._journal = folder / "journal.jsonl"
        self._control = folder / "control.json"

    # -- what a test does ------------------------------------------------------------------------

    def control(
        self,
        *,
        before_seconds: float = 0,
        after_seconds: float = 0,
        fail: str | None = None,
        until: datetime | None = None,
        lose_answer: bool = False,
        deny_answer: bool = False,
        only_login: str | None = None,
    ) -> None:
        """How later calls behave, in every process.

        They pause before and after the side effect; `fail` "transient", "permanent" or "wait"
        (until `until`, if that is given) refuses them before it; `lose_answer` raises a
        TransientError after it, and `deny_answer` a PermanentError. `only_login` limits all that to
        one subject.
        """
        text = json.dumps(
            {
                "before_seconds": before_seconds,
                "after_seconds": after_seconds,
                "fail": fail,
                "until": until.isoformat() if until else None,
                "lose_answer": lose_answer,
                "deny_answer": deny_answer,
                "only_login": only_login,
            }
        )
        aside = self._control.with_suffix(f".{os.getpid()}.new")
        aside.write_text(text)
        aside.replace(self._control)

    def calls(self, name: str | None = None) -> list[dict[str, Any]]:
        """Every call so far, in order: name, stage (began, done), at (Unix seconds), pid, and the
        request, login and entitlement."""
        if not self._journal.exists():
            return []
        lines = self._journal.read_text().splitlines()
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [call for call in found if name is None or call["name"] == name]

    def held(self) -> set[tuple[str, str]]:
        """(login, entitlement) for each access that exists now."""
        now: set[tuple[str, str]] = set()
        for call in self.calls():
            if call["stage"] == "done":
                pair = (call["login"], call["entitlement"])
                if call["name"] == "grant":
                    now.add(pair)
                else:
                    now.discard(pair)
        return now

    # -- the protocol ----------------------------------------------------------------------------

    def grant(self, spec: GrantSpec) -> Receipt:
        return self._call("grant", spec)

    def revoke(self, spec: GrantSpec) -> Receipt:
        return self._call("revoke", spec)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        if self._behaviour("").get("fail"):
            raise TransientError("The test refuses for now. It is tried again.")
        keys: dict[str, list[str]] = {}
        for key, settings in entitlements.items():
            keys.setdefault(str(settings.get("name", key)), []).append(key)
        return sorted(Held(login, key) for login, name in self.held() for key in keys.get(name, []))

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        behaviour = self._behaviour("")
        if behaviour.get("fail"):
            return Health(ok=False, message=f"The test says {behaviour['fail']}: end it.")
        return Health(ok=True, message="Nothing to do, and ready for it.", latency_ms=0.0)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        return [Step("Connect", "There is nothing to connect to.")]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        unknown = set(resource_settings) | (set(entitlement_settings or {}) - {"name"})
        return [f"Unknown setting {name!r}: remove it." for name in sorted(unknown)]

    # -- inside ----------------------------------------------------------------------------------

    def _call(self, name: str, spec: GrantSpec) -> Receipt:
        behaviour = self._behaviour(spec.subject_login)
        self._write(name, "began", spec)
        with untouched():
            self._refuse(name, spec, behaviour)
        self._write(name, "done", spec)
        time.sleep(behaviour.get("after_seconds", 0))
        if behaviour.get("lose_answer"):
            raise TransientError("The test lost the answer. It is tried again.")
        if behaviour.get("deny_answer"):
            raise PermanentError("The test took the order and hides what came of it: look there.")
        return Receipt(detail={"login": spec.subject_login, "granted": name == "grant"})

    def _refuse(self, name: str, spec: GrantSpec, behaviour: dict[str, Any]) -> None:
        errors = self.validate(
            resource_settings=spec.resource_settings,
            entitlement_settings=spec.entitlement_settings,
        )
        if errors:
            raise PermanentError(" ".join(errors))
        time.sleep(behaviour.get("before_seconds", 0))
        if behaviour.get("fail") == "permanent":
            raise PermanentError("The test refuses for good: end it.")
        if behaviour.get("fail") == "transient":
            raise TransientError("The test refuses for now. It is tried again.")
        if behaviour.get("fail") == "wait":
            until = behaviour["until"]
            raise NotYet(
                "The test lets this one wait.",
                until=datetime.fromisoformat(until) if until else None,
            )
        if spec.subject_login.startswith("nobody") and name == "grant":
            raise PermanentError(f"There is no login {spec.subject_login!r}: choose another.")

    def _behaviour(self, login: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._control.read_text())
        except FileNotFoundError:
            return {}
        return found if found["only_login"] in (None, login) else {}

    def _write(self, name: str, stage: str, spec: GrantSpec) -> None:
        line = json.dumps(
            {
                "name": name,
                "stage": stage,
                "at": time.time(),
                "pid": os.getpid(),
                "request": spec.request_id,
                "login": spec.subject_login,
                "entitlement": str(spec.entitlement_settings.get("name", spec.entitlement)),
            }
        )
        # One write in append mode: lines of several processes don't mix.
        handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)
