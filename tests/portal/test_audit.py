"""The audit search: the whole history, by person, system, request and word, newest first."""

import html
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from approvals.models import (
    AccessRequest,
    Decision,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    Policy,
    Resource,
    User,
)
from approvals.selectors import clock, history, reporting
from approvals.selectors.history_entries import Entry
from approvals.selectors.history_sources import SOURCES, Position
from approvals.services import escalation, ssh_keys
from tests.portal.test_inbox import XSS
from tests.services.test_handover import KEY
from tests.world import World

CONFIGURATION: list[Any] = [User, Group, Membership, Resource, Entitlement, Policy]


def find(text: str = "", *, kind: str = "", before: Position | None = None) -> list[Entry]:
    understood = reporting.understand(text, since=None, kinds=frozenset({kind} if kind else ()))
    return history.find(criteria=understood.criteria, before=before).entries


def everything(text: str = "", *, kind: str = "") -> list[Entry]:
    understood = reporting.understand(text, since=None, kinds=frozenset({kind} if kind else ()))
    found: list[Entry] = []
    before: Position | None = None
    while True:
        page = history.find(criteria=understood.criteria, before=before)
        found += page.entries
        if page.next is None:
            return found
        before = page.next


def page(client: Client, who: Any, **query: str) -> str:
    client.force_login(who)
    response = client.get(reverse("audit"), query)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def words(entry: Entry) -> str:
    return f"{entry.who}: {entry.sentence} · {entry.sentence.detail} · {entry.on}"


def test_a_requests_whole_life_is_told_newest_first(world: World) -> None:
    request = world.ended(minutes=5)
    lines = [words(entry) for entry in find(request.reference)]
    expected = [
        "portal: Access ended time ran out", "portal: Target confirmed the removal",
        "portal: Access is ending because time ran out",
        "portal: Access became active until", "portal: Target confirmed the access",
        "Carol: Approved for Data owners, the last of its chain",
        "Bob: Approved for Manager", "Alice: Asked for access for 5 m",
    ]  # fmt: skip
    assert len(lines) == len(expected)
    assert all(any(line.startswith(start) for line in lines) for start in expected), lines
    assert "“Looked at it.” · saw revision 1" in next(line for line in lines if "Bob" in line)
    assert all("orders-db · read-write" in line for line in lines)


@pytest.mark.parametrize(
    ("make", "start"),
    [
        ("deny", "Bob: Denied for Manager · “Looked at it.”"),
        ("escalate", "portal: Escalated because Manager stayed silent · asked now: Bob, Erin"),
        ("lapse", "portal: Lapsed nobody decided for Manager in time"),
    ],
)
def test_other_ends_are_told_too(world: World, make: str, start: str) -> None:
    now = clock.now()
    request = world.ask(now=now)
    if make == "deny":
        world.decide(world.bob, request, "deny")
    else:
        later = now + timedelta(seconds=61 if make == "escalate" else 121)
        escalation.advance(request.request_id, now=later)
    assert words(find(request.reference)[0]).startswith(start)


def test_every_record_and_every_change_is_found(world: World) -> None:
    """Page after page gives each revision, attempt and configuration change once."""
    for number in range(12):
        world.ended(minutes=1 + number)
    found = everything()
    assert len({entry.position for entry in found}) == len(found)
    revisions = [e for e in found if SOURCES[e.position.rank].name == "revisions"]
    attempts = [e for e in found if SOURCES[e.position.rank].name == "attempts"]
    assert len(revisions) == AccessRequest.objects.count() > history.PAGE
    assert len(attempts) == GrantEvent.objects.count()
    changes = sum(model.history.count() for model in CONFIGURATION)
    assert len(found) == len(revisions) + len(attempts) + changes
    assert [e.position for e in found] == sorted((e.position for e in found), reverse=True)


def test_a_decision_is_told_once(world: World) -> None:
    world.approved()
    assert sum("Approved" in words(entry) for entry in find()) == Decision.objects.count() == 2
    decisions = find(kind="decisions")
    assert [entry.who for entry in decisions] == ["Carol", "Bob"]
    assert decisions[0].on == "orders-db · read-write"


def test_a_decision_without_its_revision_would_still_be_shown(world: World) -> None:
    """The search hides a decision only behind a revision that exists."""
    request = world.ask()
    Decision.objects.create(
        request_id=request.request_id, revision=77, seen_revision=1, level=1, level_name="Manager",
        actor=world.bob, actor_name="Bob", verdict="approve", occurred_at=clock.now(),
    )  # fmt: skip
    assert "Bob: Approved for Manager" in " ".join(words(entry) for entry in find())


@pytest.mark.parametrize("text", ["alice", "ALICE", "Alice", "alice@example.com"])
def test_a_person_is_found_by_login_name_and_address(world: World, text: str) -> None:
    mine, other = world.ask(), world.ask(by=world.dan)
    requests = {entry.request_id for entry in find(text)}
    assert mine.request_id in requests
    assert other.request_id not in requests


def test_a_person_is_found_as_approver_and_as_the_one_who_asked(world: World) -> None:
    request = world.ask(by=world.alice, subject=world.dan, what=world.own, ticket="X-1")
    world.decide(world.carol, request)
    for text in ("alice", "dan"):
        assert len([e for e in find(text) if e.request_id == request.request_id]) == 2, text
    assert [e.who for e in find("carol") if e.request_id == request.request_id] == ["Carol"]


def test_changes_of_a_person_and_by_a_person_are_found(world: World) -> None:
    assert "Membership “Alice in Engineering” was added" in " ".join(map(words, find("alice")))
    world.read.description = "x"
    vars(world.read)["_history_user"] = world.admin
    world.read.save()
    assert "Admin: Entitlement “orders-db · read” was changed" in words(find("admin")[0])


@pytest.mark.parametrize("text", ["orders-db", "orders-db · read-write", "orders-db/read-write"])
def test_a_system_is_found_with_its_configuration(world: World, text: str) -> None:
    request = world.ask()
    other = world.ask(what=world.own, ticket="X-1")
    found = find(text)
    requests = {entry.request_id for entry in found}
    assert request.request_id in requests
    assert (other.request_id in requests) is (text == "orders-db")
    assert "Policy “orders-read-write”" in " ".join(map(words, found))


def test_a_request_is_found_by_reference_and_id(world: World) -> None:
    request = world.ask()
    world.ask(by=world.dan)
    short = request.reference
    for text in (
        short,
        short.lower(),
        short.replace("-", ""),
        f" {short} ",
        str(request.request_id),
    ):
        assert {entry.request_id for entry in find(text)} == {request.request_id}, text
    assert find(str(uuid.uuid4())) == []
    assert find("REQ-ZZZZ-ZZZZ") == []
    assert find("REQ-UUUU-UUUU") == []


def test_words_are_found_in_reasons_comments_and_errors(world: World) -> None:
    request = world.ask(reason="Reprocess the 50%_odd refunds")
    world.decide(world.bob, request, comment="Only thursday")
    assert {e.request_id for e in find("thursday")} == {request.request_id}
    assert [e.who for e in find("thursday")] == ["Bob"]
    assert find("50%_odd")
    assert not find("50__odd")
    assert find("bob thursday")
    assert not find("alice nothing-of-that-kind")
    assert find('"only thursday"')


def test_the_understood_search_is_shown(client: Client, world: World) -> None:
    text = page(client, world.dora, q='alice orders-db "stuck refunds"')
    assert "person “Alice” and system “orders-db” and word “stuck refunds”" in text


def test_kinds_and_periods_narrow(client: Client, world: World) -> None:
    request = world.ended(minutes=1)
    kinds = {kind: find(request.reference, kind=kind) for kind in history.KINDS}
    assert [len(kinds[kind]) for kind in ("requests", "decisions", "grants")] == [1, 2, 5]
    assert kinds["configuration"] == []
    assert all(entry.request_id is None for entry in find(kind="configuration"))
    assert request.reference in page(client, world.dora, q="alice", kind="grants", period="7")
    assert request.reference not in page(client, world.dora, q="alice", kind="configuration")


def test_a_policy_change_says_what_changed(world: World) -> None:
    policy = Policy.objects.get(name="orders-owner")
    policy.document["rules"][0]["levels"][0]["quorum"] = 1
    vars(policy).update(_history_user=world.admin, _change_reason="Dan is away")
    policy.save()
    entry = find(kind="configuration")[0]
    assert words(entry) == (
        "Admin: Policy “orders-owner” 1 → 2 · Level 1 Data owners: approvals needed 2 → 1"
        " · “Dan is away” · policy"
    )


def test_an_ssh_key_that_somebody_adds_is_told(world: World) -> None:
    key = ssh_keys.add(actor=world.alice, text=KEY)
    (entry,) = [entry for entry in find("alice", kind="configuration") if entry.kind == "publickey"]
    assert f"SSH key “{key.fingerprint} of Alice” was added" in words(entry)
    assert [each.kind for each in find(f'"{key.fingerprint}"')] == ["publickey"]


def test_a_person_who_left_is_told(world: World) -> None:
    world.mallory.is_active = False
    world.mallory.manager = world.carol
    world.mallory.save()
    detail = find("mallory")[0].sentence.detail
    assert detail == "active yes → no · manager Bob → Carol"


def test_passwords_are_not_in_the_history(world: World) -> None:
    world.alice.set_password("a-long-password-of-mine")
    world.alice.save()
    assert "argon2" not in " ".join(map(words, find()))


def test_links_lead_to_the_request_or_to_the_history(client: Client, world: World) -> None:
    request = world.ask()
    text = page(client, world.admin)
    assert reverse("request", args=[request.request_id]) in text
    assert reverse("admin:approvals_policy_history", args=[world.own.policy_id]) in text
    assert "/admin/" not in page(client, world.dora)


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "nothing"}, {"period": "3"}, {"before": "x"}, {"before": "2026-01-01~99~1"},
        {"before": "2026-01-01T00:00:00+00:00~99~1"},
        {"before": f"2026-01-01T00:00:00+00:00~1~{2**70}"},
        {"before": "2026-01-01T00:00:00~1~1"},
    ],
)  # fmt: skip
def test_nonsense_is_400(client: Client, world: World, query: dict[str, str]) -> None:
    client.force_login(world.dora)
    assert client.get(reverse("audit"), query).status_code == 400


@pytest.mark.parametrize("text", ["\0", "%", "'; DROP TABLE x; --", "{", "·", "/", '"', "\\", *XSS])
def test_any_text_can_be_searched_for(client: Client, world: World, text: str) -> None:
    world.ask(reason=f"x {text}".replace("\0", ""))
    body = page(client, world.dora, q=text)
    assert "Audit log" in body
    client.force_login(world.dora)
    raw = client.get(reverse("audit"), {"q": text}).content.decode()
    assert "<script>alert" not in raw
    assert "<img src=x" not in raw
    assert "<svg onload" not in raw


def test_others_are_refused_with_the_reason(client: Client, world: World) -> None:
    for who in (world.alice, world.bob, world.carol, world.mallory):
        client.force_login(who)
        response = client.get(reverse("audit"))
        assert response.status_code == 403
        assert "for compliance and operators" in response.content.decode()


def test_the_page_takes_a_fixed_number_of_queries(
    client: Client, world: World, django_assert_max_num_queries: Any
) -> None:
    for number in range(4):
        world.ended(minutes=1 + number)
    client.force_login(world.dora)
    with django_assert_max_num_queries(30):  # 26 for the search, the rest for the ledger's cards
        client.get(reverse("audit"))


def plan(text: str, before: Position | None = None) -> str:
    understood = reporting.understand(text, since=None, kinds=frozenset())
    sql, parameters = history.statement(understood.criteria, before)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sql}", parameters)
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize("later", [False, True])
def test_the_newest_page_walks_an_index_of_each_large_table(world: World, later: bool) -> None:
    """A table that is small in a test would be read whole, so that the planner is told not to."""
    found = plan("", Position(clock.now(), 7, 5) if later else None)
    for index in ("request_newest", "grant_event_newest", "decision_newest"):
        assert index in found, found
    assert "Seq Scan on approvals_accessrequest" not in found
    assert "Seq Scan on approvals_grantevent" not in found
    assert "Seq Scan on approvals_decision" not in found


def test_a_reference_is_found_by_its_index(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT request_id FROM approvals_accessrequest"
            " WHERE revision = 1 AND RIGHT(request_id::text, 10) = 'x'"
        )
        assert "request_reference" in "\n".join(row[0] for row in cursor.fetchall())


def test_a_membership_of_a_grant_names_its_request(client: Client, world: World) -> None:
    record = world.ask()
    membership = Membership(
        person=world.alice, group=Group.objects.get(name="data"), granted_by=record.request_id
    )
    membership._change_reason = f"granted by request {record.request_id}"  # type: ignore[attr-defined]
    membership.save()
    text = page(client, world.dora, kind="configuration")
    assert f"“granted by request {record.reference}”" in text
    link = reverse("request", args=[record.request_id])
    assert f'<a class="mono" href="{link}">{record.reference}</a>' in text
