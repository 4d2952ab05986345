"""Erasing alice: nothing that she wrote or that names her is left, and every proof stays valid."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, transaction
from django.test import Client

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.models import (
    AccessRequest,
    Circuit,
    Decision,
    Favourite,
    Finding,
    Handover,
    Incident,
    KeyedWrite,
    Membership,
    Notice,
    NoticeEntry,
    NoticePreferences,
    Observation,
    Policy,
    PublicKey,
    RefusedAttempt,
    RequestHandover,
    RequestMessage,
    SavedView,
    SignIn,
    User,
)
from approvals.selectors import history, history_entries, personal, reporting
from approvals.selectors.history_sources import Criteria
from approvals.selectors.personal_kinds import KINDS
from approvals.services import erasure as asking
from approvals.services import passing
from audit.domain import entries
from audit.models import AppendOnly, Entry, Erasure, guards
from audit.models.erasable import ERASED
from audit.selectors import clock, erasures
from audit.services import erasing, verifying
from jitportal.embedded import roles
from tests.audit.exports import export, verify
from tests.audit.sealer import new_signer, seal, sealer
from tests.conftest import as_role
from tests.world import World

real = pytest.mark.django_db(transaction=True)
CANARY = "Canarywren"
NAME, EMAIL, LOGIN = f"Alicia {CANARY}", "alicia.canarywren@example.com", "canarywren"


@pytest.fixture(autouse=True)
def fresh() -> None:
    erasing._not_before.clear()


def write_everywhere(world: World) -> AccessRequest:
    """Let alice leave her mark in every text that she can write or be named in."""
    alice = world.alice
    alice.username, alice.name, alice.email, alice.title = LOGIN, NAME, EMAIL, f"{CANARY} keeper"
    alice._change_reason = f"{CANARY} was renamed"  # type: ignore[attr-defined]
    alice.save()
    EmailAddress.objects.create(user=alice, email=EMAIL, verified=True, primary=True)
    ended = world.ended(reason=f"{CANARY}: stuck refunds", ticket=f"T-{CANARY}")
    cancelled = world.ask()
    questions_about(cancelled, asker=world.bob, answerer=alice)
    with pytest.raises(NotAllowed):
        world.decide(alice, cancelled, comment=f"{CANARY} may")
    passing.hand_over(
        actor=world.bob, request_id=cancelled.request_id, to=world.dora,
        comment=f"as {NAME} asked", seen_revision=1, now=clock.now(),
    )  # fmt: skip
    asking_cancel(alice, cancelled)
    denied = world.ask(by=world.dan)
    questions_about(denied, asker=world.carol, answerer=world.dan)
    world.decide(world.carol, denied, "deny", comment=f"as {NAME} said")
    Membership.objects.create(person=alice, group=world.admin.memberships.get().group)
    policy = Policy.objects.get(name="orders-read")
    policy._history_user = alice  # type: ignore[attr-defined]
    policy._change_reason = f"because {CANARY} wants it"  # type: ignore[attr-defined]
    policy.save()
    PublicKey.objects.create(person=alice, text=f"ssh-ed25519 AAAA {CANARY}", fingerprint=CANARY)
    Handover.objects.create(
        request_id=ended.request_id, label=CANARY, once=True, sealed=CANARY.encode(),
        created_at=clock.now(),
    )  # fmt: skip
    Client().force_login(alice)
    SignIn(
        person=alice, person_name=NAME, what="signed_in", method="password", address="203.0.113.7",
        agent=f"Mozilla {CANARY}", occurred_at=clock.now(),
    ).save()  # fmt: skip
    Notice.insert(
        [
            Notice(
                request_id=about, kind="decided", channel="email", recipient=to, address=address,
                recipient_name=to.name, subject_line=f"{NAME}: {CANARY} mail", once_key=f"k{number}",
                occurred_at=clock.now(),
            )
            for number, (about, to, address) in enumerate(
                [(ended.request_id, world.bob, "bob@example.com"), (None, alice, EMAIL),
                 (denied.request_id, alice, EMAIL)]
            )
        ]
    )  # fmt: skip
    for notice in Notice.objects.filter(recipient=alice):
        NoticeEntry.objects.create(notice=notice, person=alice, asks=False)
    KeyedWrite.objects.create(
        person=alice, key=f"{CANARY} pressed it", fingerprint="0" * 64, location="/",
        created_at=clock.now(),
    )  # fmt: skip
    NoticePreferences.objects.create(person=alice, modes={"outcome": "digest"})
    LogEntry.objects.create(
        user=world.admin, content_type=ContentType.objects.get_for_model(User),
        object_id=str(alice.pk), object_repr=NAME, action_flag=CHANGE, change_message=f"[{EMAIL}]",
    )  # fmt: skip
    handlers.work("due")
    seen_at_targets(world)
    return ended


def seen_at_targets(world: World) -> None:
    """Write down what targets said of her."""
    now = clock.now()
    said = f"There is no login {LOGIN!r}."
    for kind, login, person in (("standing", LOGIN, world.alice), ("unmatched", LOGIN, None)):
        Finding.objects.create(
            resource=world.resource, entitlement=world.read, login=login, kind=kind, person=person,
            first_seen_at=now, last_seen_at=now,
        )  # fmt: skip
    Finding.objects.create(
        resource=world.resource, entitlement=world.read, login="robot", kind="standing",
        first_seen_at=now, last_seen_at=now, kept_by=world.dora, kept_at=now,
        kept_because=f"{CANARY} asked for it",
    )  # fmt: skip
    for whose, name in (
        (world.alice, "Mine"),
        (world.bob, f"What {NAME} asks"),
        (world.bob, "Hot"),
    ):
        SavedView.objects.create(person=whose, name=name, query={"risk": "high"}, created_at=now)
    SavedView.objects.create(person=world.bob, name="Hers", query={"who": NAME}, created_at=now)
    Favourite.objects.create(person=world.alice, entitlement=world.read, created_at=now)
    Observation.objects.create(resource=world.resource, error=said, next_at=now)
    Circuit.objects.create(target="orders-db", failures=1, failing_since=now, last_error=said)
    Incident.objects.create(kind="target:orders-db", opened_at=now, text=said)


def of_mallory(world: World, reason: str) -> AccessRequest:
    group = Membership.objects.get(person=world.alice, group__name="eng").group
    Membership.objects.create(person=world.mallory, group=group)
    return world.ended(by=world.mallory, reason=reason)


def asking_cancel(alice: User, request: AccessRequest) -> None:
    from approvals.services import requests

    requests.cancel(
        actor=alice, request_id=request.request_id, comment=f"{CANARY} no more", now=clock.now()
    )


def questions_about(request: AccessRequest, *, asker: User, answerer: User) -> None:
    """Let two people speak of her beside a request; what they say elsewhere stays."""
    from approvals.services import questions

    for text in (f"Is it {NAME} who needs it?", "Until when?"):
        questions.ask(actor=asker, request_id=request.request_id, text=text, now=clock.now())
    questions.answer(
        actor=answerer, request_id=request.request_id, question=1, text=f"Yes, {NAME}.",
        now=clock.now(),
    )  # fmt: skip


def found_in_database(*words: str) -> dict[str, int]:
    """Return every column of every table in which a word stands, as text or as bytes."""
    found: dict[str, int] = {}
    with as_role("superuser") as raw:
        columns = raw.execute(
            "SELECT table_schema, table_name, column_name, data_type"
            " FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
            " AND table_type = 'BASE TABLE'"
        ).fetchall()
        assert len(columns) > 200
        for schema, table, column, kind in columns:
            shown = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
            count = raw.execute(
                f'SELECT count(*) FROM "{schema}"."{table}" WHERE {shown} ILIKE ANY(%s)',
                [[f"%{word}%" for word in words]],
            ).fetchone()
            if count and count[0]:
                found[f"{table}.{column}"] = count[0]
    return found


def agree(world: World) -> Erasure:
    made = asking.ask(
        actor=world.dora, login=LOGIN, ground="objection", reference="DSR-114", now=clock.now()
    )
    return asking.approve(
        actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now()
    )


def carry_out() -> int:
    with sealer():
        return erasing.carry_out(now=clock.now())


def everything() -> list[history_entries.Entry]:
    found, page = [], history.find(criteria=Criteria())
    while True:
        found += page.entries
        if page.next is None:
            return found
        page = history.find(criteria=Criteria(), before=page.next)


@real
def test_nothing_of_her_is_left_and_everything_still_verifies(
    world: World, tmp_path: Path, client: Client
) -> None:
    ended = write_everywhere(world)
    assert len(found_in_database(CANARY)) > 15
    signer = new_signer()
    made = seal(signer)
    export(tmp_path / "before", with_payloads=True)
    before = verify(tmp_path / "before", "--vkey", signer.key.vkey)
    assert before["ok"]
    assert before["erased"] == 0
    held = (tmp_path / "before" / "checkpoint").read_bytes()
    sealed_before = list(Entry.objects.order_by("id").values_list("id", "data"))

    agree(world)
    assert carry_out() == 0  # not before it is sealed
    seal(signer)
    erasing._not_before.clear()
    assert carry_out() == 1
    seal(signer)

    assert found_in_database(CANARY, "203.0.113.7") == {}
    assert not NoticeEntry.objects.exists()
    assert not NoticePreferences.objects.exists()
    now_held = dict(Entry.objects.values_list("id", "data"))
    assert all(bytes(now_held[pk]) == bytes(data) for pk, data in sealed_before)
    export(tmp_path / "after", with_payloads=True)
    (tmp_path / "old").write_bytes(held)
    after = verify(tmp_path / "after", "--vkey", signer.key.vkey, "--old", str(tmp_path / "old"))
    assert after["ok"], after["problems"]
    assert after["erased"] > 20
    assert all(each["see"] is not None for each in after["erased_listed"])
    for path in (tmp_path / "after").rglob("*"):
        assert not path.is_file() or CANARY.lower() not in path.read_text("latin-1").lower()
    report = verifying.run(by="a test", vkeys=[signer.key.vkey])
    assert report.ok, [*report.as_text()]
    assert report.erased == after["erased"]
    understood = reporting.understand(CANARY, since=None, kinds=frozenset())
    assert history.find(criteria=understood.criteria, before=None).entries == []

    found = everything()
    erased = [entry for entry in found if entry.has_erased]
    assert {entry.kind for entry in erased} >= {"request", "signin", "user", "publickey"}
    assert [entry for entry in erased if not entry.erased_by] == []
    assert next(str(entry.sentence) for entry in found if entry.erasure_id).startswith(
        "Erased what"
    )

    person = User.objects.get(pk=world.alice.pk)
    assert person.username == f"erased-{person.uid.hex[:8]}"
    assert (person.is_active, person.email, person.title) == (False, "", "")
    leaf = erasures.of("request", str(ended.request_id))["reason"]
    assert leaf is not None
    client.force_login(world.dora)
    page = client.get(f"/requests/{ended.request_id}/").content.decode()
    assert f'entry <span class="num">{leaf}</span>' in page
    said = RequestMessage.objects.order_by("id").values_list("text", "actor_name")
    assert list(said) == [
        (ERASED, "Bob"), (ERASED, "Bob"), (ERASED, ERASED),  # on her request
        (ERASED, "Carol"), ("Until when?", "Carol"), (ERASED, "Dan"),  # they name her
    ]  # fmt: skip
    tried = RefusedAttempt.objects.get()
    assert (tried.comment, tried.actor_name, tried.code) == (ERASED, ERASED, "self_decision")
    handed = RequestHandover.objects.get()
    assert (handed.comment, handed.giver_name, handed.taker_name) == (ERASED, "Bob", "Dora")
    asked = RequestMessage.objects.earliest("id")
    leaf = erasures.of("request_message", f"{asked.request_id}.1")["text"]
    assert leaf is not None
    page = client.get(f"/requests/{asked.request_id}/").content.decode()
    assert page.count(f'entry <span class="num">{leaf}</span>') == 1
    assert "Until when?" not in page
    assert "by Bob" in page or "Bob approved" in page
    assert CANARY not in page
    assert made.origin in report.keys


@real
def test_what_others_said_elsewhere_stays(world: World) -> None:
    other = of_mallory(world, "The other reason")
    write_everywhere(world)
    agree(world)
    seal(new_signer())
    assert carry_out() == 1
    assert world.newest(other).reason == "The other reason"
    comments = Decision.objects.filter(request_id=other.request_id).values_list(
        "comment", flat=True
    )
    assert set(comments) == {"Looked at it."}


# -- what the database lets through, and what not


@pytest.fixture
def erased(world: World) -> tuple[World, AccessRequest, AccessRequest]:
    ended = write_everywhere(world)
    other = of_mallory(world, "Stays.")
    agree(world)
    seal(new_signer())
    return world, ended, other


def erase_entry(request: AccessRequest, *, fields: tuple[str, ...] = ("reason",)) -> bytes:
    newest = Entry.objects.filter(model="request", object_id=str(request.request_id)).latest("id")
    return entries.Entry(
        type=entries.ERASURE, model="request", id=str(request.request_id),
        rev=json.loads(bytes(newest.data))["rev"], prev=sha256(bytes(newest.data)).hexdigest(),
        op="erase", actor=entries.SYSTEM, at=entries.stamp(clock.now()),
        fields=dict.fromkeys(fields, ""),
    ).encode()  # fmt: skip


INSERT = "INSERT INTO audit_entry (model, object_id, data) VALUES ('request', %s, %s)"
SALTS = (
    "UPDATE audit_salt s SET salts = decode(repeat('00', octet_length(salts)), 'hex')"
    " FROM audit_entry e WHERE e.id = s.entry_id AND e.object_id = %s"
)
TABLE = "approvals_accessrequest"
ROW = f"UPDATE {TABLE} SET {{}} WHERE request_id = %s"
REFUSED: dict[str, tuple[str, bool]] = {  # statement, and whether it is about the other request
    "another object": (ROW.format("reason = '[erased]'"), True),
    "another column": (ROW.format("ticket = '[erased]'"), False),
    "another text": (ROW.format("reason = 'something else'"), False),
    "nothing instead": (ROW.format("reason = ''"), False),
    "more than that": (ROW.format("reason = '[erased]', state = 'active'"), False),
    "its hash": (ROW.format("reason = '[erased]', hash = sha256('x')"), False),
    "its object": (ROW.format("reason = '[erased]', request_id = gen_random_uuid()"), False),
    "all salts": (SALTS, False),
    "salts of another": (SALTS, True),
    "delete": (f"DELETE FROM {TABLE} WHERE request_id = %s", False),
    "entries": ("UPDATE audit_entry SET data = data WHERE object_id = %s", False),
    "leaves": ("UPDATE audit_leaf SET hash = hash WHERE %s::text IS NOT NULL", False),
}


@real
@pytest.mark.parametrize("role", [roles.OWNER, "superuser"])
def test_an_erase_entry_opens_exactly_what_it_names(
    role: str, erased: tuple[World, AccessRequest, AccessRequest]
) -> None:
    _, mine, other = erased
    entry = erase_entry(mine)
    with as_role(role) as raw:
        if role == "superuser":
            raw.execute("SET session_replication_role = replica")
        for statement, about_other in REFUSED.values():
            about = str((other if about_other else mine).request_id)
            raw.execute("BEGIN")
            raw.execute(INSERT, [str(mine.request_id), entry])
            with pytest.raises(psycopg.errors.RestrictViolation):
                raw.execute(statement, [about])
            raw.execute("ROLLBACK")
        with raw.transaction():
            raw.execute(INSERT, [str(mine.request_id), entry])
            raw.execute(ROW.format("reason = '[erased]'"), [str(mine.request_id)])
        with pytest.raises(psycopg.errors.RestrictViolation), raw.transaction():
            raw.execute(ROW.format("reason = '[erased]'"), [str(other.request_id)])
    assert world_reason(mine) == ERASED
    with (
        as_role("superuser") as raw,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):  # the next transaction has no entry of its own, and there is no way back
        raw.execute(ROW.format(f"reason = '{mine.reason}'"), [str(mine.request_id)])


def world_reason(request: AccessRequest) -> str:
    return AccessRequest.objects.filter(request_id=request.request_id).latest("id").reason


@real
def test_what_was_erased_does_not_come_back(
    erased: tuple[World, AccessRequest, AccessRequest],
) -> None:
    _, mine, _ = erased
    assert carry_out() == 1
    for role in (roles.OWNER, "superuser"):
        with as_role(role) as raw:
            raw.execute(INSERT, [str(mine.request_id), erase_entry(mine)])
            with pytest.raises(psycopg.errors.RestrictViolation):
                raw.execute(ROW.format(f"reason = '{mine.reason}'"), [str(mine.request_id)])
            raw.rollback()


@real
@pytest.mark.parametrize("role", [roles.APP, roles.SEALER, roles.AUDITOR])
def test_only_the_owners_function_writes_erase_entries(
    role: str, erased: tuple[World, AccessRequest, AccessRequest]
) -> None:
    _, mine, _ = erased
    with as_role(role) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(INSERT, [str(mine.request_id), erase_entry(mine)])


@real
@pytest.mark.parametrize("role", [roles.APP, roles.AUDITOR])
def test_only_the_sealer_calls_the_functions(role: str, world: World) -> None:
    for call in (
        "audit_erase(gen_random_uuid(), '{}', '{}', '{}', '[]')",
        f"approvals_erase_person({world.bob.pk}, '{{}}')",
        f"approvals_erase_notices({world.bob.pk})",
        f"approvals_erase_keyed({world.bob.pk})",
    ):
        with as_role(role) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute(f"SELECT {call}")


@real
def test_the_sealer_erases_nothing_that_two_people_did_not_agree_on(world: World) -> None:
    mine = world.ended()
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    assert carry_out() == 0
    with as_role(roles.SEALER) as raw:
        for number in (str(made.erasure_id), "00000000-0000-0000-0000-000000000000"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), raw.transaction():
                raw.execute(
                    "SELECT audit_erase(%s, ARRAY['request'], ARRAY[%s], ARRAY[%s::bytea], '[]')",
                    [number, str(mine.request_id), erase_entry(mine)],
                )
        with pytest.raises(psycopg.errors.InsufficientPrivilege), raw.transaction():
            raw.execute("SELECT approvals_erase_person(%s, '{}')", [world.alice.pk])
        with pytest.raises(psycopg.errors.InsufficientPrivilege), raw.transaction():
            raw.execute(f"UPDATE {TABLE} SET reason = '[erased]'")


# -- two people


@pytest.mark.django_db
def test_nobody_decides_on_what_they_asked_for(world: World) -> None:
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    with pytest.raises(NotAllowed):
        asking.approve(actor=world.dora, erasure_id=made.erasure_id, comment="", now=clock.now())
    with pytest.raises(NotAllowed):
        asking.approve(actor=world.bob, erasure_id=made.erasure_id, comment="", now=clock.now())
    with pytest.raises(Settled):
        asking.ask(
            actor=world.admin, login="alice", ground="other", reference="D-2", now=clock.now()
        )
    asking.refuse(actor=world.admin, erasure_id=made.erasure_id, comment="No.", now=clock.now())
    with pytest.raises(Settled):
        asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())


@pytest.mark.django_db
def test_the_person_has_no_part_in_it(world: World) -> None:
    for login in ("dora", "dora@example.com"):
        with pytest.raises(NotAllowed):
            asking.ask(
                actor=world.dora, login=login, ground="other", reference="D-1", now=clock.now()
            )
    made = asking.ask(
        actor=world.admin, login="dora", ground="other", reference="D-1", now=clock.now()
    )
    with pytest.raises(NotAllowed):
        asking.approve(actor=world.dora, erasure_id=made.erasure_id, comment="", now=clock.now())
    with pytest.raises(Invalid):
        asking.ask(
            actor=world.admin, login="bob", ground="other", reference="for Bob", now=clock.now()
        )


@pytest.mark.django_db
def test_the_database_wants_two_people_and_their_order(world: World) -> None:
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    wrong: list[dict[str, Any]] = [
        {"event": "approved", "decided_by": made.asked_by},
        {"event": "approved", "decided_by": made.person_uid},
        {"event": "approved"},
        {"event": "done", "decided_by": world.admin.uid},
        {"event": "approved", "decided_by": world.admin.uid, "person_id": world.bob.pk},
    ]
    for changes in wrong:
        changes = dict(changes)
        row = made.revise(event=changes.pop("event"), now=clock.now(), **changes)
        with pytest.raises(DatabaseError), transaction.atomic():
            row.save()
    approved = made.revise(event="approved", now=clock.now(), decided_by=world.admin.uid)
    approved.save()
    with pytest.raises(DatabaseError), transaction.atomic():  # nothing was erased here
        approved.revise(event="done", now=clock.now()).save()


# -- what must end first, and what happens in between


@pytest.mark.django_db
def test_open_requests_and_the_last_operator_stand_in_the_way(world: World) -> None:
    world.ask()
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    with pytest.raises(Settled, match=r"REQ-.* \(pending\)"):
        asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())
    assert erasures.one(made.erasure_id)[-1].event == "asked"
    assert User.objects.get(pk=world.alice.pk).is_active
    assert any("last operator" in text for text in personal.find(world.admin.pk).hindrances)
    assert any("own the resource" in text for text in personal.find(world.carol.pk).hindrances)
    assert any("orders-read-write" in text for text in personal.find(world.erin.pk).hindrances)


@real
def test_an_open_request_of_others_waits_until_it_ends(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, comment="fine")
    assert any("took part" in text for text in personal.find(world.bob.pk).hindrances)


@real
def test_a_kill_in_the_middle_leaves_nothing_half_done(
    erased: tuple[World, AccessRequest, AccessRequest],
) -> None:
    world, mine, _ = erased
    count = Entry.objects.count()
    before = found_in_database(CANARY)
    with as_role("superuser") as raw, sealer():
        finishers = list(erasing._finishers)

        def killed(person: int) -> None:
            finishers[0](person)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                raw.execute("SELECT pg_terminate_backend(%s)", [cursor.fetchone()[0]])

        erasing._finishers[:] = [killed]
        try:
            assert erasing.carry_out(now=clock.now()) == 0
        finally:
            erasing._finishers[:] = finishers
            connection.close()
    assert Entry.objects.count() == count
    assert found_in_database(CANARY) == before
    assert world_reason(mine) == mine.reason
    assert erasures.approved()
    erasing._not_before.clear()
    assert carry_out() == 1
    assert carry_out() == 0
    assert found_in_database(CANARY) == {}
    assert not User.objects.get(pk=world.alice.pk).is_active


def test_every_kind_of_record_is_looked_at() -> None:
    """Nothing that a later migration adds can be forgotten."""
    known = {kind.model for kind in KINDS}
    beside = {"Holding", "Alarm", "Verification"}  # of the log itself; they name no one
    for model in guards.record_models():
        if issubclass(model, AppendOnly) or hasattr(model, "history_id"):
            assert model in known or model.__name__ in beside, model


#: Tables beside the records that have texts: what becomes of a person's when they are erased.
HANDLED = {
    "approvals_user": "their row becomes neutral",
    "approvals_publickey": "approval deletes theirs",
    "approvals_handover": "those of their requests are deleted",
    "approvals_finding": "theirs are deleted, reasons of theirs blanked",
    "approvals_observation": "an error that names them is blanked",
    "approvals_circuit": "an error that names them is blanked",
    "approvals_incident": "a text that names them is blanked",
    "approvals_noticepreferences": "theirs are deleted",
    "approvals_keyedwrite": "theirs are deleted",
    "approvals_savedreport": "theirs are deleted, and others' that name them",
    "approvals_savedview": "theirs are deleted, and others' that name them",
    "approvals_currentrequest": "the lease of theirs is emptied; the rest are states and hashes",
    "approvals_outboxitem": "work that names them is deleted or changed",
    "django_admin_log": "lines about them or that name them are blanked",
    "account_emailaddress": "theirs are deleted",
    "account_emailconfirmation": "theirs are deleted",
    "django_session": "approval ends theirs",
}
HINDERS = {
    "approvals_group", "approvals_policy", "approvals_resource", "approvals_entitlement",
    "approvals_reportschedule",
}  # fmt: skip
HARMLESS = {
    "approvals_heartbeat": "names of processes",
    "auth_group": "not used",
    "auth_permission": "words of the code",
    "django_content_type": "words of the code",
    "audit_log": "of the log itself", "audit_leaf": "of the log itself",
    "audit_node": "of the log itself", "audit_checkpoint": "of the log itself",
    "audit_entry": "commitments without a salt say nothing",
    "audit_salt": "zeroed by the erasure",
    "audit_alarm": "of the log itself; it names records by reference",
    "audit_holding": "of the log itself; it names people by random identity",
    "audit_verification": "of the log itself; it names records by reference",
    "jitportal_cache": "keys that end within minutes, removed every night",
    "django_migrations": "words of the code",
}  # fmt: skip


@pytest.mark.django_db
def test_every_table_with_texts_is_handled_or_harmless() -> None:
    """A table that somebody adds has to be thought of here, whatever its model is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            " AND data_type IN ('text', 'character varying', 'jsonb', 'json', 'bytea')"
        )
        found = {row[0] for row in cursor.fetchall()}
    records = {kind.model._meta.db_table for kind in KINDS}
    assert found - records - HANDLED.keys() - HINDERS - HARMLESS.keys() == set()


@real
def test_a_login_name_is_looked_for_as_a_whole_word(world: World) -> None:
    now = clock.now()
    said = {
        "a": "There is no standard role.", "b": "No login 'dan' here.", "c": "Mail dan@x.org.",
        "d": "DAN was asked.", "e": "dan_2 and sedan-chair",
    }  # fmt: skip
    for target, text in said.items():
        Circuit.objects.create(target=target, failures=1, failing_since=now, last_error=text)
    Incident.objects.create(kind="target:a", opened_at=now, text="It is mundane.")
    made = asking.ask(actor=world.dora, login="dan", ground="other", reference="D-1", now=now)
    asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=now)
    seal(new_signer())
    assert carry_out() == 1
    left = dict(Circuit.objects.order_by("target").values_list("target", "last_error"))
    assert left == said | dict.fromkeys("bcd", ERASED)
    assert Incident.objects.get().text == "It is mundane."
