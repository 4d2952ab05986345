"""Whatever a superuser changes behind the guards' back is found and named; the app can't at all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, models

from approvals.models import AccessRequest, Decision, GrantEvent, Policy
from approvals.models.request import reference
from audit.domain import checkpoint, entries
from audit.domain import note as notes
from audit.domain.note import LogSigner
from audit.models import Checkpoint, Entry, Leaf, Log
from audit.selectors import clock
from audit.services import sealing, verifying
from audit.services.verification.findings import Problem
from jitportal.embedded import roles
from tests.audit.sealer import new_signer, seal, sealer
from tests.audit.tampering import edited, superuser, tamper
from tests.conftest import as_role, cluster
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def look(**options: Any) -> verifying.Report:
    return verifying.run(by="a test", **options)


def first(**options: Any) -> Problem:
    found = look(**options).problems
    assert found, "nothing was found"
    return found[0]


def entry_of(row: models.Model, model: str) -> Entry:
    return Entry.objects.select_related("leaf").get(model=model, record_id=row.pk)


def sealed_revision(request: AccessRequest, revision: int) -> Entry:
    row = AccessRequest.objects.get(request_id=request.request_id, revision=revision)
    return entry_of(row, "request")


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


@pytest.fixture
def ended(world: World, signer: LogSigner) -> AccessRequest:
    """A request that was active and is over, with its decisions and grant events, sealed."""
    request = world.ended()
    seal(signer, batch=7)
    assert look().ok
    return request


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


# -- the tree


@pytest.mark.parametrize("with_hashes", [False, True])
def test_two_leaves_that_change_places_are_named(ended: AccessRequest, with_hashes: bool) -> None:
    one, two = 3, 5
    with superuser() as raw:
        raw.execute("ALTER TABLE audit_leaf DROP CONSTRAINT leaf_index_once")
        columns = "entry_id = o.entry_id" + (", hash = o.hash" if with_hashes else "")
        raw.execute("ALTER TABLE audit_leaf DROP CONSTRAINT audit_leaf_entry_id_key")
        raw.execute(
            f"UPDATE audit_leaf l SET {columns} FROM audit_leaf o"
            " WHERE l.log_id = o.log_id AND (l.index, o.index) IN ((%s, %s), (%s, %s))",
            [one, two, two, one],
        )
        raw.execute("ALTER TABLE audit_leaf ADD CONSTRAINT leaf_index_once UNIQUE (log_id, index)")
        raw.execute(
            "ALTER TABLE audit_leaf ADD CONSTRAINT audit_leaf_entry_id_key UNIQUE (entry_id)"
        )
    report = look()
    assert report.problems[0].leaf is not None
    if with_hashes:
        # the third stands where the fifth was: the leaf after it is older than it
        assert "is older than the leaf before's" in report.first_bad
        assert report.problems[0].leaf == one + 1
        assert any(each.kind == "tree" for each in report.problems)
    else:
        assert report.problems[0].leaf == one
        assert "not those that were sealed" in report.first_bad


def test_an_edited_node_is_named(world: World, signer: LogSigner) -> None:
    seal(signer)
    with sealer():
        made = Log.objects.get()
        for _ in range(260):
            sealing.beat_heart(made, now=clock.now().replace(year=2100), every=timedelta(hours=1))
    seal(signer)
    assert look().ok
    tamper("UPDATE audit_node SET hash = sha256('x')")
    assert "node 0 of level 1 is not the root over the leaves" in look().first_bad
    tamper("DELETE FROM audit_node")
    assert "node 0 of level 1 is missing" in look().first_bad


def test_a_checkpoint_that_another_key_forged_is_named(
    ended: AccessRequest, signer: LogSigner
) -> None:
    last = Checkpoint.objects.order_by("-size")[0]
    text = bytes(last.note).partition(b"\n\n")[0] + b"\n"
    forged = notes.sign(text=text, signers=[new_signer(signer.name)])
    tamper("UPDATE audit_checkpoint SET note = %s WHERE id = %s", [forged, last.pk])
    found = first()
    assert found.kind == "checkpoint"
    assert f"checkpoint of {last.size} entries is not signed by the log's key" in found.what


def test_a_log_that_was_signed_anew_by_another_key_is_found_by_the_real_key(
    ended: AccessRequest, signer: LogSigner
) -> None:
    other = new_signer(signer.name)
    with superuser() as raw:
        raw.execute("UPDATE audit_log SET vkey = %s", [other.key.vkey])
        for each in Checkpoint.objects.all():
            text = bytes(each.note).partition(b"\n\n")[0] + b"\n"
            raw.execute(
                "UPDATE audit_checkpoint SET note = %s WHERE id = %s",
                [notes.sign(text=text, signers=[other]), each.pk],
            )
    report = look()
    assert report.ok
    assert not report.keys[signer.name].given
    report = look(vkeys=[signer.key.vkey])
    assert not report.ok
    assert any("is not the given one" in each.what for each in report.problems)
    assert any("is not signed by the log's key" in each.what for each in report.problems)


# -- what only somebody outside can know


def _held(folder: Path) -> Path:
    path = folder / "held.txt"
    path.write_bytes(bytes(Checkpoint.objects.order_by("-size")[0].note))
    return path


def _forget_after(size: int) -> None:
    """Remove everything that was written after the checkpoint of this size, leaving no trace."""
    with superuser() as raw:
        gone = raw.execute(
            "DELETE FROM audit_leaf WHERE index >= %s RETURNING entry_id", [size]
        ).fetchall()
        ids = [row[0] for row in gone]
        rows = raw.execute(
            "DELETE FROM audit_entry WHERE id = ANY(%s) RETURNING model, record_id, object_id",
            [ids],
        ).fetchall()
        assert {row[0] for row in rows} == {"request"}
        raw.execute("DELETE FROM audit_salt WHERE entry_id = ANY(%s)", [ids])
        raw.execute("DELETE FROM audit_checkpoint WHERE size > %s", [size])
        raw.execute("DELETE FROM audit_verification WHERE size > %s", [size])
        raw.execute(
            "DELETE FROM approvals_accessrequest WHERE id = ANY(%s)", [[row[1] for row in rows]]
        )
        for table in ("currentrequest", "asked", "waiting"):
            raw.execute(
                f"DELETE FROM approvals_{table} WHERE request_id::text = ANY(%s)",
                [[row[2] for row in rows]],
            )


def test_a_cut_end_is_found_by_a_checkpoint_that_is_held_outside(
    ended: AccessRequest, world: World, signer: LogSigner, tmp_path: Path
) -> None:
    size = Checkpoint.objects.order_by("-size")[0].size
    world.ask(by=world.dan, what=world.own, ticket="CHG-1")
    seal(signer)
    held = _held(tmp_path)
    assert look(checkpoints=[held], vkeys=[signer.key.vkey]).ok
    now = Leaf.objects.count()
    assert now > size
    _forget_after(size)
    assert look().ok  # nothing inside can tell
    report = look(checkpoints=[held], vkeys=[signer.key.vkey])
    assert [each.kind for each in report.problems] == ["cut"]
    assert report.first_bad == (
        f"the end of the log is cut off: the checkpoint in held.txt is of {now} entries, and there"
        f" are {size}: they were removed (ids were given out to as many more entries)"
    )


def test_an_end_that_was_cut_carelessly_is_found_without_help(
    ended: AccessRequest, world: World, signer: LogSigner
) -> None:
    size = Checkpoint.objects.order_by("-size")[0].size
    tamper("DELETE FROM audit_leaf WHERE index >= %s", [size - 2])
    report = look()
    assert any(
        each.kind == "cut" and f"a checkpoint of {size}" in each.what for each in report.problems
    )


def test_an_earlier_verification_that_saw_more_finds_a_cut_end(
    ended: AccessRequest, world: World, signer: LogSigner
) -> None:
    size = Checkpoint.objects.order_by("-size")[0].size
    world.ask(by=world.dan, what=world.own, ticket="CHG-1")
    seal(signer)
    assert look().recorded
    with superuser() as raw:
        raw.execute("CREATE TABLE kept AS SELECT * FROM audit_verification")
    _forget_after(size)
    with superuser() as raw:
        raw.execute("DELETE FROM audit_verification")
        raw.execute("INSERT INTO audit_verification OVERRIDING SYSTEM VALUE SELECT * FROM kept")
        raw.execute("DROP TABLE kept")
    found = first()
    assert found.kind == "cut"
    assert "the verification of" in found.what


def test_an_older_backup_that_was_restored_is_found_and_named(
    ended: AccessRequest, world: World, signer: LogSigner, tmp_path: Path
) -> None:
    """The backup is a copy of the whole database, which then goes on being written."""
    _disconnect()
    with cluster().connect() as admin:
        admin.execute("CREATE DATABASE restored TEMPLATE jitportal")
        for role in (roles.APP, roles.SEALER):
            admin.execute(f"GRANT CONNECT ON DATABASE restored TO {role}")
    world.ask(by=world.dan, what=world.own, ticket="CHG-1")
    seal(signer)
    held = _held(tmp_path)
    assert look(checkpoints=[held]).ok
    now = Leaf.objects.count()
    try:
        _disconnect()
        connection.settings_dict["NAME"] = "restored"
        size = Leaf.objects.count()
        assert size < now
        assert look().ok
        found = look(checkpoints=[held]).problems
        assert [each.kind for each in found] == ["cut"]
        assert "an older backup was restored" in found[0].what
        for who in (world.alice, world.carol, world.dan):
            world.ask(by=who, what=world.write)
        seal(signer)
        assert Leaf.objects.count() > now
        assert look().ok
        found = look(checkpoints=[held]).problems
        assert [each.kind for each in found] == ["rewritten"]
        assert f"the first {now} entries are not those of the checkpoint in held.txt" in (
            found[0].what
        )
        assert "an older backup was restored and written on" in found[0].what
    finally:
        _disconnect()
        connection.settings_dict["NAME"] = "jitportal"
        with cluster().connect() as admin:
            admin.execute("DROP DATABASE restored WITH (FORCE)")


def _disconnect() -> None:
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


def test_a_checkpoint_of_a_log_that_is_not_here_is_named(
    ended: AccessRequest, tmp_path: Path
) -> None:
    other = new_signer("jit.example.org/other")
    path = tmp_path / "held.txt"
    path.write_bytes(
        checkpoint.sign(checkpoint=checkpoint.Checkpoint(other.name, 3, b"x" * 32), signers=[other])
    )
    report = look(checkpoints=[path], vkeys=[other.key.vkey])
    assert any("is of a log that isn't here" in each.what for each in report.problems)


# -- the indexes


def test_a_pointer_that_was_moved_is_named(ended: AccessRequest) -> None:
    old = AccessRequest.objects.get(request_id=ended.request_id, revision=2)
    tamper(
        "UPDATE approvals_currentrequest SET revision = 2, record_id = %s, state = 'pending'",
        [old.pk],
    )
    report = look()
    assert {each.kind for each in report.problems} == {"index"}
    assert reference(ended.request_id) in report.first_bad
    assert "the pointer's revision is 2" in report.first_bad


def test_someone_who_was_written_into_an_inbox_is_named(
    ended: AccessRequest, world: World, signer: LogSigner
) -> None:
    asked = world.ask(by=world.dan, what=world.own, ticket="CHG-1")
    seal(signer)
    assert look().ok
    with as_role(roles.APP) as raw:
        raw.execute(
            "INSERT INTO approvals_asked (request_id, person_id, asked_at, due_at)"
            " VALUES (%s, %s, now(), now())",
            [asked.request_id, world.mallory.pk],
        )
    found = first()
    assert found.kind == "index"
    assert str(asked.request_id) in found.what


# -- the application's role

APP_CAN_NOT = [
    "UPDATE approvals_accessrequest SET reason = 'x'",
    "UPDATE approvals_decision SET verdict = 'deny'",
    "UPDATE approvals_grantevent SET error = 'x'",
    "UPDATE approvals_historicalpolicy SET document = '{}'",
    "DELETE FROM approvals_accessrequest",
    "UPDATE audit_entry SET data = ''",
    "DELETE FROM audit_entry",
    "UPDATE audit_salt SET salts = ''",
    "DELETE FROM audit_salt",
    "UPDATE audit_leaf SET hash = ''",
    "UPDATE audit_leaf SET index = -index",
    "DELETE FROM audit_leaf",
    "INSERT INTO audit_leaf (log_id, index, entry_id, hash) VALUES (1, 1, 1, '')",
    "UPDATE audit_node SET hash = ''",
    "DELETE FROM audit_node",
    "UPDATE audit_checkpoint SET note = ''",
    "DELETE FROM audit_checkpoint",
    "INSERT INTO audit_checkpoint (log_id, size, root, note, horizon, system)"
    " VALUES (1, 1, '', '', 0, '')",
    "UPDATE audit_log SET vkey = ''",
    "INSERT INTO audit_log (origin, vkey, opened_at) VALUES ('x', 'x', now())",
    "UPDATE approvals_currentrequest SET revision = 1",
    "DELETE FROM approvals_currentrequest",
    "UPDATE audit_verification SET outcome = 'verified'",
    "DELETE FROM audit_verification",
    "SET session_replication_role = replica",
    "ALTER TABLE audit_leaf DISABLE TRIGGER ALL",
    "SELECT setval('audit_entry_id_seq', 1)",
]


@pytest.mark.parametrize("statement", APP_CAN_NOT)
def test_the_app_can_do_none_of_it(statement: str) -> None:
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(statement)
