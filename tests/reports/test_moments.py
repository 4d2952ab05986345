"""Reports of one moment that look back: rights that lie idle, and the log, as they were then."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals import handlers
from approvals.models import Membership, Policy, User
from approvals.reports import registry, saved
from approvals.selectors import clock
from approvals.services import grants
from audit.models import Checkpoint
from tests import one_clock
from tests.audit.sealer import new_signer, seal
from tests.connectors.noop import Noop
from tests.reports.scheduling import keep
from tests.reports.test_counts import another, figures, filters, history, rows, sql
from tests.services.drifting import look, spec
from tests.world import World

__all__ = ["history"]

DAY = timedelta(days=1)
Rights = dict[tuple[str, str], dict[str, Any]]


def dormant(**more: Any) -> Rights:
    found = rows("dormant-rights", filters(**more))
    return {(row["login"], row["entitlement"]): row for row in found}


def rights() -> set[tuple[Any, ...]]:
    """Who may ask for what by a group, counted without the histories."""
    return set(
        sql(
            "SELECT u.username, e.name FROM approvals_entitlement e"
            " JOIN approvals_policy p ON p.id = e.policy_id,"
            " jsonb_array_elements(p.document -> 'rules') r,"
            " jsonb_array_elements_text(r -> 'groups') named"
            " JOIN approvals_group g ON g.name = named"
            " JOIN approvals_membership m ON m.group_id = g.id"
            " JOIN approvals_user u ON u.id = m.person_id AND u.is_active"
        )
    )


def test_rights_that_nobody_used_lie_idle(history: World) -> None:
    found = dormant()
    asked = sql(
        "SELECT DISTINCT u.username, r.entitlement_name FROM approvals_accessrequest r"
        " JOIN approvals_user u ON u.id = r.subject_id"
    )
    assert found.keys() == rights() - set(asked)
    assert found
    for row in found.values():
        assert (row["times_asked"], row["times_granted"], row["last_had_at"]) == (0, 0, None)
        assert (row["last_used"], row["action"]) == ("", "none yet")


def test_access_that_somebody_still_has_is_in_use(history: World) -> None:
    """Long after they asked: what counts is that they held it."""
    in_use = history.newest(history.active(by=another(history, "ines"), minutes=480))
    tomorrow = clock.now().date() + DAY
    later = dormant(first=tomorrow, last=tomorrow)
    assert later.keys() == rights() - {("frank", "read-write"), ("ines", "read-write")}
    had = later["alice", "read-write"]
    ((gone_at,),) = sql(
        "SELECT max(removal_confirmed_at) FROM approvals_accessrequest r"
        " JOIN approvals_user u ON u.id = r.subject_id WHERE u.username = 'alice'"
    )
    assert (had["last_had_at"], had["times_granted"], had["times_asked"]) == (gone_at, 1, 1)
    assert later["gina", "read-write"]["times_granted"] == 0
    assert later["gina", "read-write"]["times_asked"] == 1
    assert in_use.ends_at is not None
    grants.end_due(now=in_use.ends_at)
    handlers.work("provisioning", now=in_use.ends_at)
    over = history.newest(in_use).removal_confirmed_at
    assert over is not None
    assert ("ines", "read-write") in dormant(first=over.date() + DAY, last=over.date() + DAY)


def test_a_past_moment_has_the_rights_of_then(history: World) -> None:
    before = clock.now()
    then = dormant(at=before)
    dan = history.dan
    Membership.objects.filter(person=dan).first().delete()  # type: ignore[union-attr]
    late = another(history, "late")
    late.is_active = False
    late.save()
    policy = Policy.objects.get(name="orders-owner")
    policy.document["rules"][0]["groups"] = ["compliance"]
    policy.save()
    one_clock.settle()  # histories go by the database's own clock
    now = dormant(at=clock.now())
    assert not {login for login, _ in now} & {"dan", "late"}
    assert {login for login, role in now if role == "owner"} == {"dora"}
    again = dormant(at=before)
    assert again.keys() == then.keys()
    left = again["dan", "read"]
    assert (left["action"], then["dan", "read"]["action"]) == ("group taken away", "none yet")
    assert left["action_at"] > before
    assert dormant(at=before - 365 * DAY, first=(before - 400 * DAY).date()) == {}


def test_its_page_asks_for_both_days_and_its_file_explains_what_is_empty(
    client: Client, world: World
) -> None:
    client.force_login(world.dora)
    url = reverse("report", args=["dormant-rights"])
    page = client.get(url).content.decode()
    assert 'name="at"' in page
    assert '<label for="from">Since</label>' in page
    today = clock.now().date()
    assert client.get(url, {"from": str(today + DAY)}).status_code == 400
    wrong = client.get(url, {"from": str(today), "at": f"{today - 9 * DAY}T00:00"})
    assert "That is after the moment." in wrong.content.decode()
    csv = client.get(reverse("report_csv", args=["dormant-rights"]), {"cover": "1"})
    text = b"".join(csv).decode()
    assert '"Since"' in text
    assert '"last_used","empty: targets don\'t tell when access was used"' in text
    made = keep(world.dora, report="dormant-rights", period="last_30")
    assert made.query["period"] == "last_30"
    at = clock.now()
    chosen = saved.filters_at(report=registry.report(made.report), query=made.query, at=at)
    assert (chosen.first, chosen.moment) == (at.astimezone(chosen.zone).date() - 30 * DAY, at)


@pytest.mark.django_db(transaction=True)
def test_the_log_is_told_as_it_was(world: World) -> None:
    world.ask()
    signer = new_signer()
    first = Checkpoint.objects.get(log=seal(signer))
    world.ask(by=another(world, "frank"))
    seal(signer)
    assert Checkpoint.objects.count() == 2
    (then,) = rows("ledger-integrity", filters(at=first.signed_at))
    assert (then["entries"], then["retention"]) == (first.size, "without end")
    assert rows("ledger-integrity", filters(at=first.signed_at - timedelta(microseconds=1))) == []
    told = figures("ledger-integrity", filters(at=first.signed_at))
    assert (told["Entries"], told["Waiting to be sealed"]) == (f"{first.size:,}", "–")


def test_moves_are_other_managers_and_titles_and_nobody_left_who_never_was(world: World) -> None:
    never: Any = User.objects.create_user("never", "n@x.org", None, is_active=False)
    never.title = "Nobody"  # a first title is no move
    never.save()
    mover: Any = world.mallory
    mover.title = "Analyst"
    mover.save()
    mover.title, mover.manager = "Engineer", world.erin
    mover._history_user = world.admin
    mover._change_reason = "Reorganised."
    mover.save()
    world.alice.manager = None
    world.alice.save()
    found = {(row["login"], row["event"]): row for row in rows("leavers-movers")}
    assert found.keys() == {
        ("mallory", "other manager"), ("mallory", "other title"), ("alice", "other manager"),
    }  # fmt: skip
    manager, title = found["mallory", "other manager"], found["mallory", "other title"]
    assert (manager["before"], manager["after"], manager["by"]) == ("Bob", "Erin", "Admin")
    assert (title["before"], title["after"], title["reason"]) == (
        "Analyst", "Engineer", "Reorganised.",
    )  # fmt: skip
    assert (found["alice", "other manager"]["after"]) == ""


def test_ssh_keys_are_configuration(world: World) -> None:
    key = world.alice.public_keys.create(text="ssh-ed25519 AAAA alice", fingerprint="SHA256:abc")
    key.delete()
    found = [row for row in rows("configuration-changes") if row["kind"] == "SSH key"]
    assert [row["operation"] for row in found] == ["removed", "added"]
    assert {row["object"] for row in found} == {"SHA256:abc of Alice"}
    assert {row["approver"] for row in rows("configuration-changes")} == {"none required"}
    assert len(rows("configuration-changes", filters(person_id=world.alice.pk))) == 4


def test_what_targets_held_without_a_grant_stands(world: World, noop: Noop, at_once: None) -> None:
    noop.grant(spec("dan", "read"))
    noop.grant(spec("deploy-bot", "owner"))
    look(world, 2)
    found = {
        row["person"]: row
        for row in rows("privileged-access", filters(at=clock.now()))
        if row["kind"].startswith("found")
    }
    assert {name: row["term"] for name, row in found.items()} == {
        "Dan": "standing", "deploy-bot": "standing",
    }  # fmt: skip
    assert (found["Dan"]["login"], found["Dan"]["entitlement"], found["Dan"]["owner"]) == (
        "dan", "read", "Carol",
    )  # fmt: skip
    assert (found["deploy-bot"]["login"], found["deploy-bot"]["person_active"]) == ("", "unknown")
    noop.revoke(spec("dan", "read"))
    look(world, 2)
    assert not [
        row
        for row in rows("privileged-access", filters(at=clock.now()))
        if row["kind"].startswith("found") and row["login"] == "dan"
    ]
