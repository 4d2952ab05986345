"""LDAP groups, at a real OpenLDAP server."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.connectors import registry
from approvals.connectors.ldap_group import LdapGroup, members, names, wire
from approvals.connectors.protocol import GrantSpec, Held, PermanentError, TransientError

from . import slapd
from .contract import CALL_WITHIN_SECONDS, Bench, ConnectorContract
from .moments import now
from .slapd import BLIND, GROUPS, HOST, PASSWORD, PEOPLE, PORTAL, READER, Slapd, entry, person

NOBODY = f"cn=nobody,{slapd.SUFFIX}"
CONNECTOR = LdapGroup()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    one = Slapd(tmp_path_factory.mktemp("slapd")).start()
    try:
        one.populate()
        yield one
    finally:
        one.stop()


class World:
    """A person and their groups, whom no other test has met."""

    def __init__(self, server: Slapd) -> None:
        number = next(_numbers)
        self.server = server
        self.login = f"alice{number}"
        self.alice = f"uid={self.login},{PEOPLE}"
        self.bob = f"uid=bob{number},{PEOPLE}"
        self.group = f"cn=it{number},{GROUPS}"
        self.unique = f"cn=unique{number},{GROUPS}"
        self.posix = f"cn=posix{number},{GROUPS}"
        server.add(
            person(self.login, mail=f"{self.login}@example.test"),
            person(f"bob{number}"),
            entry(self.group, objectClass="groupOfNames", cn=f"it{number}", member=self.bob),
            entry(
                self.unique,
                objectClass="groupOfUniqueNames",
                cn=f"unique{number}",
                uniqueMember=self.bob,
            ),
            entry(self.posix, objectClass="posixGroup", cn=f"posix{number}", gidNumber="5000"),
        )

    def resource(self, **changes: Any) -> dict[str, Any]:
        settings = {
            "url": self.server.url,
            "bind_dn": PORTAL,
            "people_base": PEOPLE,
            "placeholder_dn": NOBODY,
            "ca": self.server.ca,
        } | changes
        return {name: value for name, value in settings.items() if value is not None}

    def spec(self, **changes: Any) -> GrantSpec:
        spec = GrantSpec(
            now=now(),
            request_id="0199-ldap",
            subject_login=self.login,
            subject_email=f"{self.login}@example.test",
            resource="wiki",
            entitlement="editors",
            resource_settings=self.resource(),
            entitlement_settings={"group": self.group},
            secret=PASSWORD,
        )
        return replace(spec, **changes)

    def observe(self, **changes: Any) -> list[Held]:
        wanted: dict[str, Any] = {
            "resource_settings": self.resource(),
            "secret": PASSWORD,
            "entitlements": {"it": {"group": self.group}},
        }
        return CONNECTOR.observe(now=now(), **(wanted | changes))

    def members(self) -> list[str]:
        return self.server.values(self.group, "member")


@pytest.fixture
def world(server: Slapd) -> World:
    return World(server)


class _Contract(ConnectorContract):
    key = "ldap_group"
    attribute = "member"

    @pytest.fixture
    def bench(self, world: World, server: Slapd) -> Bench:
        resource = world.resource()
        group = {"member": world.group, "uniqueMember": world.unique, "memberUid": world.posix}

        @contextmanager
        def down() -> Iterator[str]:
            with server.down():
                yield PASSWORD

        return Bench(
            connector=CONNECTOR,
            login=world.login,
            unknown_login="nobody_here",
            secret=PASSWORD,
            canaries=[PASSWORD],
            resource_settings=resource,
            entitlement_settings={"group": group[self.attribute], "attribute": self.attribute},
            unknown_entitlement_settings={
                "group": f"cn=gone,{GROUPS}",
                "attribute": self.attribute,
            },
            bad_settings=[
                (resource, {}),
                (resource, {"group": ""}),
                (resource, {"group": 7}),
                (resource, {"group": "it"}),
                (resource, {"group": "cn=a\0b"}),
                (resource, {"group": "cn=\ud800"}),
                (resource, {"group": world.group, "attribute": "description"}),
                (resource, {"group": world.group, "attribute": []}),
                (resource, {"group": world.group, "role": "x"}),
                ({}, {"group": world.group}),
                (world.resource(url="http://127.0.0.1"), {"group": world.group}),
                (world.resource(url="ldaps://"), {"group": world.group}),
                (world.resource(url="ldaps://h:port"), {"group": world.group}),
                (world.resource(url="ldaps://user:pw@h"), {"group": world.group}),
                (world.resource(url="ldaps://h/dc=x"), {"group": world.group}),
                (world.resource(bind_dn="jitportal"), {"group": world.group}),
                (world.resource(people_base=None), {"group": world.group}),
                (world.resource(login_attribute="uid)(x=*"), {"group": world.group}),
                (world.resource(placeholder_dn="nobody"), {"group": world.group}),
                (world.resource(ca="no PEM"), {"group": world.group}),
                (world.resource(tls=False), {"group": world.group}),
            ],
            unreachable=down,
        )


class TestMember(_Contract):
    attribute = "member"


class TestUniqueMember(_Contract):
    attribute = "uniqueMember"


class TestMemberUid(_Contract):
    attribute = "memberUid"


def test_it_is_in_the_registry() -> None:
    assert registry.get("ldap_group").title == "LDAP group"


class TestMembers:
    def test_the_server_says_so_too(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        assert sorted(world.members()) == sorted([world.alice, world.bob, NOBODY])
        CONNECTOR.revoke(world.spec())
        assert sorted(world.members()) == sorted([world.bob, NOBODY])

    def test_a_posix_group_names_people_by_their_uid(self, world: World) -> None:
        settings = {"group": world.posix, "attribute": "memberUid"}
        CONNECTOR.grant(world.spec(entitlement_settings=settings))
        assert world.server.values(world.posix, "memberUid") == [world.login]

    def test_a_person_may_be_found_by_another_attribute(self, world: World) -> None:
        """And a posix group still names them by uid, spelled as it is there."""
        spec = world.spec(
            subject_login=f"{world.login.upper()}@example.test",
            resource_settings=world.resource(login_attribute="mail"),
            entitlement_settings={"group": world.posix, "attribute": "memberUid"},
        )
        CONNECTOR.grant(spec)
        assert world.server.values(world.posix, "memberUid") == [world.login]
        assert CONNECTOR.revoke(spec).detail["removed"] is True
        assert world.server.values(world.posix, "memberUid") == []

    def test_a_member_already_is_pre_existing_and_is_removed_all_the_same(
        self, world: World
    ) -> None:
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nadd: member\nmember: {world.alice}\n"
        )
        receipt = CONNECTOR.grant(world.spec())
        assert receipt.detail["pre_existing"] is True
        assert "ends with this grant" in receipt.detail["note"]
        receipt = CONNECTOR.revoke(world.spec())
        assert receipt.detail["removed"] is True
        assert receipt.detail["members_removed"] == [world.alice]
        assert world.alice not in world.members()

    def test_a_new_member_is_not_pre_existing(self, world: World) -> None:
        assert CONNECTOR.grant(world.spec()).detail["pre_existing"] is False

    def test_two_people_of_one_login_are_refused(self, world: World) -> None:
        world.server.add(
            entry(f"ou={world.login},{PEOPLE}", objectClass="organizationalUnit", ou=world.login),
            person(world.login, base=f"ou={world.login},{PEOPLE}"),
        )
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError, match="Several entries"):
                call(world.spec())

    def test_a_login_that_is_a_filter_finds_nobody(self, world: World) -> None:
        for login in ("*", "alice*", f"{world.login})(uid=*", "*)(objectClass=*", "\\2a"):
            with pytest.raises(PermanentError, match="Nobody"):
                CONNECTOR.grant(world.spec(subject_login=login))
        assert world.members() == [world.bob]

    @pytest.mark.parametrize("uid", ["a*(b)\\c", "mü ller", 'q"o,t;e+d=<x>', " #lead", "日本"])
    def test_a_person_of_any_name_is_granted_seen_and_revoked(self, world: World, uid: str) -> None:
        uid = f"{uid}{next(_numbers)}"
        escaped = "".join(f"\\{byte:02x}" for byte in uid.encode())
        world.server.add(person(uid, dn=f"uid={escaped},{PEOPLE}"))
        CONNECTOR.grant(world.spec(subject_login=uid))
        assert Held(uid.strip(), "it") in [
            replace(one, subject_login=one.subject_login.strip()) for one in world.observe()
        ]
        CONNECTOR.revoke(world.spec(subject_login=uid))
        assert sorted(world.members()) == sorted([world.bob, NOBODY])

    def test_the_portals_own_account_is_no_subject(self, world: World) -> None:
        spec = world.spec(
            subject_login="jitportal",
            resource_settings=world.resource(people_base=slapd.SUFFIX, login_attribute="cn"),
        )
        with pytest.raises(PermanentError, match="own account"):
            CONNECTOR.grant(spec)


class TestGroupsThatCantBeEmpty:
    def test_the_last_member_leaves_and_the_placeholder_stays(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\ndelete: member\nmember: {world.bob}\n"
        )
        CONNECTOR.revoke(world.spec())
        assert world.members() == [NOBODY]
        assert world.observe() == []

    def test_the_placeholder_is_put_back_if_somebody_took_it(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nreplace: member\nmember: {world.alice}\n"
        )
        assert CONNECTOR.revoke(world.spec()).detail["removed"] is True
        assert world.members() == [NOBODY]

    def test_the_last_member_without_a_placeholder_is_a_visible_failure(self, world: World) -> None:
        spec = world.spec(resource_settings=world.resource(placeholder_dn=None))
        CONNECTOR.grant(spec)
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\ndelete: member\nmember: {world.bob}\n"
        )
        with pytest.raises(PermanentError, match="last member"):
            CONNECTOR.revoke(spec)
        assert world.members() == [world.alice]

    def test_access_that_could_not_be_taken_away_is_not_confirmed(self, world: World) -> None:
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nreplace: member\nmember: {world.alice}\n"
        )
        spec = world.spec(resource_settings=world.resource(placeholder_dn=None))
        with pytest.raises(PermanentError, match="placeholder_dn"):
            CONNECTOR.grant(spec)

    def test_a_posix_group_may_be_empty_and_gets_no_placeholder(self, world: World) -> None:
        spec = world.spec(entitlement_settings={"group": world.posix, "attribute": "memberUid"})
        CONNECTOR.grant(spec)
        CONNECTOR.revoke(spec)
        assert world.server.values(world.posix, "memberUid") == []


class TestAbsence:
    def test_somebody_deleted_leaves_no_name_behind_in_the_group(self, world: World) -> None:
        """Else a new entry of that name would be born with the access."""
        CONNECTOR.grant(world.spec())
        world.server.modify(f"dn: {world.alice}\nchangetype: delete\n")
        receipt = CONNECTOR.revoke(world.spec())
        assert receipt.detail["members_removed"] == [world.alice]
        assert world.alice not in world.members()

    def test_somebody_moved_loses_the_access_under_the_old_name(self, world: World) -> None:
        CONNECTOR.grant(world.spec())
        unit = f"ou=left{world.login},{PEOPLE}"
        world.server.add(entry(unit, objectClass="organizationalUnit", ou=f"left{world.login}"))
        world.server.modify(
            f"dn: {world.alice}\nchangetype: modrdn\nnewrdn: uid={world.login}\n"
            f"deleteoldrdn: 1\nnewsuperior: {unit}\n"
        )
        CONNECTOR.revoke(world.spec())
        assert world.alice not in world.members()

    def test_a_namesake_outside_the_peoples_base_keeps_theirs(self, world: World) -> None:
        namesake = f"uid={world.login},{GROUPS}"
        world.server.add(person(world.login, base=GROUPS))
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nadd: member\nmember: {namesake}\n"
        )
        elsewhere = f"uid={world.login},ou=partners,{slapd.SUFFIX}"  # has no entry, and isn't ours
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nadd: member\nmember: {elsewhere}\n"
        )
        assert CONNECTOR.revoke(world.spec()).detail["removed"] is False
        assert {namesake, elsewhere} <= set(world.members())

    def test_a_posix_group_loses_the_uid_of_somebody_deleted(self, world: World) -> None:
        spec = world.spec(entitlement_settings={"group": world.posix, "attribute": "memberUid"})
        CONNECTOR.grant(spec)
        world.server.modify(f"dn: {world.alice}\nchangetype: delete\n")
        assert CONNECTOR.revoke(spec).detail["removed"] is True
        assert world.server.values(world.posix, "memberUid") == []

    def test_an_account_that_sees_nothing_can_not_say_that_access_is_gone(
        self, world: World
    ) -> None:
        CONNECTOR.grant(world.spec())
        blind = world.resource(bind_dn=BLIND)
        with pytest.raises(PermanentError, match="right to see"):
            CONNECTOR.revoke(world.spec(resource_settings=blind))
        with pytest.raises(PermanentError):
            world.observe(resource_settings=blind)
        assert not CONNECTOR.check(now=now(), resource_settings=blind, secret=PASSWORD).ok
        assert world.alice in world.members()

    def test_an_account_that_may_only_read_is_refused_for_good(self, world: World) -> None:
        reader = world.resource(bind_dn=READER)
        with pytest.raises(PermanentError, match="right to read people and to write") as caught:
            CONNECTOR.grant(world.spec(resource_settings=reader))
        assert caught.value.untouched
        CONNECTOR.grant(world.spec())
        with pytest.raises(PermanentError, match="right to read people and to write"):
            CONNECTOR.revoke(world.spec(resource_settings=reader))
        assert world.alice in world.members()

    def test_a_peoples_base_that_is_gone_is_a_visible_failure(self, world: World) -> None:
        resource = world.resource(people_base=f"ou=gone,{slapd.SUFFIX}")
        for call in (CONNECTOR.grant, CONNECTOR.revoke):
            with pytest.raises(PermanentError):
                call(world.spec(resource_settings=resource))
        health = CONNECTOR.check(now=now(), resource_settings=resource, secret=PASSWORD)
        assert not health.ok
        assert "people_base" in health.message


class TestObserve:
    def test_members_are_named_by_login_or_else_by_dn(self, world: World) -> None:
        number = next(_numbers)
        carol = f"cn=Carol {number},{PEOPLE}"
        robot = f"cn=robot{number},{GROUPS}"
        world.server.add(person(f"carol{number}", dn=carol, cn=f"Carol {number}"))
        for dn in (carol, robot, NOBODY):
            world.server.modify(
                f"dn: {world.group}\nchangetype: modify\nadd: member\nmember: {dn}\n"
            )
        bob = world.bob.split(",")[0].removeprefix("uid=")
        assert world.observe() == sorted(
            Held(login, "it") for login in (bob, f"carol{number}", robot)
        )

    def test_a_group_that_is_gone_has_no_members(self, world: World) -> None:
        found = world.observe(
            entitlements={"gone": {"group": f"cn=gone,{GROUPS}"}, "it": {"group": world.group}}
        )
        assert {one.entitlement_key for one in found} == {"it"}

    def test_two_entitlements_of_one_group_are_both_held(self, world: World) -> None:
        same = {"group": world.group}
        found = world.observe(entitlements={"a": same, "b": same})
        assert [one.entitlement_key for one in found] == ["a", "b"]

    def test_a_large_group_is_read_page_by_page(self, world: World) -> None:
        """Entries that aren't named by login, in more pages than one; the server limits to 500."""
        number = next(_numbers)
        count = 1_100
        assert count > members.LOOKUPS_AT_MOST
        dns = [f"cn=Person {one},ou=many{number},{PEOPLE}" for one in range(count)]
        world.server.add(
            entry(
                f"ou=many{number},{PEOPLE}", objectClass="organizationalUnit", ou=f"many{number}"
            ),
            *(person(f"p{number}-{one}", dn=dn) for one, dn in enumerate(dns)),
        )
        world.server.modify(
            f"dn: {world.group}\nchangetype: modify\nadd: member\n"
            + "".join(f"member: {dn}\n" for dn in dns)
        )
        found = {one.subject_login for one in world.observe()}
        assert {f"p{number}-{one}" for one in range(count)} <= found
        assert len(found) == count + 1


class TestTransport:
    def test_start_tls_is_done_before_the_password_is_sent(self, world: World) -> None:
        resource = world.resource(url=world.server.plain_url)
        health = CONNECTOR.check(now=now(), resource_settings=resource, secret=PASSWORD)
        assert health.ok, health.message
        assert "TLSv1.3" in health.message
        CONNECTOR.grant(world.spec(resource_settings=resource))
        assert world.alice in world.members()

    def test_without_tls_nothing_is_sent(self, tmp_path: Path, world: World) -> None:
        bare = Slapd(tmp_path / "bare", tls=False).start()
        try:
            bare.populate()
            before = bare.log.count("BIND dn=")
            spec = world.spec(resource_settings=world.resource(url=bare.plain_url))
            for call in (CONNECTOR.grant, CONNECTOR.revoke):
                with pytest.raises(PermanentError, match="does not start TLS; nothing was sent"):
                    call(spec)
            assert bare.log.count("BIND dn=") == before
            assert before > 0
            assert bare.log.count("text=unsupported extended operation") == 2
        finally:
            bare.stop()

    @pytest.mark.parametrize("plain", [False, True])
    def test_a_certificate_of_an_unknown_authority_is_refused(
        self, world: World, tmp_path: Path, plain: bool
    ) -> None:
        url = world.server.plain_url if plain else world.server.url
        other = slapd.make_certificate(tmp_path).read_text()
        for ca in (None, other):
            spec = world.spec(resource_settings=world.resource(url=url, ca=ca))
            with pytest.raises(PermanentError, match="not trusted"):
                CONNECTOR.grant(spec)
        assert world.alice not in world.members()

    def test_a_certificate_for_another_name_is_refused(self, tmp_path: Path, world: World) -> None:
        other = Slapd(tmp_path / "other", names=("ldap.example.test",)).start()
        try:
            for url in (other.url, other.plain_url):
                spec = world.spec(resource_settings=world.resource(url=url, ca=other.ca))
                with pytest.raises(PermanentError, match="not trusted"):
                    CONNECTOR.grant(spec)
        finally:
            other.stop()

    def test_a_name_in_the_certificate_is_good_as_an_address(self, world: World) -> None:
        url = f"ldaps://localhost:{world.server.tls_port}"
        assert CONNECTOR.check(
            now=now(), resource_settings=world.resource(url=url), secret=PASSWORD
        ).ok

    def test_a_wrong_password_is_permanent_and_not_repeated(self, world: World) -> None:
        with pytest.raises(PermanentError, match="bind_dn or the resource's secret") as caught:
            CONNECTOR.grant(world.spec(secret="not-the-password"))
        assert "not-the-password" not in str(caught.value)

    @pytest.mark.parametrize("secret", [None, ""])
    def test_no_password_is_no_anonymous_bind(self, world: World, secret: str | None) -> None:
        with pytest.raises(PermanentError, match="no secret reference"):
            CONNECTOR.grant(world.spec(secret=secret))

    @pytest.mark.parametrize("plain", [False, True])
    def test_a_server_that_never_answers_is_transient_within_the_bound(
        self, world: World, plain: bool
    ) -> None:
        resource = world.resource(url=world.server.plain_url if plain else world.server.url)
        with world.server.frozen():
            started = time.monotonic()
            with pytest.raises(TransientError):
                CONNECTOR.revoke(world.spec(resource_settings=resource))
            assert time.monotonic() - started < CALL_WITHIN_SECONDS

    def test_a_server_that_drips_is_cut_off_at_the_bound(self, world: World) -> None:
        """Each byte comes in time, the answer never ends: a timeout for each packet won't do."""
        stop = threading.Event()
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(0.2)

            def drip(one: socket.socket) -> None:
                with one:
                    # The beginning of one long LDAP message.
                    for byte in b"\x30\x84\x00\x10\x00\x00" + b"\x04" * 40:
                        if stop.wait(0.3):
                            return
                        try:
                            one.sendall(bytes([byte]))
                        except OSError:
                            return

            def serve() -> None:
                while not stop.is_set():
                    try:
                        drip(listener.accept()[0])
                    except TimeoutError:
                        continue

            server = threading.Thread(target=serve)
            server.start()
            try:
                url = f"ldap://{HOST}:{listener.getsockname()[1]}"
                started = time.monotonic()
                with pytest.raises(TransientError):
                    CONNECTOR.grant(world.spec(resource_settings=world.resource(url=url)))
                assert time.monotonic() - started < CALL_WITHIN_SECONDS
            finally:
                stop.set()
                server.join()

    def test_no_thread_outlives_a_call(self, world: World) -> None:
        before = set(threading.enumerate())
        CONNECTOR.grant(world.spec())
        time.sleep(0.1)
        assert set(threading.enumerate()) <= before


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "port", "upgrade"),
        [
            ("ldaps://ldap.example.com", 636, False),
            ("ldap://ldap.example.com/", 389, True),
            ("LDAPS://[::1]:1636", 1636, False),
        ],
    )
    def test_ports_have_defaults(self, url: str, port: int, upgrade: bool) -> None:
        address = wire.Address.parse(url)
        assert (address.port, address.upgrade) == (port, upgrade)


class TestNames:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("CN=It,DC=x", "cn=it, dc=X"),
            (r"cn=a\,b,dc=x", r"cn=a\2cb,dc=x"),
            ("cn=a+sn=b,dc=x", "sn=B+cn=A,dc=x"),
            (r"cn=m\c3\bc,dc=x", "cn=mü,dc=x"),
            ("cn=a  b", "cn=A b"),
        ],
    )
    def test_spellings_of_one_name_are_equal(self, one: str, other: str) -> None:
        assert names.parse(one) == names.parse(other)

    @pytest.mark.parametrize(
        "text", ["", "it", "cn=a,", ",cn=a", "cn=a,b", "=a", "c n=a", "cn=a\\"]
    )
    def test_what_is_no_name_is_refused(self, text: str) -> None:
        with pytest.raises(names.BadName):
            names.parse(text)

    def test_a_name_is_under_its_base_and_not_under_a_lookalike(self) -> None:
        base = names.parse("ou=people,dc=x")
        assert names.is_under(names.parse("uid=a,OU=people,dc=x"), base)
        assert not names.is_under(names.parse(r"uid=a\,ou=people,dc=x"), base)
        assert not names.is_under(names.parse("uid=a,ou=other,dc=x"), base)

    def test_the_login_in_a_name_is_read_as_it_is_spelled(self) -> None:
        assert names.first_value(r"UID=Ann\2c B\ ,dc=x", attribute="uid") == "Ann, B "
        assert names.first_value("cn=x+uid=ann,dc=x", attribute="uid") == "ann"
        assert names.first_value("cn=x,uid=ann", attribute="uid") is None

    @given(st.text(st.characters(codec="utf-8"), min_size=1))
    def test_no_value_ends_an_assertion(self, value: str) -> None:
        written = names.equals("uid", value)
        assert written.startswith("(uid=")
        assert written.count("(") == written.count(")") == 1
        assert "*" not in written
        assert "\0" not in written

    @given(st.text(st.characters(codec="utf-8"), min_size=1))
    def test_an_escaped_value_comes_back(self, value: str) -> None:
        escaped = "".join(f"\\{byte:02x}" for byte in value.encode())
        assert names.first_value(f"uid={escaped},dc=x", attribute="uid") == value
