"""SCIM groups, at a real provider over HTTP, straight and behind a front that has its faults."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from approvals.connectors import registry
from approvals.connectors.protocol import GrantSpec, Held, NotYet, PermanentError, TransientError
from approvals.connectors.scim_group import ScimGroup, client, connector

from .contract import CALL_WITHIN_SECONDS, Bench, ConnectorContract
from .moments import now
from .scim_server import TOKEN, Front, Reply, ScimServer, Seen, fronted, scim_error
from .slapd import HOST, make_certificate

CONNECTOR = ScimGroup()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScimServer]:
    one = ScimServer(tmp_path_factory.mktemp("scim")).start()
    yield one
    one.stop()


@pytest.fixture
def front(server: ScimServer) -> Iterator[Front]:
    with fronted(server) as one:
        yield one


class World:
    """A user and a group, whom no other test has met."""

    def __init__(self, server: ScimServer, url: str) -> None:
        number = next(_numbers)
        self.server = server
        self.url = url
        self.login = f"alice{number}"
        self.alice = server.user(self.login)
        self.bob_login = f"bob{number}"
        self.bob = server.user(self.bob_login)
        self.group = server.group(f"it{number}", self.bob)

    def resource(self, **changes: Any) -> dict[str, Any]:
        return {"url": self.url} | changes

    def spec(self, **changes: Any) -> GrantSpec:
        spec = GrantSpec(
            now=now(),
            request_id="0199-scim",
            subject_login=self.login,
            subject_email=f"{self.login}@example.test",
            resource="wiki",
            entitlement="editors",
            resource_settings=self.resource(),
            entitlement_settings={"group_id": self.group},
            secret=TOKEN,
        )
        return replace(spec, **changes)

    def observe(self, **changes: Any) -> list[Held]:
        wanted: dict[str, Any] = {
            "resource_settings": self.resource(),
            "secret": TOKEN,
            "entitlements": {"it": {"group_id": self.group}},
        }
        return CONNECTOR.observe(now=now(), **(wanted | changes))

    def members(self) -> set[str]:
        return self.server.members(self.group)


@pytest.fixture
def world(server: ScimServer, front: Front) -> World:
    return World(server, front.url)


def is_patch(seen: Seen) -> bool:
    return seen.method == "PATCH"


def first_times(count: int, reply: Reply, when: Callable[[Seen], bool] = lambda _: True) -> Any:
    """A rule that answers `reply` so many times."""
    left = [count]

    def rule(seen: Seen) -> Reply | None:
        if when(seen) and left[0] > 0:
            left[0] -= 1
            return reply
        return None

    return rule


class TestContract(ConnectorContract):
    key = "scim_group"

    @pytest.fixture
    def bench(self, server: ScimServer) -> Bench:
        world = World(server, f"http://{HOST}:{server.port}/v2")
        good = {"group_id": world.group}

        @contextmanager
        def down() -> Iterator[str]:
            with socket.socket() as taken:
                taken.bind((HOST, 0))  # bound and not listening: nobody else gets it
                resource["url"] = f"http://{HOST}:{taken.getsockname()[1]}/v2"
                yield TOKEN
                resource["url"] = world.url

        resource = world.resource()
        return Bench(
            connector=CONNECTOR,
            login=world.login,
            unknown_login="nobody_here",
            secret=TOKEN,
            canaries=[TOKEN],
            resource_settings=resource,
            entitlement_settings=good,
            unknown_entitlement_settings={"group_id": "no/such?group#here"},
            bad_settings=[
                (world.resource(), {}),
                (world.resource(), {"group_id": ""}),
                (world.resource(), {"group_id": 7}),
                (world.resource(), {"group_id": ".."}),
                (world.resource(), {"group_id": "a\0b"}),
                (world.resource(), {"group_id": "a\r\nb"}),
                (world.resource(), {"group_id": "\ud800"}),
                (world.resource(), {"group_id": "x", "role": "x"}),
                ({}, good),
                ({"url": "http://id.example.com/v2"}, good),
                ({"url": "http://127.0.0.1.example.com/v2"}, good),
                ({"url": "ftp://127.0.0.1"}, good),
                ({"url": "https://user:pw@id.example.com"}, good),
                ({"url": "https://id.example.com/v2?x=1"}, good),
                ({"url": "https://id.example.com/v2#x"}, good),
                ({"url": "https://id.example.com:port/"}, good),
                ({"url": "https:///v2"}, good),
                (world.resource(remove_by="all"), good),
                (world.resource(login_suffix=5), good),
                (world.resource(ca="no PEM"), good),
                (world.resource(verify=False), good),
            ],
            unreachable=down,
        )


def test_it_is_in_the_registry() -> None:
    assert registry.get("scim_group").title == "SCIM group"


class TestMembers:
    def test_the_provider_says_so_too(self, world: World) -> None:
        receipt = CONNECTOR.grant(world.spec())
        assert world.members() == {world.alice, world.bob}
        assert receipt.detail["pre_existing"] is False
        assert receipt.detail["user_id"] == world.alice
        receipt = CONNECTOR.revoke(world.spec())
        assert world.members() == {world.bob}
        assert receipt.detail["removed"] is True

    def test_a_member_already_is_pre_existing_and_is_removed_all_the_same(
        self, world: World
    ) -> None:
        spec = world.spec(subject_login=world.bob_login)
        receipt = CONNECTOR.grant(spec)
        assert receipt.detail["pre_existing"] is True
        assert "ends with this grant" in receipt.detail["note"]
        assert CONNECTOR.revoke(spec).detail["removed"] is True
        assert world.members() == set()

    def test_what_others_change_meanwhile_stays(self, world: World, front: Front) -> None:
        carol = world.server.user(f"carol{next(_numbers)}")

        def meanwhile(seen: Seen) -> None:
            if is_patch(seen):
                world.server.call(
                    "PATCH",
                    f"/Groups/{world.group}",
                    {
                        "schemas": [client.PATCH_SCHEMA],
                        "Operations": [
                            {"op": "add", "path": "members", "value": [{"value": carol}]}
                        ],
                    },
                )

        front.rules.append(meanwhile)
        CONNECTOR.grant(world.spec())
        CONNECTOR.revoke(world.spec())
        assert world.members() == {world.bob, carol}

    def test_a_suffix_makes_the_user_name_and_is_taken_off_again(self, world: World) -> None:
        number = next(_numbers)
        dora = world.server.user(f"Dora{number}@Example.test")
        resource = world.resource(login_suffix="@example.test")
        spec = world.spec(subject_login=f"dora{number}", resource_settings=resource)
        assert CONNECTOR.grant(spec).detail["user_name"] == f"dora{number}@example.test"
        assert dora in world.members()
        assert Held(f"Dora{number}", "it") in world.observe(resource_settings=resource)
        assert CONNECTOR.how_to_connect(spec)[0].text == f"dora{number}@example.test"
        CONNECTOR.revoke(spec)
        assert dora not in world.members()

    @pytest.mark.parametrize(
        "name", ['a" or userName pr or userName eq "', "back\\slash", "mü ller", "日本", "a&b=c#d"]
    )
    def test_a_user_of_any_name_is_granted_and_revoked(self, world: World, name: str) -> None:
        name = f"{name}{next(_numbers)}"
        user = world.server.user(name)
        CONNECTOR.grant(world.spec(subject_login=name))
        assert world.members() == {user, world.bob}
        CONNECTOR.revoke(world.spec(subject_login=name))
        assert world.members() == {world.bob}

    def test_a_login_that_is_a_filter_finds_nobody(self, world: World) -> None:
        for login in ("*", '" or userName pr or userName eq "', f'{world.login}" or "1'):
            with pytest.raises(PermanentError, match="no user"):
                CONNECTOR.grant(world.spec(subject_login=login))
        assert world.members() == {world.bob}

    def test_a_deactivated_user_is_not_granted_but_revoked(self, world: World) -> None:
        name = f"eve{next(_numbers)}"
        eve = world.server.user(name, active=False)
        with pytest.raises(PermanentError, match="deactivated"):
            CONNECTOR.grant(world.spec(subject_login=name))
        group = world.server.group("hers", eve)
        spec = world.spec(subject_login=name, entitlement_settings={"group_id": group})
        assert CONNECTOR.revoke(spec).detail["removed"] is True
        assert world.server.members(group) == set()


class TestObserve:
    def test_members_are_named_by_login_or_else_by_id(self, world: World) -> None:
        gone = world.server.user(f"gone{next(_numbers)}")
        inner = world.server.group("inner")
        group = world.server.group("outer", world.alice, gone, inner)
        world.server.call("DELETE", f"/Users/{gone}")
        assert world.observe(entitlements={"it": {"group_id": group}}) == sorted(
            Held(login, "it") for login in (world.login, gone, inner)
        )

    def test_a_group_that_is_gone_has_no_members(self, world: World) -> None:
        found = world.observe(
            entitlements={"gone": {"group_id": "gone"}, "it": {"group_id": world.group}}
        )
        assert found == [Held(world.bob_login, "it")]

    def test_a_large_group_is_read_page_by_page(
        self, world: World, front: Front, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In pages that are smaller than we ask for, as providers like to give."""
        monkeypatch.setattr(connector, "PAGE_USERS", 20)

        def smaller(seen: Seen) -> Reply | None:
            if "count=20" in seen.path:
                seen.path = seen.path.replace("count=20", "count=17")
            return None

        front.rules.append(smaller)
        number = next(_numbers)
        count = connector.LOOKUPS_AT_MOST + 30
        ids = [world.server.user(f"many{number}-{one}") for one in range(count)]
        group = world.server.group("many", *ids)
        found = world.observe(entitlements={"it": {"group_id": group}})
        assert found == sorted(Held(f"many{number}-{one}", "it") for one in range(count))
        assert sum("startIndex" in seen.path for seen in front.seen) >= count // 17


class TestForms:
    """Ways of providers that are not quite the standard's."""

    def test_removal_names_the_member_in_the_path(self, world: World, front: Front) -> None:
        CONNECTOR.grant(world.spec())
        CONNECTOR.revoke(world.spec())
        operation = [seen for seen in front.seen if is_patch(seen)][-1].json["Operations"][0]
        assert operation == {"op": "remove", "path": f'members[value eq "{world.alice}"]'}

    def test_removal_by_value_is_never_tried_by_itself(self, world: World, front: Front) -> None:
        """By the standard `members` without a filter is every member: it would empty the group."""
        CONNECTOR.grant(world.spec())

        def no_filters(seen: Seen) -> Reply | None:
            return scim_error(400, "invalidPath") if is_patch(seen) else None

        front.rules.append(no_filters)
        del front.seen[:]
        with pytest.raises(PermanentError, match='"remove_by" to "value"'):
            CONNECTOR.revoke(world.spec())
        assert sum(map(is_patch, front.seen)) == 1
        assert world.members() == {world.alice, world.bob}

    def test_removal_by_value_where_the_settings_ask_for_it(
        self, world: World, front: Front
    ) -> None:
        def by_value_only(seen: Seen) -> Reply | None:
            if not is_patch(seen):
                return None
            operation = seen.json["Operations"][0]
            if operation["op"] == "remove":
                if operation["path"] != "members":
                    return scim_error(400, "invalidPath")
                member = operation["value"][0]["value"]
                operation = {"op": "remove", "path": f'members[value eq "{member}"]'}
            body = json.dumps({"schemas": [client.PATCH_SCHEMA], "Operations": [operation]})
            seen.headers["Content-Length"] = str(len(body))
            return front.forward(replace(seen, body=body.encode()))

        front.rules.append(by_value_only)
        spec = world.spec(resource_settings=world.resource(remove_by="value"))
        CONNECTOR.grant(spec)
        assert world.alice in world.members()
        assert CONNECTOR.revoke(spec).detail["removed"] is True
        assert world.members() == {world.bob}

    def test_adding_without_a_path_where_the_path_is_not_understood(
        self, world: World, front: Front
    ) -> None:
        def no_paths(seen: Seen) -> Reply | None:
            if is_patch(seen) and "path" in seen.json["Operations"][0]:
                return scim_error(400, "invalidPath")
            return None

        front.rules.append(no_paths)
        CONNECTOR.grant(world.spec())
        assert world.alice in world.members()

    def test_removed_by_hand_ends_the_access_whatever_the_provider_refuses(
        self, world: World, front: Front
    ) -> None:
        front.rules.append(lambda seen: scim_error(400) if is_patch(seen) else None)
        assert CONNECTOR.revoke(world.spec()).detail["removed"] is False

    @pytest.mark.parametrize("behind", ["cut short", "stale"])
    def test_a_member_whom_the_group_does_not_list_yet_is_removed(
        self, world: World, front: Front, behind: str
    ) -> None:
        CONNECTOR.grant(world.spec())

        def without_alice(seen: Seen) -> Reply | None:
            if seen.method != "GET" or "/Groups/" not in seen.path:
                return None
            if behind == "stale" and any(map(is_patch, front.seen[asked:])):
                return None
            reply = front.forward(seen)
            body = json.loads(reply.body)
            body["members"] = [one for one in body["members"] if one["value"] != world.alice]
            return replace(reply, body=json.dumps(body).encode())

        asked = len(front.seen)
        front.rules.append(without_alice)
        assert CONNECTOR.revoke(world.spec()).detail["removed"] is True
        assert world.members() == {world.bob}

    @pytest.mark.parametrize("scim_type", ["", "invalidValue", "invalidPath", "noTarget"])
    def test_a_removal_of_no_member_may_be_refused_in_any_words(
        self, world: World, front: Front, scim_type: str
    ) -> None:
        front.rules.append(lambda seen: scim_error(400, scim_type) if is_patch(seen) else None)
        assert CONNECTOR.revoke(world.spec()).detail["removed"] is False
        assert sum(map(is_patch, front.seen)) == 1

    def test_a_refusal_is_believed_only_where_the_group_shows_members(
        self, world: World, front: Front
    ) -> None:
        CONNECTOR.grant(world.spec())

        def hidden(seen: Seen) -> Reply | None:
            if is_patch(seen):
                return scim_error(400, "invalidValue")
            if "/Groups/" not in seen.path:
                return None
            reply = front.forward(seen)
            body = json.loads(reply.body)
            body.pop("members", None)
            return replace(reply, body=json.dumps(body).encode())

        front.rules.append(hidden)
        with pytest.raises(PermanentError, match="refused to remove the member"):
            CONNECTOR.revoke(world.spec())

    def test_a_removal_that_may_not_be_made_is_never_taken_for_done(
        self, world: World, front: Front
    ) -> None:
        front.rules.append(lambda seen: scim_error(403) if is_patch(seen) else None)
        with pytest.raises(PermanentError, match="403"):
            CONNECTOR.revoke(world.spec())

    def test_a_removal_that_is_confirmed_but_not_done_is_not_believed(
        self, world: World, front: Front
    ) -> None:
        CONNECTOR.grant(world.spec())
        front.rules.append(lambda seen: Reply(204) if is_patch(seen) else None)
        with pytest.raises(NotYet, match="lists it still"):
            CONNECTOR.revoke(world.spec())

    def test_an_addition_that_is_confirmed_but_not_done_is_not_believed(
        self, world: World, front: Front
    ) -> None:
        front.rules.append(lambda seen: Reply(204) if is_patch(seen) else None)
        with pytest.raises(NotYet, match="does not list it"):
            CONNECTOR.grant(world.spec())

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_look_that_is_refused_after_the_addition_leaves_it_to_be_removed(
        self, world: World, front: Front, status: int
    ) -> None:
        def no_more(seen: Seen) -> Reply | None:
            added = any(map(is_patch, front.seen[:-1]))
            return scim_error(status) if added and seen.method == "GET" else None

        front.rules.append(no_more)
        with pytest.raises(PermanentError, match=str(status)) as caught:
            CONNECTOR.grant(world.spec())
        assert world.alice in world.members()
        assert not caught.value.untouched

    def test_an_addition_that_is_refused_has_made_nothing(self, world: World, front: Front) -> None:
        front.rules.append(lambda seen: scim_error(403) if is_patch(seen) else None)
        with pytest.raises(PermanentError, match="403") as caught:
            CONNECTOR.grant(world.spec())
        assert caught.value.untouched

    def test_a_refusal_at_the_second_time_tells_nothing_of_the_first(
        self, world: World, front: Front
    ) -> None:
        front.rules.append(first_times(1, Reply(503, headers={"Retry-After": "0"}), is_patch))
        front.rules.append(lambda seen: scim_error(403) if is_patch(seen) else None)
        with pytest.raises(PermanentError, match="403") as caught:
            CONNECTOR.grant(world.spec())
        assert not caught.value.untouched

    def test_a_provider_that_never_shows_members_is_worked_with(
        self, world: World, front: Front
    ) -> None:
        def hidden(seen: Seen) -> Reply | None:
            if seen.method != "GET" or "/Groups/" not in seen.path:
                return None
            reply = front.forward(seen)
            body = json.loads(reply.body)
            body.pop("members", None)
            return replace(reply, body=json.dumps(body).encode())

        front.rules.append(hidden)
        CONNECTOR.grant(world.spec())
        assert world.alice in world.members()
        CONNECTOR.revoke(world.spec())
        assert world.alice not in world.members()

    def test_a_provider_that_does_not_filter_is_refused(self, world: World, front: Front) -> None:
        """Its first users are somebody else, and that doesn't mean that nobody is there."""
        CONNECTOR.grant(world.spec())

        def unfiltered(seen: Seen) -> Reply | None:
            if "filter=" in seen.path:
                seen.path = "/v2/Users?count=1"
            return None

        front.rules.append(unfiltered)
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError, match="must support filters"):
                call(world.spec(subject_login=world.bob_login + "x"))

    def test_two_users_of_one_name_are_refused(self, world: World, front: Front) -> None:
        def doubled(seen: Seen) -> Reply | None:
            if "filter=" not in seen.path:
                return None
            users = [{"id": one, "userName": world.login.upper()} for one in "ab"]
            body = {"schemas": [], "totalResults": 2, "Resources": users}
            return Reply(200, json.dumps(body).encode())

        front.rules.append(doubled)
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError, match="several users"):
                call(world.spec())


class TestErrors:
    @pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
    def test_what_may_pass_is_transient(self, world: World, front: Front, status: int) -> None:
        front.rules.append(lambda _: Reply(status))
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(TransientError, match=str(status)):
                call(world.spec())

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 501])
    def test_what_will_not_pass_is_permanent(self, world: World, front: Front, status: int) -> None:
        front.rules.append(lambda _: scim_error(status, detail="because\x1b[31m so"))
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError, match=str(status)) as caught:
                call(world.spec())
            assert caught.value.message.isprintable()

    def test_a_wrong_url_is_not_taken_for_nobody_there(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        for path in ("", "/v2/Groups", "/nothing/here"):
            url = world.url.removesuffix("/v2") + path
            spec = world.spec(resource_settings=world.resource(url=url + "/wrong"))
            with pytest.raises(PermanentError):
                CONNECTOR.revoke(spec)

    def test_a_wrong_token_is_permanent_and_not_repeated(self, world: World) -> None:
        with pytest.raises(PermanentError, match="Renew the token") as caught:
            CONNECTOR.grant(world.spec(secret="not-the-token"))
        assert "not-the-token" not in str(caught.value)

    def test_a_provider_that_echoes_the_token_does_not_betray_it(
        self, world: World, front: Front
    ) -> None:
        front.rules.append(
            lambda seen: scim_error(403, detail=f"no: {seen.headers['Authorization']}")
        )
        with pytest.raises(PermanentError, match="hidden") as caught:
            CONNECTOR.grant(world.spec())
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize("secret", [None, "", "two words", "line\nbreak", "schlüssel"])
    def test_what_is_no_token_is_refused_unsent_and_unsaid(
        self, world: World, front: Front, secret: str | None
    ) -> None:
        with pytest.raises(PermanentError) as caught:
            CONNECTOR.grant(world.spec(secret=secret))
        assert not front.seen
        if secret:
            assert secret not in str(caught.value)

    @pytest.mark.parametrize(
        "body", [b"<html>sign in</html>", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"a":1}']
    )
    def test_an_answer_that_is_not_scim_is_permanent(
        self, world: World, front: Front, body: bytes
    ) -> None:
        front.rules.append(lambda _: Reply(200, body))
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError):
                call(world.spec())
        assert not CONNECTOR.check(now=now(), resource_settings=world.resource(), secret=TOKEN).ok

    def test_an_answer_that_broke_off_is_transient(self, world: World, front: Front) -> None:
        headers = {"Content-Type": "application/scim+json"}
        front.rules.append(lambda _: Reply(200, b'{"totalResults": 1, "Resou', headers))
        with pytest.raises(TransientError, match="broke off"):
            CONNECTOR.grant(world.spec())

    def test_an_answer_without_end_is_cut_off(
        self, world: World, front: Front, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "ANSWER_BYTES", 1024 * 1024)
        front.rules.append(lambda _: Reply(200, b" " * (2 * 1024 * 1024)))
        with pytest.raises(PermanentError, match="longer than 1 MiB"):
            CONNECTOR.grant(world.spec())

    def test_a_provider_that_can_not_patch_is_unhealthy(self, world: World, front: Front) -> None:
        config = {"patch": {"supported": False}, "filter": {"supported": True}}
        front.rules.append(
            lambda seen: (
                Reply(200, json.dumps(config).encode())
                if "ServiceProviderConfig" in seen.path
                else None
            )
        )
        health = CONNECTOR.check(now=now(), resource_settings=world.resource(), secret=TOKEN)
        assert not health.ok
        assert "does not support patch" in health.message


class TestWaiting:
    @pytest.mark.parametrize("status", [429, 503])
    def test_a_short_wait_is_done_within_the_call(
        self, world: World, front: Front, status: int
    ) -> None:
        front.rules.append(first_times(1, Reply(status, headers={"Retry-After": "1"}), is_patch))
        started = time.monotonic()
        CONNECTOR.grant(world.spec())
        assert 1.0 <= time.monotonic() - started < CALL_WITHIN_SECONDS
        assert world.alice in world.members()

    def test_a_date_is_reckoned_by_the_providers_clock(self) -> None:
        """Which is an hour off here."""
        theirs = datetime.now(UTC) - timedelta(hours=1)
        until = format_datetime(theirs + timedelta(seconds=1), usegmt=True)
        waited = client._retry_after_seconds(
            {"Retry-After": until, "Date": format_datetime(theirs, usegmt=True)}
        )
        assert waited == pytest.approx(1.0)
        assert client._retry_after_seconds({"Retry-After": until}) is None
        assert client._retry_after_seconds({"Retry-After": "soon"}) is None
        assert client._retry_after_seconds({}) is None

    def test_a_long_wait_is_left_to_the_next_attempt(self, world: World, front: Front) -> None:
        front.rules.append(lambda _: Reply(429, headers={"Retry-After": "30"}))
        started = time.monotonic()
        with pytest.raises(TransientError, match="wait 30 seconds"):
            CONNECTOR.grant(world.spec())
        assert time.monotonic() - started < 1

    def test_asking_again_has_an_end(self, world: World, front: Front) -> None:
        front.rules.append(lambda _: Reply(429, headers={"Retry-After": "0"}))
        with pytest.raises(TransientError):
            CONNECTOR.grant(world.spec())
        assert len(front.seen) == client.ATTEMPTS

    def test_a_provider_that_never_answers_is_transient_within_the_bound(
        self, world: World
    ) -> None:
        with socket.create_server((HOST, 0)) as silent:
            url = f"http://{HOST}:{silent.getsockname()[1]}"
            started = time.monotonic()
            with pytest.raises(TransientError):
                CONNECTOR.revoke(world.spec(resource_settings={"url": url}))
            assert time.monotonic() - started < CALL_WITHIN_SECONDS

    def test_a_provider_that_drips_is_cut_off_at_the_bound(
        self, world: World, front: Front
    ) -> None:
        """Each byte comes in time, the answer never ends: a timeout for each packet won't do."""
        front.rules.append(lambda _: Reply(200, b" ", drip_seconds=0.3))
        started = time.monotonic()
        with pytest.raises(TransientError):
            CONNECTOR.grant(world.spec())
        assert time.monotonic() - started < CALL_WITHIN_SECONDS

    def test_no_thread_outlives_a_call(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        time.sleep(0.1)
        assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]


class TestTransport:
    def test_a_redirect_is_not_followed(self, world: World, front: Front) -> None:
        with fronted(None) as elsewhere:
            for status in (301, 302, 303, 307, 308):
                there = Reply(status, headers={"Location": elsewhere.url + "/Users"})
                front.rules[:] = [first_times(1, there)]
                with pytest.raises(PermanentError, match="redirect"):
                    CONNECTOR.grant(world.spec())
            assert not elsewhere.seen

    def test_the_environment_sends_nothing_elsewhere(
        self, world: World, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A netrc file would replace the token, and a proxy would see it."""
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {HOST} login other password wrong\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with fronted(None) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            CONNECTOR.grant(world.spec())
            assert not proxy.seen
        assert {seen.headers["Authorization"] for seen in front.seen} == {f"Bearer {TOKEN}"}

    def test_a_private_authority_is_trusted_where_it_is_named(
        self, server: ScimServer, tmp_path: Path
    ) -> None:
        ca = make_certificate(tmp_path).read_text()
        other = make_certificate(tmp_path / "other").read_text()
        with fronted(server, certificate=tmp_path) as front:
            world = World(server, front.url)
            CONNECTOR.grant(world.spec(resource_settings=world.resource(ca=ca)))
            assert world.alice in world.members()
            del front.seen[:]
            for wrong in ({}, {"ca": other}):
                with pytest.raises(PermanentError, match="not trusted"):
                    CONNECTOR.revoke(world.spec(resource_settings=world.resource(**wrong)))
            assert not front.seen

    def test_a_private_authority_is_the_only_one(
        self, server: ScimServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """requests would add its own bundle, which here holds the authority that signed."""
        bundle = make_certificate(tmp_path)
        monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(bundle))
        other = make_certificate(tmp_path / "other").read_text()
        with fronted(server, certificate=tmp_path) as front:
            world = World(server, front.url)
            with pytest.raises(PermanentError, match="not trusted"):
                CONNECTOR.grant(world.spec(resource_settings=world.resource(ca=other)))

    def test_a_certificate_for_another_name_is_refused(
        self, server: ScimServer, tmp_path: Path
    ) -> None:
        ca = make_certificate(tmp_path, names=("id.example.test",)).read_text()
        with fronted(server, certificate=tmp_path) as front:
            world = World(server, front.url)
            with pytest.raises(PermanentError, match="not trusted"):
                CONNECTOR.grant(world.spec(resource_settings=world.resource(ca=ca)))

    def test_the_settings_stay_below_the_base(self, world: World, front: Front) -> None:
        """An id is one step of the path, whatever it holds."""
        for group_id in ("../Users", "a/b", "a?b=c", "%2e%2e", "a#b"):
            spec = world.spec(entitlement_settings={"group_id": group_id})
            with pytest.raises(PermanentError, match="no group"):
                CONNECTOR.grant(spec)
        for seen in front.seen:
            path = urlsplit(seen.path).path
            assert path == "/v2/Users" or path.startswith("/v2/Groups/")
            assert path.count("/") <= 3

    def test_the_login_is_asked_for_as_one_text(self, world: World, front: Front) -> None:
        login = 'a" or userName pr or userName eq "b'
        with pytest.raises(PermanentError):
            CONNECTOR.grant(world.spec(subject_login=login))
        asked = parse_qs(urlsplit(front.seen[0].path).query)["filter"]
        assert asked == [f"userName eq {json.dumps(login)}"]
