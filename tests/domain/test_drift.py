"""Which differences between a target and the grants are findings; no database."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.domain import drift
from approvals.domain.drift import Comparison, Found, Kind, Known, Open, Seen, Stage

ALICE, READ = "alice", "read"


def seen(login: str = ALICE, entitlement: str = READ, *also: str) -> Seen:
    return Seen(
        login=login,
        entitlement=entitlement,
        access=f"{login}/{entitlement}",
        also=frozenset(f"{name}/{entitlement}" for name in (login.casefold(), *also)),
    )


def known(
    stage: Stage, login: str = ALICE, *also: str, number: int = 1, is_observed: bool = True
) -> Known:
    return Known(
        request_id=UUID(int=number),
        login=login,
        entitlement=READ,
        access=f"{login}/{READ}",
        also=frozenset(f"{name}/{READ}" for name in (login.casefold(), *also)),
        stage=stage,
        is_observed=is_observed,
    )


def compare(held: list[Seen], grants: list[Known], names: tuple[str, ...] = (ALICE,)) -> Comparison:
    return drift.compare(seen=held, known=grants, names=names, observed={READ})


def kinds(held: list[Seen], grants: list[Known]) -> list[str]:
    return [str(row.kind) for row in compare(held, grants).found]


LIVE, MOVING, ENDED = Stage.LIVE, Stage.MOVING, Stage.ENDED
MISSING, LEFTOVER, STANDING = ["missing"], ["leftover"], ["standing"]


@pytest.mark.parametrize(
    ("held", "grants", "wanted"),
    [
        ([], [], []),
        ([seen()], [known(LIVE)], []),
        ([], [known(LIVE)], MISSING),
        ([seen()], [known(ENDED)], LEFTOVER),
        ([], [known(ENDED)], []),
        ([seen()], [], STANDING),
        ([seen("bot")], [], ["unmatched"]),
        # what is on its way in or out is never a finding, whatever else is known
        ([seen()], [known(MOVING)], []),
        ([], [known(MOVING)], []),
        ([seen()], [known(ENDED), known(MOVING, number=2)], []),
        ([], [known(LIVE), known(MOVING, number=2)], []),
        # what another live grant holds is no leftover of one that has ended
        ([seen()], [known(LIVE), known(ENDED, number=2)], []),
        # the target spells a name otherwise, or names people by their address
        ([seen("ALICE")], [known(LIVE)], []),
        ([seen("a@example.com")], [known(LIVE, ALICE, "a@example.com")], []),
        ([seen("a@example.com")], [known(ENDED, ALICE, "a@example.com")], LEFTOVER),
        # made under settings that are others today: nothing is known of it
        ([], [known(LIVE, is_observed=False)], []),
        ([seen("Alice")], [known(LIVE, "alice", is_observed=False)], []),
    ],
)
def test_what_is_a_finding(held: list[Seen], grants: list[Known], wanted: list[str]) -> None:
    assert kinds(held, grants) == wanted


def test_an_exact_name_goes_before_another_spelling() -> None:
    """Two people whose names differ in their case alone, where the target tells them apart."""
    big, small = known(ENDED, "Alice", number=1), known(LIVE, "alice", number=2)
    both = [seen("Alice"), seen("alice")]
    # Whoever is granted under one spelling may hold it under the other: then nothing is removed.
    assert [row.login for row in compare(both, [big, small]).found] == []
    assert compare([seen("Alice")], [known(ENDED, "Alice", number=3)]).found == (
        Found(kind=Kind.LEFTOVER, login="Alice", entitlement=READ, requests=(UUID(int=3),)),
    )


def test_a_leftover_names_its_requests_the_newest_first() -> None:
    rows = [known(ENDED, number=number) for number in range(50, 0, -1)]
    [found] = compare([seen()], rows).found
    assert found.requests[:2] == (UUID(int=50), UUID(int=49))
    assert len(found.requests) == drift.REQUESTS_MOST


# -- from one observation to the next


def open_one(kind: Kind, *, is_confirmed: bool, entitlement: str = READ) -> Open:
    return Open(id=1, kind=kind, login=ALICE, entitlement=entitlement, is_confirmed=is_confirmed)


def test_the_second_observation_confirms() -> None:
    comparison = compare([seen()], [known(ENDED)])
    first = drift.changes(comparison, before=[])
    assert [row.kind for row in first.new] == [Kind.LEFTOVER]
    assert not (first.confirmed)
    assert not (first.again)
    assert not (first.over)
    second = drift.changes(comparison, before=[open_one(Kind.LEFTOVER, is_confirmed=False)])
    assert [row.kind for _, row in second.confirmed] == [Kind.LEFTOVER]
    third = drift.changes(comparison, before=[open_one(Kind.LEFTOVER, is_confirmed=True)])
    assert [row.kind for _, row in third.again] == [Kind.LEFTOVER]
    assert not (third.new)
    assert not (third.confirmed)
    assert not (third.over)


def test_another_kind_is_another_finding() -> None:
    changes = drift.changes(
        compare([seen()], [known(ENDED)]), before=[open_one(Kind.STANDING, is_confirmed=False)]
    )
    assert [row.kind for row in changes.new] == [Kind.LEFTOVER]
    assert [row.kind for row in changes.over] == [Kind.STANDING]
    assert changes.confirmed == ()


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_what_an_observation_says_nothing_about_stays(is_confirmed: bool) -> None:
    before = open_one(Kind.LEFTOVER, is_confirmed=is_confirmed)
    assert drift.changes(compare([], []), before=[before]).over == (before,)
    moving = compare([seen()], [known(MOVING)])
    assert drift.changes(moving, before=[before]).over == ()
    elsewhere = open_one(Kind.LEFTOVER, is_confirmed=is_confirmed, entitlement="not looked at")
    assert drift.changes(compare([], []), before=[elsewhere]).over == ()


# -- whatever there is

LOGINS = st.sampled_from(["alice", "Alice", "bob", "bot"])
HELD = st.lists(st.builds(seen, LOGINS), unique_by=lambda row: row.login, max_size=4)
GRANTS = st.lists(
    st.builds(
        known,
        st.sampled_from(Stage),
        LOGINS,
        number=st.integers(1, 99),
        is_observed=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda row: row.request_id,
)


def granted_to(row: Found | Seen, grants: list[Known], stage: Stage) -> bool:
    return any(
        each.stage == stage and each.login.casefold() == row.login.casefold() for each in grants
    )


@given(HELD, GRANTS)
def test_whatever_is_held_and_granted(held: list[Seen], grants: list[Known]) -> None:
    comparison = drift.compare(seen=held, known=grants, names={"alice", "bob"}, observed={READ})
    logins = {row.login.casefold() for row in held}
    for row in comparison.found:
        assert not granted_to(row, grants, MOVING), "nothing that is on its way"
        assert comparison.says(row.pair)
        is_live = granted_to(row, grants, LIVE)
        if row.kind == Kind.MISSING:
            assert is_live
            assert row.login.casefold() not in logins
            [request] = row.requests
            [its] = [each for each in grants if each.request_id == request]
            assert (its.stage, its.login, its.is_observed) == (LIVE, row.login, True)
        else:
            assert row.pair in {each.pair for each in held}
            assert not is_live, "nothing that somebody holds by right"
            assert (row.kind == Kind.LEFTOVER) == granted_to(row, grants, ENDED)
            assert (row.kind == Kind.UNMATCHED) == (row.login == "bot" and not row.requests)
    for each in held:
        settled = granted_to(each, grants, LIVE) or granted_to(each, grants, MOVING)
        assert settled != any(row.pair == each.pair for row in comparison.found)


@given(HELD, GRANTS, st.integers(0, 3))
def test_a_finding_is_new_once_and_confirmed_once(
    held: list[Seen], grants: list[Known], more: int
) -> None:
    comparison = drift.compare(seen=held, known=grants, names={"alice", "bob"}, observed={READ})
    rows = dict(enumerate(drift.changes(comparison, before=[]).new))
    confirmed: set[int] = set()
    for _ in range(more):
        changes = drift.changes(
            comparison,
            before=[
                Open(
                    id=number,
                    kind=row.kind,
                    login=row.login,
                    entitlement=row.entitlement,
                    is_confirmed=number in confirmed,
                )
                for number, row in rows.items()
            ],
        )
        assert not changes.new
        assert not changes.over
        newly = {each.id for each, _ in changes.confirmed}
        assert not newly & confirmed
        confirmed |= newly
        assert confirmed == rows.keys()


def test_what_live_and_moving_grants_explain_is_not_looked_for_elsewhere() -> None:
    carol, dan = seen("carol"), seen("dan")
    grants = [known(Stage.LIVE), known(Stage.MOVING, "carol"), known(Stage.ENDED, "dan")]
    assert drift.unexplained(seen=[seen(), carol, dan], known=grants) == [dan]
    elsewhere = [known(Stage.LIVE, is_observed=False)]
    assert drift.unexplained(seen=[seen()], known=elsewhere) == [], "made under other settings"


@given(st.lists(st.tuples(st.sampled_from(Stage), st.sampled_from(["alice", "Alice", "bob"]))))
def test_what_is_found_is_unexplained(grants: list[tuple[Stage, str]]) -> None:
    held = [seen(login) for login in ("alice", "Alice", "bob")]
    rows = [known(stage, login, number=n) for n, (stage, login) in enumerate(grants)]
    left = {row.pair for row in drift.unexplained(seen=held, known=rows)}
    found = {row.pair for row in compare(held, rows).found if row.kind != Kind.MISSING}
    assert found <= left
