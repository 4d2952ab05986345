"""What the audit page says of the log: its state, who holds it, its entries, how to verify."""

import html
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from approvals.models import ReportExport, SignIn
from approvals.selectors import clock, history, history_entries, reporting
from approvals.services import signins
from audit.models import Checkpoint, Entry, Leaf, Verification
from audit.selectors import state
from tests.audit.sealer import new_signer, seal
from tests.world import World

real = pytest.mark.django_db(transaction=True)


def _page(client: Client, who: Any, url: str = "audit", *args: Any, **query: Any) -> str:
    client.force_login(who)
    response = client.get(reverse(url, args=args), query)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_before_the_first_seal_it_says_so(client: Client, world: World) -> None:
    assert state.current() is None
    page = _page(client, world.dora)
    assert "Nothing is sealed yet" in page
    assert "Nothing is sealed yet" in _page(client, world.dora, "audit_log")


@real
def test_the_state_is_that_of_the_newest_log(client: Client, world: World) -> None:
    world.ended()
    seal(new_signer())
    made = seal(new_signer("jit.example.com/ledger-2"))
    newest = Checkpoint.objects.filter(log=made).latest("size")
    found = state.current()
    assert found is not None
    assert (found.origin, found.size, found.root) == (made.origin, newest.size, bytes(newest.root))
    assert found.signed_at == newest.signed_at
    assert (found.unsealed, found.oldest_unsealed_at, found.stale) == (0, None, False)
    page = _page(client, world.dora)
    assert made.origin in page.replace("<wbr>", "")
    assert f'data-copy="{found.root_text}"' in page


@real
def test_what_waits_is_counted_with_its_age(client: Client, world: World, settings: Any) -> None:
    seal(new_signer())
    before = Entry.objects.count()
    world.ask()
    world.ask(by=world.dan)
    found = state.current()
    assert found is not None
    assert found.unsealed == Entry.objects.count() - before >= 2
    oldest = Entry.objects.order_by("id")[before]
    assert found.oldest_unsealed_at == oldest.recorded_at
    assert timedelta() < found.waiting < timedelta(seconds=60)
    assert not found.stale
    settings.LEDGER_STALE = timedelta()
    page = _page(client, world.dora)
    assert "Silent" in page
    assert "an entry has waited" in page


@real
def test_an_old_checkpoint_is_an_alarm(client: Client, world: World, settings: Any) -> None:
    seal(new_signer())
    settings.LEDGER_HEARTBEAT = settings.LEDGER_STALE = timedelta(microseconds=-1)
    page = _page(client, world.dora)
    assert "The sealer is silent" in page


@real
def test_delays_are_from_insert_to_the_first_checkpoint_over_it(
    client: Client, world: World
) -> None:
    signer = new_signer()
    log = seal(signer)
    first = Checkpoint.objects.get(log=log)
    assert first.size > 0
    before = state.current()
    assert before is not None
    assert (before.delays_of, before.delay_p99) == (0, None), "no sealer ran while these waited"
    assert "median " not in _page(client, world.dora)
    world.ask()
    seal(signer)
    found = state.current()
    assert found is not None
    delays = sorted(
        Checkpoint.objects.filter(size__gt=leaf.index).order_by("size")[0].signed_at
        - leaf.entry.recorded_at
        for leaf in Leaf.objects.select_related("entry")
        if leaf.entry.recorded_at >= first.signed_at
    )
    assert delays
    assert found.delays_of == len(delays)
    assert found.delay_p50 is not None
    assert found.delay_p99 is not None
    assert delays[0] <= found.delay_p50 <= found.delay_p99 <= delays[-1]
    assert "median " in _page(client, world.dora)


def test_without_anybody_outside_it_says_what_that_means(client: Client, world: World) -> None:
    page = _page(client, world.dora)
    assert (
        "tamper-evident unless the database administrator and the holder of the signing key collude"
        in page
    )


def test_downloads_and_the_way_to_verify_are_there(client: Client, world: World) -> None:
    page = _page(client, world.dora)
    for name in ("ledger_checkpoint", "ledger_policy", "ledger_verifier", "audit_verify"):
        assert f'href="{reverse(name)}"' in page
    assert "python verifier.py export DIR --old checkpoint" in _page(
        client, world.dora, "audit_verify"
    )


@real
def test_the_last_verification_is_told(client: Client, world: World) -> None:
    assert "has not been compared with its log yet" in _page(client, world.dora)
    made = seal(new_signer())
    seen = Checkpoint.objects.latest("size")
    for count in (0, 2):
        Verification(
            started_at=clock.now(), finished_at=clock.now(), by="nightly", log=made.origin,
            size=seen.size, root=bytes(seen.root), note=bytes(seen.note), outcome="problems" if count else "verified", problem_count=count,
            problems=[{"sentence": "leaf 3: its hash is another"}] * count, entries=9,
        ).save()  # fmt: skip
        page = _page(client, world.dora)
        assert "by nightly" in page
        assert ("leaf 3: its hash is another" in page) is bool(count)
        assert ("2 problems" if count else "Verified") in page


def test_a_search_does_not_read_the_cards_again(
    client: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.dora)
    with django_assert_max_num_queries(25):
        response = client.get(reverse("audit"), headers={"hx-request": "true"})
    assert "ledger" not in response.context


@real
def test_the_entries_are_listed_and_each_has_its_files(client: Client, world: World) -> None:
    request = world.ended()
    made = seal(new_signer())
    newest = Leaf.objects.count() - 1
    page = _page(client, world.dora, "audit_log")
    assert f'href="{reverse("request", args=[request.request_id])}"' in page
    assert reverse("audit_leaf", args=[made.pk, newest, "proof"]) in page
    for leaf in (0, newest):
        for part in ("proof", "entry", "payload"):
            answer = client.get(reverse("audit_leaf", args=[made.pk, leaf, part]))
            assert answer.status_code == 200
            assert f"leaf-{leaf}." in answer["Content-Disposition"]
        said = json.loads(client.get(reverse("audit_leaf", args=[made.pk, leaf, "entry"])).content)
        assert Leaf.objects.get(index=leaf).entry.object_id == said["id"]
    for args in ([made.pk, newest + 1, "proof"], [made.pk, 0, "key"], [made.pk + 1, 0, "proof"],
                 [made.pk, 2**70, "proof"], [2**70, 0, "proof"]):  # fmt: skip
        assert client.get(reverse("audit_leaf", args=args)).status_code == 404


@real
def test_pages_of_entries_give_each_leaf_once(client: Client, world: World) -> None:
    for number in range(8):
        world.ended(minutes=1 + number)
    made = seal(new_signer())
    client.force_login(world.dora)
    seen: list[int] = []
    query: dict[str, Any] = {}
    while True:
        context = client.get(reverse("audit_log"), query).context
        seen += [line.leaf for line, _ in context["lines"]]
        if context["older"] is None:
            break
        query = {"before": context["older"]}
    assert seen == [*reversed(range(Leaf.objects.filter(log=made).count()))]
    assert len(seen) > 100
    assert client.get(reverse("audit_log"), {"leaf": "7"}).context["lines"][0][0].leaf == 7
    old = seal(new_signer("jit.example.com/ledger-2"))
    assert old != made
    assert client.get(reverse("audit_log")).context["lines"][-1][0].said["type"] == "succession"
    answer = client.get(reverse("audit_log"), {"log": str(made.pk), "leaf": "7"})
    assert answer.context["lines"][0][0].leaf == 7


@real
@pytest.mark.parametrize(
    ("query", "status"),
    [({"leaf": "x"}, 400), ({"before": "-1"}, 400), ({"leaf": "9" * 40}, 400), ({"log": "9"}, 404),
     ({"log": "x"}, 404), ({"leaf": "\0"}, 400)],
)  # fmt: skip
def test_nonsense_is_refused(
    client: Client, world: World, query: dict[str, str], status: int
) -> None:
    seal(new_signer())
    client.force_login(world.dora)
    assert client.get(reverse("audit_log"), query).status_code == status


def test_others_are_refused(client: Client, world: World) -> None:
    for who in (world.alice, world.bob, world.carol, world.mallory):
        client.force_login(who)
        for url in ("audit_log", "audit_verify"):
            assert client.get(reverse(url)).status_code == 403


# -- sign-ins and downloads in the search


def _find(text: str = "", kind: str = "") -> list[history_entries.Entry]:
    kinds = frozenset({kind} if kind else ())
    understood = reporting.understand(text, since=None, kinds=kinds)
    return history.find(criteria=understood.criteria).entries


def test_sign_ins_and_failures_are_found(client: Client, world: World) -> None:
    client.force_login(world.alice)
    signins.record(
        what=SignIn.What.FAILED, person=None, method="password", address="203.0.113.9",
        agent="curl/8", now=clock.now(),
    )  # fmt: skip
    rows = _find(kind="signins")
    assert [(row.who, str(row.sentence)) for row in rows] == [
        ("somebody", "Failed to sign in with a login that nobody has"), ("Alice", "Signed in"),
    ]  # fmt: skip
    assert "curl · 203.0.113.9" in rows[0].sentence.detail
    assert [row.who for row in _find("alice", "signins")] == ["Alice"]
    assert [row.who for row in _find("203.0.113.9")] == ["somebody"]
    made = SignIn.objects.get(person=world.alice)
    assert [row.object_id for row in _find(str(made.uid))] == [made.pk]
    page = _page(client, world.admin, kind="signins")
    assert reverse("admin:approvals_signin_change", args=[made.pk]) in page
    assert client.get(reverse("admin:approvals_signin_change", args=[made.pk])).status_code == 200


def test_a_sign_in_says_its_browser_and_keeps_what_it_sent(client: Client, world: World) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36"
    signins.record(
        what=SignIn.What.SIGNED_IN, person=world.alice, method="password", address="127.0.0.1",
        agent=agent, now=clock.now(),
    )  # fmt: skip
    said = f'<bdi title="{agent}">Chrome on Linux · 127.0.0.1</bdi>'
    assert said in _page(client, world.dora, kind="signins")


def test_downloads_are_found(client: Client, world: World) -> None:
    world.ended(minutes=1)
    client.force_login(world.dora)
    b"".join(client.get(reverse("report_csv", args=["who-had-access"]), {"person": "alice"}))
    made = ReportExport.objects.get()
    row = _find("dora", "downloads")[0]
    assert (row.who, str(row.sentence)) == ("Dora", "Downloaded “Who had access” as CSV, 1 row")
    assert "person alice" in row.sentence.detail
    assert _find(str(made.uid), "downloads")
    page = _page(client, world.admin, kind="downloads")
    assert reverse("admin:approvals_reportexport_change", args=[made.pk]) in page


def test_the_newest_of_both_are_found_by_an_index(world: World) -> None:
    understood = reporting.understand("", since=None, kinds=frozenset())
    person = reporting.understand("alice", since=None, kinds=frozenset({"signins", "downloads"}))
    for criteria, indexes in (
        (understood.criteria, ("sign_in_newest", "report_export_newest")),
        (person.criteria, ("sign_in_person", "report_export_actor")),
    ):
        sql, parameters = history.statement(criteria, None)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute(f"EXPLAIN {sql}", parameters)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        for index in indexes:
            assert index in plan, plan


def test_no_page_of_ours_has_inline_script_or_style() -> None:
    root = Path(__file__).parents[2] / "templates"
    for name in (
        "audit/_ledger.html",
        "audit/log.html",
        "audit/verify.html",
        "request/_proof.html",
    ):
        text = (root / name).read_text()
        assert "<script" not in text
        assert "style=" not in text
