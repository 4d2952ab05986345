"""Whatever a superuser changes in what was sealed is found, and the first bad record named."""

from __future__ import annotations

import pytest
from django.db import models

from approvals.models import AccessRequest, Decision, GrantEvent, Policy
from approvals.models.request import reference
from audit.domain import entries
from audit.domain.note import LogSigner
from audit.models import Checkpoint, Entry
from audit.selectors import clock
from jitportal.embedded import roles
from tests.audit.sealer import seal
from tests.audit.tampering import edited, entry_of, first, look, superuser, tamper
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def sealed_revision(request: AccessRequest, revision: int) -> Entry:
    row = AccessRequest.objects.get(request_id=request.request_id, revision=revision)
    return entry_of(row, "request")


# -- columns


@pytest.mark.parametrize("model", [AccessRequest, Decision, GrantEvent])
def test_each_column_that_is_edited_is_found(
    model: type[models.Model], ended: AccessRequest
) -> None:
    """All but the key: a row under another key is one that is gone."""
    row = model._default_manager.order_by("-pk")[0]
    name: str = model.ledger_name  # type: ignore[attr-defined]
    leaf = entry_of(row, name).leaf.index
    for field in model._meta.concrete_fields:
        if field.primary_key:
            continue
        with edited(row, field):
            report = look()
        assert report.problems, field.name
        assert (report.problems[0].model, report.problems[0].leaf) == (name, leaf), field.name
        assert reference(ended.request_id) in report.first_bad, field.name
    assert look().ok


def test_when_a_row_was_recorded_can_neither_be_taken_away_nor_moved_far(
    ended: AccessRequest,
) -> None:
    """It is in no commitment; by less than five minutes it can be moved."""
    for when, words in (
        ("NULL", "its row doesn't say when it was recorded"),
        ("recorded_at + interval '6 minutes'", "its row says that it was recorded at"),
    ):
        tamper("CREATE TABLE kept AS SELECT id, recorded_at FROM approvals_decision")
        tamper(f"UPDATE approvals_decision SET recorded_at = {when}")
        found = look().problems
        assert {each.model for each in found} == {"decision"}
        assert all(each.what.startswith(words) for each in found)
        tamper(
            "UPDATE approvals_decision d SET recorded_at = k.recorded_at FROM kept k"
            " WHERE k.id = d.id"
        )
        tamper("DROP TABLE kept")
    tamper("UPDATE approvals_decision SET recorded_at = recorded_at + interval '4 minutes'")
    assert look().ok


def test_a_changed_decision_is_named(ended: AccessRequest, world: World) -> None:
    decision = Decision.objects.order_by("pk")[0]
    tamper("UPDATE approvals_decision SET verdict = 'deny' WHERE id = %s", [decision.pk])
    report = look()
    assert report.problems[0].model == "decision"
    assert "its row says deny, the entry approve" in report.first_bad
    assert any(each.what.startswith("verdict is not the value") for each in report.problems)


def test_a_changed_history_row_is_named(ended: AccessRequest) -> None:
    row = Policy.objects.get(name="orders-read-write").history.latest()
    tamper(
        "UPDATE approvals_historicalpolicy SET document = '{\"rules\": []}' WHERE history_id = %s",
        [row.history_id],
    )
    found = first()
    assert (found.kind, found.model, found.object_id) == ("value", "policy", str(row.id))
    assert found.what == "document is not the value that the entry committed to"


def test_an_edited_reason_is_named_where_the_entry_does_not_set_it(ended: AccessRequest) -> None:
    """In the first revision it was set; in a later one it is carried over, and was changed."""
    for revision, words in [(1, "reason is not the value"), (3, "reason was changed: the entry")]:
        where = [ended.request_id, revision]
        tamper(
            "UPDATE approvals_accessrequest SET reason = reason || '!'"
            " WHERE request_id = %s AND revision = %s",
            where,
        )
        found = first()
        assert (found.object_id, found.revision) == (str(ended.request_id), revision)
        assert found.what.startswith(words)
        tamper(
            "UPDATE approvals_accessrequest SET reason = rtrim(reason, '!')"
            " WHERE request_id = %s AND revision = %s",
            where,
        )
    assert look().ok


def test_values_that_are_gone_without_an_erasure_are_damage(ended: AccessRequest) -> None:
    tamper("UPDATE approvals_accessrequest SET reason = '[erased]'")
    entry = sealed_revision(ended, 1)
    names = sorted(entries.read(bytes(entry.data)).fields)
    at = 32 * names.index("reason")
    tamper(
        "UPDATE audit_salt SET salts = overlay(salts placing decode(repeat('00', 32), 'hex')"
        " from %s for 32) WHERE entry_id = %s",
        [at + 1, entry.pk],
    )
    found = first()
    assert (found.leaf, found.kind) == (entry.leaf.index, "value")
    assert found.what == "the salt of reason is gone, and no entry says erased"


def test_what_was_erased_must_be_gone(ended: AccessRequest, signer: LogSigner) -> None:
    """An entry says that it was erased, and the column or the salt still has it."""
    newest = Entry.objects.filter(model="request", object_id=str(ended.request_id)).latest("id")
    erases = entries.Entry(
        "request", newest.object_id, entries.read(bytes(newest.data)).rev,
        entries.digest(bytes(newest.data)), "erase", entries.SYSTEM, _now(), "erase", {"reason": ""},
    ).encode()  # fmt: skip
    with superuser() as raw:
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data, xid, recorded_at)"
            " VALUES ('request', %s, %s, pg_current_xact_id(), now())",
            [newest.object_id, erases],
        )
    seal(signer)
    entry = sealed_revision(ended, 1)
    report = look()
    assert [each.what for each in report.problems if each.revision == 1] == [
        "reason was erased, but its column isn't empty",
        "reason was erased, but its salt is still there",
    ]
    names = sorted(entries.read(bytes(entry.data)).fields)
    tamper("UPDATE approvals_accessrequest SET reason = '[erased]'")
    tamper(
        "UPDATE audit_salt SET salts = overlay(salts placing decode(repeat('00', 32), 'hex')"
        " from %s for 32) WHERE entry_id = %s",
        [32 * names.index("reason") + 1, entry.pk],
    )
    report = look()
    assert report.ok, [*report.as_text()]
    assert report.erased == 1


# -- entries, salts, rows


@pytest.mark.parametrize("at", [2, 70, 150, -3])
def test_edited_bytes_of_an_entry_are_named(ended: AccessRequest, at: int) -> None:
    entry = sealed_revision(ended, 2)
    data = bytearray(bytes(entry.data))
    data[at] = data[at] ^ 1
    tamper("UPDATE audit_entry SET data = %s WHERE id = %s", [bytes(data), entry.pk])
    report = look()
    assert report.problems[0].leaf == entry.leaf.index
    assert any(
        each.leaf == entry.leaf.index and "not those that were sealed" in each.what
        for each in report.problems
    )
    assert not [each for each in report.problems if each.kind == "tree"]  # the leaf's hash stands


def test_an_entry_that_was_rewritten_with_its_leaf_and_row_is_named(ended: AccessRequest) -> None:
    """Entry, leaf, value, salt and the row's hash agree; what follows it, and the root, do not."""
    entry = sealed_revision(ended, 2)
    said = entries.read(bytes(entry.data))
    data, salts = entries.assemble(
        model=said.model, id=said.id, rev=said.rev, prev=said.prev, op=said.op, actor=said.actor,
        at=AccessRequest.objects.get(pk=entry.record_id or 0).occurred_at, values={"comment": "forged"},
    )  # fmt: skip
    with superuser() as raw:
        raw.execute("UPDATE audit_entry SET data = %s WHERE id = %s", [data, entry.pk])
        raw.execute("UPDATE audit_salt SET salts = %s WHERE entry_id = %s", [salts, entry.pk])
        raw.execute(
            "UPDATE audit_leaf SET hash = sha256('\\x00'::bytea || %s) WHERE entry_id = %s",
            [data, entry.pk],
        )
        raw.execute(
            "UPDATE approvals_accessrequest SET hash = sha256(%s), comment = 'forged'"
            " WHERE id = %s",
            [data, entry.record_id],
        )
    report = look()
    kinds = {each.kind for each in report.problems}
    assert {"tree", "chain"} <= kinds
    root = next(each for each in report.problems if each.kind == "tree")
    last = Checkpoint.objects.filter(size__gt=entry.leaf.index).order_by("size")[0]
    assert f"to {last.size - 1} are not those that were signed" in root.what


def test_edited_salts_are_named(ended: AccessRequest) -> None:
    entry = sealed_revision(ended, 1)
    tamper(
        "UPDATE audit_salt SET salts = overlay(salts placing '\\xff'::bytea from 5)"
        " WHERE entry_id = %s",
        [entry.pk],
    )
    found = first()
    assert (found.leaf, found.kind) == (entry.leaf.index, "value")


def test_dropped_salts_are_named(ended: AccessRequest) -> None:
    entry = sealed_revision(ended, 3)
    tamper("DELETE FROM audit_salt WHERE entry_id = %s", [entry.pk])
    found = first()
    assert found.leaf == entry.leaf.index
    assert "salts have 0 bytes" in found.what


def test_a_dropped_row_is_named(ended: AccessRequest) -> None:
    entry = sealed_revision(ended, 3)
    tamper("DELETE FROM approvals_accessrequest WHERE id = %s", [entry.record_id])
    report = look()
    assert report.problems[0].leaf == entry.leaf.index
    name = f"request {reference(ended.request_id)} ({ended.request_id}) revision 3"
    assert report.first_bad == f"leaf {entry.leaf.index}, {name}: its row is gone"
    assert not [each for each in report.problems if each.kind in ("value", "chain", "tree")]


def test_a_dropped_entry_is_named(ended: AccessRequest) -> None:
    entry = sealed_revision(ended, 3)
    leaf = entry.leaf.index
    tamper("DELETE FROM audit_entry WHERE id = %s", [entry.pk])
    report = look()
    assert report.problems[0].leaf == leaf
    assert f"its entry {entry.pk} is gone" in report.first_bad
    row = [each for each in report.problems if "has no entry in the log" in each.what]
    assert [(each.model, each.revision) for each in row] == [("request", 3)]


def test_a_dropped_leaf_is_named(ended: AccessRequest) -> None:
    entry = sealed_revision(ended, 3)
    leaf = entry.leaf.index
    tamper("DELETE FROM audit_leaf WHERE entry_id = %s", [entry.pk])
    found = first()
    assert (found.leaf, found.what) == (leaf, "the leaf is missing")


def test_an_entry_that_is_left_out_of_the_log_for_long_is_named(ended: AccessRequest) -> None:
    with superuser() as raw:
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data, xid, recorded_at)"
            " VALUES ('log', 'x', %s, '1', now() - interval '2 minutes')",
            [entries.Entry("log", "x", 1, "", "beat", "system", _now(), "heartbeat").encode()],
        )
    report = look()
    assert report.ok
    assert report.warnings == ["1 entries wait to be sealed for more than a minute"]
    tamper("UPDATE audit_entry SET recorded_at = now() - interval '1 day' WHERE object_id = 'x'")
    found = first()
    assert found.kind == "unsealed"
    assert "1 entries are not sealed, the oldest for 1 day" in found.what


def _now() -> str:
    return entries.stamp(clock.now())


def test_a_row_that_never_had_an_entry_is_named(ended: AccessRequest, world: World) -> None:
    with superuser() as raw:
        raw.execute(
            "INSERT INTO approvals_decision (request_id, revision, seen_revision, level,"
            " level_name, escalations, actor_id, actor_name, verdict, comment, occurred_at)"
            " SELECT request_id, 9, 8, level, level_name, 0, %s, 'Erin', 'approve', '', now()"
            " FROM approvals_decision LIMIT 1",
            [world.erin.pk],
        )
    report = look()
    assert [(each.kind, each.model) for each in report.problems] == [("row", "decision")]
    assert reference(ended.request_id) in report.first_bad
    assert "has no entry in the log" in report.first_bad


def test_a_well_formed_entry_without_its_row_is_named(ended: AccessRequest) -> None:
    """What the app's role could insert with SQL alone; it gets sealed like everything."""
    data, salts = entries.assemble(
        model="decision", id=f"{ended.request_id}.77", rev=1, prev="", op="approve",
        actor="system", at=clock.now(), values={"verdict": "approve"},
    )  # fmt: skip
    with as_role(roles.APP) as raw:
        raw.execute(
            "WITH e AS (INSERT INTO audit_entry (model, object_id, record_id, data)"
            " VALUES ('decision', %s, 999999, %s) RETURNING id)"
            " INSERT INTO audit_salt SELECT id, %s FROM e",
            [f"{ended.request_id}.77", data, salts],
        )
    found = first()
    assert (found.model, found.what, found.leaf) == ("decision", "its row is gone", None)
