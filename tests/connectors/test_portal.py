"""Membership of the portal's own groups: standing ones are never touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from approvals.connectors import portal
from approvals.connectors.portal import PortalGroup
from approvals.connectors.protocol import GrantSpec, Held, PermanentError

from .directory import Directory
from .moments import now

connector = PortalGroup()


@pytest.fixture
def directory() -> Iterator[Directory]:
    one = Directory(people={"alice", "bob"}, groups={"report-readers"})
    portal.use(one)
    yield one
    portal.use(None)


def spec_of(request_id: str, *, group: str = "report-readers") -> GrantSpec:
    return GrantSpec(
        now=now(),
        request_id=request_id,
        subject_login="alice",
        subject_email="alice@example.test",
        resource="reports",
        entitlement="read",
        resource_settings={},
        entitlement_settings={"group": group},
    )


def test_a_standing_membership_is_told_and_stays(directory: Directory) -> None:
    directory.carried_by["report-readers"]["alice"] = None
    assert connector.grant(spec_of("r1")).detail["pre_existing"] is True
    receipt = connector.revoke(spec_of("r1"))
    assert receipt.detail == {
        "group": "report-readers",
        "login": "alice",
        "granted": True,
        "removed": False,
    }
    assert directory.members(group="report-readers") == ["alice"]


def test_a_retry_is_not_mistaken_for_a_standing_membership(directory: Directory) -> None:
    for _ in range(2):
        assert connector.grant(spec_of("r1")).detail["pre_existing"] is False
    assert len(directory.history) == 1


def test_an_extension_ends_what_the_first_request_began(directory: Directory) -> None:
    connector.grant(spec_of("r1"))
    connector.grant(spec_of("r2"))  # r1 ends while r2 covers it, so that nobody revokes r1
    assert connector.revoke(spec_of("r2")).detail["removed"] is True
    assert directory.members(group="report-readers") == []


def test_an_unknown_group_is_permanent_and_named(directory: Directory) -> None:
    with pytest.raises(PermanentError, match="no group 'gone'"):
        connector.grant(spec_of("r1", group="gone"))


def test_a_group_that_is_gone_hides_no_other(directory: Directory) -> None:
    connector.grant(spec_of("r1"))
    found = connector.observe(
        now=now(),
        resource_settings={},
        secret=None,
        entitlements={"gone": {"group": "gone"}, "read": {"group": "report-readers"}},
    )
    assert found == [Held("alice", "read")]


def test_without_a_directory_it_says_so() -> None:
    portal.use(None)
    with pytest.raises(PermanentError, match="not connected"):
        connector.grant(spec_of("r1"))
    assert not connector.check(now=now(), resource_settings={}, secret=None).ok
