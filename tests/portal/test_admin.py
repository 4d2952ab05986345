"""The Django admin: operators configure with history, nobody touches records."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.db import connection
from django.forms import BaseForm
from django.test import Client
from django.urls import reverse

from approvals.models import (
    AccessRequest,
    Decision,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    OutboxItem,
    Policy,
    Resource,
    User,
)
from approvals.selectors import clock
from audit.models import MutationBlocked
from tests.connectors.noop import Noop
from tests.world import World

RECORDS = (
    "accessrequest", "decision", "grantevent", "notice", "outboxitem", "signin", "reportexport",
    "reviewcampaign", "reviewitem", "reviewdecision", "reportrun", "requesthandover",
    "requestmessage", "refusedattempt",
)  # fmt: skip
CONFIGURATION = ("user", "group", "membership", "resource", "entitlement", "policy")


@pytest.fixture
def operator(world: World, client: Client) -> Client:
    client.force_login(world.admin)
    return client


def address(model: str, what: str, *args: Any) -> str:
    return reverse(f"admin:approvals_{model}_{what}", args=args)


def fields(client: Client, url: str) -> dict[str, Any]:
    """What the form at `url` would send unchanged."""
    context = client.get(url).context
    forms: list[BaseForm] = [context["adminform"].form]
    for inline in context.get("inline_admin_formsets", []):
        forms += [inline.formset.management_form, *inline.formset.forms]
    sent: dict[str, Any] = {}
    for form in forms:
        for bound in form:
            value = bound.value()
            if hasattr(bound.field, "prepare_value"):
                value = bound.field.prepare_value(value)
            if value is True:
                value = "on"
            if value is not None and value is not False:
                sent[bound.html_name] = value
    return sent


def change(client: Client, model: str, pk: int, **values: Any) -> Any:
    url = address(model, "change", pk)
    return client.post(url, fields(client, url) | values)


def snapshot() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, hash, xmin FROM approvals_accessrequest ORDER BY id")
        rows = cursor.fetchall()
        cursor.execute("SELECT id, comment, xmin FROM approvals_decision ORDER BY id")
        return [*rows, *cursor.fetchall()]


# -- who may come in


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dora", "mallory"])
def test_only_operators_come_in(world: World, client: Client, who: str) -> None:
    client.force_login(getattr(world, who))
    for model in (*RECORDS, *CONFIGURATION):
        assert client.get(address(model, "changelist")).status_code in (302, 403), model
    assert client.get(reverse("admin:index"), follow=True).status_code == 403


def test_strangers_are_sent_to_the_one_sign_in_page(world: World, client: Client) -> None:
    answer = client.get(reverse("admin:index"), follow=True)
    assert answer.redirect_chain[-1][0].startswith(reverse("account_login"))


def test_an_operator_sees_every_list(operator: Client, world: World, noop: Noop) -> None:
    world.ended()
    assert operator.get(reverse("admin:index")).status_code == 200
    for model in (*RECORDS, *CONFIGURATION):
        answer = operator.get(address(model, "changelist"))
        assert answer.status_code == 200, model


def test_the_start_lists_what_it_is_for_in_the_frame_of_the_portal(
    operator: Client, world: World
) -> None:
    answer = operator.get(reverse("admin:index"))
    listed = {
        app["name"]: [each["name"] for each in app["models"]] for app in answer.context["app_list"]
    }
    assert list(listed) == ["Catalogue", "People", "Records, to read only"]
    assert listed["Catalogue"] == ["Resources", "Entitlements", "Policies"]
    assert listed["People"] == ["People", "Groups", "Memberships"]
    assert len(listed["Records, to read only"]) == len(RECORDS) + 1
    page = answer.content.decode()
    assert page.count('aria-label="Main"') == 1
    assert "nav-sidebar" not in page
    assert operator.get(reverse("admin:app_list", args=["approvals"])).status_code == 200


def test_lists_and_objects_are_headed_by_their_names(operator: Client, world: World) -> None:
    page = operator.get(address("resource", "changelist")).content.decode()
    assert "<h1>Resources</h1>" in page
    assert "to change" not in page
    page = operator.get(address("resource", "change", world.resource.pk)).content.decode()
    assert f"<h1>{world.resource}</h1>" in page


def test_nothing_else_is_registered() -> None:
    names = {model._meta.label for model in admin.site._registry}
    assert names == {
        "approvals.User", "approvals.Group", "approvals.Membership", "approvals.Resource",
        "approvals.Entitlement", "approvals.Policy", "approvals.AccessRequest", "approvals.Decision",
        "approvals.GrantEvent", "approvals.Notice", "approvals.OutboxItem", "approvals.SignIn",
        "approvals.ReportExport", "approvals.ReviewCampaign", "approvals.ReviewItem",
        "approvals.ReviewDecision",
        "approvals.RequestHandover", "approvals.RequestMessage", "approvals.RefusedAttempt",
        "approvals.ReportSchedule", "approvals.ReportRun",
    }  # fmt: skip


# -- records


@pytest.mark.parametrize("what", ["change", "delete", "history"])
def test_a_record_is_read_and_no_more(operator: Client, world: World, what: str) -> None:
    record = world.approved()
    decision = Decision.objects.get(request_id=record.request_id, level=1)
    before = snapshot()
    for model, pk in (("accessrequest", record.pk), ("decision", decision.pk)):
        url = address(model, what, pk)
        if what == "change":
            assert operator.get(url).status_code == 200
        answer = operator.post(url, {"state": "active", "comment": "x", "post": "yes"})
        assert answer.status_code in (403, 404, 405) or what == "history"
    assert snapshot() == before


def test_records_are_not_added(operator: Client, world: World) -> None:
    for model in RECORDS:
        assert operator.get(address(model, "add")).status_code == 403
        assert operator.post(address(model, "add"), {"kind": "x"}).status_code == 403


def test_records_are_not_deleted_in_bulk(operator: Client, world: World) -> None:
    record = world.approved()
    before = snapshot()
    operator.post(
        address("accessrequest", "changelist"),
        {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"},
    )
    assert snapshot() == before


def test_a_record_shows_its_hashes(operator: Client, world: World) -> None:
    record = world.approved()
    page = operator.get(address("accessrequest", "change", record.pk)).content.decode()
    assert bytes(record.hash).hex() in page
    assert bytes(record.previous_hash or b"").hex() in page


def test_the_orm_refuses_what_the_admin_does_not_offer(world: World) -> None:
    record = world.approved()
    event = GrantEvent
    for attempt in (
        lambda: AccessRequest.objects.filter(pk=record.pk).update(reason="x"),
        lambda: AccessRequest.objects.all().delete(),
        lambda: Decision.objects.bulk_update([], ["comment"]),
        lambda: event.objects.update_or_create(pk=1),
        record.save,
        record.delete,
    ):
        with pytest.raises(MutationBlocked):
            attempt()


# -- configuration


def test_a_change_grows_the_history_with_author_and_reason(operator: Client, world: World) -> None:
    answer = change(
        operator, "resource", world.resource.pk, title="PostgreSQL · east", change_reason="Moved."
    )
    assert answer.status_code == 302
    newest = Resource.history.filter(id=world.resource.pk).latest("history_id")
    assert (newest.title, newest.history_user, newest.history_change_reason) == (
        "PostgreSQL · east", world.admin, "Moved.",
    )  # fmt: skip
    assert Resource.history.filter(id=world.resource.pk).count() == 2


def test_a_policy_gets_its_next_version(operator: Client, world: World) -> None:
    policy = world.write.policy
    assert policy is not None
    document = policy.document
    document["rules"][0]["longest"] = 3600
    answer = change(
        operator, "policy", policy.pk, document=json.dumps(document), change_reason="Too long."
    )
    assert answer.status_code == 302
    policy.refresh_from_db()
    assert (policy.version, policy.document["rules"][0]["longest"]) == (2, 3600)


def test_a_policy_is_read_and_written_with_times_in_words(operator: Client, world: World) -> None:
    policy = world.write.policy
    assert policy is not None
    url = address("policy", "change", policy.pk)
    assert json.loads(fields(operator, url)["document"])["rules"][0]["longest"] == "8h"
    page = operator.get(url).content.decode()
    assert "<details><summary>An example</summary>" in page
    assert '<ol class="rules">' in page
    document = policy.document
    document["rules"][0]["longest"] = "1h30"
    assert change(operator, "policy", policy.pk, document=json.dumps(document)).status_code == 302
    policy.refresh_from_db()
    assert policy.document["rules"][0]["longest"] == 5400
    document["rules"][0]["longest"] = "soon"
    answer = change(operator, "policy", policy.pk, document=json.dumps(document))
    assert "rules[0].longest: Write a duration" in answer.content.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Enter a valid JSON"),
        ("[]", "Write a JSON object"),
        ("null", "This field is required"),
        ("{}", "lacks the key"),
        ('{"rules": []}', "rules: must not be empty"),
        ('{"rules": [{"name": "a", "longest": -1, "everyone": true}]}', "rules[0].longest"),
        ('{"rules": [{"name": "a\\u0000", "longest": 60, "everyone": true}]}', "NUL"),
        ('{"rules": [{"name": "\\ud800", "longest": 60, "everyone": true}]}', "half a character"),
        ('{"rules": [{"name": "a", "longest": NaN, "everyone": true}]}', "NaN"),
        ('{"rules": ' + "[" * 30_000 + "]" * 30_000 + "}", "can&#x27;t be read as JSON"),
        ('{"rules": ' + "9" * 5_000 + "}", "can&#x27;t be read as JSON"),
        ('{"x": "' + "y" * 100_000 + '"}', "at most 100,000"),
    ],
)
def test_nonsense_in_a_policy_is_refused_with_a_message(
    operator: Client, world: World, text: str, message: str
) -> None:
    policy = world.write.policy
    assert policy is not None
    answer = change(operator, "policy", policy.pk, document=text)
    assert answer.status_code == 200
    assert message in answer.content.decode()
    after = Policy.objects.get(pk=policy.pk)
    assert (after.version, after.document) == (policy.version, policy.document)
    assert Policy.history.filter(id=policy.pk).count() == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"connector": "carrier-pigeon"}, "Select a valid choice"),
        ({"connector": "postgres_role", "settings": '{"databse": "x"}'}, "databse"),
        ({"secret": "postgresql://u:p@h/db"}, "Refer to the secret as env:NAME"),
        ({"settings": '{"a": "\\u0000"}'}, "NUL"),
        ({"connector": "portal"}, "The entitlement"),
    ],
)
def test_a_resource_is_judged_by_its_connector(
    operator: Client, world: World, values: dict[str, str], message: str
) -> None:
    answer = change(operator, "resource", world.resource.pk, **values)
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert Resource.history.filter(id=world.resource.pk).count() == 1


def test_an_entitlement_is_judged_by_the_connector(operator: Client, world: World) -> None:
    Resource.objects.filter(pk=world.resource.pk).update(connector="postgres_role")
    answer = change(operator, "entitlement", world.read.pk, settings='{"rol": "x"}')
    assert answer.status_code == 200
    assert "Unknown setting" in answer.content.decode()
    assert (
        change(
            operator, "entitlement", world.read.pk, settings='{"role": "orders_read"}'
        ).status_code
        == 302
    )
    assert Entitlement.objects.get(pk=world.read.pk).settings == {"role": "orders_read"}


def test_the_health_action_says_what_the_target_says(
    operator: Client, world: World, noop: Noop
) -> None:
    unreachable = Resource.objects.create(
        name="gone", connector="postgres_role", secret="env:NOT_SET_ANYWHERE", owner=world.carol
    )
    portal = Resource.objects.create(name="here", connector="portal", owner=world.carol)
    answer = operator.post(
        address("resource", "changelist"),
        {"action": "check_target", "_selected_action": [unreachable.pk, portal.pk]},
        follow=True,
    )
    told = {str(message): message.level_tag for message in answer.context["messages"]}
    assert any("NOT_SET_ANYWHERE" in text and tag == "error" for text, tag in told.items())
    assert any("kept in this portal" in text and tag == "success" for text, tag in told.items())


@pytest.mark.parametrize("model", CONFIGURATION)
def test_configuration_is_not_deleted(operator: Client, world: World, model: str) -> None:
    kind = next(m for m in admin.site._registry if m._meta.label_lower == f"approvals.{model}")
    first = kind._default_manager.order_by("pk").first()
    assert first is not None
    assert operator.post(address(model, "delete", first.pk), {"post": "yes"}).status_code == 403
    operator.post(
        address(model, "changelist"),
        {"action": "delete_selected", "_selected_action": [first.pk], "post": "yes"},
    )
    assert kind._default_manager.filter(pk=first.pk).exists()


@pytest.mark.parametrize("model", CONFIGURATION)
def test_history_is_looked_at_and_not_written(operator: Client, world: World, model: str) -> None:
    kind: Any = next(m for m in admin.site._registry if m._meta.label_lower == f"approvals.{model}")
    row = kind.history.order_by("history_id").first()
    count = kind.history.count()
    page = operator.get(address(model, "history", row.id))
    assert page.status_code == 200
    assert "style=" not in page.content.decode()
    url = address(model, "simple_history", row.id, row.history_id)
    page = operator.get(url)
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert 'name="name"' not in page.content.decode()
    assert operator.post(url, {"name": "other"}).status_code == 403
    assert kind.history.count() == count


# -- people


def test_an_operator_adds_a_person_who_can_sign_in(operator: Client, world: World) -> None:
    answer = operator.post(
        address("user", "add"),
        {
            "username": "nina", "name": "Nina Holm", "email": "nina@example.com",
            "manager": world.bob.pk, "timezone": "Europe/Oslo", "usable_password": "true",
            "password1": "correct horse battery", "password2": "correct horse battery",
            "change_reason": "Joined today.",
        },
    )  # fmt: skip
    assert answer.status_code == 302
    nina = User.objects.get(username="nina")
    assert nina.check_password("correct horse battery")
    assert User.history.get(id=nina.pk).history_change_reason == "Joined today."


@pytest.mark.parametrize(
    "values",
    [{"username": "ALICE"}, {"email": "Alice@Example.com"}, {"timezone": "Mars/Base"},
     {"username": "a b"}, {"password1": "short", "password2": "short"}],
)  # fmt: skip
def test_a_person_of_nonsense_is_refused(
    operator: Client, world: World, values: dict[str, str]
) -> None:
    good = {
        "username": "nina", "name": "Nina", "email": "nina@example.com", "usable_password": "true",
        "password1": "correct horse battery", "password2": "correct horse battery",
    }  # fmt: skip
    people = User.objects.count()
    assert operator.post(address("user", "add"), good | values).status_code == 200
    assert User.objects.count() == people


def test_an_operator_sets_a_password(operator: Client, world: World) -> None:
    url = reverse("admin:auth_user_password_change", args=[world.alice.pk])
    assert operator.get(url).status_code == 200
    new = {"password1": "a long enough one", "password2": "a long enough one",
           "usable_password": "true", "set-password": "1"}  # fmt: skip
    assert operator.post(url, new).status_code == 302
    world.alice.refresh_from_db()
    assert world.alice.check_password("a long enough one")
    newest = User.history.filter(id=world.alice.pk).latest("history_id")
    assert newest.history_change_reason == "An operator set the password."
    assert not hasattr(newest, "password")


def test_deactivating_a_person_tells_the_directory(operator: Client, world: World) -> None:
    url = address("user", "change", world.bob.pk)
    sent = fields(operator, url)
    del sent["is_active"]
    assert operator.post(url, sent).status_code == 302
    world.bob.refresh_from_db()
    assert not world.bob.is_active
    item = OutboxItem.objects.filter(topic="directory.changed").latest("id")
    assert f"p:{world.bob.pk}" in item.payload["keys"]


def test_memberships_are_given_and_taken_with_history(operator: Client, world: World) -> None:
    data = Group.objects.get(name="data")
    answer = change(
        operator, "user", world.mallory.pk,
        **{"memberships-TOTAL_FORMS": "1", "memberships-0-group": data.pk,
           "memberships-0-person": world.mallory.pk, "change_reason": "Helps out."},
    )  # fmt: skip
    assert answer.status_code == 302
    row = Membership.objects.get(person=world.mallory)
    assert (row.group, row.granted_by) == (data, None)
    assert Membership.history.get(id=row.pk).history_change_reason == "Helps out."
    answer = change(operator, "user", world.mallory.pk, **{"memberships-0-DELETE": "on"})
    assert answer.status_code == 302
    assert not Membership.objects.filter(person=world.mallory).exists()
    gone = Membership.history.filter(id=row.pk).latest("history_id")
    assert (gone.history_type, gone.history_user) == ("-", world.admin)


def test_a_membership_by_a_grant_can_not_be_taken_here(operator: Client, world: World) -> None:
    row = Membership.objects.create(
        person=world.mallory, group=Group.objects.get(name="data"), granted_by=uuid.uuid4()
    )
    page = operator.get(address("user", "change", world.mallory.pk)).content.decode()
    assert str(row.granted_by) in page
    change(
        operator, "user", world.mallory.pk,
        **{"memberships-2-TOTAL_FORMS": "1", "memberships-2-INITIAL_FORMS": "1",
           "memberships-2-0-id": row.pk, "memberships-2-0-DELETE": "on",
           "memberships-2-0-person": world.mallory.pk},
    )  # fmt: skip
    assert Membership.objects.filter(pk=row.pk).exists()


REFUSED = "Nothing was changed: no operator would be left. Make somebody else one first."


def refused(answer: Any) -> Any:
    """Return the form that was shown again because no operator would be left."""
    assert answer.status_code == 200
    form = answer.context["adminform"].form
    assert form.non_field_errors() == [REFUSED]
    page = answer.content.decode()
    assert page.count(REFUSED) == 1
    assert "was changed successfully" not in page
    return form


def test_the_last_operator_stays_and_what_was_typed_too(operator: Client, world: World) -> None:
    url = address("user", "change", world.admin.pk)
    sent = fields(operator, url) | {"title": "Head of IT", "change_reason": "On leave."}
    answer = operator.post(url, sent | {"memberships-0-DELETE": "on"})
    form = refused(answer)
    assert (form["title"].value(), form["change_reason"].value()) == ("Head of IT", "On leave.")
    page = answer.content.decode()
    assert 'value="Head of IT"' in page
    assert 'name="memberships-0-DELETE" id="id_memberships-0-DELETE" checked' in page
    del sent["is_active"]
    assert refused(operator.post(url, sent))["is_active"].value() is False
    group = Group.objects.get(name="operators")
    form = refused(change(operator, "group", group.pk, role="compliance", title="Helpers"))
    assert (form["role"].value(), form["title"].value()) == ("compliance", "Helpers")
    admin, group = User.objects.get(pk=world.admin.pk), Group.objects.get(pk=group.pk)
    assert (admin.is_operator, admin.title, group.title) == (True, "", "Operators")
    assert User.history.filter(id=admin.pk).count() == 1
    assert Group.history.filter(id=group.pk).count() == 1
    assert change(operator, "user", admin.pk, title="Head of IT").status_code == 302
    assert User.objects.get(pk=admin.pk).title == "Head of IT"


def test_nobody_is_added_while_no_operator_would_be_left(operator: Client, world: World) -> None:
    Membership.objects.filter(person=world.admin).update(granted_by=uuid.uuid4())
    answer = operator.post(
        address("user", "add"),
        {
            "username": "zoe", "name": "Zoe", "email": "zoe@example.com", "usable_password": "true",
            "password1": "correct horse battery", "password2": "correct horse battery",
        },
    )  # fmt: skip
    assert refused(answer)["username"].value() == "zoe"
    assert not User.objects.filter(username="zoe").exists()


def test_createsuperuser_makes_an_operator(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long enough one")
    call_command(
        "createsuperuser", "--no-input", username="root", email="root@example.com", verbosity=0
    )
    root = User.objects.get(username="root")
    assert root.is_operator
    assert root.check_password("a long enough one")


# -- the outbox


def test_stuck_work_is_tried_again_now(operator: Client, world: World) -> None:
    now = clock.now()
    stuck = OutboxItem.objects.create(
        topic="grant.withdraw", lane="provisioning", attempts=7, first_failed_at=now,
        last_error="refused", not_before=now + timedelta(hours=1),
    )  # fmt: skip
    busy = OutboxItem.objects.create(
        topic="grant.withdraw", lane="provisioning", not_before=now + timedelta(hours=1),
        leased_until=now + timedelta(minutes=1),
    )  # fmt: skip
    page = operator.get(address("outboxitem", "changelist") + "?stuck=1").content.decode()
    assert "refused" in page
    answer = operator.post(
        address("outboxitem", "changelist"),
        {"action": "try_again", "_selected_action": [stuck.pk, busy.pk]},
        follow=True,
    )
    assert "1 will be tried now. 1 are being done already." in answer.content.decode()
    stuck.refresh_from_db()
    busy.refresh_from_db()
    assert stuck.not_before <= clock.now() < busy.not_before
    assert (
        operator.post(address("outboxitem", "delete", stuck.pk), {"post": "yes"}).status_code == 403
    )
