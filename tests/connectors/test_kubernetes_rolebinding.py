"""Role bindings against a FAKE API server that judges each body by the client's own schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from approvals.connectors.kubernetes_rolebinding import (
    KubernetesRoleBinding,
    bindings,
)
from approvals.connectors.protocol import (
    GrantSpec,
    Held,
    NotYet,
    PermanentError,
)

from .authority import authority
from .contract import Bench, ConnectorContract
from .kubernetes_api import GROUP, TOKEN, FakeAPIServer, Refused, serving
from .kubernetes_schema import problems
from .moments import now

connector = KubernetesRoleBinding()
VIEW = {"role": "view", "namespace": "orders"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeAPIServer]:
    with serving(tmp_path) as one:
        yield one


def settings_of(api: FakeAPIServer, **changes: Any) -> dict[str, Any]:
    return {"server": api.url, "ca": authority().pem} | changes


def spec_of(api: FakeAPIServer, **changes: Any) -> GrantSpec:
    values: dict[str, Any] = {
        "request_id": "019a9d3c-kube",
        "subject_login": "alice",
        "subject_email": "alice@example.test",
        "resource": "cluster",
        "entitlement": "view",
        "resource_settings": settings_of(api),
        "entitlement_settings": VIEW,
        "secret": TOKEN,
        "ends_at": datetime(2031, 1, 1, tzinfo=UTC),
    }
    return GrantSpec(**(values | changes))


def observe(api: FakeAPIServer, **entitlements: Any) -> list[Held]:
    return connector.observe(
        now=now(),
        resource_settings=settings_of(api),
        secret=TOKEN,
        entitlements=entitlements or {"it": VIEW},
    )


class TestKubernetesRoleBindingAtAFake(ConnectorContract):
    key = "kubernetes_rolebinding"

    @pytest.fixture(params=["namespace", "cluster"])
    def bench(self, api: FakeAPIServer, request: pytest.FixtureRequest) -> Bench:
        @contextmanager
        def stopped() -> Iterator[str]:
            api.stop()
            yield TOKEN
            api.start()

        entitlement = VIEW if request.param == "namespace" else {"role": "view"}
        good = settings_of(api)
        return Bench(
            connector=connector,
            login="alice",
            unknown_login="nobody",
            secret=TOKEN,
            canaries=[TOKEN],
            resource_settings=good,
            entitlement_settings=entitlement,
            unknown_entitlement_settings={"role": "gone", "namespace": "gone"},
            bad_settings=[
                (good, {}),
                (good, {"role": ""}),
                (good, {"role": "a/b"}),
                (good, {"role": ".."}),
                (good, {"role": "a\0b"}),
                (good, {"role": "cluster-admin"}),
                (good, {"role": "system:node"}),
                (good, {"role": "view", "namespace": "Orders"}),
                (good, {"role": "view", "namespace": "../x"}),
                (good, {"role": "view", "kind": "Group"}),
                (good, {"role": "reader", "kind": "Role"}),
                (good, {"role": "view", "allow_privileged": "yes"}),
                (good, {"role": "view", "user": "x"}),
                ({"server": "http://127.0.0.1"}, entitlement),
                ({"server": "https://user:pw@127.0.0.1"}, entitlement),
                ({"server": "https://127.0.0.1:99999"}, entitlement),
                (good | {"ca": "nonsense"}, entitlement),
                (good | {"username": "uid"}, entitlement),
                (good | {"username_prefix": 5}, entitlement),
                (good | {"verify": False}, entitlement),
            ],
            unreachable=stopped,
        )

    def test_a_login_that_the_target_does_not_know_is_permanent(self, bench: Bench) -> None:
        """A cluster knows no users, only names; those of its own parts are refused."""
        for login in ("", "x\0y", "a" * 254, "\ud800", "system:masters", "System:anonymous"):
            with pytest.raises(PermanentError) as caught:
                bench.connector.grant(bench.spec(subject_login=login))
            bench.keeps_secret(caught.value)


def test_the_schema_is_no_rubber_stamp() -> None:
    """It comes from the client; here it is seen to refuse."""
    good: dict[str, Any] = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": GROUP}],
    }
    assert problems("V1RoleBinding", good) == []
    for change in (
        {"roleRef": {"kind": "ClusterRole"}},
        {"role_ref": good["roleRef"]},
        {"subjects": {"kind": "User", "name": "alice"}},
        {"subjects": [{"kind": "User", "name": 5}]},
        {"metadata": {"name": "x", "labels": {"a": 1}}},
        {"metadata": {"name": "x", "creationTimestamp": "yesterday"}},
    ):
        assert problems("V1RoleBinding", good | change), change
    del good["roleRef"]
    assert problems("V1RoleBinding", good) == ["V1RoleBinding: 'roleRef' is a required property"]


def test_a_binding_says_who_made_it_for_whom_and_until_when(api: FakeAPIServer) -> None:
    receipt = connector.grant(spec_of(api))
    found = api.named(receipt.detail["binding"])
    assert found is not None
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "jitportal"}
    assert found["metadata"]["annotations"] == {
        "jitportal/request-id": "019a9d3c-kube",
        "jitportal/ends-at": "2031-01-01T00:00:00+00:00",
        "jitportal/login": "alice",
    }
    assert found["roleRef"] == {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"}
    assert found["subjects"] == [{"apiGroup": GROUP, "kind": "User", "name": "alice"}]
    assert receipt.detail["pre_existing"] is False


def test_an_extension_keeps_the_binding_and_notes_the_new_end(api: FakeAPIServer) -> None:
    first = connector.grant(spec_of(api)).detail["binding"]
    before = api.named(first)
    later = spec_of(api, request_id="019a9d3c-more", ends_at=datetime(2032, 1, 1, tzinfo=UTC))
    assert connector.grant(later).detail["binding"] == first
    after = api.named(first)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["annotations"]["jitportal/request-id"] == "019a9d3c-more"
    assert after["metadata"]["annotations"]["jitportal/ends-at"].startswith("2032")


def test_names_are_one_per_subject_and_entitlement(api: FakeAPIServer) -> None:
    specs = [
        spec_of(api, subject_login=login, entitlement_settings=entitlement)
        for login in ("alice", "Alice", 'é" $(reboot)', "a" * 200)
        for entitlement in (
            VIEW,
            {"role": "view"},
            {"role": "view", "namespace": "billing"},
            {"role": "reader", "kind": "Role", "namespace": "orders"},
        )
    ]
    names = [connector.grant(spec).detail["binding"] for spec in specs]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 70 for name in names)
    assert len(api.objects) == len(names) + 2
    for spec in specs:
        connector.revoke(spec)
    assert len(api.objects) == 2


def test_a_role_of_the_namespace_can_be_granted(api: FakeAPIServer) -> None:
    entitlement = {"role": "reader", "kind": "Role", "namespace": "orders"}
    connector.grant(spec_of(api, entitlement_settings=entitlement))
    assert api.users("reader") == ["alice"]
    assert observe(api, it=entitlement) == [Held("alice", "it")]


@pytest.mark.parametrize(
    ("entitlement", "says"),
    [({"role": "gone"}, "no ClusterRole"), ({"role": "view", "namespace": "gone"}, "no namespace"),
     ({"role": "gone", "kind": "Role", "namespace": "orders"}, "no Role")],
)  # fmt: skip
def test_what_is_not_there_can_not_be_granted(
    api: FakeAPIServer, entitlement: dict[str, Any], says: str
) -> None:
    """The API server itself would bind a role that does not exist."""
    with pytest.raises(PermanentError, match=says) as caught:
        connector.grant(spec_of(api, entitlement_settings=entitlement))
    assert caught.value.untouched


def test_only_an_answer_that_refuses_says_that_nothing_was_bound(
    api: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.forbidden = {("create", "rolebindings"), ("create", "clusterrolebindings")}
    with pytest.raises(PermanentError, match="forbids it") as caught:
        connector.grant(spec_of(api))
    assert caught.value.untouched
    api.forbidden = set()
    real = bindings.create

    def unreadable(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise PermanentError("The answer is not Kubernetes'.")

    monkeypatch.setattr(bindings, "create", unreadable)
    with pytest.raises(PermanentError, match="is not Kubernetes") as caught:
        connector.grant(spec_of(api))
    assert not caught.value.untouched


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]},
        {"apiGroups": [GROUP], "resources": ["rolebindings"], "verbs": ["create"]},
        {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["patch"]},
        {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    ],
)
def test_a_role_with_which_people_could_stay_is_refused(
    api: FakeAPIServer, rule: dict[str, Any]
) -> None:
    api.role("boss", rule)
    entitlement = {"role": "boss", "namespace": "orders"}
    with pytest.raises(PermanentError, match="too powerful"):
        connector.grant(spec_of(api, entitlement_settings=entitlement))
    allowed = entitlement | {"allow_privileged": True}
    assert connector.grant(spec_of(api, entitlement_settings=allowed)).detail["granted"]


def test_a_name_is_what_the_cluster_knows_people_by(api: FakeAPIServer) -> None:
    by_email = settings_of(api, username="email", username_prefix="oidc:")
    connector.grant(spec_of(api, resource_settings=by_email))
    assert api.users("view") == ["oidc:alice@example.test"]
    api.binding("by-hand", "view", "oidc:bob@example.test", "system:node:a", "carol")
    held = connector.observe(
        now=now(), resource_settings=by_email, secret=TOKEN, entitlements={"it": VIEW}
    )
    assert held == [Held("alice", "it"), Held("bob@example.test", "it"), Held("carol", "it")]


def test_access_that_was_there_before_is_told_and_ends_too(api: FakeAPIServer) -> None:
    api.binding("team", "view", "alice", "bob")
    api.binding("just-alice", "view", "alice")
    api.binding("other-role", "reader", "alice", kind="Role")
    api.binding("elsewhere", "view", "alice", namespace="billing")
    receipt = connector.grant(spec_of(api))
    assert receipt.detail["pre_existing"] is True
    assert receipt.detail["also_through"] == ["just-alice", "team"]
    receipt = connector.revoke(spec_of(api))
    assert receipt.detail["also_removed_from"] == ["just-alice", "team"]
    assert api.users("view") == ["bob"]
    assert api.named("just-alice") is None
    assert api.users("reader") == api.users("view", "billing") == ["alice"]


def test_a_binding_of_our_name_that_is_not_ours_is_left_alone(api: FakeAPIServer) -> None:
    name = connector.grant(spec_of(api)).detail["binding"]
    connector.revoke(spec_of(api))
    api.binding(name, "reader", "bob", kind="Role")
    with pytest.raises(PermanentError, match="did not make"):
        connector.grant(spec_of(api))
    assert connector.revoke(spec_of(api)).detail["removed"] is False
    assert api.users("reader") == ["bob"]


def test_our_binding_that_somebody_changed_is_made_anew(api: FakeAPIServer) -> None:
    name = connector.grant(spec_of(api)).detail["binding"]
    found = api.named(name)
    assert found is not None
    found["roleRef"]["name"] = "admin"
    found["subjects"][0]["name"] = "mallory"
    connector.grant(spec_of(api))
    assert api.users("view") == ["alice"]
    assert api.users("admin") == []


def test_a_change_at_the_same_moment_is_not_overwritten(api: FakeAPIServer) -> None:
    """bob is added to the shared binding between our read and our write."""
    api.binding("team", "view", "alice", "carol")
    found = api.named("team")
    assert found is not None

    def interfere(method: str, path: str) -> None:
        if method == "PUT":
            api.before.clear()
            api.binding("team", "view", "alice", "carol", "bob", uid=found["metadata"]["uid"])

    api.before.append(interfere)
    connector.revoke(spec_of(api))
    assert api.users("view") == ["bob", "carol"]


def test_a_binding_that_was_made_anew_meanwhile_is_not_deleted_for_the_old_one(
    api: FakeAPIServer,
) -> None:
    """Somebody replaces ours by one of theirs, of the same name, between our read and our delete."""
    name = connector.grant(spec_of(api)).detail["binding"]

    def interfere(method: str, path: str) -> None:
        if method == "DELETE":
            api.before.clear()
            api.binding(name, "reader", "bob", kind="Role")

    api.before.append(interfere)
    connector.revoke(spec_of(api))
    assert api.users("view") == []
    assert api.users("reader") == ["bob"]


def test_somebody_who_never_stops_changing_it_is_transient(api: FakeAPIServer) -> None:
    api.binding("team", "view", "alice", "bob")

    def conflict(method: str, path: str) -> None:
        if method == "PUT":
            raise Refused(409, "Conflict", "the object has been modified")

    api.before.append(conflict)
    with pytest.raises(NotYet, match="keeps changing"):
        connector.revoke(spec_of(api))


def test_a_finalizer_keeps_access_and_so_it_is_not_called_gone(api: FakeAPIServer) -> None:
    name = connector.grant(spec_of(api)).detail["binding"]
    found = api.named(name)
    assert found is not None
    found["metadata"]["finalizers"] = ["example.test/slow"]
    with pytest.raises(NotYet, match="finalizer"):
        connector.revoke(spec_of(api))
    assert api.users("view") == ["alice"]
    del found["metadata"]["finalizers"]
    connector.revoke(spec_of(api))
    assert api.users("view") == []


def test_observing_reads_page_after_page(
    api: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "PAGE", 50)
    for number in range(120):
        api.binding(f"b{number:03}", "view", f"person{number:03}")
    api.binding("whole", "view", "bob", namespace=None)
    held = observe(api, ns=VIEW, all={"role": "view"}, none={"role": "view", "namespace": "gone"})
    assert len(held) == 121
    assert held[0] == Held("bob", "all")
    assert len([path for method, path in api.requests if "namespaces/orders" in path]) == 3


def test_groups_and_service_accounts_are_not_people(api: FakeAPIServer) -> None:
    api.binding("mixed", "view", "alice")
    found = api.named("mixed")
    assert found is not None
    found["subjects"] += [
        {"kind": "Group", "name": "alice", "apiGroup": GROUP},
        {"kind": "ServiceAccount", "name": "alice", "namespace": "orders"},
    ]
    assert observe(api) == [Held("alice", "it")]
    connector.revoke(spec_of(api))
    left = api.named("mixed")
    assert left is not None
    assert [subject["kind"] for subject in left["subjects"]] == ["Group", "ServiceAccount"]


def test_how_to_connect_is_safe_to_paste(api: FakeAPIServer) -> None:
    what, who, role = connector.how_to_connect(spec_of(api))
    assert what.text == "kubectl auth can-i --list --namespace orders"
    assert who.text.startswith("alice ")
    assert role.text == "view"
    hostile = spec_of(api, entitlement_settings={"role": "view", "namespace": "x; reboot"})
    assert connector.how_to_connect(hostile)[0].text == "kubectl auth can-i --list"
