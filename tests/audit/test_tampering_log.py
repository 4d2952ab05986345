"""A log that was reordered, cut, forged or set back is found; the app can do none of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from approvals.models import AccessRequest
from approvals.models.request import reference
from audit.domain import checkpoint
from audit.domain import note as notes
from audit.domain.note import LogSigner
from audit.models import Checkpoint, Leaf, Log, Verification
from audit.selectors import clock, payloads, verifications
from audit.services import sealing
from jitportal.embedded import roles
from tests.audit.sealer import new_signer, seal, sealer
from tests.audit.tampering import first, look, superuser, tamper
from tests.conftest import as_role, cluster
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_a_verification_that_somebody_made_up_changes_nothing(ended: AccessRequest) -> None:
    """The application's role can insert such rows, and copy the note of a smaller tree."""
    last = Checkpoint.objects.latest("size")
    now = clock.now()
    for size, root, note in (
        (last.size + 50, b"r" * 32, b""),
        (last.size + 50, b"r" * 32, bytes(last.note)),
        (last.size + 50, b"r" * 32, b"junk"),
        (last.size, b"r" * 32, bytes(last.note)),
    ):
        Verification(
            started_at=now, finished_at=now + timedelta(days=900), by="nightly",
            log=last.log.origin, size=size, root=root, note=note, outcome="verified", entries=1,
        ).save()  # fmt: skip
    assert look().ok
    newest = verifications.newest()
    assert newest is not None
    assert (newest.by, newest.size) == ("a test", last.size)
    assert bytes(newest.note) == bytes(last.note)


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


def test_an_older_log_that_was_removed_as_a_whole_is_missed_by_the_one_that_succeeds_it(
    world: World, signer: LogSigner
) -> None:
    """Nothing of it is left: no leaf, no entry, no row that had one."""
    seal(signer)
    seal(new_signer("jit.example.com/ledger-2"))
    assert look().ok
    old = Log.objects.get(origin=signer.name).pk
    models = payloads.record_models()
    with superuser() as raw:
        raw.execute("DELETE FROM audit_node WHERE log_id = %s", [old])
        raw.execute("DELETE FROM audit_checkpoint WHERE log_id = %s", [old])
        raw.execute("DELETE FROM audit_verification")
        gone = [row[0] for row in raw.execute(
            "DELETE FROM audit_leaf WHERE log_id = %s RETURNING entry_id", [old]).fetchall()]  # fmt: skip
        raw.execute("DELETE FROM audit_log WHERE id = %s", [old])
        raw.execute("DELETE FROM audit_salt WHERE entry_id = ANY(%s)", [gone])
        rows = raw.execute(
            "DELETE FROM audit_entry WHERE id = ANY(%s) RETURNING model, record_id", [gone]
        ).fetchall()
        for name in {model for model, _ in rows if model in models}:
            meta = models[name]._meta
            raw.execute(
                f'DELETE FROM {meta.db_table} WHERE "{meta.pk.column}" = ANY(%s)',
                [[key for model, key in rows if model == name]],
            )
    found = first()
    assert (found.kind, found.leaf) == ("log", 0)
    assert found.what == "the log succeeds an earlier one, which is gone with all its entries"


def test_a_held_checkpoint_that_the_logs_key_did_not_sign_is_refused(
    ended: AccessRequest, signer: LogSigner, tmp_path: Path
) -> None:
    held = _held(tmp_path)
    held.write_bytes(
        notes.sign(
            text=held.read_bytes().partition(b"\n\n")[0] + b"\n", signers=[new_signer(signer.name)]
        )
    )
    found = first(checkpoints=[held])
    assert found.kind == "checkpoint"
    assert "the checkpoint in held.txt is not signed by the key of" in found.what


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
