"""The revision chain and the pointer that the database keeps."""

import hmac
import itertools
import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django_fsm import TransitionNotAllowed

from approvals.domain import states
from approvals.domain.refusals import StaleRevision
from approvals.domain.states import Event, State
from approvals.models import AccessRequest, CurrentRequest, SignIn
from approvals.services import recording
from audit.domain import entries
from audit.models import Entry
from jitportal.embedded import roles
from tests.conftest import as_role
from tests.world import World


def following(record: AccessRequest, **changes: Any) -> AccessRequest:
    values = {"event": Event.VOTED, "actor": None, "now": record.occurred_at} | changes
    return record.revise(**values)


def test_each_revision_commits_to_all_before_it(world: World) -> None:
    request = world.ended()
    rows = list(AccessRequest.objects.filter(request_id=request.request_id).order_by("revision"))
    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].previous_hash is None
    for before, after in itertools.pairwise(rows):
        assert bytes(after.previous_hash or b"") == bytes(before.hash)
    entries = Entry.objects.filter(object_id=str(request.request_id)).order_by("id")
    assert [bytes(row.hash) for row in rows] == [sha256(each.data).digest() for each in entries]
    assert [row.pk for row in rows] == [each.record_id for each in entries]


def test_an_entry_commits_to_what_its_revision_sets(world: World) -> None:
    request = world.ended()
    rows = list(AccessRequest.objects.filter(request_id=request.request_id).order_by("revision"))
    before: AccessRequest | None = None
    for row in rows:
        held = Entry.objects.select_related("salt").get(
            object_id=str(row.request_id), record_id=row.pk
        )
        entry = entries.read(bytes(held.data))
        actor = str(row.actor.uid) if row.actor else "system"
        said = row.said_after(before, actor=actor)
        assert (entry.rev, entry.op, entry.actor) == (row.revision, row.event, actor)
        assert sorted(entry.fields) == sorted(said.values)
        for place, name in enumerate(sorted(said.values)):
            salt = bytes(held.salt.salts)[place * 32 : place * 32 + 32]
            entries.verify_value(entry=entry, name=name, value=said.values[name], salt=salt)
            with pytest.raises(entries.CommitmentMismatch):
                entries.verify_value(entry=entry, name=name, value="other", salt=salt)
        before = row
    everything = b"".join(bytes(each.data) for each in Entry.objects.all())
    assert rows[0].reason.encode() not in everything
    assert rows[0].subject_name.encode() not in everything


def test_the_pointer_follows_each_revision(world: World) -> None:
    request = world.ask()
    assert CurrentRequest.objects.get().record_id == request.pk
    voted = world.decide(world.bob, request)
    pointer = CurrentRequest.objects.get()
    assert (pointer.record_id, pointer.revision, pointer.state) == (voted.pk, 2, "pending")
    assert pointer.due_at == voted.due_at


def test_an_old_revision_has_no_second_successor(world: World) -> None:
    first = world.ask()
    recording.write(following(first))
    with pytest.raises(StaleRevision), transaction.atomic():
        recording.write(following(first))


def test_a_gap_is_refused(world: World) -> None:
    first = world.ask()
    with pytest.raises(StaleRevision), transaction.atomic():
        recording.write(following(first, revision=3))


def test_a_revision_that_does_not_commit_to_the_one_before_is_refused(world: World) -> None:
    first = world.ask()
    with pytest.raises(IntegrityError, match="does not commit"), transaction.atomic():
        recording.write(following(first, previous_hash=b"x" * 32))


@pytest.mark.parametrize("field", ["requester", "subject"])
def test_what_was_asked_for_does_not_change(world: World, field: str) -> None:
    first = world.ask()
    with pytest.raises(IntegrityError, match="does not change"), transaction.atomic():
        recording.write(following(first, **{f"{field}_id": world.mallory.pk}))


def test_the_app_can_not_move_the_pointer(world: World) -> None:
    world.ask()
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        CurrentRequest.objects.update(state="active")
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute("SELECT approvals_rebuild_current()")


class TookBackError(Exception):
    """A move was legal; take it back."""


def _set_state(record: AccessRequest, state: str) -> AccessRequest:
    record.__dict__["state"] = state
    return record


def test_table_decorators_and_database_agree_on_every_move(world: World) -> None:
    """Try each (state, event, state) in the database, and each transition on the model."""
    legal = states.moves()
    accepted: set[tuple[str, str, str]] = set()
    paths = {
        State.PENDING: [],
        State.APPROVED: [("approved", "approved")],
        State.ACTIVE: [("approved", "approved"), ("activated", "active")],
        State.REVOKING: [
            ("approved", "approved"), ("activated", "active"), ("ended", "revoking"),
        ],
        State.DENIED: [("denied", "denied")],
        State.CANCELLED: [("cancelled", "cancelled")],
        State.LAPSED: [("lapsed", "lapsed")],
        State.FAILED: [("approved", "approved"), ("failed", "failed")],
        State.EXPIRED: [
            ("approved", "approved"), ("activated", "active"), ("ended", "revoking"),
            ("confirmed", "expired"),
        ],
        State.REVOKED: [
            ("approved", "approved"), ("activated", "active"), ("ended", "revoking"),
            ("confirmed", "revoked"),
        ],
    }  # fmt: skip
    first = world.ask()
    for before, path in paths.items():
        with transaction.atomic():
            outer = transaction.savepoint()
            record = first
            for event, state in path:
                record = recording.write(_set_state(following(record, event=event), state))
            for event in Event:
                for after in State:
                    try:
                        with transaction.atomic():
                            recording.write(_set_state(following(record, event=event), str(after)))
                            accepted.add((str(before), str(event), str(after)))
                            raise TookBackError
                    except IntegrityError as error:
                        assert "no move from" in str(error)
                    except TookBackError:
                        continue
            transaction.savepoint_rollback(outer)
    assert accepted == legal


@pytest.mark.parametrize("name", sorted({arrow.name for arrow in states.TRANSITIONS}))
@pytest.mark.parametrize("state", list(State))
def test_the_decorators_are_the_table(world: World, name: str, state: State) -> None:
    record = _set_state(world.ask(), str(state))
    record.end_reason = "time"
    if str(state) in states.sources(name):
        getattr(record, name)()
        assert record.state in states.targets(name)
    else:
        with pytest.raises(TransitionNotAllowed):
            getattr(record, name)()


def test_state_can_not_be_assigned(world: World) -> None:
    record = world.ask()
    with pytest.raises(AttributeError):
        record.state = "active"


def test_a_request_must_begin_at_the_beginning(world: World) -> None:
    first = world.ask()
    other = following(first, revision=1, previous_hash=None, event="submitted")
    other.request_id = type(first.request_id)(int=first.request_id.int + 1)
    other.subject = world.dan
    _set_state(other, "active")
    with pytest.raises(IntegrityError, match="begins with"), transaction.atomic():
        other.save()


@pytest.mark.django_db(transaction=True)
def test_the_pointer_can_be_rebuilt_to_the_same(world: World) -> None:
    world.ended()
    world.ask()
    before = list(CurrentRequest.objects.order_by("request_id").values())
    with as_role(roles.OWNER) as raw:
        raw.execute("DELETE FROM approvals_currentrequest")
    assert not CurrentRequest.objects.exists()
    with as_role(roles.OWNER) as raw:
        assert raw.execute("SELECT approvals_rebuild_current()").fetchone() == (2,)
    assert list(CurrentRequest.objects.order_by("request_id").values()) == before


@pytest.mark.django_db
def test_rows_of_one_statement_have_ids_in_their_order_and_each_its_own_entry() -> None:
    at = datetime.now(UTC)
    rows = [SignIn(what="failed", agent=f"browser {n}", occurred_at=at) for n in range(60)]
    SignIn.objects.bulk_create(rows)
    assert [row.pk for row in rows] == sorted(row.pk for row in rows)
    for row in rows:
        assert SignIn.objects.get(pk=row.pk).agent == row.agent
        entry = Entry.objects.get(model=SignIn.ledger_name, record_id=row.pk)
        said = json.loads(bytes(entry.data))
        assert said["id"] == entry.object_id == str(row.uid)
        place = 32 * sorted(said["fields"]).index("agent")
        salt = bytes(entry.salt.salts)[place : place + 32]
        committed = hmac.digest(salt, b"agent\x00" + json.dumps(row.agent).encode(), "sha256")
        assert said["fields"]["agent"] == committed.hex()
