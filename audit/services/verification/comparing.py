"""One revision's row against its entry: what the entry says, which fields it sets, their values.

The rule is `audit.models.sealed`'s; the row says it again, and the entry must agree. A value that
was erased must be gone from its column and its salt, and an entry must say so: the reverse, a value
that is gone without one, is damage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from audit.domain.entries import SALT_BYTES
from audit.models import Said
from audit.services.verification import restating
from audit.services.verification.form import Form
from audit.services.verification.kinds import Kind

_NO_SALT = bytes(SALT_BYTES)
#: A row and its entry are written by one statement after the other. `recorded_at` is in no
#: commitment; this finds that it was changed by more than that, or taken away.
TOGETHER = timedelta(minutes=5)
#: What a model says of its row can fail in these ways where the row was changed to nonsense.
NONSENSE = (KeyError, ValueError, TypeError, AttributeError)


@dataclass(slots=True)
class Comparison:
    """An entry, the row that it is about, and the row of the object's revision before."""

    kind: Kind
    form: Form
    row: Any
    before: Any
    salts: bytes | None
    gone: Mapping[str, int]
    entered_at: datetime
    digest: str
    values: int = 0
    erased: int = 0

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong, each with its kind."""
        try:
            said = self.kind.said(
                self.row, self.before, revision=self.form.rev, previous=self.form.prev
            )
        except NONSENSE as error:
            return [("row", f"its row can't be read as a record ({type(error).__name__}: {error})")]
        gone = {name for name, rev in self.gone.items() if rev >= self.form.rev}
        values = said.values
        if self.before is None and self.form.rev > 1 and not self.kind.is_history:
            # The row before is gone, which is said there: what the entry names is still compared.
            values = {name: values.get(name) for name in self.form.fields}
        found = [("row", words) for words in self._members(said)]
        found += [("erasure", words) for words in self._erasures(gone)]
        found += [("value", words) for words in self._names(values, gone)]
        found += self._values(values, gone)
        return found

    def _members(self, said: Said) -> list[str]:
        form, found = self.form, []
        if said.object_id != form.id or said.model != form.model:
            found.append(f"its row is of {said.model} {said.object_id}")
        if said.revision != form.rev:
            found.append(f"its row is revision {said.revision}")
        if said.operation != form.op:
            found.append(f"its row says {said.operation}, the entry {form.op}")
        if said.actor != form.actor:
            found.append("its row names another actor than the entry")
        if said.at != form.at:
            found.append(f"its row says that it happened at {said.at}, the entry {form.at}")
        if said.previous != form.prev:
            found.append("its row doesn't follow the entry that this one follows")
        if self.kind.has_hash and (self.row.hash or b"").hex() != self.digest:
            found.append("the hash that its row holds is not the entry's")
        recorded_at = self.row.__dict__.get("recorded_at", self.entered_at)
        if recorded_at is None:
            found.append("its row doesn't say when it was recorded")
        elif abs(self.entered_at - recorded_at) > TOGETHER:
            found.append(f"its row says that it was recorded at {recorded_at}, the entry was not")
        return found

    def _erasures(self, gone: set[str]) -> list[str]:
        return [
            f"{name} was erased, but its column isn't empty"
            for name in sorted(gone)
            if not self.kind.is_erased(name, self.row)
        ]

    def _names(self, values: Mapping[str, Any], gone: set[str]) -> list[str]:
        named = self.form.fields.keys()
        if values.keys() == named:
            return []
        found = []
        for name in sorted(values.keys() ^ named):
            if name in gone:
                continue
            if name in named:
                found.append(f"the entry sets {name}, but its row has what the one before has")
            else:
                found.append(f"{name} was changed: the entry doesn't set it")
        return found

    def _values(self, values: Mapping[str, Any], gone: set[str]) -> list[tuple[str, str]]:
        fields, salts = self.form.fields, self.salts or b""
        if len(salts) != SALT_BYTES * len(fields):
            return [
                ("value", f"its salts have {len(salts)} bytes, not {SALT_BYTES} for each field")
            ]
        names = sorted(fields)  # the order of the salts
        made = restating.commitments([(name, values.get(name)) for name in names], salts)
        found: list[tuple[str, str]] = []
        for place, name in enumerate(names):
            erased = salts[SALT_BYTES * place : SALT_BYTES * (place + 1)] == _NO_SALT
            if name in gone:
                self.erased += 1
                if not erased:
                    found.append(("erasure", f"{name} was erased, but its salt is still there"))
                continue
            if name not in values:
                continue  # said already
            self.values += 1
            if erased:
                found.append(("value", f"the salt of {name} is gone, and no entry says erased"))
            elif made[place] is None:
                found.append(("value", f"{name} is a value that nothing can commit to"))
            elif made[place] != fields[name]:
                found.append(("value", f"{name} is not the value that the entry committed to"))
        return found
