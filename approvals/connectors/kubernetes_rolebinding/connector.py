"""A role in a Kubernetes cluster, by a RoleBinding (one namespace) or a ClusterRoleBinding (all).

Each subject and entitlement has one binding of ours, `jitportal-<username>-<16 hex digits>`. The
secret is the token of a service account, or a kubeconfig. Settings are in `settings`, sign-in in
`credentials`, the API server in `cluster`, bindings in `bindings`.

What it can't see: who holds a role through a group or a service account. What it can't do: end what
is open. The API server checks each request anew, so that the next one is refused; a shell, a port
forward or a watch that runs goes on until it ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

from kubernetes import client

from approvals.connectors.kubernetes_rolebinding import bindings, credentials, settings
from approvals.connectors.kubernetes_rolebinding.bindings import Binding
from approvals.connectors.kubernetes_rolebinding.cluster import (
    Cluster,
    Conflict,
    Missing,
    Refused,
    connected,
)
from approvals.connectors.kubernetes_rolebinding.settings import Holding, Place
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Health,
    Held,
    NotYet,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)

TRIES = 5  # when others write to the same binding at the same moment


class KubernetesRoleBinding(Connector):
    """Binds a role to a user, and takes every binding of that role from the user again."""

    key: ClassVar[str] = "kubernetes_rolebinding"
    title: ClassVar[str] = "Kubernetes role"
    glyph: ClassVar[str] = "K8"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """One user's role in one place of one cluster, which the kubeconfig may name instead."""
        _, holding = settings.read(spec)
        return {
            "server": settings.spelled(spec.resource_settings.get("server") or ""),
            "namespace": holding.namespace,
            "role": [holding.kind, holding.role],
            "username": holding.username,
        }

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """Only where no setting names the cluster, so that the secret does."""
        return not spec.resource_settings.get("server")

    def grant(self, spec: GrantSpec) -> Receipt:
        """The user has the role, through our binding.

        `pre_existing` in the receipt: it had it when we came, through our binding (an earlier
        attempt, or a grant that this one extends) or through others, which `also_through` names.
        """
        with untouched():
            place, holding = settings.read(spec)
            access = credentials.read(resource=spec.resource_settings, secret=spec.secret)
        with connected(access) as cluster:
            with untouched():
                _must_be_grantable(cluster, place)
                found = list(bindings.every(cluster, namespace=holding.namespace))
                through = sorted(
                    bindings.name_of(one)
                    for one in found
                    if bindings.holds(one, holding) and bindings.name_of(one) != holding.name
                )
            made = _bind(cluster, holding, annotations=_annotations(spec))
        detail = _facts(holding) | {"granted": True, "pre_existing": bool(through) or not made}
        if through:
            detail["also_through"] = through
        return Receipt(detail=detail)

    def revoke(self, spec: GrantSpec) -> Receipt:
        """No binding there gives the role to the user.

        Others' bindings too: the user is taken out of them, since the end of access is what was
        promised; `also_removed_from` names them. What gives the role to a group is not touched.
        """
        _, holding = settings.read(spec)
        access = credentials.read(resource=spec.resource_settings, secret=spec.secret)
        with connected(access) as cluster:
            removed = _unbind(cluster, holding)
            others = _take_others(cluster, holding)
        detail = _facts(holding) | {"granted": False, "removed": removed or bool(others)}
        if others:
            detail["also_removed_from"] = others
        return Receipt(detail=detail)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """The users that have each entitlement's role in its place, whoever bound them.

        A user is reported by the login that our binding notes, or else by the username without
        its prefix. Not groups, service accounts, nor the cluster's own users (`system:`).
        """
        keys_by_place: dict[Place, list[str]] = {}
        for key, wanted in entitlements.items():
            errors = settings.errors(resource=resource_settings, entitlement=wanted)
            if errors:
                raise PermanentError(f"Entitlement {key}: {' '.join(errors)}")
            keys_by_place.setdefault(Place.read(wanted), []).append(key)
        access = credentials.read(resource=resource_settings, secret=secret)
        found: set[Held] = set()
        with connected(access) as cluster:
            for namespace in sorted({place.namespace or "" for place in keys_by_place}):
                for binding in bindings.every(cluster, namespace=namespace or None):
                    for place, keys in keys_by_place.items():
                        if (place.namespace or "") == namespace:
                            logins = _logins(binding, place, resource=resource_settings)
                            found.update(Held(login, key) for login in logins for key in keys)
        return sorted(found)

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the API server answers and knows us, and where we may bind roles."""
        started = perf_counter()
        errors = settings.errors(resource=resource_settings, entitlement=None)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        try:
            access = credentials.read(resource=resource_settings, secret=secret)
            with connected(access) as cluster:
                version = cluster.call(cluster.version.get_code).git_version
                everywhere = _may(cluster, "rolebindings")
                clusterwide = _may(cluster, "clusterrolebindings")
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        except (Missing, Conflict):
            return Health(ok=False, message='There is no Kubernetes API there: check "server".')
        where = "in every namespace" if everywhere else "only in namespaces that allow it"
        cluster_too = ", and in the whole cluster" if clusterwide else ""
        return Health(
            ok=True,
            message=f"Kubernetes {version} answers; roles can be bound {where}{cluster_too}.",
            latency_ms=(perf_counter() - started) * 1000,
        )

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """What the subject types; they sign in to the cluster as they always do."""
        namespace = str(spec.entitlement_settings.get("namespace") or "")
        option = f" --namespace {namespace}" if settings.is_namespace(namespace) else ""
        try:
            username = settings.username_of(
                login=spec.subject_login,
                email=spec.subject_email,
                resource=spec.resource_settings,
            )
        except PermanentError:
            username = spec.subject_login
        return [
            Step("What you may do now", f"kubectl auth can-i --list{option}"),
            Step("Who the cluster must take you for", f"{username} (kubectl auth whoami)"),
            Step("Role", str(spec.entitlement_settings.get("role") or spec.entitlement)),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See `settings`."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _must_be_grantable(cluster: Cluster, place: Place) -> None:
    """Refuse a role that is not there (the API server would bind it), or is too powerful.

    Raises: PermanentError.
    """
    reasons = bindings.powers(cluster, place)
    if reasons is None:
        raise PermanentError(
            f'There is no {place.kind} "{place.role}": create it, or correct the entitlement\'s '
            "settings."
        )
    if reasons and not place.allow_privileged:
        raise PermanentError(
            f'"{place.role}" is too powerful to grant ({", ".join(reasons)}): people could give '
            'themselves more, or for longer. Grant a narrower role, or set "allow_privileged" to '
            "true."
        )


def _bind(cluster: Cluster, holding: Holding, *, annotations: Mapping[str, str]) -> bool:
    """Our binding is there as it should be. True if it was made now.

    Raises: PermanentError, TransientError.
    """
    wanted = bindings.wanted(holding, annotations=annotations)
    for _ in range(TRIES):
        if _make(cluster, holding, wanted):
            return True
        found = bindings.read(cluster, name=holding.name, namespace=holding.namespace)
        if found is None:
            continue
        if not bindings.is_ours(found):
            raise PermanentError(
                f'There is a binding "{holding.name}" in {holding.where} that jitportal did not '
                "make: delete or rename it."
            )
        try:
            if bindings.changed(found, wanted=wanted) or bindings.meta(found).deletion_timestamp:
                bindings.delete(cluster, found, namespace=holding.namespace)
                continue
            noted = bindings.meta(found).annotations or {}
            if any(noted.get(name) != value for name, value in annotations.items()):
                bindings.meta(found).annotations = noted | dict(annotations)
                bindings.replace(cluster, found, namespace=holding.namespace)
        except (Conflict, Missing):
            continue
        return False
    raise _contended(holding)


def _make(cluster: Cluster, holding: Holding, wanted: Binding) -> bool:
    """Make our binding; False if there is one of its name.

    Raises: PermanentError, TransientError.
    """
    with untouched(Refused):
        try:
            bindings.create(cluster, wanted, namespace=holding.namespace)
        except Missing:
            raise Refused(
                f"There is no {holding.where}: create it, or correct the entitlement's settings."
            ) from None
        except Conflict:
            return False
    return True


def _unbind(cluster: Cluster, holding: Holding) -> bool:
    """Our binding is gone. True if it was there."""
    for _ in range(TRIES):
        found = bindings.read(cluster, name=holding.name, namespace=holding.namespace)
        if found is None or not bindings.is_ours(found):
            return False
        try:
            bindings.delete(cluster, found, namespace=holding.namespace)
        except Conflict:
            continue
        return True
    raise _contended(holding)


def _take_others(cluster: Cluster, holding: Holding) -> list[str]:
    """No other binding gives the role to the user; returns those that did."""
    taken: set[str] = set()
    for _ in range(TRIES):
        holders = [
            binding
            for binding in bindings.every(cluster, namespace=holding.namespace)
            if bindings.holds(binding, holding)
        ]
        if not holders:
            return sorted(taken)
        for binding in holders:
            try:
                bindings.take(cluster, binding, holding)
            except Conflict:
                continue
            taken.add(bindings.name_of(binding))
    raise _contended(holding)


def _contended(holding: Holding) -> NotYet:
    return NotYet(
        f"Somebody keeps changing bindings of {holding.username} in {holding.where} at the same "
        "time. It is tried again."
    )


def _annotations(spec: GrantSpec) -> dict[str, str]:
    return {
        bindings.REQUEST: spec.request_id,
        bindings.ENDS_AT: spec.ends_at.isoformat() if spec.ends_at else "",
        bindings.LOGIN: spec.subject_login,
    }


def _logins(binding: Binding, place: Place, *, resource: Settings) -> list[str]:
    """Who has the role through this binding, as the portal calls them."""
    usernames = [
        name
        for name in bindings.holders(binding, kind=place.kind, role=place.role)
        if not name.startswith("system:")
    ]
    noted = (bindings.meta(binding).annotations or {}).get(bindings.LOGIN)
    if bindings.is_ours(binding) and noted and len(usernames) == 1:
        return [noted]
    return [settings.bare(name, resource=resource) for name in usernames]


def _may(cluster: Cluster, resource: str) -> bool:
    """Whether we may create such bindings everywhere."""
    review = client.V1SelfSubjectAccessReview(
        api_version="authorization.k8s.io/v1",
        kind="SelfSubjectAccessReview",
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(
                group=bindings.GROUP, resource=resource, verb="create"
            )
        ),
    )
    answer = cluster.call(cluster.authorization.create_self_subject_access_review, review)
    return bool(answer.status and answer.status.allowed)


def _facts(holding: Holding) -> dict[str, Any]:
    return {
        "username": holding.username,
        "role": holding.role,
        "kind": holding.kind,
        "namespace": holding.namespace,
        "binding": holding.name,
    }
