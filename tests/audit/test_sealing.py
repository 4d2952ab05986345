"""The sealer: what is inserted gets its place in a log that is signed."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

import pytest
from django.db import connection

from audit.domain import checkpoint, entries, merkle
from audit.models import Checkpoint, Entry, Leaf
from audit.selectors import clock
from audit.selectors import log as reads
from audit.services import sealing
from jitportal.embedded import roles
from tests.audit.sealer import lead, new_signer, seal, sealer
from tests.audit.tampering import superuser
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def test_everything_that_was_written_is_sealed_and_signed(world: World) -> None:
    world.ended()
    signer = new_signer()
    made = seal(signer)
    count = Entry.objects.count()
    assert count > 10
    assert list(Leaf.objects.order_by("index").values_list("index", flat=True)) == [*range(count)]
    last = reads.newest_checkpoint(made)
    assert last is not None
    said = checkpoint.open_verified(message=bytes(last.note), log=signer.key)
    assert (said.size, said.root) == (count, reads.tree(made, size=count).root())


def test_batches_make_the_same_tree_as_one(world: World) -> None:
    world.ended()
    signer = new_signer()
    made = seal(signer, batch=3)
    count = Entry.objects.count()
    data = reads.entries(made, start=0, count=count)
    assert reads.tree(made, size=count).root() == merkle.root_of(
        [merkle.leaf_hash(e) for e in data]
    )
    assert Checkpoint.objects.count() == -(-count // 3)


def test_a_quiet_log_gets_a_heartbeat(world: World) -> None:
    signer = new_signer()
    made = seal(signer)
    with sealer():
        hour = timedelta(hours=1)
        assert not sealing.beat_heart(made, now=clock.now(), every=hour)
        assert sealing.beat_heart(made, now=clock.now() + hour * 2, every=hour)
    seal(signer)
    newest = Leaf.objects.select_related("entry").order_by("-index")[0]
    assert entries.read(bytes(newest.entry.data)).type == "heartbeat"


def test_a_new_key_opens_a_new_log_that_commits_to_the_old_ones_end(world: World) -> None:
    first, second = new_signer(), new_signer("jit.example.com/ledger-2")
    old = seal(first)
    with pytest.raises(sealing.KeyChanged):
        seal(new_signer())
    made = seal(second)
    beginning = entries.read(reads.entries(made, start=0, count=1)[0])
    assert beginning.type == "succession"
    end = reads.newest_checkpoint(old)
    assert end is not None
    text = checkpoint.read(bytes(end.note))[0].text()
    assert beginning.fields["checkpoint"] == sha256(text).hexdigest()
    with pytest.raises(sealing.KeyChanged):
        seal(first)


def test_one_seals_at_a_time(world: World) -> None:
    with as_role(roles.SEALER) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [sealing.LOCK])
        with sealer():
            assert not sealing.lead()
            assert not sealing.leads()
    with sealer():
        lead()
        assert sealing.leads()


def test_after_a_restore_into_another_cluster_nothing_stays_unsealed(world: World) -> None:
    signer = new_signer()
    made = seal(signer)
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(horizon) FROM audit_checkpoint")
    with as_role("superuser") as raw:  # as if the transaction numbers had begun anew
        raw.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER USER")
        raw.execute("UPDATE audit_checkpoint SET horizon = horizon + 1000000, system = 'other'")
        raw.execute("ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_refuse")
        raw.execute("ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_stamp")
        raw.execute(
            "ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_refuse_truncate"
        )
    world.ask()
    seal(signer)
    assert Leaf.objects.filter(log=made).count() == Entry.objects.count()


def test_nothing_is_signed_on_top_of_a_damaged_tree(world: World) -> None:
    signer = new_signer()
    seal(signer)
    with as_role("superuser") as raw:
        raw.execute("ALTER TABLE audit_leaf DISABLE TRIGGER USER")
        raw.execute("UPDATE audit_leaf SET hash = sha256('x') WHERE index = 2")
        raw.execute("ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_refuse")
        raw.execute("ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_refuse_truncate")
    world.ask()
    with pytest.raises(sealing.LedgerDamaged):
        seal(signer)


def test_what_stands_below_the_horizon_is_found_once_a_day(world: World) -> None:
    """No transaction leaves such an entry; the daily look at everything needs no reason."""
    signer = new_signer()
    made = seal(signer)
    said = entries.Entry(
        model="load", id="late", rev=1, prev="", op="load", actor=entries.SYSTEM,
        at=entries.stamp(clock.now()),
    ).encode()  # fmt: skip
    with superuser() as raw:
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data, xid, recorded_at)"
            " VALUES ('load', 'late', %s, '3', now())",
            [said],
        )
    world.ask()
    seal(signer)
    assert not Leaf.objects.filter(entry__object_id="late").exists()
    with sealer():
        lead()
        tomorrow = clock.now() + sealing.LOOK_AT_ALL_EVERY
        assert sealing.seal(made, signer, now=tomorrow).added == 1
    assert Leaf.objects.filter(entry__object_id="late").exists()
    assert Checkpoint.objects.latest("size").looked_at_all
