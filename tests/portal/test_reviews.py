"""The pages of access reviews: what waits for a reviewer, and a campaign for compliance."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from approvals import handlers
from approvals.domain.states import State
from approvals.models import AccessRequest, ReviewCampaign, ReviewDecision, ReviewItem, ReviewShown
from approvals.selectors import clock
from approvals.services import grants, review_opening
from tests.world import World

PAGE = "/reviews/"
FORM = {
    "name": "Q4 <b>", "scope": "all", "resource": "", "risk": "", "reviewers": "manager",
    "on_silence": "remove",
}  # fmt: skip


def tomorrow() -> str:
    return (clock.now() + timedelta(days=1)).date().isoformat()


def campaign(world: World) -> ReviewCampaign:
    now = clock.now()
    return review_opening.open_campaign(
        actor=world.dora, name="Q4 <b>", due_at=now + timedelta(days=1), now=now
    )


@pytest.fixture
def grants_of_alice(world: World) -> list[AccessRequest]:
    first = world.active(minutes=400)
    second = world.ask(what=world.read, minutes=400)
    handlers.work("due")
    handlers.work("provisioning")
    return [first, world.newest(second)]


def read(client: Client, path: str = PAGE) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def keys() -> list[str]:
    return [str(item.item_id) for item in ReviewItem.objects.order_by("id")]


def test_without_anything_to_review_it_teaches_and_is_not_in_the_navigation(
    client: Client, world: World
) -> None:
    client.force_login(world.bob)
    page = read(client)
    assert "You have nothing to review." in page
    assert "Start a review" not in page
    assert f'href="{PAGE}"' not in read(client, "/")
    client.force_login(world.dora)
    assert f'href="{PAGE}"' in read(client, "/")
    page = read(client)
    assert "There was no review yet." in page
    assert "Start a review" in page


def test_compliance_starts_a_review_and_the_manager_finds_it(
    client: Client, world: World, grants_of_alice: list[AccessRequest]
) -> None:
    client.force_login(world.dora)
    answer = client.post(f"{PAGE}start/", FORM | {"due": tomorrow()})
    made = ReviewCampaign.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"{PAGE}{made.campaign_id}/"
    assert made.items == 2
    page = read(client, answer["Location"])
    assert "Q4 &lt;b&gt;" in page
    assert "0 of 2" in page
    client.force_login(world.bob)
    assert re.search(r"Reviews<span class=\"count\">.*?2<", read(client, "/"))
    page = read(client)
    assert "Alice" in page
    assert page.count('type="checkbox"') == 2
    assert page.count(grants_of_alice[0].reason) == 2
    assert ReviewShown.objects.filter(person=world.bob).count() == 2
    page = read(client, f"{PAGE}?by=access")
    assert page.index("orders-db · read<") < page.index("orders-db · read-write<")


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"due": "soon"}, {"due": "9999-12-31"}, {"due": "2020-01-01"},
              {"scope": "resource"}, {"scope": "x"}]
)  # fmt: skip
def test_a_wrong_start_says_what_is_wrong_and_keeps_the_form(
    client: Client, world: World, grants_of_alice: list[AccessRequest], wrong: dict[str, str]
) -> None:
    client.force_login(world.dora)
    answer = client.post(f"{PAGE}start/", FORM | {"due": tomorrow()} | wrong)
    assert answer.status_code == 400
    page = answer.content.decode()
    assert 'role="alert"' in page
    if "name" not in wrong:
        assert 'value="Q4 &lt;b&gt;"' in page
    assert not ReviewCampaign.objects.exists()


def test_several_are_kept_with_one_reason(
    client: Client, world: World, grants_of_alice: list[AccessRequest]
) -> None:
    made = campaign(world)
    client.force_login(world.bob)
    read(client)
    answer = client.post(
        f"{PAGE}decide/", {"item": keys(), "verdict": "keep", "reason": "On call", "by": "access"}
    )
    assert answer["Location"] == f"{PAGE}?by=access"
    assert "2 accesses are kept." in read(client, answer["Location"])
    assert {row.together for row in ReviewDecision.objects.all()} == {2}
    assert all(row.seconds is not None for row in ReviewDecision.objects.all())
    client.force_login(world.admin)  # operators see it, and can do nothing about it
    page = read(client, f"{PAGE}{made.campaign_id}/")
    assert "kept everything" in page
    assert "100 %" in page
    assert "Sign off" not in page
    client.force_login(world.dora)
    answer = client.post(f"{PAGE}{made.campaign_id}/sign-off/", {"comment": "Looked at it."})
    page = read(client, answer["Location"])
    assert "Signed off by Dora" in page
    assert "Looked at it." in page
    assert "Sign it off" not in page
    assert "Cancel it" not in page


def test_what_was_asked_for_anew_is_neither_counted_nor_shown(
    client: Client, world: World, grants_of_alice: list[AccessRequest]
) -> None:
    campaign(world)
    for row in grants_of_alice:
        grants.end(actor=world.alice, request_id=row.request_id, now=clock.now())
    handlers.work("provisioning")
    world.active(minutes=60)
    client.force_login(world.bob)
    page = read(client)
    assert "Nothing waits for you" in page
    assert "You have nothing to review." in page
    assert f'href="{PAGE}"' not in read(client, "/")


def test_one_is_removed(client: Client, world: World, grants_of_alice: list[AccessRequest]) -> None:
    made = campaign(world)
    client.force_login(world.bob)
    chosen = keys()[:1]
    answer = client.post(
        f"{PAGE}decide/", {"item": chosen, "verdict": "remove", "reason": "Moved <team>"}
    )
    assert "1 access is ending now." in read(client, answer["Location"])
    states = [world.newest(row).state for row in grants_of_alice]
    assert sorted(states) == [State.ACTIVE, State.REVOKING]
    client.force_login(world.dora)
    page = read(client, f"{PAGE}{made.campaign_id}/")
    assert "Moved &lt;team&gt;" in page
    answer = client.post(f"{PAGE}{made.campaign_id}/sign-off/")
    assert answer.status_code == 409
    assert "1 of 2 items are not decided yet" in answer.content.decode()
    answer = client.post(f"{PAGE}{made.campaign_id}/cancel/")
    assert answer.status_code == 400
    client.post(f"{PAGE}{made.campaign_id}/cancel/", {"comment": "Wrong scope"})
    assert "Cancelled by Dora" in read(client, f"{PAGE}{made.campaign_id}/")


def test_signing_off_and_cancelling_are_two_forms_that_keep_their_own_text(
    client: Client, world: World, grants_of_alice: list[AccessRequest]
) -> None:
    path = f"{PAGE}{campaign(world).campaign_id}/"
    client.force_login(world.dora)

    def forms(page: str) -> dict[str, list[str]]:
        found = re.findall(r"<form[^>]* action=\"([^\"]+)\">(.*?)</form>", page, re.DOTALL)
        return {
            action.removeprefix(path): re.findall(r"<(?:textarea|button)[^>]*>([^<]*)<", inside)
            for action, inside in found
            if action.startswith(path)
        }

    assert forms(read(client, path)) == {
        "sign-off/": ["", "Sign off"],
        "cancel/": ["", "Cancel it"],
    }
    answer = client.post(f"{path}sign-off/", {"comment": "All <seen>."})
    assert answer.status_code == 409
    assert forms(answer.content.decode()) == {
        "sign-off/": ["All &lt;seen&gt;.", "Sign off"], "cancel/": ["", "Cancel it"],
    }  # fmt: skip
    answer = client.post(f"{path}cancel/", {"comment": "x" * 1001})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert forms(page) == {"sign-off/": ["", "Sign off"], "cancel/": ["x" * 1001, "Cancel it"]}
    assert page.count('class="field wrong"') == 1
    assert page.index('id="cancel"') < page.index('class="field wrong"')
    assert "formaction" not in page


def test_what_is_wrong_keeps_what_was_chosen_and_written(
    client: Client, world: World, grants_of_alice: list[AccessRequest]
) -> None:
    campaign(world)
    client.force_login(world.bob)
    for body, said in (
        ({"item": keys()[:1], "verdict": "keep", "reason": ""}, "Say why"),
        ({"item": [], "verdict": "keep", "reason": "x"}, "Choose what it is about."),
        ({"item": ["nonsense"], "verdict": "keep", "reason": "x"}, "Choose what the page offers."),
        ({"item": keys()[:1], "verdict": "burn", "reason": "x"}, "Choose keep or remove."),
    ):
        answer = client.post(f"{PAGE}decide/", body)
        assert answer.status_code == 400
        page = answer.content.decode()
        assert said in page
        assert page.count(" checked") == (1 if body["item"] == keys()[:1] else 0)
    assert not ReviewDecision.objects.exists()
    client.force_login(world.mallory)
    answer = client.post(f"{PAGE}decide/", {"item": keys(), "verdict": "keep", "reason": "x"})
    assert answer.status_code == 403
    assert grants_of_alice[0].reason not in answer.content.decode()
