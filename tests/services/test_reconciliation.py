"""What targets hold against what was granted: shown both ways, repaired, never granted anew."""

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from approvals import handlers, tasks
from approvals.connectors import registry
from approvals.connectors.protocol import GrantSpec, Held, PermanentError, Settings
from approvals.domain.drift import Kind
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import (
    AccessRequest,
    Finding,
    GrantEvent,
    Observation,
    OutboxItem,
    Resource,
)
from approvals.selectors import clock, timeline
from approvals.selectors import drift as reads
from approvals.services import comparing, findings, grants, reconciliation, requests
from audit.services import verifying
from jitportal import schedule
from tests.audit.sealer import new_signer, seal
from tests.connectors.noop import Noop
from tests.services.mails import Deliver
from tests.world import World, build, notices


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened a moment ago counts as settled, so that no test has to wait."""
    monkeypatch.setattr(comparing, "MARGIN", timedelta(0))


def look(world: World, times: int = 1) -> None:
    for _ in range(times):
        assert reconciliation.observe(resource_id=world.resource.pk)


def work() -> None:
    handlers.work("provisioning")


def found(**narrow: Any) -> list[tuple[str, str, str]]:
    """Return (kind, login, entitlement) of the confirmed findings that stand."""
    rows = Finding.objects.filter(confirmed_at__isnull=False, resolved_at__isnull=True, **narrow)
    return sorted(rows.values_list("kind", "login", "entitlement__name"))


def events(request: AccessRequest) -> list[str]:
    rows = GrantEvent.objects.filter(request_id=request.request_id).order_by("id")
    return list(rows.values_list("kind", flat=True))


def spec(login: str, entitlement: str) -> GrantSpec:
    """Return what somebody does at the target without the portal."""
    return GrantSpec(
        request_id="by-hand", subject_login=login, subject_email=f"{login}@example.com",
        resource="orders-db", entitlement=entitlement, resource_settings={},
        entitlement_settings={},
    )  # fmt: skip


# -- nothing to find


def test_what_is_as_granted_is_no_finding(world: World) -> None:
    over = world.ask(what=world.read)
    work()
    grants.end(actor=world.alice, request_id=over.request_id, now=clock.now())
    world.active()
    assert world.newest(over).state == "revoked"
    look(world, 3)
    assert not Finding.objects.exists()
    seen = Observation.objects.get()
    assert (seen.held, seen.error, seen.left_out) == (1, "", "")
    assert seen.succeeded_at == seen.finished_at


def test_what_is_on_its_way_is_never_a_finding(world: World, noop: Noop) -> None:
    """Access that is being made is there already, access that is being removed isn't any more."""
    noop.control(lose_answer=True)
    made = world.approved()
    work()
    assert (world.newest(made).state, noop.held()) == ("approved", {("alice", "read-write")})
    look(world, 3)
    noop.control()
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    assert world.newest(made).state == "active"
    noop.control(lose_answer=True)
    grants.end(actor=world.alice, request_id=made.request_id, now=clock.now())
    work()
    assert (world.newest(made).state, noop.held()) == ("revoking", set())
    look(world, 3)
    assert not Finding.objects.exists()


def test_what_changed_while_or_shortly_before_the_target_was_asked_is_no_finding(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MARGIN", timedelta(minutes=1))
    active = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world, 3)
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    work()
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    assert not Finding.objects.exists()


def test_an_approval_that_waits_for_its_start_is_no_access(world: World, noop: Noop) -> None:
    """Who holds it before has it from somewhere else."""
    later = clock.now() + timedelta(hours=3)
    world.approved(starts_at=later)
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    assert found() == [("standing", "alice", "read-write")]


# -- left over


def test_what_ended_and_is_there_again_is_removed_again(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    assert found() == [], "one look is not enough"
    assert not OutboxItem.objects.filter(lane="provisioning").exists()
    assert not notices("leftover")
    look(world)
    assert found() == [("leftover", "alice", "read-write")]
    work()
    assert noop.held() == set()
    look(world)
    row = Finding.objects.get()
    assert (row.resolution, row.repairs, row.person) == ("repaired", 1, world.alice)
    assert row.request_id == request.request_id
    assert events(request) == ["granted", "removed", "found", "gone"]
    assert world.newest(request).state == "expired"


def test_its_history_says_so(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    work()
    look(world)
    lines = timeline.load(world.newest(request)).lines
    text = [f"{line.lead} · {line.note}" for line in lines if line.lead]
    assert "Found at the target after its end · it is removed again" in text
    assert "Removed again · the target no longer holds it" in text


def test_owner_and_operators_are_told_once(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    Resource.objects.update(drift_policy="report")
    look(world, 4)
    assert notices("leftover") == [("leftover", pk) for pk in sorted([world.carol.pk,
                                                                      world.admin.pk])]  # fmt: skip


def test_it_is_tried_a_few_times_and_then_left_to_people(world: World, noop: Noop) -> None:
    """Something at the target makes it again at once, every time."""
    request = world.ended()
    for _ in range(10):
        noop.grant(spec("alice", "read-write"))
        look(world)
        work()
    assert Finding.objects.count() == 1
    assert Finding.objects.get().repairs == reconciliation.REPAIRS_MOST
    assert events(request).count("found") == 1


def test_it_is_removed_although_the_target_refuses_at_first(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    noop.control(fail="permanent")
    work()
    assert OutboxItem.objects.get(topic="grant.cleanup").first_failed_at is not None
    assert events(request)[-1] == "remove_failed"
    noop.control()
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    assert noop.held() == set()


def test_a_target_of_which_is_only_reported_is_left_alone(world: World, noop: Noop) -> None:
    request = world.ended()
    Resource.objects.update(drift_policy="report")
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    work()
    assert noop.held() == {("alice", "read-write")}
    assert found() == [("leftover", "alice", "read-write")]
    assert events(request) == ["granted", "removed", "found"]
    noop.revoke(spec("alice", "read-write"))
    look(world)
    assert Finding.objects.get().resolution == "by_itself"
    lines = timeline.load(world.newest(request)).lines
    text = [f"{line.lead} · {line.note}" for line in lines if line.lead]
    assert "Found at the target after its end · reported, nothing was changed" in text
    assert "Gone again · without the portal" in text


def test_it_is_removed_once_the_resource_is_set_to_that(world: World, noop: Noop) -> None:
    world.ended()
    Resource.objects.update(drift_policy="report")
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    Resource.objects.update(drift_policy="repair")
    look(world)
    work()
    assert noop.held() == set()


def test_what_somebody_was_granted_anew_is_not_removed(world: World, noop: Noop) -> None:
    """Between the look that confirmed it and its removal the person got it again."""
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    again = world.approved()
    work()
    assert world.newest(again).state == "active"
    assert noop.held() == {("alice", "read-write")}
    look(world, 2)
    assert Finding.objects.get().resolution in ("granted", "repaired")
    assert noop.held() == {("alice", "read-write")}
    assert found() == []


def test_what_is_granted_between_the_look_and_its_repair_is_not_touched(
    world: World, noop: Noop
) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    finding = Finding.objects.get()
    again = world.active()
    assert reads.may_be_removed(world.newest(finding.request_id)) is False  # type: ignore[arg-type]
    look(world, 2)
    work()
    assert noop.held() == {("alice", "read-write")}
    assert world.newest(again).state == "active"
    assert Finding.objects.get().resolution == "unconfirmed"


def test_where_each_grant_has_its_own_credentials_all_that_are_over_are_removed(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target says whose credentials exist, not of which request."""
    monkeypatch.setattr(noop, "per_request", True, raising=False)
    over = [world.ended() for _ in range(3)]
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    cleanups = OutboxItem.objects.filter(topic="grant.cleanup")
    assert {item.payload["request_id"] for item in cleanups} == {str(r.request_id) for r in over}
    assert Finding.objects.get().request_id == over[-1].request_id
    work()
    look(world)
    assert Finding.objects.get().resolution == "repaired"
    assert events(over[-1]) == ["granted", "removed", "found", "gone"]
    assert events(over[0]) == ["granted", "removed"]


def test_another_request_for_the_same_thing_elsewhere_holds_it(world: World, noop: Noop) -> None:
    """Two resources that lead to the same access: what one gives is no leftover of the other."""
    from approvals.models import Entitlement

    same = {"name": "shared"}
    here = Entitlement.objects.create(
        resource=world.resource, name="here", risk="low", policy=world.read.policy, settings=same
    )
    other = Resource.objects.create(name="orders-again", connector="noop", owner=world.bob)
    there = Entitlement.objects.create(
        resource=other, name="there", risk="low", policy=world.read.policy, settings=same
    )
    world.ask(what=here, minutes=2)
    world.ask(what=there, minutes=60)
    work()
    grants.end_due(now=clock.now() + timedelta(minutes=3))
    work()
    assert noop.held() == {("alice", "shared")}
    look(world, 2)
    assert reconciliation.observe(resource_id=other.pk)
    assert not Finding.objects.exists()


@pytest.mark.parametrize("policy", ["repair", "report"])
def test_the_alarm_says_what_and_what_to_do(
    world: World, noop: Noop, deliver: Deliver, policy: str
) -> None:
    Resource.objects.update(drift_policy=policy)
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    work()
    carol, admin = deliver("leftover")
    assert (carol.to, admin.to) == ("carol@example.com", "admin@example.com")
    done = "is being removed again" if policy == "repair" else "set to report only"
    admin.says("Alice holds orders-db · read-write, which has ended", done, "Find out which")
    carol.says("because you own orders-db")
    again = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world, 2)
    mail, _ = deliver("missing")
    done = "is being made once more" if policy == "repair" else "set to report only"
    mail.says("orders-db lacks Alice's orders-db · read-write, which is active", done)
    Finding.objects.all().delete()
    look(world, 2)
    grants.end(actor=world.alice, request_id=again.request_id, now=clock.now())
    assert deliver("missing") == [], "by the time it would be sent, it is over"


# -- missing


def test_what_is_active_and_not_there_is_made_once_more(world: World, noop: Noop) -> None:
    request = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world)
    assert found() == []
    look(world)
    assert found() == [("missing", "alice", "read-write")]
    assert {pk for _, pk in notices("missing")} == {world.carol.pk, world.admin.pk}
    work()
    assert noop.held() == {("alice", "read-write")}
    look(world)
    assert Finding.objects.get().resolution == "repaired"
    assert events(request) == ["granted", "lost", "granted"]
    assert world.newest(request).ends_at == request.ends_at, "its end is what it was"


def test_access_that_ended_after_the_first_look_is_never_made_again(
    world: World, noop: Noop
) -> None:
    request = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world)
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    look(world, 3)
    work()
    assert noop.held() == set()
    assert Finding.objects.get().resolution == "unconfirmed"
    assert [call["name"] for call in noop.calls("grant")] == ["grant"] * 2, "only the first time"


def test_access_that_ends_before_its_repair_is_done_is_never_made_again(
    world: World, noop: Noop
) -> None:
    """The repair waits in the outbox when the time is up."""
    request = world.active(minutes=1)
    assert request.ends_at is not None
    noop.revoke(spec("alice", "read-write"))
    look(world, 2)
    assert OutboxItem.objects.filter(topic="grant.ready").exists()
    assert grants.end_due(now=request.ends_at) == 1
    handlers.work("provisioning", now=request.ends_at)
    assert world.newest(request).state == "expired"
    assert noop.held() == set()
    assert len(noop.calls("grant")) == 2, "the target was not asked for it again"


class Ending(Noop):
    """A target during whose observation something else happens."""

    key = "noop"
    meanwhile: Any = None

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
    ) -> list[Held]:
        held = super().observe(
            resource_settings=resource_settings, secret=secret, entitlements=entitlements
        )
        if self.meanwhile is not None:
            self.meanwhile()
        return held


@pytest.fixture
def ending(tmp_path: Path, db: None) -> Iterator[tuple[World, Ending]]:
    connector = Ending(tmp_path)
    with registry.registered(connector):
        yield build(now=clock.now()), connector


@pytest.mark.parametrize("look_number", [1, 2])
@pytest.mark.parametrize("is_removed", [True, False])
def test_access_that_ends_while_the_target_is_asked_is_never_made_again(
    ending: tuple[World, Ending], look_number: int, is_removed: bool
) -> None:
    """The race: the target says that it lacks the access, and then its time is up."""
    world, target = ending
    request = world.active()
    target.revoke(spec("alice", "read-write"))
    look(world, look_number - 1)

    def end() -> None:
        grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        if is_removed:
            work()
        target.meanwhile = None

    target.meanwhile = end
    look(world)
    assert found() == []
    look(world, 2)
    work()
    look(world, 2)
    work()
    assert target.held() == set()
    assert world.newest(request).state == "revoked"
    assert len(target.calls("grant")) == 2


def test_a_repair_holds_the_request_and_looks_again(world: World) -> None:
    """What every repair asks, while the request and its lease are held."""
    now = clock.now()
    active = world.active()
    assert reads.may_be_made_again(active, now=now)
    assert active.ends_at is not None
    assert not reads.may_be_made_again(active, now=active.ends_at)
    assert not reads.may_be_removed(active)
    ended = grants.end(actor=world.alice, request_id=active.request_id, now=now)
    assert not reads.may_be_made_again(ended, now=now)
    assert not reads.may_be_removed(ended), "its own removal is under way"
    work()
    over = world.newest(active)
    assert not reads.may_be_made_again(over, now=now)
    assert reads.may_be_removed(over)
    for state in ("pending", "approved", "revoking", "expired", "revoked", "cancelled"):
        over.__dict__["state"] = state
        assert not reads.may_be_made_again(over, now=now), state


def test_what_was_cancelled_is_not_made_by_a_finding(world: World, noop: Noop) -> None:
    request = world.approved()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    look(world, 3)
    work()
    assert not Finding.objects.exists()
    assert noop.held() == set()


# -- standing


def test_what_the_portal_never_granted_is_listed_and_left(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    noop.grant(spec("deploy-bot", "owner"))
    look(world, 3)
    work()
    assert found() == [("standing", "dan", "read"), ("unmatched", "deploy-bot", "owner")]
    assert noop.held() == {("dan", "read"), ("deploy-bot", "owner")}
    assert Finding.objects.get(login="dan").person == world.dan
    assert Finding.objects.get(login="deploy-bot").person is None
    assert not notices("standing")
    noop.revoke(spec("dan", "read"))
    look(world)
    assert Finding.objects.get(login="dan").resolution == "by_itself"


def test_a_request_that_never_became_access_makes_nothing_a_leftover(
    world: World, noop: Noop
) -> None:
    """Else a refused request would take away what somebody has from elsewhere."""
    noop.grant(spec("alice", "read-write"))
    request = world.ask()
    world.decide(world.bob, request, "deny")
    again = world.approved()
    noop.control(fail="permanent")
    work()
    assert world.newest(again).state == "failed"
    noop.control()
    look(world, 3)
    work()
    assert found() == [("standing", "alice", "read-write")]
    assert noop.held() == {("alice", "read-write")}


def test_why_it_may_stay_is_kept(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    look(world, 2)
    [row] = Finding.objects.all()
    now = clock.now()
    with pytest.raises(NotAllowed):
        findings.keep(actor=world.bob, finding_id=row.pk, reason="x", now=now)
    with pytest.raises(NotFound):
        findings.keep(actor=world.dora, finding_id=row.pk + 1, reason="x", now=now)
    for wrong in ("  ", "x\0", "x" * 2001):
        with pytest.raises(Invalid):
            findings.keep(actor=world.dora, finding_id=row.pk, reason=wrong, now=now)
    findings.keep(actor=world.dora, finding_id=row.pk, reason=" He owns it. ", now=now)
    look(world, 2)
    row.refresh_from_db()
    assert (row.kept_by, row.kept_at, row.kept_because) == (world.dora, now, "He owns it.")
    noop.revoke(spec("dan", "read"))
    look(world)
    with pytest.raises(Settled):
        findings.keep(actor=world.dora, finding_id=row.pk, reason="x", now=now)


def test_leftovers_are_not_for_keeping(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    with pytest.raises(Invalid):
        findings.keep(
            actor=world.dora, finding_id=Finding.objects.get().pk, reason="x", now=clock.now()
        )


# -- targets that don't answer


def test_a_target_that_does_not_answer_changes_no_finding(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    noop.control(fail="transient")
    look(world, 3)
    assert Finding.objects.get().confirmed_at is None
    seen = Observation.objects.get()
    assert "The test refuses for now" in seen.error
    assert not seen.permanent
    assert seen.held == 1, "what it held when it last answered"
    noop.control()
    look(world)
    assert found() == [("leftover", "alice", "read-write")]


def test_a_target_that_can_not_tell_says_why(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> list[Held]:
        raise PermanentError("This target keeps no list.")

    monkeypatch.setattr(noop, "observe", refuse)
    look(world)
    seen = Observation.objects.get()
    assert (seen.error, seen.permanent) == ("This target keeps no list.", True)
    [shown] = reads.looks()
    assert shown.state == "blind"


def test_a_broken_connector_is_an_error_and_no_crash(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(**_: Any) -> list[Held]:
        raise RuntimeError("secret")

    monkeypatch.setattr(noop, "observe", break_down)
    look(world)
    assert Observation.objects.get().error == "The connector broke: RuntimeError."


def test_an_entitlement_whose_settings_are_wrong_is_left_out(world: World, noop: Noop) -> None:
    world.active()
    request = world.ask(what=world.read)
    work()
    world.read.settings = {"nonsense": 1}
    world.read.save()
    noop.revoke(spec("alice", "read"))
    look(world, 2)
    assert found() == [], "it was not looked at, so nothing is known of it"
    assert "read: Unknown setting" in Observation.objects.get().left_out
    assert world.newest(request).state == "active"


# -- when


def test_each_target_is_looked_at_when_it_is_due(world: World, noop: Noop, settings: Any) -> None:
    settings.RECONCILE_EVERY = timedelta(minutes=15)
    assert reads.due(now=clock.now()) == [world.resource.pk]
    look(world)
    assert reads.due(now=clock.now()) == []
    assert reads.due(now=clock.now() + timedelta(minutes=14)) == []
    assert reads.due(now=clock.now() + timedelta(minutes=15)) == [world.resource.pk]
    noop.grant(spec("dan", "read"))
    look(world)
    assert reads.due(now=clock.now() + timedelta(minutes=1)) == [world.resource.pk], "to confirm it"
    look(world)
    assert reads.due(now=clock.now() + timedelta(minutes=2)) == []


def test_a_retired_resource_is_looked_at_while_it_has_findings(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    look(world, 2)
    Resource.objects.update(is_retired=True)
    later = clock.now() + timedelta(hours=1)
    assert reads.due(now=later) == [world.resource.pk]
    noop.revoke(spec("dan", "read"))
    look(world)
    assert reads.due(now=later) == []
    assert not reconciliation.observe(resource_id=world.resource.pk)


def test_only_operators_have_it_looked_at_now(world: World) -> None:
    look(world)
    now = clock.now()
    for other in (world.alice, world.dora, world.carol):
        with pytest.raises(NotAllowed):
            findings.look_now(actor=other, resource_id=world.resource.pk, now=now)
    with pytest.raises(NotFound):
        findings.look_now(actor=world.admin, resource_id=0, now=now)
    findings.look_now(actor=world.admin, resource_id=world.resource.pk, now=now)
    assert reads.due(now=clock.now()) == [world.resource.pk]


def test_a_kind_of_finding_is_named_alike_everywhere() -> None:
    assert {str(kind) for kind in Kind} == set(Finding.Kind.values)


# -- in several processes


class Sleepy(Noop):
    """A target that answers nobody while it sleeps."""

    key = "sleepy"
    awake = threading.Event()

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
    ) -> list[Held]:
        assert self.awake.wait(30)
        return []


@pytest.mark.django_db(transaction=True)
def test_a_target_that_does_not_answer_keeps_no_other_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LOOK_SECONDS", 2.0)
    monkeypatch.setattr(reconciliation, "SIDE_BY_SIDE", 2)
    sleepy = Sleepy(tmp_path)
    with registry.registered(sleepy):
        dead = Resource.objects.create(name="a-dead-one", connector="sleepy", owner=world.bob)
        others = [
            Resource.objects.create(name=f"other-{number}", connector="noop", owner=world.bob)
            for number in range(3)
        ]
        try:
            assert reconciliation.look_around() == 5
            looked = set(
                Observation.objects.filter(finished_at__isnull=False).values_list(
                    "resource_id", flat=True
                )
            )
            assert looked == {world.resource.pk, *(other.pk for other in others)}
            assert reads.due(now=clock.now()) == [], "whoever sleeps is not asked again at once"
            assert not reconciliation.observe(resource_id=dead.pk), "another one is at it"
            [shown] = [look for look in reads.looks() if look.resource == dead]
            assert shown.state == "looking"
        finally:
            sleepy.awake.set()
        for _ in range(200):
            if Observation.objects.get(resource=dead).finished_at:
                break
            time.sleep(0.05)
        assert reconciliation.observe(resource_id=dead.pk)


def test_beat_sends_it_and_a_task_does_it() -> None:
    entry = schedule.entries()["targets-observe"]
    assert entry["task"] == tasks.observe_targets.name
    assert entry["options"]["queue"] == "notices"
    assert tasks.WAKE["targets"] == (tasks.observe_targets, "notices")


@pytest.mark.django_db(transaction=True)
def test_versions_of_resources_from_before_the_column_verify(world: World) -> None:
    """Their entries in the log say nothing of it, so their rows must not either."""
    history = Resource.history.model
    values = Resource.history.filter(id=world.resource.pk).values().latest()
    del values["history_id"]
    history.objects.create(**values | {"drift_policy": None, "history_type": "~"})
    world.resource.drift_policy = "report"
    world.resource.save()
    seal(new_signer())
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]
