"""Every compliance admin is mailed the newest checkpoint, over SMTP, once for each LEDGER_MAIL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from approvals import handlers
from approvals.models import Group, Membership, Notice, OutboxItem, User
from approvals.selectors import clock
from approvals.services import ledger_mail
from audit.domain import checkpoint, cosignature
from audit.domain.note import LogSigner
from audit.models import Holding, Log
from audit.selectors import holders
from audit.selectors import log as reads
from audit.selectors.holders import State
from audit.services import holding
from tests.audit.sealer import new_signer, seal
from tests.services.mails import mail_server
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


@pytest.fixture
def made(world: World, signer: LogSigner) -> Log:
    return seal(signer)


def mailboxes() -> holders.Holder:
    [found] = [it for it in holders.alive(clock.now()) if it.kind == "mail"]
    return found


def test_the_mail_holds_the_checkpoint_and_how_to_use_it(
    made: Log, world: World, signer: LogSigner, settings: Any
) -> None:
    settings.PORTAL_URL = "https://access.example.com"
    assert mailboxes().state == State.NEVER
    with mail_server(settings) as server:
        assert ledger_mail.put_due(now=clock.now()) == 1
        handlers.work("notices")
        [mail] = server.mails
    assert mail["To"] == "dora@example.com"
    last = reads.newest_checkpoint(made)
    assert last is not None
    [file] = list(mail.iter_attachments())
    assert file.get_filename() == f"checkpoint-{last.size}.txt"
    data = file.get_content()
    assert data == bytes(last.note), "byte for byte"
    assert checkpoint.open_verified(message=data, log=signer.key).size == last.size
    part = mail.get_body(("plain",))
    assert part is not None
    text = part.get_content()
    for line in bytes(last.note).decode().strip().splitlines():
        assert line in text
    flat = " ".join(text.split())
    assert f"verifier.py export DIR --old checkpoint-{last.size}.txt" in flat
    assert "https://access.example.com/audit/" in flat
    assert "compliance admin" in flat
    row = Holding.objects.get()
    assert bytes(row.evidence).decode() == mail["Message-ID"]
    assert (row.kind, row.holder, row.size) == ("mail", str(world.dora.uid), last.size)
    assert Notice.objects.get().kind == "ledger_checkpoint"
    found = mailboxes()
    assert (found.state, found.size) == (State.ALIVE, last.size)
    assert holders.any_alive(clock.now())


def test_it_goes_once_for_each_interval(made: Log, world: World, settings: Any) -> None:
    now = clock.now()
    with mail_server(settings) as server:
        assert [ledger_mail.put_due(now=now) for _ in range(3)] == [1, 0, 0]
        handlers.work("notices")
        soon = now + settings.LEDGER_MAIL - timedelta(minutes=1)
        assert ledger_mail.put_due(now=soon) == 0
        late = now + settings.LEDGER_MAIL + timedelta(minutes=1)
        assert ledger_mail.put_due(now=late) == 1
        handlers.work("notices", now=late)
        assert len(server.mails) == 2
    assert Holding.objects.count() == 2


def test_the_attachment_bears_the_cosignatures(made: Log, settings: Any, tmp_path: Any) -> None:
    last = reads.newest_checkpoint(made)
    assert last is not None
    cosigner = cosignature.Cosigner(name="w.example", seed=b"1" * 32, time_seconds=1_800_000_000)
    (tmp_path / "policy").write_text(f"witness w {cosigner.key.vkey}\nquorum w\n")
    settings.LEDGER_WITNESSES = str(tmp_path / "policy")
    signed = checkpoint.sign(
        checkpoint=checkpoint.read(bytes(last.note))[0], signers=[cosigner]
    ).partition(b"\n\n")[2]
    holding.took(
        checkpoint=last, kind=Holding.Kind.WITNESS, holder="w", evidence=signed, detail={},
        now=clock.now(),
    )  # fmt: skip
    with mail_server(settings) as server:
        ledger_mail.put_due(now=clock.now())
        handlers.work("notices")
        [mail] = server.mails
    [file] = list(mail.iter_attachments())
    assert file.get_content() == bytes(last.note) + signed
    part = mail.get_body(("plain",))
    assert part is not None
    assert "1 of its witnesses" in " ".join(part.get_content().split())


def test_a_refused_mail_is_a_failing_holder_until_it_is_taken(
    made: Log, world: World, settings: Any
) -> None:
    with mail_server(settings) as server:
        server.refused.add("dora@example.com")
        ledger_mail.put_due(now=clock.now())
        for _ in range(3):
            OutboxItem.objects.update(not_before=clock.now())
            handlers.work("notices")
        row = Holding.objects.get()
        assert (row.state, row.holder) == ("unreachable", str(world.dora.uid))
        assert "550" in row.error
        assert "dora@" not in row.error
        assert mailboxes().state == State.FAILING
        assert ledger_mail.put_due(now=clock.now()) == 0, "the first one still waits"
        server.refused.clear()
        OutboxItem.objects.update(not_before=clock.now())
        handlers.work("notices")
        assert len(server.mails) == 1
    assert not OutboxItem.objects.exists()
    found = mailboxes()
    assert (found.state, found.error) == (State.ALIVE, "")


def test_one_mailbox_that_fails_is_said_beside_one_that_lives(
    made: Log, world: World, settings: Any
) -> None:
    Membership.objects.create(person=world.erin, group=Group.objects.get(name="compliance"))
    OutboxItem.objects.all().delete()
    with mail_server(settings) as server:
        server.refused.add("dora@example.com")
        assert ledger_mail.put_due(now=clock.now()) == 2
        handlers.work("notices")
        assert [mail["To"] for mail in server.mails] == ["erin@example.com"]
    found = mailboxes()
    assert found.state == State.ALIVE
    assert "550" in found.error


def test_mail_that_stays_on_the_machine_is_no_holder_outside(
    made: Log, world: World, settings: Any, tmp_path: Any
) -> None:
    settings.EMAIL_BACKEND = "approvals.channels.demo_backend.FolderBackend"
    settings.DEMO_MAIL_DIR = str(tmp_path / "mail")
    ledger_mail.put_due(now=clock.now())
    handlers.work("notices")
    assert len(list((tmp_path / "mail").glob("*.eml"))) == 1
    assert mailboxes().state == State.INSIDE
    assert not holders.any_alive(clock.now())


def test_nobody_is_mailed_before_there_is_a_checkpoint(world: World) -> None:
    assert ledger_mail.put_due(now=clock.now()) == 0


@pytest.mark.parametrize("how", ["inactive", "no longer compliance", "no address"])
def test_who_is_no_compliance_admin_any_more_gets_nothing(
    made: Log, world: World, settings: Any, how: str
) -> None:
    with mail_server(settings) as server:
        ledger_mail.put_due(now=clock.now())
        if how == "no longer compliance":
            Membership.objects.filter(person=world.dora).delete()
        else:
            change = {"is_active": False} if how == "inactive" else {"email": ""}
            User.objects.filter(pk=world.dora.pk).update(**change)
        handlers.work("notices")
        assert server.mails == []
        assert ledger_mail.put_due(now=clock.now()) == 0
    assert not OutboxItem.objects.filter(topic="ledger.mail").exists()


def test_a_mail_that_waited_for_a_whole_interval_gives_way_to_the_next(
    made: Log, world: World, settings: Any
) -> None:
    ledger_mail.put_due(now=clock.now())
    later = clock.now() + settings.LEDGER_MAIL * 2
    with mail_server(settings) as server:
        handlers.work("notices", now=later)
        assert server.mails == []
    assert ledger_mail.put_due(now=later) == 1


def test_no_mail_is_sent_inside_a_transaction(made: Log) -> None:
    ledger_mail.put_due(now=clock.now())
    item = OutboxItem.objects.get(topic="ledger.mail")
    with transaction.atomic(), pytest.raises(AssertionError, match="transaction"):
        ledger_mail.send(item, clock.now())


def test_outside_auditors_are_mailed_and_are_holders_of_their_own(
    made: Log, world: World, settings: Any
) -> None:
    settings.LEDGER_MAIL_TO = ["Auditor@firm.example", "Two@firm.example"]
    with mail_server(settings) as server:
        server.refused.add("Two@firm.example")
        assert [ledger_mail.put_due(now=clock.now()) for _ in range(2)] == [3, 0]
        handlers.work("notices")
        assert {str(mail["To"]) for mail in server.mails} == {
            "dora@example.com", "Auditor@firm.example",
        }  # fmt: skip
        [mail] = [each for each in server.mails if "firm" in str(each["To"])]
    part = mail.get_body(("plain",))
    assert part is not None
    assert "outside auditor" in " ".join(part.get_content().split())
    found = {it.name: it.state for it in holders.alive(clock.now()) if it.kind == "mail"}
    assert found["Auditor@firm.example"] == found[holders.MAILBOXES] == State.ALIVE
    assert found["Two@firm.example"] == State.FAILING
    rows = str(list(Holding.objects.values_list("holder", "error", "detail")))
    assert "firm.example" not in rows.lower()
    assert ledger_mail.put_due(now=clock.now()) == 0
