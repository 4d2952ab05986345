"""The Proof card and its files: they verify with nothing of the portal at hand."""

import contextlib
import html
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from approvals.models import AccessRequest
from approvals.selectors import sealing
from audit.domain import verifier
from audit.domain.note import LogSigner
from audit.models import Checkpoint
from tests.audit.sealer import new_signer, seal
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


def _page(client: Client, record: AccessRequest, url: str = "request") -> str:
    response = client.get(reverse(url, args=[record.request_id]))
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def _file(client: Client, record: AccessRequest, part: str, **query: Any) -> Any:
    return client.get(reverse(f"request_{part}", args=[record.request_id]), query)


def test_a_new_revision_waits_and_then_is_sealed(
    client: Client, world: World, signer: LogSigner
) -> None:
    record = world.ask()
    client.force_login(world.alice)
    page = _page(client, record)
    assert "Revision 1 is recorded and waits to be sealed" in page
    asks = f'hx-get="{reverse("request_seal", args=[record.request_id])}"'
    assert asks in page
    assert asks in _page(client, record, "request_seal")
    seal(signer)
    card = _page(client, record, "request_seal")
    assert card.lstrip().startswith("<section")
    assert "hx-get" not in card
    assert "Sealed" in card
    place = sealing.place(world.newest(record))
    assert place is not None
    assert place.index is not None
    newest = Checkpoint.objects.get()
    assert f"{place.index:,} of {newest.size:,}" in card
    assert f'data-copy="{world.newest(record).hash.hex()}"' in card
    assert f'data-copy="{place.root_text}"' in card
    assert place.signed_at == newest.signed_at
    assert "It does not prove that what people wrote is true." in card


def test_a_log_that_grew_does_not_change_where_it_was_sealed(
    world: World, signer: LogSigner
) -> None:
    record = world.ask()
    seal(signer)
    before = sealing.place(record)
    world.ask(by=world.dan)
    seal(signer)
    after = sealing.place(record)
    assert before is not None
    assert after is not None
    assert (before.index, before.size, before.root) == (after.index, after.size, after.root)


@pytest.mark.parametrize("revision", [None, 1, 4])
def test_the_files_verify_with_the_offline_verifier(
    client: Client, world: World, signer: LogSigner, tmp_path: Path, revision: int | None
) -> None:
    record = world.ended(reason="Stuck refunds of the 23rd.")
    seal(signer)
    world.ask()
    seal(signer)
    client.force_login(world.dora)
    query = {} if revision is None else {"revision": revision}
    number = revision or world.newest(record).revision
    for part in ("proof", "entry", "payload"):
        response = _file(client, record, part, **query)
        assert response.status_code == 200
        assert f'filename="{record.reference}-{number}.' in response["Content-Disposition"]
        (tmp_path / part).write_bytes(response.content)
    said = json.loads((tmp_path / "entry").read_bytes())
    assert (said["model"], said["id"], said["rev"]) == ("request", str(record.request_id), number)
    status, words = _verify(tmp_path, signer.key.vkey)
    assert status == 0, words
    if number == 1:
        assert "Stuck refunds" in (tmp_path / "payload").read_text()
        assert b"Stuck refunds" not in (tmp_path / "entry").read_bytes()
    data = (tmp_path / "entry").read_bytes()
    (tmp_path / "entry").write_bytes(data.replace(b'"rev":', b'"rev":1', 1))
    assert _verify(tmp_path, signer.key.vkey)[0] == 1


def _verify(folder: Path, vkey: str) -> tuple[int, str]:
    out = io.StringIO()
    arguments = ["proof", folder / "proof", "--entry", folder / "entry"]
    arguments += ["--payload", folder / "payload", "--vkey", vkey]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = verifier.main([str(each) for each in arguments])
    return status, out.getvalue()


def test_who_may_see_the_request_gets_its_proof_and_no_others(
    client: Client, world: World, signer: LogSigner
) -> None:
    record = world.ask()
    seal(signer)
    for who in (world.alice, world.bob, world.carol, world.dora, world.admin):
        client.force_login(who)
        for part in ("proof", "entry"):
            assert _file(client, record, part).status_code == 200
        wanted = 200 if who in (world.dora, world.admin) else 404
        assert _file(client, record, "payload").status_code == wanted
        shown = reverse("request_payload", args=[record.request_id]) in _page(client, record)
        assert shown is (wanted == 200)
    client.force_login(world.mallory)
    for part in ("proof", "entry", "payload", "seal"):
        assert _file(client, record, part).status_code == 404


def test_before_it_is_sealed_there_is_no_proof_and_it_says_why(
    client: Client, world: World
) -> None:
    record = world.ask()
    client.force_login(world.alice)
    for part in ("proof", "entry"):
        response = _file(client, record, part)
        assert response.status_code == 409
        assert "waits to be sealed" in response.content.decode()


@pytest.mark.parametrize(
    ("revision", "status"),
    [("2", 404), ("0", 404), ("x", 400), ("-1", 400), ("٢", 400), ("9" * 30, 400)],
)
def test_there_is_no_proof_of_another_revision(
    client: Client, world: World, signer: LogSigner, revision: str, status: int
) -> None:
    record = world.ask()
    seal(signer)
    client.force_login(world.alice)
    assert _file(client, record, "proof", revision=revision).status_code == status


def test_a_sealer_that_is_silent_is_told(client: Client, world: World, settings: Any) -> None:
    record = world.ask()
    settings.LEDGER_STALE = settings.LEDGER_SEAL * 0
    client.force_login(world.alice)
    page = _page(client, record)
    assert "Not sealed" in page
    assert "the sealer is silent" in page


def test_a_revision_that_the_log_lost_is_told(client: Client, world: World) -> None:
    record = world.ask()
    with as_role("superuser") as raw:  # as a database administrator could
        triggers = raw.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'audit_entry'::regclass"
            " AND NOT tgisinternal"
        ).fetchall()
        raw.execute("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        raw.execute("DELETE FROM audit_entry WHERE object_id = %s", [str(record.request_id)])
        for (name,) in triggers:
            raw.execute(f"ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER {name}")
    client.force_login(world.alice)
    assert "The log has no entry of revision 1" in _page(client, record)
    assert _file(client, record, "proof").status_code == 404


def test_the_card_costs_one_query(
    client: Client,
    world: World,
    signer: LogSigner,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    record = world.ended()
    seal(signer)
    with CaptureQueriesContext(connection) as taken:
        sealing.place(world.newest(record))
    assert len(taken) == 2  # one of them reads the newest revision
    for who in (world.alice, world.bob, world.carol, world.dora):
        client.force_login(who)
        with django_assert_max_num_queries(12):
            _page(client, record)
