"""Asking: the form, links into it, the preview, sending, and everything that is refused."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals.models import AccessRequest, Entitlement, Group, Membership, Policy
from approvals.selectors import clock
from tests.world import DATA, MANAGER, World, rule


def _form(world: World, **more: Any) -> dict[str, Any]:
    return {
        "entitlement": world.write.pk,
        "length": "3600",
        "when": "now",
        "reason": "Reprocess stuck refunds.",
    } | more


def _count() -> int:
    return AccessRequest.objects.count()


def test_the_form_shows_who_will_approve_before_anything_is_sent(
    client: Client, world: World
) -> None:
    client.force_login(world.alice)
    page = client.get("/requests/new/", {"entitlement": world.write.pk}).content.decode()
    assert "Bob" in page
    assert "any 1 of 2 · Carol, Dan" in page
    assert "No answer: after 1 m Erin may decide too, after 2 m the request lapses." in page
    assert "At most 8 h for this role." in page
    assert 'class="error"' not in page
    assert _count() == 0


def test_without_a_thing_the_catalogue_opens(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert client.get("/requests/new/")["Location"] == "/catalogue/"


@pytest.mark.parametrize("wanted", ["0", "999999", "9" * 30, "orders-db/none", "x", "a/b\0", "/"])
def test_unknown_things_are_not_found(client: Client, world: World, wanted: str) -> None:
    client.force_login(world.alice)
    assert client.get("/requests/new/", {"entitlement": wanted}).status_code == 404
    assert client.post("/requests/new/", {"entitlement": wanted}).status_code == 404
    assert client.post("/requests/new/preview/", {"entitlement": wanted}).status_code == 404


def test_a_link_fills_the_form(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.get(
        "/requests/new/",
        {
            "entitlement": "orders-db/read-write",
            "duration": "90m",
            "reason": "Why <not>",
            "ticket": "INC-1",
            "for": "dan",
        },
    )
    page = response.content.decode()
    assert response.status_code == 200
    assert 'name="other" value="90m"' in page
    assert "Why &lt;not&gt;</textarea>" in page
    assert 'value="INC-1"' in page
    assert 'value="dan"' in page
    assert response.context["subject"] == world.dan
    # dan is a data owner, and he is the subject: only carol is left at that level
    assert "any 1 of 2" not in page


def test_a_link_may_choose_one_of_the_offered_lengths(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.get(
        "/requests/new/", {"entitlement": "Orders-DB/Read-Write", "duration": "2h"}
    )
    assert response.context["length"] == "7200"


def test_a_link_with_nonsense_says_so(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.get(
        "/requests/new/",
        {"entitlement": str(world.write.pk), "duration": "banana", "for": "nobody"},
    )
    page = response.content.decode()
    assert "Write a duration such as 90m, 2h, 1h30 or 1 day." in page
    assert "Nobody active has this login name or e-mail address." in page


def test_sending_makes_a_request_and_opens_it(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.post(
        "/requests/new/", _form(world, ticket=" INC-9 ", other="1h30", length="other"), follow=True
    )
    record = AccessRequest.objects.get()
    assert response.redirect_chain == [(f"/requests/{record.request_id}/", 302)]
    assert (record.duration_seconds, record.ticket, record.state) == (5_400, "INC-9", "pending")
    assert "Sent. Those who decide are told." in response.content.decode()


def test_what_its_rule_approves_is_approved_at_once(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.get("/requests/new/", {"entitlement": world.read.pk}).content.decode()
    assert "Approved at once by the rule “all”" in page
    response = client.post("/requests/new/", _form(world, entitlement=world.read.pk), follow=True)
    assert "Approved at once." in response.content.decode()


def test_it_can_be_for_someone_else(client: Client, world: World) -> None:
    client.force_login(world.bob)
    client.post("/requests/new/", _form(world, subject="ALICE@example.com"))
    record = AccessRequest.objects.get()
    assert (record.requester, record.subject) == (world.bob, world.alice)


def test_a_start_is_read_in_the_persons_timezone(client: Client, world: World) -> None:
    world.alice.timezone = "Asia/Tokyo"
    world.alice.save()
    client.force_login(world.alice)
    start = (clock.now() + timedelta(hours=5)).replace(second=0, microsecond=0)
    with timezone.override("Asia/Tokyo"):
        typed = timezone.localtime(start).strftime("%Y-%m-%dT%H:%M")
    client.post("/requests/new/", _form(world, when="later", starts_at=typed))
    assert AccessRequest.objects.get().starts_at == start


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": "other", "other": "soon"}, "Write a duration such as"),
        ({"length": "other", "other": ""}, "Say how long you need it"),
        ({"length": "other", "other": "90"}, "Add a unit"),
        ({"length": "other", "other": "30s"}, "Ask for at least one minute"),
        ({"length": "0"}, "Say how long you need it"),
        ({"length": "-5"}, "Say how long you need it"),
        ({"length": "9" * 19}, "longer than ten years"),
        ({"length": "other", "other": "9h"}, "Longest is 8 h; ask for less."),
        ({"reason": "   "}, "Say why you need it."),
        ({"reason": "x" * 100_000}, "2,000 are the most"),
        ({"reason": "a\0b"}, "Null characters are not allowed"),
        ({"ticket": "x" * 101}, "100 are the most"),
        ({"when": "later", "starts_at": ""}, "Say when it should start"),
        ({"when": "later", "starts_at": "2020-01-01T00:00"}, "The start lies in the past."),
        ({"when": "later", "starts_at": "2999-01-01T00:00"}, "90 days ahead at most"),
        ({"when": "later", "starts_at": "tomorrow"}, "Write the start as"),
        ({"when": "x"}, "Select a valid choice"),
        ({"subject": "nobody"}, "Nobody active has this login name"),
        ({"subject": "al\0ice"}, "Nobody active has this login name"),
    ],
)
def test_nonsense_is_refused_beside_its_field_and_the_input_is_kept(
    client: Client, world: World, change: dict[str, str], message: str
) -> None:
    client.force_login(world.alice)
    response = client.post("/requests/new/", _form(world, **{"ticket": "KEEP-ME"} | change))
    page = response.content.decode()
    assert response.status_code == 400
    assert message in page
    assert "Reprocess stuck refunds." in page or "reason" in change
    assert 'value="KEEP-ME"' in page or "ticket" in change
    assert _count() == 0


def test_who_may_not_ask_gets_the_reason_and_403(client: Client, world: World) -> None:
    client.force_login(world.mallory)
    response = client.post("/requests/new/", _form(world))
    assert response.status_code == 403
    assert "Only members of data or eng may ask for this" in response.content.decode()
    assert _count() == 0


def test_a_missing_ticket_is_asked_for(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.get("/requests/new/", {"entitlement": world.own.pk}).content.decode()
    assert "Required for this role." in page
    response = client.post("/requests/new/", _form(world, entitlement=world.own.pk))
    assert response.status_code == 400
    assert response.context["errors"]["ticket"] == ["A ticket is required."]


def test_sending_twice_names_the_open_one(client: Client, world: World) -> None:
    client.force_login(world.alice)
    client.post("/requests/new/", _form(world))
    record = AccessRequest.objects.get()
    response = client.post("/requests/new/", _form(world))
    page = response.content.decode()
    assert response.status_code == 400
    assert "There is an open request for this already" in page
    assert f'href="/requests/{record.request_id}/"' in page
    assert _count() == 1


def test_nobody_learns_of_others_requests_and_groups_by_asking_for_them(
    client: Client, world: World
) -> None:
    record = world.ask()
    client.force_login(world.mallory)
    assert client.get(f"/requests/{record.request_id}/").status_code == 404
    about = {"entitlement": str(world.write.pk), "for": "alice"}
    sent = client.post("/requests/new/", _form(world, subject="alice"))
    assert sent.status_code == 400
    for response in (client.get("/requests/new/", about), sent):
        page = html.unescape(response.content.decode())
        assert "It can’t be asked for Alice now" in page
        assert record.reference not in page
        assert "pending" not in page
    for name in ("dora", "admin"):
        preview = {"entitlement": world.write.pk, "length": "3600", "subject": name}
        page = client.post("/requests/new/preview/", preview).content.decode()
        assert "Only members of data or eng may ask for this." in page
        assert "you are in" not in page
        sent = client.post("/requests/new/", _form(world, subject=name))
        assert sent.status_code == 403
        assert "you are in" not in sent.content.decode()


def test_fields_that_are_not_asked_for_change_nothing(client: Client, world: World) -> None:
    client.force_login(world.alice)
    client.post(
        "/requests/new/",
        _form(world, state="active", requester=world.bob.pk, actor="bob", ends_at="2099-01-01"),
    )
    record = AccessRequest.objects.get()
    assert (record.state, record.requester, record.ends_at) == ("pending", world.alice, None)


def test_the_preview_is_the_pages_own_part(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.post(
        "/requests/new/preview/", {"entitlement": world.write.pk, "length": "3600"}
    )
    page = response.content.decode()
    assert "<html" not in page
    assert "any 1 of 2 · Carol, Dan" in page
    assert (
        page.strip()
        in client.get("/requests/new/", {"entitlement": world.write.pk}).content.decode()
    )
    assert client.get("/requests/new/preview/").status_code == 405


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": "other", "other": "never"}, "Write a duration such as"),
        ({"length": "other", "other": "9h"}, "Longest is 8 h"),
        ({"subject": "nobody"}, "Nobody active"),
        ({"subject": "mallory"}, "For Mallory the policy says:"),
    ],
)
def test_the_preview_says_what_is_wrong(
    client: Client, world: World, change: dict[str, str], message: str
) -> None:
    client.force_login(world.alice)
    response = client.post(
        "/requests/new/preview/", {"entitlement": world.write.pk, "length": "3600"} | change
    )
    assert response.status_code == 200
    assert message in response.content.decode()


def test_the_preview_promises_nothing_that_sending_refuses(client: Client, world: World) -> None:
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    client.force_login(world.alice)
    form = _form(world, entitlement=world.read.pk, subject="mallory")
    shown = client.post("/requests/new/preview/", form).content.decode()
    said = "The rule asks nobody, so only Mallory can ask for it."
    assert said in shown
    assert "Approved at once" not in shown
    assert "approved at once" not in shown
    sent = client.post("/requests/new/", form)
    assert sent.status_code == 403
    assert said in sent.content.decode()
    assert (
        "Approved at once"
        in client.post("/requests/new/preview/", form | {"subject": ""}).content.decode()
    )


def test_the_preview_knows_the_start(client: Client, world: World) -> None:
    policy = world.write.policy
    assert policy is not None
    hours = {
        "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "from": "02:00",
        "to": "03:00",
    }
    policy.document = {
        "rules": [policy.document["rules"][0] | {"windows": [hours | {"timezone": "UTC"}]}]
    }
    policy.save()
    client.force_login(world.alice)
    tomorrow = clock.now() + timedelta(days=1)

    def shown(hour: int, **more: Any) -> str:
        start = tomorrow.replace(hour=hour, minute=30).strftime("%Y-%m-%dT%H:%M")
        form = _form(world, when="later", starts_at=start) | more
        return client.post("/requests/new/preview/", form).content.decode()

    assert "outside the policy’s hours: the access would begin" in shown(4)
    assert "outside the policy’s hours" not in shown(2)
    assert "any 1 of 2" in shown(4)
    assert "The start lies in the past." in shown(4, starts_at="2020-01-01T00:00")
    assert "Say when it should start" in shown(4, starts_at="")
    assert "Write the start as" in shown(4, starts_at="soon")


def test_without_scripts_the_chain_can_be_looked_at_before_sending(
    client: Client, world: World
) -> None:
    client.force_login(world.alice)
    response = client.post("/requests/new/", _form(world, reason="", check="1"))
    assert response.status_code == 200
    assert "Carol, Dan" in response.content.decode()
    assert _count() == 0


def test_a_shorter_wish_that_needs_less_is_pointed_out(client: Client, world: World) -> None:
    policy = Policy.objects.create(
        name="ladder",
        document={
            "rules": [
                rule("short", groups=["eng"], longest=1_800, levels=[MANAGER]),
                rule("long", groups=["eng"], longest=7_200, ticket=True, levels=[MANAGER, DATA]),
            ]
        },
    )
    thing = Entitlement.objects.create(
        resource=world.resource, name="ladder", risk="high", policy=policy
    )
    client.force_login(world.alice)
    page = client.get("/requests/new/", {"entitlement": thing.pk}).content.decode()
    assert "Shorter is approved faster: up to 30 m needs 1 approval." in page
    assert "Required for some durations of this role." in page


def test_a_refusal_of_a_retired_thing_is_clear(client: Client, world: World) -> None:
    world.write.is_retired = True
    world.write.save()
    client.force_login(world.alice)
    response = client.post("/requests/new/", _form(world))
    assert response.status_code == 403
    assert "is retired; nobody can ask for it." in response.content.decode()
