"""What every connector must do. A connector's test class inherits this and gives a `bench`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, ClassVar

import pytest
import time_machine

from approvals.connectors.protocol import (
    Act,
    Connector,
    GrantSpec,
    Held,
    PermanentError,
    Receipt,
    Settings,
    TransientError,
)

from .moments import now

CALL_WITHIN_SECONDS = 8.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A connector, a target that is up, and what the contract needs to know about the two."""

    connector: Connector
    login: str
    unknown_login: str
    entitlement_settings: Settings
    unknown_entitlement_settings: Settings
    """Well-formed, and names something that the target doesn't have."""
    bad_settings: list[tuple[Settings, Settings]]
    unreachable: Callable[[], AbstractContextManager[str | None]]
    """Inside it the target doesn't answer a spec that has the given secret."""
    resource_settings: Settings = field(default_factory=dict)
    secret: str | None = None
    canaries: list[str] = field(default_factory=list)
    """Whatever would betray the secret."""

    def spec(self, **changes: Any) -> GrantSpec:
        """alice's grant; one that differs in anything is another act."""
        act = sha256(repr(sorted(changes.items())).encode()).hexdigest()[:8]
        spec = GrantSpec(
            now=now(),
            request_id="0199-contract",
            subject_login=self.login,
            subject_email="alice@example.test",
            resource="orders-db",
            entitlement="read-write",
            resource_settings=self.resource_settings,
            entitlement_settings=self.entitlement_settings,
            secret=self.secret,
            ends_at=datetime(2031, 1, 1, tzinfo=UTC),
            act=Act(key=act, asked_at=datetime(2030, 1, 1, tzinfo=UTC)),
        )
        return replace(spec, **changes)

    def observe(self, *, secret: str | None = None) -> list[Held]:
        """Who holds the one entitlement, under the key "it"."""
        return self.connector.observe(
            now=now(),
            resource_settings=self.resource_settings,
            secret=secret or self.secret,
            entitlements={"it": self.entitlement_settings},
        )

    def holds(self) -> bool:
        """Whether the target says that alice holds it."""
        return Held(self.login, "it") in self.observe()

    def keeps_secret(self, *said: object) -> None:
        """Fails if one of `said`, as text or repr, betrays the secret."""
        for thing in said:
            for text in (str(thing), repr(thing)):
                for canary in self.canaries:
                    assert canary not in text, f"{canary!r} shows in {type(thing).__name__}"


class ConnectorContract:
    """The suite. Not collected by itself: its name doesn't begin with Test."""

    key: ClassVar[str]
    """The connector that a subclass is about: every one that is registered has a subclass."""

    def test_it_is_about_the_connector_that_it_names(self, bench: Bench) -> None:
        assert bench.connector.key == self.key

    def test_a_grant_is_seen_at_the_target(self, bench: Bench) -> None:
        assert not bench.holds()
        receipt = bench.connector.grant(bench.spec())
        assert bench.holds()
        assert receipt.detail["granted"] is True

    def test_granting_twice_is_granting_once(self, bench: Bench) -> None:
        bench.connector.grant(bench.spec())
        bench.connector.grant(bench.spec())
        assert bench.observe().count(Held(bench.login, "it")) == 1
        bench.connector.revoke(bench.spec())
        assert not bench.holds()

    def test_a_revoked_grant_is_gone_from_the_target(self, bench: Bench) -> None:
        bench.connector.grant(bench.spec())
        receipt = bench.connector.revoke(bench.spec())
        assert not bench.holds()
        assert receipt.detail["granted"] is False

    def test_revoking_twice_succeeds(self, bench: Bench) -> None:
        bench.connector.grant(bench.spec())
        bench.connector.revoke(bench.spec())
        assert bench.connector.revoke(bench.spec()).detail["granted"] is False
        assert not bench.holds()

    def test_revoking_without_a_grant_succeeds(self, bench: Bench) -> None:
        assert bench.connector.revoke(bench.spec()).detail["granted"] is False

    def test_revoking_what_the_target_does_not_know_succeeds(self, bench: Bench) -> None:
        gone = bench.spec(subject_login=bench.unknown_login)
        assert bench.connector.revoke(gone).detail["granted"] is False
        gone = bench.spec(entitlement_settings=bench.unknown_entitlement_settings)
        assert bench.connector.revoke(gone).detail["granted"] is False

    def test_it_can_be_granted_again(self, bench: Bench) -> None:
        for number in range(2):
            spec = bench.spec(act=Act(key=str(number), asked_at=now()))
            bench.connector.grant(spec)
            assert bench.holds()
            bench.connector.revoke(spec)
            assert not bench.holds()

    def test_concurrent_deliveries_end_in_one_state(self, bench: Bench) -> None:
        spec = bench.spec()
        with ThreadPoolExecutor(6) as pool:
            for receipt in pool.map(bench.connector.grant, [spec] * 6):
                assert receipt.detail["granted"] is True
            assert bench.observe().count(Held(bench.login, "it")) == 1
            for receipt in pool.map(bench.connector.revoke, [spec] * 6):
                assert receipt.detail["granted"] is False
        assert not bench.holds()

    def test_a_login_that_the_target_does_not_know_is_permanent(self, bench: Bench) -> None:
        with pytest.raises(PermanentError) as caught:
            bench.connector.grant(bench.spec(subject_login=bench.unknown_login))
        bench.keeps_secret(caught.value)
        assert caught.value.untouched, "else its removal is tried for ever"

    @pytest.mark.parametrize("hours", [-1, 1])
    def test_the_host_s_clock_decides_nothing(self, bench: Bench, hours: int) -> None:
        """By the portal's clock 40 minutes are left, whatever this host says."""
        spec = bench.spec(now=now(), ends_at=now() + timedelta(minutes=40))
        with time_machine.travel(now() + timedelta(hours=hours)):
            assert bench.connector.grant(spec).detail["granted"] is True
            assert bench.holds()
            removed = bench.connector.revoke(spec)
        assert removed.detail.get("ended_by") != "expiry"
        assert not bench.holds()

    def test_bad_settings_are_named_and_refused(self, bench: Bench) -> None:
        for resource_settings, entitlement_settings in bench.bad_settings:
            errors = bench.connector.validate(
                resource_settings=resource_settings, entitlement_settings=entitlement_settings
            )
            assert errors, (resource_settings, entitlement_settings)
            assert all(error.strip() for error in errors)
            spec = bench.spec(
                resource_settings=resource_settings, entitlement_settings=entitlement_settings
            )
            with pytest.raises(PermanentError) as caught:
                bench.connector.grant(spec)
            assert caught.value.untouched, "else its removal is tried for ever"
            with pytest.raises(PermanentError):
                bench.connector.revoke(spec)

    def test_good_settings_have_no_errors(self, bench: Bench) -> None:
        for entitlement_settings in (bench.entitlement_settings, None):
            assert (
                bench.connector.validate(
                    resource_settings=bench.resource_settings,
                    entitlement_settings=entitlement_settings,
                )
                == []
            )

    def test_a_target_that_is_up_is_healthy(self, bench: Bench) -> None:
        health = bench.connector.check(
            now=now(), resource_settings=bench.resource_settings, secret=bench.secret
        )
        assert health.ok, health.message
        assert health.latency_ms is not None
        bench.keeps_secret(health)

    def test_an_unreachable_target_is_transient_and_unhealthy_within_the_bound(
        self, bench: Bench
    ) -> None:
        calls: list[Callable[[GrantSpec], Receipt]] = [
            bench.connector.grant,
            bench.connector.revoke,
        ]
        with bench.unreachable() as secret:
            for call in calls:
                started = time.monotonic()
                with pytest.raises(TransientError) as caught:
                    call(bench.spec(secret=secret))
                assert time.monotonic() - started < CALL_WITHIN_SECONDS
                bench.keeps_secret(caught.value)
                assert caught.value.message.endswith(".")
                assert not caught.value.answered
            with pytest.raises(TransientError):
                bench.observe(secret=secret)
            health = bench.connector.check(
                now=now(), resource_settings=bench.resource_settings, secret=secret
            )
            assert not health.ok
            bench.keeps_secret(health)

    def test_no_secret_in_what_is_returned(self, bench: Bench) -> None:
        spec = bench.spec()
        bench.keeps_secret(
            repr(spec),
            bench.connector.grant(spec),
            bench.observe(),
            bench.connector.how_to_connect(spec),
            bench.connector.revoke(spec),
            bench.connector,
        )

    def test_a_receipt_is_json(self, bench: Bench) -> None:
        for call in (bench.connector.grant, bench.connector.revoke):
            receipt = call(bench.spec())
            assert json.loads(json.dumps(receipt.detail)) == receipt.detail
            assert receipt.sessions_closed >= 0

    def test_how_to_connect_is_text_and_needs_no_secret(self, bench: Bench) -> None:
        for secret in (bench.secret, None, "nonsense://["):
            steps = bench.connector.how_to_connect(bench.spec(secret=secret))
            assert steps
            assert all(label and text for label, text in steps)

    def test_it_says_what_it_is(self, bench: Bench) -> None:
        connector = bench.connector
        assert connector.key.isidentifier()
        assert connector.title
        assert len(connector.glyph) == 2
        assert isinstance(connector.ends_at_target, bool)
        assert isinstance(connector.needs_secret, bool)

    def test_names_from_hostile_hands_change_nothing_else(self, bench: Bench) -> None:
        before = bench.observe()
        for name in ('a"; DROP ROLE orders_rw; --', "a'; SELECT 1; --", "x\0y", "é" * 70, "\ud800"):
            for call in (bench.connector.grant, bench.connector.revoke):
                # A name that the target can't have is refused for good, or nobody's to revoke.
                with suppress(PermanentError):
                    bench.keeps_secret(call(bench.spec(subject_login=f"nobody{name}")))
        assert bench.observe() == before
