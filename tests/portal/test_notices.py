"""The notice centre's page: what it lists, the count, reading, and what may be chosen in settings."""

import re
from datetime import time

import pytest
from django.test import Client

from approvals import handlers
from approvals.models import NoticeEntry, NoticePreferences
from approvals.selectors import clock, noticing
from approvals.services import questions, requests
from tests.world import World

CHOSEN = {
    "mode_asked": "digest", "mode_overdue": "now", "mode_reminder": "portal",
    "mode_settled": "portal", "mode_progress": "now", "mode_outcome": "now", "mode_access": "now",
    "mode_question": "digest", "mode_answer": "portal",
    "mode_ending": "now", "mode_ended": "now", "mode_failed": "now",
    "mode_reviews": "now",
    "quiet_begins": "22:00", "quiet_ends": "07:30", "quiet_weekdays": ["0", "1", "6"],
    "digest_hour": "9",
}  # fmt: skip


def work() -> None:
    for lane in ("notices", "news"):
        handlers.work(lane, now=clock.now())


def page(client: Client, path: str = "/notices/") -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_it_teaches_while_it_is_empty(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert "Nothing has concerned you yet." in page(client)
    assert "You have read everything." in page(client, "/notices/?show=unread")


def test_an_unread_question_counts_until_it_is_followed(client: Client, world: World) -> None:
    request = world.ask()
    work()
    client.force_login(world.bob)
    shown = page(client)
    assert re.search(r'>1<span class="hidden"> unread', shown)
    assert "Waits for you" in shown
    [line] = noticing.centre(person=world.bob)
    client.head(f"/notices/{line.id}/")
    assert noticing.unread_count(person=world.bob) == 1
    response = client.get(f"/notices/{line.id}/")
    assert response["Location"] == f"/inbox/?request={request.request_id}"
    shown = page(client)
    assert 'class="hidden"> unread' not in shown
    assert "Mark as read" not in shown


def test_a_settled_question_says_so_and_leads_to_its_request(client: Client, world: World) -> None:
    request = world.ask()
    work()
    world.decide(world.bob, request, "deny", comment="No.")
    client.force_login(world.bob)
    shown = page(client)
    assert "Settled: denied by you" in shown
    assert "Waits for you" not in shown
    [line] = noticing.centre(person=world.bob)
    assert client.get(f"/notices/{line.id}/")["Location"] == f"/requests/{request.request_id}/"


def test_a_question_leads_to_where_it_can_be_answered(client: Client, world: World) -> None:
    request = world.ask()
    questions.ask(actor=world.bob, request_id=request.request_id, text="Which?", now=clock.now())
    work()
    client.force_login(world.alice)
    assert "Waits for you" in page(client)
    [line] = [each for each in noticing.centre(person=world.alice) if each.kind == "question"]
    response = client.get(f"/notices/{line.id}/")
    assert response["Location"] == f"/requests/{request.request_id}/#questions"
    shown = client.get(response["Location"]).content.decode()
    assert 'id="questions"' in shown
    assert 'id="answer-1"' in shown
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    assert client.get(f"/notices/{line.id}/")["Location"] == response["Location"]


def test_others_see_and_mark_nothing_of_it(client: Client, world: World) -> None:
    world.ask()
    work()
    [entry] = NoticeEntry.objects.filter(person=world.bob)
    client.force_login(world.mallory)
    assert "Nothing has concerned you yet." in page(client)
    assert client.get(f"/notices/{entry.pk}/").status_code == 404
    assert client.post(f"/notices/{entry.pk}/read/").status_code == 404
    client.post("/notices/read/", {"up_to": entry.pk})
    assert noticing.unread_count(person=world.bob) == 1


def test_who_reads_a_requests_page_has_read_what_told_them_about_it(
    client: Client, world: World
) -> None:
    request = world.approved()
    work()
    assert noticing.unread_count(person=world.alice) == 1
    address = f"/requests/{request.request_id}/"
    client.force_login(world.dora)
    client.get(address)
    client.force_login(world.alice)
    client.head(address)
    client.get(f"{address}status/")
    assert noticing.unread_count(person=world.alice) == 1
    client.get(address)
    assert noticing.unread_count(person=world.alice) == 0


def test_reading_a_requests_page_settles_nothing_that_asks(client: Client, world: World) -> None:
    request = world.ask()
    questions.ask(actor=world.bob, request_id=request.request_id, text="Which?", now=clock.now())
    work()
    for person in (world.alice, world.bob):
        client.force_login(person)
        client.get(f"/requests/{request.request_id}/")
        assert noticing.unread_count(person=person) == 1


def test_one_and_all_are_marked_as_read(client: Client, world: World) -> None:
    for _ in range(3):
        world.ended()
    work()
    client.force_login(world.alice)
    ids = [line.id for line in noticing.centre(person=world.alice)]
    before = noticing.unread_count(person=world.alice)
    assert before == len(ids) > 3
    assert client.post(f"/notices/{ids[0]}/read/")["Location"] == "/notices/"
    assert noticing.unread_count(person=world.alice) == before - 1
    response = client.post("/notices/read/", {"up_to": ids[0], "show": "unread"}, follow=True)
    assert response.redirect_chain[-1][0] == "/notices/?show=unread"
    assert "You have read everything." in response.content.decode()
    assert len(noticing.centre(person=world.alice)) == len(ids)


def test_pages_follow_each_other_without_gaps(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.portal.notices.ROWS", 2)
    for _ in range(2):
        world.ended()
    work()
    client.force_login(world.alice)
    expected = [line.id for line in noticing.centre(person=world.alice)]
    found: list[int] = []
    path = "/notices/"
    while path:
        shown = page(client, path)
        found += [int(key) for key in re.findall(r'href="/notices/(\d+)/"', shown)]
        older = re.search(r'id="older" href="([^"]+)"', shown)
        path = f"/notices/{older[1]}" if older else ""
    assert found == expected
    assert len(found) >= 4
    assert client.get("/notices/?before=x").status_code == 400


def test_the_page_and_the_count_answer_only_what_changed(client: Client, world: World) -> None:
    client.force_login(world.bob)
    htmx = {"HX-Request": "true"}
    assert client.get("/notices/count/?seen=0.0", headers=htmx).status_code == 204
    again = re.search(r'hx-get="(/notices/\?seen=\w+)"', page(client))
    assert again
    assert client.get(again[1], headers=htmx).status_code == 204
    world.ask()
    work()
    response = client.get("/notices/count/?seen=0.0", headers=htmx)
    assert 'hx-get="/notices/count/?seen=1.1"' in response.content.decode()
    assert '<span id="inbox-count" class="row" hx-swap-oob="true">' in response.content.decode()
    response = client.get(again[1], headers=htmx)
    assert response.status_code == 200
    assert "<html" not in response.content.decode()
    assert "Waits for you" in response.content.decode()


def test_what_is_chosen_is_kept_and_shown(client: Client, world: World) -> None:
    client.force_login(world.bob)
    response = client.post("/settings/notices/", CHOSEN, follow=True)
    assert "Saved." in response.content.decode()
    row = NoticePreferences.objects.get(person=world.bob)
    assert (row.modes["asked"], row.modes["reminder"]) == ("digest", "portal")
    assert (row.quiet_begins, row.quiet_ends, row.digest_hour) == (time(22), time(7, 30), 9)
    assert row.quiet_weekdays == [0, 1, 6]
    shown = page(client, "/settings/")
    assert 'value="22:00"' in shown
    assert '<option value="9" selected>09:00' in shown
    assert re.search(r'<option value="digest" selected>', shown)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"mode_asked": "portal"}, "Choose one of the ways of the list."),
        ({"quiet_ends": ""}, "Say when quiet hours begin and when they end."),
        ({"quiet_begins": "late"}, "Write the time as 22:00."),
        ({"quiet_weekdays": []}, "Choose the days on which quiet hours begin."),
        ({"digest_hour": "24"}, "Choose a full hour of the day."),
    ],
)
def test_what_may_not_be_chosen_is_said_beside_its_field(
    client: Client, world: World, bad: dict[str, object], said: str
) -> None:
    client.force_login(world.bob)
    response = client.post("/settings/notices/", CHOSEN | bad)
    assert response.status_code == 400
    assert said in response.content.decode()
    assert not NoticePreferences.objects.exists()
