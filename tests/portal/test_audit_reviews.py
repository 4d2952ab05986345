"""Access reviews in the audit search: campaigns, and what was decided about each access."""

import html
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import ReviewCampaign
from approvals.selectors import clock, history, reporting
from approvals.services import reviews
from tests.services.reviewing import decide, items, second, sign_off, start
from tests.world import World


def said(text: str = "", *, kind: str = "reviews", since: datetime | None = None) -> list[str]:
    """Return what the search finds, newest first: who, what, on what."""
    kinds = frozenset({kind} if kind else ())
    understood = reporting.understand(text, since=since, kinds=kinds)
    found = history.find(criteria=understood.criteria).entries
    return [f"{row.who}: {row.sentence} · {row.sentence.detail} · {row.on}" for row in found]


@pytest.fixture
def campaign(world: World, now: datetime) -> ReviewCampaign:
    """A review of three accesses: one is kept, one removed, the third waits."""
    world.active(minutes=400)
    second(world, world.alice)
    second(world, world.dan)
    made = start(world, now, name="Autumn")
    mine = [item for item in items(made) if item.reviewer == world.bob]
    decide(world.bob, mine[0], reason="On call this winter.")
    decide(world.bob, mine[1], verdict="remove", reason="Moved team.")
    return made


def test_what_was_opened_decided_and_signed_off_is_told(
    world: World, campaign: ReviewCampaign, now: datetime
) -> None:
    sign_off(campaign, world.dora, campaign.due_at)
    portal, *others = said()
    assert portal.startswith("Dora: Signed off the access review “Autumn”")
    found = "\n".join([portal, *others])
    assert "portal: Removed Dan’s access in the review “Autumn”" in found
    assert "Bob: Removed Alice’s access in the review “Autumn” · “Moved team.”" in found
    assert "Bob: Kept Alice’s access in the review “Autumn” · “On call this winter.”" in found
    assert "Dora: Opened the access review “Autumn” · 3 accesses, all active access" in found
    assert len(others) == 4


def test_a_cancelled_one_says_why(world: World, now: datetime) -> None:
    world.active(minutes=400)
    made = start(world, now, name="Autumn")
    reviews.cancel(actor=world.dora, campaign_id=made.campaign_id, reason="Wrong.", now=now)
    assert "Dora: Cancelled the access review “Autumn”" in said()[0]
    assert "“Wrong.”" in said()[0]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("bob", 2), ("alice", 2), ("dora", 1), ("mallory", 0), ("autumn", 3), ("winter", 1),
        ("moved", 1), ("orders-db/read", 1), ("nonsense", 0), ("alice moved", 1),
    ],
)  # fmt: skip
def test_it_is_found_by_person_system_and_word(
    world: World, campaign: ReviewCampaign, text: str, count: int
) -> None:
    assert len(said(text)) == count


def test_it_is_found_by_period_and_by_id(world: World, campaign: ReviewCampaign) -> None:
    assert said(since=clock.now() + timedelta(minutes=1)) == []
    assert len(said(since=clock.now() - timedelta(minutes=10))) == 3
    assert len(said(str(campaign.campaign_id))) == 1
    (item, *_) = items(campaign)
    assert len(said(str(item.request_id))) == 1


def test_the_page_leads_to_the_review(
    client: Client, world: World, campaign: ReviewCampaign
) -> None:
    client.force_login(world.dora)
    page = html.unescape(client.get(reverse("audit"), {"kind": "reviews"}).content.decode())
    assert reverse("review", args=[campaign.campaign_id]) in page
    assert "Kept" in page


def test_they_cost_two_queries_more(world: World, campaign: ReviewCampaign, client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert len(said()) == 3
    assert len([q for q in queries if "SELECT" in q["sql"]]) <= 4, "the keys and two tables"


def test_the_page_with_reviews_keeps_its_ceiling(
    client: Client, world: World, campaign: ReviewCampaign, django_assert_max_num_queries: Any
) -> None:
    client.force_login(world.dora)
    with django_assert_max_num_queries(31):
        client.get(reverse("audit"))


@pytest.mark.parametrize("model", ["reviewcampaign", "reviewitem", "reviewdecision"])
def test_operators_read_them_in_the_admin_and_change_nothing(
    client: Client, world: World, campaign: ReviewCampaign, model: str
) -> None:
    client.force_login(world.admin)
    page = client.get(reverse(f"admin:approvals_{model}_changelist"))
    assert page.status_code == 200
    assert page.context["cl"].result_count >= 1
    first = page.context["cl"].result_list[0]
    url = reverse(f"admin:approvals_{model}_change", args=[first.pk])
    assert client.get(url).status_code == 200
    assert client.post(url, {"reason": "x"}).status_code == 403
