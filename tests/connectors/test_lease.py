"""Which grants make the same access at a target, as each connector says."""

from dataclasses import replace
from typing import Any

import pytest

from approvals.connectors import lease, registry
from approvals.connectors.protocol import GrantSpec

LDAP = {"url": "ldaps://ldap.example.com", "bind_dn": "cn=jit,dc=example,dc=com",
        "people_base": "ou=people,dc=example,dc=com"}  # fmt: skip
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "postgres_role": ({"database": "orders"}, {"role": "orders_rw"}),
    "portal": ({}, {"group": "readers"}),
    "ldap_group": (LDAP, {"group": "cn=ops,ou=groups,dc=example,dc=com"}),
    "scim_group": ({"url": "https://scim.example.com/v2"}, {"group_id": "g-1"}),
}


def spec(key: str, **changes: Any) -> GrantSpec:
    resource, entitlement = SPECS[key]
    made = GrantSpec(
        request_id="1", subject_login="alice", subject_email="a@example.com", resource="one",
        entitlement="role", resource_settings=resource, entitlement_settings=entitlement,
    )  # fmt: skip
    return replace(made, **changes)


def key(connector: str, given: GrantSpec, secret: str = "env:ONE") -> str:
    return lease.key(registry.get(connector), given, secret_reference=secret)


@pytest.mark.parametrize("name", SPECS)
def test_names_in_the_portal_do_not_tell_accesses_apart(name: str) -> None:
    other = spec(name, request_id="2", resource="two", entitlement="another")
    assert key(name, spec(name)) == key(name, other)
    assert key(name, spec(name)) != key(name, spec(name, subject_login="bob"))
    changed = {k: f"{v}x" for k, v in SPECS[name][1].items()}
    assert key(name, spec(name)) != key(name, spec(name, entitlement_settings=changed))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("postgres_role", {"resource_settings": {"database": "billing", "terminate": "never"}}),
        ("postgres_role",
         {"entitlement_settings": {"role": "orders_rw", "allow_privileged": True}}),
        ("ldap_group", {"resource_settings": LDAP | {"url": "ldaps://LDAP.example.com:636/"}}),
        ("ldap_group", {"resource_settings": LDAP | {"bind_dn": "cn=other,dc=example,dc=com"}}),
        ("ldap_group", {"entitlement_settings": {"group": "CN=Ops, ou=groups,dc=example,dc=com"}}),
        ("scim_group", {"resource_settings": {"url": "https://scim.example.com/v2/"}}),
    ],
)  # fmt: skip
def test_what_leads_to_the_same_access_is_the_same(name: str, changes: dict[str, Any]) -> None:
    assert key(name, spec(name)) == key(name, spec(name, **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ldap_group", {"resource_settings": LDAP | {"url": "ldaps://ldap.example.com:1636"}}),
        ("ldap_group", {"resource_settings": LDAP | {"people_base": "ou=others,dc=example"}}),
        ("scim_group", {"resource_settings": {"url": "https://scim.example.org/v2"}}),
    ],
)
def test_another_server_is_another_access(name: str, changes: dict[str, Any]) -> None:
    assert key(name, spec(name)) != key(name, spec(name, **changes))


def test_a_secret_tells_servers_apart_where_it_names_them() -> None:
    for name, apart in (("postgres_role", True), ("portal", False), ("ldap_group", False)):
        assert (key(name, spec(name)) != key(name, spec(name), "env:TWO")) == apart


@pytest.mark.parametrize("name", ["postgres_login", "aws_sts", "ssh_certificate"])
def test_credentials_are_a_request_s_own(name: str) -> None:
    one = spec("portal", entitlement_settings={"role": "x"})
    assert key(name, one) == key(name, one)
    assert key(name, one) != key(name, replace(one, request_id="2"))


def test_settings_that_can_not_be_read_are_told_apart_by_all_of_it() -> None:
    broken = spec("ldap_group", resource_settings={"url": "nonsense"})
    assert key("ldap_group", broken) == key("ldap_group", broken)
    assert key("ldap_group", broken) != key("ldap_group", spec("ldap_group"))
    assert lease.key(None, broken, secret_reference="") == lease.key(
        None, replace(broken, resource="two"), secret_reference=""
    )
