"""Which grants make the same access at a target, as each connector says."""

from dataclasses import replace
from typing import Any

import pytest

from approvals.connectors import lease, registry
from approvals.connectors.protocol import GrantSpec

from .authority import authority

LDAP = {"url": "ldaps://ldap.example.com", "bind_dn": "cn=jit,dc=example,dc=com",
        "people_base": "ou=people,dc=example,dc=com"}  # fmt: skip
CLUSTER = {"server": "https://k8s.example.com"}
VIEW = {"role": "view", "namespace": "orders"}
CENTER = {"region": "eu-central-1", "identity_store_id": "d-1234567890",
          "instance_arn": "arn:aws:sso:::instance/ssoins-1234567890abcdef"}  # fmt: skip
HOOK = {"url": "https://hooks.example.com/jit"}
#: What leads to an access that grants share: of every connector whose grants don't have their own.
SPECS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "postgres_role": ({"database": "orders"}, {"role": "orders_rw"}),
    "portal": ({}, {"group": "readers"}),
    "ldap_group": (LDAP, {"group": "cn=ops,ou=groups,dc=example,dc=com"}),
    "scim_group": ({"url": "https://scim.example.com/v2"}, {"group_id": "g-1"}),
    "kubernetes_rolebinding": (CLUSTER, VIEW),
    "aws_identity_center": (CENTER, {"account_id": "123456789012", "permission_set_arn": "arn"}),
    "webhook": (HOOK, {"role": "picker"}),
}
PEM = authority().pem


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
        ("ldap_group", {"resource_settings": LDAP | {"people_base": "dc=example,dc=com"}}),
        ("ldap_group", {"resource_settings": LDAP | {"login_attribute": "cn"}}),
        ("scim_group", {"resource_settings": {"url": "https://scim.example.com/v2/"}}),
        ("kubernetes_rolebinding", {"resource_settings": CLUSTER | {"ca": PEM}}),
        ("kubernetes_rolebinding", {"resource_settings": {"server": "https://K8S.example.com:443/"}}),
        ("kubernetes_rolebinding", {"entitlement_settings": VIEW | {"kind": "ClusterRole"}}),
        ("kubernetes_rolebinding", {"entitlement_settings": VIEW | {"allow_privileged": True}}),
        ("aws_identity_center",
         {"resource_settings": CENTER | {"portal_url": "https://acme.awsapps.com/start"}}),
        ("aws_identity_center", {"resource_settings": CENTER | {"region": "eu-west-1"}}),
        ("aws_identity_center", {"resource_settings": CENTER | {"find_user_by": "email"}}),
        ("webhook", {"resource_settings": HOOK | {"ca": PEM}}),
        ("webhook", {"resource_settings": HOOK | {"allow_private": ["10.20.0.0/16"]}}),
        ("webhook", {"resource_settings": {"url": "https://HOOKS.example.com:443/jit"}}),
    ],
)  # fmt: skip
def test_what_leads_to_the_same_access_is_the_same(name: str, changes: dict[str, Any]) -> None:
    assert key(name, spec(name)) == key(name, spec(name, **changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ldap_group", {"resource_settings": LDAP | {"url": "ldaps://ldap.example.com:1636"}}),
        ("scim_group", {"resource_settings": {"url": "https://scim.example.org/v2"}}),
        ("kubernetes_rolebinding", {"resource_settings": {"server": "https://k8s.example.org"}}),
        ("kubernetes_rolebinding", {"resource_settings": CLUSTER | {"username_prefix": "oidc:"}}),
        ("kubernetes_rolebinding", {"entitlement_settings": {"role": "view"}}),
        ("aws_identity_center", {"resource_settings": CENTER
         | {"instance_arn": "arn:aws:sso:::instance/ssoins-abcdef1234567890"}}),
        ("webhook", {"resource_settings": {"url": "https://hooks.example.com/other"}}),
    ],
)  # fmt: skip
def test_another_server_is_another_access(name: str, changes: dict[str, Any]) -> None:
    assert key(name, spec(name)) != key(name, spec(name, **changes))


@pytest.mark.parametrize("name", SPECS)
def test_a_secret_tells_servers_apart_only_where_no_setting_names_them(name: str) -> None:
    apart = key(name, spec(name)) != key(name, spec(name), "env:TWO")
    assert apart == (name == "postgres_role")


@pytest.mark.parametrize(
    ("name", "unnamed", "named"),
    [
        ("postgres_role", {"database": "orders"}, {"server": "orders-cluster"}),
        ("kubernetes_rolebinding", {}, CLUSTER),
    ],
)
def test_a_server_that_is_named_is_one_by_whatever_secret(
    name: str, unnamed: dict[str, Any], named: dict[str, Any]
) -> None:
    one = spec(name, resource_settings=unnamed)
    assert key(name, one) != key(name, one, "env:TWO")
    two = spec(name, resource_settings=named)
    assert key(name, two) == key(name, two, "env:TWO")
    assert key(name, two) != key(name, one)


def test_a_server_s_name_is_read_as_people_write_it() -> None:
    one, two, other = (
        key("postgres_role", spec("postgres_role", resource_settings={"server": called}))
        for called in ("Orders-Cluster ", "orders-cluster", "billing-cluster")
    )
    assert one == two != other


def test_every_connector_says_what_its_grants_share() -> None:
    own = {name for name, _ in registry.choices() if registry.get(name).per_request}
    assert own == {"postgres_login", "aws_sts", "ssh_certificate"}
    assert own | SPECS.keys() == dict(registry.choices()).keys()
    for name in SPECS:
        # All that was pinned would tell two resources apart that lead to the same access.
        assert "lease" in vars(type(registry.get(name))), name


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
