"""RoleBindings and ClusterRoleBindings at a cluster: every request about them that we send.

Both kinds are the same but for their place, so that one word, binding, stands for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import client

from approvals.connectors.kubernetes_rolebinding.cluster import Cluster, Missing
from approvals.connectors.kubernetes_rolebinding.settings import Holding, Place
from approvals.connectors.protocol import NotYet, PermanentError

GROUP = "rbac.authorization.k8s.io"
PAGE = 500
MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "jitportal"
REQUEST, ENDS_AT, LOGIN = "jitportal/request-id", "jitportal/ends-at", "jitportal/login"

Binding = client.V1RoleBinding | client.V1ClusterRoleBinding

# With these, people could give themselves more, or keep it past the end.
_WRITES = frozenset({"create", "update", "patch", "*"})
_POWERS = {"escalate", "bind", "impersonate"}
_GIVING = {"roles", "clusterroles", "rolebindings", "clusterrolebindings", "serviceaccounts/token"}


def meta(binding: Binding) -> client.V1ObjectMeta:
    """Name, annotations and the like, which every object of an API server has.

    Raises: PermanentError for a server that is none.
    """
    if binding.metadata is None or not binding.metadata.name:
        raise PermanentError('The API server lists a binding without a name: check "server".')
    return binding.metadata


def name_of(binding: Binding) -> str:
    """Its name, unique in its place."""
    return str(meta(binding).name)


def create(cluster: Cluster, binding: Binding, *, namespace: str | None) -> None:
    """Make it.

    Raises: Conflict if there is one of that name; Missing if there is no such namespace.
    """
    if namespace is None:
        cluster.call(cluster.rbac.create_cluster_role_binding, binding)
    else:
        cluster.call(cluster.rbac.create_namespaced_role_binding, namespace, binding)


def read(cluster: Cluster, *, name: str, namespace: str | None) -> Binding | None:
    """The binding of exactly this name."""
    try:
        if namespace is None:
            return cluster.call(cluster.rbac.read_cluster_role_binding, name)
        return cluster.call(cluster.rbac.read_namespaced_role_binding, name, namespace)
    except Missing:
        return None


def replace(cluster: Cluster, binding: Binding, *, namespace: str | None) -> None:
    """Write a binding that was read, unless somebody changed it meanwhile.

    Raises: Conflict, Missing.
    """
    name = name_of(binding)
    if namespace is None:
        cluster.call(cluster.rbac.replace_cluster_role_binding, name, binding)
    else:
        cluster.call(cluster.rbac.replace_namespaced_role_binding, name, namespace, binding)


def delete(cluster: Cluster, binding: Binding, *, namespace: str | None) -> None:
    """This very binding is gone; one of its name that was made since is left alone.

    Raises: Conflict; NotYet while a finalizer holds it, since it works until then.
    """
    name = name_of(binding)
    body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=meta(binding).uid))
    # The answer is a Status, or the object if a finalizer holds it: it is looked at again instead.
    options: dict[str, Any] = {"body": body, "_preload_content": False}
    try:
        if namespace is None:
            cluster.call(cluster.rbac.delete_cluster_role_binding, name, **options)
        else:
            cluster.call(cluster.rbac.delete_namespaced_role_binding, name, namespace, **options)
    except Missing:
        return
    left = read(cluster, name=name, namespace=namespace)
    if left is not None and meta(left).uid == meta(binding).uid:
        raise NotYet(
            f'The binding "{name}" is marked as deleted, but a finalizer holds it. It is tried '
            "again."
        )


def every(cluster: Cluster, *, namespace: str | None) -> Iterator[Binding]:
    """Every binding there, page by page; a namespace that is gone has none."""
    token: str | None = None
    while True:
        options: dict[str, Any] = {"limit": PAGE} | ({"_continue": token} if token else {})
        page: client.V1RoleBindingList | client.V1ClusterRoleBindingList
        try:
            if namespace is None:
                page = cluster.call(cluster.rbac.list_cluster_role_binding, **options)
            else:
                page = cluster.call(cluster.rbac.list_namespaced_role_binding, namespace, **options)
        except Missing:
            return
        yield from page.items
        token = page.metadata._continue if page.metadata else None
        if not token:
            return


def wanted(holding: Holding, *, annotations: Mapping[str, str]) -> Binding:
    """Our binding for a holding."""
    make = client.V1ClusterRoleBinding if holding.namespace is None else client.V1RoleBinding
    return make(
        api_version=f"{GROUP}/v1",
        kind="ClusterRoleBinding" if holding.namespace is None else "RoleBinding",
        metadata=client.V1ObjectMeta(
            name=holding.name,
            namespace=holding.namespace,
            labels={MANAGED_BY: OURS},
            annotations=dict(annotations),
        ),
        role_ref=client.V1RoleRef(api_group=GROUP, kind=holding.kind, name=holding.role),
        subjects=[client.RbacV1Subject(api_group=GROUP, kind="User", name=holding.username)],
    )


def is_ours(binding: Binding) -> bool:
    """Whether we made it."""
    return (meta(binding).labels or {}).get(MANAGED_BY) == OURS


def holders(binding: Binding, *, kind: str, role: str) -> list[str]:
    """The users to whom this binding gives this role."""
    if (binding.role_ref.kind, binding.role_ref.name) != (kind, role):
        return []
    return [subject.name for subject in binding.subjects or [] if subject.kind == "User"]


def holds(binding: Binding, holding: Holding) -> bool:
    """Whether the user of `holding` has the role through this binding."""
    return holding.username in holders(binding, kind=holding.kind, role=holding.role)


def take(cluster: Cluster, binding: Binding, holding: Holding) -> None:
    """The user has the role no longer through this binding; its other subjects keep it.

    Raises: Conflict if it changed meanwhile; TransientError.
    """
    left = [
        subject
        for subject in binding.subjects or []
        if not (subject.kind == "User" and subject.name == holding.username)
    ]
    if not left:
        delete(cluster, binding, namespace=holding.namespace)
        return
    binding.subjects = left
    try:
        replace(cluster, binding, namespace=holding.namespace)
    except Missing:
        return


def powers(cluster: Cluster, place: Place) -> list[str] | None:
    """Why the role is more than a plain set of rights; None if there is no such role."""
    found: client.V1Role | client.V1ClusterRole
    try:
        if place.kind == "ClusterRole":
            found = cluster.call(cluster.rbac.read_cluster_role, place.role)
        else:
            found = cluster.call(
                cluster.rbac.read_namespaced_role, place.role, place.namespace or ""
            )
    except Missing:
        return None
    reasons: set[str] = set()
    for rule in found.rules or []:
        verbs, resources = set(rule.verbs), set(rule.resources or [])
        if "*" in verbs and "*" in resources:
            reasons.add("everything")
        reasons |= verbs & _POWERS
        if verbs & _WRITES:
            reasons |= {f"writes {name}" for name in resources & _GIVING}
            groups = set(rule.api_groups or [])
            if "*" in resources and groups & {GROUP, "*"}:
                reasons.add("writes roles")
    return sorted(reasons)


def changed(binding: Binding, *, wanted: Binding) -> bool:
    """Whether our binding is other than it should be, apart from its annotations."""
    return bool(binding.role_ref != wanted.role_ref or binding.subjects != wanted.subjects)
