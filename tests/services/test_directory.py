"""The index of who is asked follows the directory, by whatever route the directory changes."""

from collections.abc import Callable

import pytest
from django.db import connection

from approvals import handlers
from approvals.domain.refusals import NotAllowed
from approvals.models import Asked, Group, Membership, OutboxItem, User, Waiting
from approvals.selectors import clock
from approvals.services import asked, directory
from tests import one_clock
from tests.world import World, notices


def people() -> set[str]:
    return set(Asked.objects.values_list("person__username", flat=True))


def follow() -> None:
    one_clock.settle()  # what the triggers put goes by the database's own clock
    handlers.work("due", now=clock.now())


def sql(statement: str, *parameters: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(parameters))


ROUTES: dict[str, Callable[[World], None]] = {
    "save": lambda w: _save(w.bob, is_active=False),
    "queryset": lambda w: _update(w.bob, is_active=False),
    "sql": lambda w: sql("UPDATE approvals_user SET is_active = false WHERE id = %s", w.bob.pk),
}


def _save(person: User, **changes: object) -> None:
    for name, value in changes.items():
        setattr(person, name, value)
    person.save()


def _update(person: User, **changes: object) -> None:
    User.objects.filter(pk=person.pk).update(**changes)


@pytest.mark.parametrize("route", ROUTES)
def test_a_manager_who_leaves_makes_room_for_the_fallback(world: World, route: str) -> None:
    request = world.ask()
    ROUTES[route](world)
    follow()
    assert people() == {"carol"}, "the resource's owner is the level's fallback"
    assert ("approval_needed", world.carol.pk) in notices()
    with pytest.raises(NotAllowed, match="not active"):
        world.decide(User.objects.get(pk=world.bob.pk), request)
    assert asked.differences(now=clock.now()) == []


def test_a_new_manager_takes_over(world: World) -> None:
    world.ask()
    _update(world.alice, manager=world.dan)
    follow()
    assert people() == {"dan"}


def test_who_joins_and_leaves_a_group_follows(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    data = Group.objects.get(name="data")
    new = Membership.objects.create(person=world.mallory, group=data)
    follow()
    assert people() == {"carol", "dan", "mallory"}
    assert notices().count(("approval_needed", world.mallory.pk)) == 1
    new.delete()
    Membership.objects.filter(person=world.dan).delete()
    follow()
    assert people() == {"carol"}


def test_a_new_owner_follows(world: World) -> None:
    _update(world.bob, is_active=False)
    world.ask()
    assert people() == {"carol"}
    world.resource.owner = world.dan
    world.resource.save()
    follow()
    assert people() == {"dan"}


def test_a_named_person_who_comes_later_is_asked(world: World) -> None:
    """The step of level two names erin; here she comes into the directory only afterwards."""
    sql("UPDATE approvals_user SET username = 'erin-old' WHERE id = %s", world.erin.pk)
    request = world.ask()
    world.decide(world.bob, request)
    from approvals.services import escalation

    due_at = world.newest(request).due_at
    assert due_at is not None
    escalation.advance(request.request_id, now=due_at)
    assert people() == {"carol", "dan"}
    sql("UPDATE approvals_user SET username = 'Erin' WHERE id = %s", world.erin.pk)
    follow()
    assert people() == {"carol", "dan", "Erin"}


def test_an_unrelated_change_touches_nothing(world: World) -> None:
    request = world.ask()
    before = list(Asked.objects.values())
    _update(world.dora, manager=world.bob)
    follow()
    assert list(Asked.objects.values()) == before
    assert world.newest(request).revision == 1


def test_a_leaver_loses_what_is_active_and_pending(world: World) -> None:
    active = world.active()
    pending = world.ask(what=world.own, ticket="INC-1")
    _update(world.alice, is_active=False)
    follow()
    assert (world.newest(active).state, world.newest(active).end_reason) == ("revoking", "left")
    assert world.newest(pending).state == "cancelled"
    handlers.work("provisioning", now=clock.now())
    assert world.newest(active).state == "revoked"


def test_an_import_may_touch_more_people_than_a_statement_takes_parameters(world: World) -> None:
    active = world.active()
    User.objects.filter(pk=world.alice.pk).update(is_active=False)
    keys = [f"p:{number}" for number in range(10**6, 10**6 + 70_000)]
    directory.changed(keys=[*keys, f"p:{world.alice.pk}"], now=clock.now())
    assert world.newest(active).state == "revoking"


def test_retiring_an_entitlement_ends_and_cancels(world: World) -> None:
    active = world.active()
    pending = world.ask(by=world.dan)
    world.write.is_retired = True
    world.write.save()
    follow()
    assert world.newest(active).end_reason == "retired"
    assert world.newest(pending).state == "cancelled"


def test_retiring_a_resource_does_so_for_all_of_it(world: World) -> None:
    active = world.active()
    other = world.ask(what=world.own, ticket="INC-1")
    world.resource.is_retired = True
    world.resource.save()
    follow()
    assert world.newest(active).end_reason == "retired"
    assert world.newest(other).state == "cancelled"


def test_the_index_is_rebuilt_from_nothing_and_checked(world: World) -> None:
    world.ask()
    other = world.ask(by=world.dan)
    world.decide(world.carol, other)
    before = sorted(Asked.objects.values_list("request_id", "person", "due_at"))
    assert asked.differences(now=clock.now()) == []
    Asked.objects.filter(person=world.bob).delete()
    Waiting.objects.all().delete()
    assert len(asked.differences(now=clock.now())) == 1
    asked.rebuild(now=clock.now())
    assert sorted(Asked.objects.values_list("request_id", "person", "due_at")) == before
    assert asked.differences(now=clock.now()) == []


def test_a_directory_change_writes_one_item_in_its_own_transaction(world: World) -> None:
    _update(world.bob, manager=world.carol)
    item = OutboxItem.objects.get(topic="directory.changed")
    assert set(item.payload["keys"]) == {f"p:{world.bob.pk}", "l:bob"}
    _update(world.bob, title="Manager")
    assert OutboxItem.objects.filter(topic="directory.changed").count() == 1
