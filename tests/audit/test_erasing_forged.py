"""Who has the application's database role can insert an erasure's rows, and erases nobody by it."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.models import AccessRequest, Membership, OutboxItem, User
from approvals.selectors import personal
from approvals.services import erasure as asking
from approvals.services import erasure_notices
from audit.domain.note import LogSigner
from audit.management.commands import ledger_seal
from audit.models import Erasure, Leaf
from audit.models.erasable import ERASED
from audit.selectors import clock
from audit.selectors.erasures import Found
from audit.services import erasing
from jitportal.embedded import roles
from tests.audit.sealer import lead, new_signer, seal, sealer
from tests.conftest import as_role
from tests.services.mails import mail_server
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh() -> None:
    erasing._not_before.clear()


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


def carry_out() -> int:
    erasing._not_before.clear()
    with sealer():
        return erasing.carry_out(now=clock.now())


def approved(world: World) -> Erasure:
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    return asking.approve(
        actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now()
    )


ROW = (
    "INSERT INTO audit_erasure (erasure_id, revision, event, person_id, person_uid, asked_by,"
    " asked_by_name, decided_by, decided_by_name, ground, reference, comment, detail, occurred_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, 'Dora', %s, %s, 'other', 'D-1', '', '{}', now())"
)


def insert(world: World, asked_by: uuid.UUID, decided_by: uuid.UUID) -> None:
    """Insert the two rows as the application's role, past its code."""
    made = uuid.uuid4()
    about = (world.alice.pk, world.alice.uid, asked_by)
    with as_role(roles.APP) as raw:
        raw.execute(ROW, [made, 1, "asked", *about, None, ""])
        raw.execute(ROW, [made, 2, "approved", *about, decided_by, "Admin"])


def reason_of(request: AccessRequest) -> str:
    return AccessRequest.objects.filter(request_id=request.request_id).latest("id").reason


@pytest.mark.parametrize("invented", [True, False])
def test_two_inserted_rows_erase_nobody(invented: bool, world: World, signer: LogSigner) -> None:
    ended = world.ended(reason="Mine.")
    two = (uuid.uuid4(), uuid.uuid4()) if invented else (world.dora.uid, world.admin.uid)
    insert(world, *two)
    seal(signer)
    assert carry_out() == 0
    assert reason_of(ended) == "Mine."
    [made] = list(Erasure.objects.filter(event="approved"))
    said = asking.stands(made, now=clock.now())
    assert any("has no entry in the ledger" in text for text in said)
    assert any("nobody who is active" in text for text in said) is invented


def forge(**changes: Any) -> None:
    """Insert well-formed rows with entries, as somebody could who knows the code."""
    asked = Erasure(**changes, occurred_at=clock.now(), ground="other", reference="D-1")
    decided_by = asked.decided_by
    asked.decided_by = None
    asked.save()
    asked.revise(event="approved", now=clock.now(), decided_by=decided_by).save()


def test_the_two_must_be_people_who_may(world: World, signer: LogSigner) -> None:
    ended = world.ended(reason="Mine.")
    about = {"person_id": world.alice.pk, "person_uid": world.alice.uid}
    nobody, bob, dora = uuid.uuid4(), world.bob.uid, world.dora.uid
    for wrong in (
        about | {"asked_by": dora, "decided_by": nobody},
        about | {"asked_by": bob, "decided_by": dora},
        about | {"person_uid": uuid.uuid4(), "asked_by": dora, "decided_by": world.admin.uid},
    ):
        forge(**wrong)
    seal(signer)
    assert carry_out() == 0
    assert reason_of(ended) == "Mine."
    assert Erasure.objects.filter(event="approved").count() == 3


def test_one_whose_approver_has_left_is_not_carried_out(world: World, signer: LogSigner) -> None:
    approved(world)
    seal(signer)
    Membership.objects.filter(person=world.admin).delete()
    assert carry_out() == 0


def test_a_row_that_is_not_what_was_sealed_is_not_carried_out(
    world: World, signer: LogSigner
) -> None:
    made = approved(world)
    seal(signer)
    with as_role("superuser") as raw:
        raw.execute("ALTER TABLE audit_erasure DISABLE TRIGGER USER")
        raw.execute("UPDATE audit_erasure SET reference = 'D-2'")
        raw.execute("ALTER TABLE audit_erasure ENABLE ALWAYS TRIGGER audit_erasure_refuse")
        for name in ("erase", "refuse_truncate", "stamp", "follow"):
            raw.execute(f"ALTER TABLE audit_erasure ENABLE ALWAYS TRIGGER audit_erasure_{name}")
    assert carry_out() == 0
    said = asking.stands(Erasure.objects.get(pk=made.pk), now=clock.now())
    assert said == ["Revision 1: reference is not what its entry committed to."]


# -- the time in which it can be withdrawn


def test_it_waits_and_everybody_who_may_withdraw_is_told(
    world: World, signer: LogSigner, settings: Any
) -> None:
    settings.ERASURE_WAIT = timedelta(hours=24)
    ended = world.ended(reason="Mine.")
    made = approved(world)
    seal(signer)
    assert carry_out() == 0
    with mail_server(settings) as server:
        assert erasure_notices.announce(now=clock.now()) == 2
        assert erasure_notices.announce(now=clock.now()) == 0
        handlers.work("notices")
        assert erasure_notices.announce(now=clock.now()) == 0
        mails = [mail for mail in server.mails if "erasure" in str(mail["Subject"])]
    told = {str(mail["To"]) for mail in mails}
    assert told == {"dora@example.com", "admin@example.com"}
    assert len(mails) == 2
    erasing._not_before.clear()
    with sealer():
        assert erasing.carry_out(now=clock.now() + timedelta(hours=23)) == 0
        erasing._not_before.clear()
        assert erasing.carry_out(now=clock.now() + timedelta(hours=25)) == 1
    assert reason_of(ended) == ERASED
    assert Erasure.objects.filter(erasure_id=made.erasure_id).latest("id").event == "done"


def test_anybody_of_the_roles_withdraws_it(world: World, signer: LogSigner, settings: Any) -> None:
    ended = world.ended(reason="Mine.")
    made = approved(world)
    seal(signer)
    with pytest.raises(NotAllowed):
        asking.withdraw(actor=world.bob, erasure_id=made.erasure_id, comment="No", now=clock.now())
    with pytest.raises(Invalid):
        asking.withdraw(actor=world.dora, erasure_id=made.erasure_id, comment=" ", now=clock.now())
    asking.withdraw(
        actor=world.dora, erasure_id=made.erasure_id, comment="A forgery.", now=clock.now()
    )
    with pytest.raises(Settled):
        asking.withdraw(actor=world.dora, erasure_id=made.erasure_id, comment="x", now=clock.now())
    with mail_server(settings):
        assert erasure_notices.announce(now=clock.now()) == 0
    assert not OutboxItem.objects.filter(topic=erasure_notices.TOPIC).exists()
    assert carry_out() == 0
    assert reason_of(ended) == "Mine."
    assert approved(world).revision == 2  # it may be asked for again


# -- beside the sealing


def test_sealing_goes_on_while_an_erasure_takes_its_time(
    world: World, signer: LogSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = world.ended(reason="Mine.")
    approved(world)
    seal(signer)
    go_on, began = threading.Event(), threading.Event()
    finders = list(erasing._finders)

    def slow(person: int) -> Found:
        began.set()
        assert go_on.wait(60)
        return finders[0](person)

    monkeypatch.setattr(erasing, "_finders", [slow])
    command = ledger_seal.Command()
    command._signer, command._stop, command._eraser = signer, threading.Event(), None
    with sealer():
        lead()
        command._erase()
        assert began.wait(60)
        count = Leaf.objects.count()
        write_entry()
        command._seal_all()
        assert Leaf.objects.count() == count + 1
        command._erase()  # one at a time
        go_on.set()
        assert command._eraser is not None
        command._eraser.join(60)
        command._seal_all()
    assert reason_of(ended) == ERASED


def write_entry() -> None:
    data = (
        '{"actor":"system","at":"2026-07-22T16:23:02.000000Z","fields":{},"id":"x","model":"load",'
        '"op":"load","prev":"","rev":1,"type":"rev","v":1}'
    )
    with as_role(roles.APP) as raw:
        raw.execute(
            "INSERT INTO audit_entry (model, object_id, data) VALUES ('load', 'x', %s)",
            [data.encode()],
        )


def test_what_is_written_while_it_is_carried_out_goes_too(
    world: World, signer: LogSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = world.ended(reason="Mine.")
    approved(world)
    seal(signer)
    found: list[int] = []
    erase = erasing._erase

    def and_then(*args: Any, **options: Any) -> set[tuple[str, str]]:
        made = erase(*args, **options)
        if not found:
            with as_role(roles.APP) as raw:
                found.append(write_sign_in(raw, world.alice))
        return made

    monkeypatch.setattr(erasing, "_erase", and_then)
    assert carry_out() == 1
    with as_role("superuser") as raw:
        row = raw.execute(
            "SELECT person_name, agent FROM approvals_signin WHERE id = %s", found
        ).fetchone()
    assert row == (ERASED, ERASED)
    assert reason_of(ended) == ERASED


def write_sign_in(raw: Any, person: User) -> int:
    """Write a record and its entry by another connection, which commits at once."""
    uid = uuid.uuid4()
    [number] = raw.execute(
        "INSERT INTO approvals_signin (uid, person_id, person_name, what, method, address, agent,"
        " occurred_at) VALUES (%s, %s, 'Alice', 'signed_in', 'password', '203.0.113.7', 'Browser',"
        " now()) RETURNING id",
        [uid, person.pk],
    ).fetchone()
    fields = ",".join(f'"{name}":"{"ab" * 32}"' for name in ("address", "agent", "person_name"))
    data = (
        f'{{"actor":"{person.uid}","at":"2026-07-22T16:23:02.000000Z","fields":{{{fields}}},'
        f'"id":"{uid}","model":"sign_in","op":"signed_in","prev":"","rev":1,"type":"rev","v":1}}'
    )
    [entry] = raw.execute(
        "INSERT INTO audit_entry (model, object_id, record_id, data)"
        " VALUES ('sign_in', %s, %s, %s) RETURNING id",
        [str(uid), number, data.encode()],
    ).fetchone()
    raw.execute("INSERT INTO audit_salt VALUES (%s, %s)", [entry, b"s" * 96])
    raw.commit()
    return int(number)


def test_who_was_erased_can_be_erased_again(world: World, signer: LogSigner) -> None:
    world.ended(reason="Mine.")
    approved(world)
    seal(signer)
    assert carry_out() == 1
    with as_role(roles.APP) as raw:
        write_sign_in(raw, world.alice)
    seal(signer)
    login = personal.names([world.alice.pk])[world.alice.pk]
    made = asking.ask(
        actor=world.dora, login=login, ground="other", reference="D-2", now=clock.now()
    )
    asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())
    seal(signer)
    assert carry_out() == 1
    with as_role("superuser") as raw:
        assert raw.execute("SELECT agent FROM approvals_signin").fetchall()[-1] == (ERASED,)
