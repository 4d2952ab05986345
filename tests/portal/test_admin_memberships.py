"""Memberships in the admin: groups of any size, who is added and removed, and what is kept of it."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.admin import memberships
from approvals.models import Group, Membership, User
from tests.portal.test_admin import address, change, fields, operator
from tests.world import World

__all__ = ["operator"]

LIST = "/admin/approvals/membership/"


def crowd(group: Group, count: int) -> list[Membership]:
    """Put people into a group, without a history as if it had been read in."""
    begin = User.objects.count()
    persons = User.objects.bulk_create(
        User(username=f"m{n}", email=f"m{n}@example.com", name=f"Member {n}")
        for n in range(begin, begin + count)
    )
    return Membership.objects.bulk_create(
        Membership(person=person, group=group) for person in persons
    )


def data() -> Group:
    return Group.objects.get(name="data")


def remove(client: Client, *rows: Membership, reason: str = "", **more: Any) -> list[str]:
    """Remove memberships in the list; return what it says."""
    sent = {"action": "remove", "_selected_action": [row.pk for row in rows]}
    answer = client.post(LIST, sent | {"change_reason": reason} | more, follow=True)
    return [str(message) for message in answer.context["messages"]]


def newest(row: Membership) -> Any:
    return Membership.history.filter(id=row.pk).latest("history_id")


def test_a_group_of_any_size_is_shown_and_saved(operator: Client, world: World) -> None:
    group = data()
    url = address("group", "change", group.pk)
    operator.get(url)  # what is looked up once
    with CaptureQueriesContext(connection) as few:
        operator.get(url)
    crowd(group, 700)
    with CaptureQueriesContext(connection) as many:
        page = operator.get(url)
    assert len(many) == len(few)
    assert len(many) < 20
    assert len(page.content) < 50_000
    count = group.members.count()
    assert f"{count} standing, 0 by grants" in page.content.decode()
    answer = change(operator, "group", group.pk, title="Data people", change_reason="Clearer.")
    assert answer.status_code == 302
    group.refresh_from_db()
    assert (group.title, group.members.count()) == ("Data people", count)
    assert Group.history.filter(id=group.pk).latest("history_id").history_change_reason == (
        "Clearer."
    )
    assert not Membership.history.filter(person__username__startswith="m1").exists()


def test_the_groups_page_leads_to_its_members(operator: Client, world: World) -> None:
    crowd(data(), 60)
    crowd(Group.objects.get(name="eng"), 5)
    for model, pk in (("group", (data().pk,)), ("group", ())):
        page = operator.get(address(model, "change" if pk else "changelist", *pk)).content.decode()
        assert f'href="{LIST}?group__id__exact={data().pk}"' in page
    path = f"{LIST}?group__id__exact={data().pk}"
    with CaptureQueriesContext(connection) as first:
        answer = operator.get(path)
    assert answer.context["cl"].result_count == data().members.count()
    assert len(answer.context["cl"].result_list) == 50
    with CaptureQueriesContext(connection) as second:
        answer = operator.get(f"{path}&p=2")
    assert len(answer.context["cl"].result_list) == data().members.count() - 50
    assert abs(len(first) - len(second)) <= 1
    assert len(first) < 15
    answer = operator.get(f"{path}&q=carol")
    assert [row.person for row in answer.context["cl"].result_list] == [world.carol]
    assert operator.get(f"{LIST}?kind=granted").context["cl"].result_count == 0


def test_a_member_is_added_on_the_groups_page(operator: Client, world: World) -> None:
    group = data()
    new = {"members-0-person": world.mallory.pk, "change_reason": "Helps out."}
    assert change(operator, "group", group.pk, **new).status_code == 302
    row = Membership.objects.get(person=world.mallory)
    assert (row.group, row.granted_by) == (group, None)
    made = newest(row)
    assert (made.history_type, made.history_user, made.history_change_reason) == (
        "+", world.admin, "Helps out.",
    )  # fmt: skip
    count = Membership.history.count()
    assert change(operator, "group", group.pk, title="Data").status_code == 302  # adds nobody
    assert Membership.history.count() == count


def test_nobody_is_in_a_group_twice(operator: Client, world: World) -> None:
    group = data()
    Membership.objects.create(person=world.mallory, group=group, granted_by=uuid.uuid4())
    count = Membership.history.count()
    for person in (world.carol, world.mallory):
        answer = change(operator, "group", group.pk, **{"members-0-person": person.pk})
        assert answer.status_code == 200
        assert f"{person} is in Data owners already." in answer.content.decode()
    twice = {
        "members-TOTAL_FORMS": "2",
        "members-0-person": world.bob.pk, "members-1-person": world.bob.pk,
        "members-1-group": group.pk, "members-1-id": "",
    }  # fmt: skip
    answer = change(operator, "group", group.pk, **twice)
    assert answer.status_code == 200
    assert "correct the duplicate" in answer.content.decode()
    answer = change(
        operator, "user", world.mallory.pk,
        **{"memberships-TOTAL_FORMS": "1", "memberships-0-group": group.pk,
           "memberships-0-person": world.mallory.pk},
    )  # fmt: skip
    assert "Mallory is in Data owners already." in answer.content.decode()
    assert Membership.history.count() == count


def test_the_groups_page_touches_no_row_that_it_does_not_show(
    operator: Client, world: World
) -> None:
    row = Membership.objects.get(person=world.carol, group=data())
    sent = {
        "members-INITIAL_FORMS": "1", "members-0-id": row.pk, "members-0-DELETE": "on",
        "members-0-person": world.mallory.pk,
    }  # fmt: skip
    change(operator, "group", data().pk, **sent)
    assert Membership.objects.get(pk=row.pk).person == world.carol


def test_members_are_added_with_a_new_group(operator: Client, world: World) -> None:
    url = address("group", "add")
    sent = fields(operator, url) | {"name": "night", "members-0-person": world.mallory.pk}
    assert operator.post(url, sent).status_code == 302
    assert Membership.objects.get(person=world.mallory).group.name == "night"


def test_a_member_is_added_in_the_list(operator: Client, world: World) -> None:
    url = address("membership", "add")
    sent = {"person": world.mallory.pk, "group": data().pk, "change_reason": "Helps out."}
    assert operator.post(url, sent).status_code == 302
    made = newest(Membership.objects.get(person=world.mallory))
    assert (made.history_user, made.history_change_reason) == (world.admin, "Helps out.")
    assert "already exists" in operator.post(url, sent).content.decode()


def test_members_are_removed_with_author_and_reason(
    operator: Client, world: World, client: Client
) -> None:
    gone = list(Membership.objects.filter(group=data()))
    kept = Membership.objects.create(person=world.mallory, group=data(), granted_by=uuid.uuid4())
    assert remove(operator, *gone, kept, reason="New team.") == [
        f"{len(gone)} memberships removed. 1 made by grants: end those on the requests' pages."
    ]
    assert list(Membership.objects.filter(group=data())) == [kept]
    for row in gone:
        last = newest(row)
        assert (last.history_type, last.history_user, last.history_change_reason) == (
            "-", world.admin, "New team.",
        )  # fmt: skip
    assert newest(kept).history_type == "+"
    reader = Client()
    reader.force_login(world.dora)
    page = reader.get("/audit/?kind=configuration&q=carol").content.decode()
    assert "New team." in page


def test_a_membership_is_shown_and_changed_into_no_other(operator: Client, world: World) -> None:
    row = Membership.objects.create(person=world.mallory, group=data(), granted_by=uuid.uuid4())
    url = address("membership", "change", row.pk)
    page = operator.get(url).content.decode()
    assert str(row.granted_by) in page
    assert 'name="_save"' not in page
    assert operator.post(url, {"person": world.bob.pk, "group": row.group_id}).status_code == 403
    assert remove(operator, row) == [
        "0 memberships removed. 1 made by grants: end those on the requests' pages."
    ]
    assert Membership.objects.get(pk=row.pk).person == world.mallory


def test_the_last_operator_is_not_removed(operator: Client, world: World) -> None:
    rows = list(Membership.objects.filter(group__role=Group.Role.OPERATOR))
    other = Membership.objects.get(person=world.carol, group=data())
    (said,) = remove(operator, *rows, other)
    assert "no operator would be left" in said
    assert Membership.objects.filter(pk__in=[other.pk, *(row.pk for row in rows)]).count() == (
        len(rows) + 1
    )
    assert newest(other).history_type == "+"
    second = Membership.objects.create(person=world.bob, group=rows[0].group)
    assert remove(operator, second) == ["1 membership removed."]


def test_all_that_are_found_are_removed_up_to_a_bound(
    operator: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group.objects.create(name="crowd")
    crowd(group, 60)
    first = group.members.first()
    assert first is not None

    def all_of_them() -> list[str]:
        answer = operator.post(
            f"{LIST}?group__id__exact={group.pk}",
            {"action": "remove", "select_across": "1", "_selected_action": [first.pk]},
            follow=True,
        )
        return [str(message) for message in answer.context["messages"]]

    monkeypatch.setattr(memberships, "TOGETHER_MOST", 59)
    assert all_of_them() == ["Nothing was changed: remove at most 59 at one stroke."]
    assert group.members.count() == 60
    monkeypatch.setattr(memberships, "TOGETHER_MOST", 60)
    assert all_of_them() == ["60 memberships removed."]
    assert group.members.count() == 0
