"""People and what they have to do with a request."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, Q

from approvals.models import AccessRequest, CurrentRequest, Entitlement, Group, User


def by_login(login: str) -> User | None:
    """Return the active person of that login name or e-mail address (one query)."""
    return User.objects.filter(
        Q(username__iexact=login) | Q(email__iexact=login), is_active=True
    ).first()


def of_login(login: str) -> User | None:
    """Return whose login name or e-mail address that is, active or not (one query)."""
    if "\0" in login:
        return None
    return User.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()


def suggest(text: str, *, without: Iterable[int], most: int = 8) -> list[User]:
    """Return active people whose login, name or e-mail address has the text in it (one query)."""
    if not text or "\0" in text:
        return []
    has = Q(username__icontains=text) | Q(name__icontains=text) | Q(email__icontains=text)
    rows = User.objects.filter(has, is_active=True).exclude(pk__in=list(without))
    return list(rows.order_by("name", "username")[:most])


def operators() -> list[User]:
    """Return the active operators (one query)."""
    return list(
        User.objects.filter(memberships__group__role=Group.Role.OPERATOR, is_active=True).distinct()
    )


def compliance() -> list[User]:
    """Return the active compliance admins (one query)."""
    return list(
        User.objects.filter(
            memberships__group__role=Group.Role.COMPLIANCE, is_active=True
        ).distinct()
    )


def standing_operators() -> bool:
    """Return whether an active operator is left whose membership does not end by itself."""
    return User.objects.filter(
        memberships__group__role=Group.Role.OPERATOR,
        memberships__granted_by__isnull=True,
        is_active=True,
    ).exists()


def is_manager_or_owner(actor: User, record: AccessRequest) -> bool:
    """Return whether `actor` is the subject's manager or owns the resource (one query)."""
    owned = Entitlement.objects.filter(pk=record.entitlement_id, resource__owner=actor)
    return (
        User.objects.filter(pk=record.subject_id).filter(Q(manager=actor) | Exists(owned)).exists()
    )


def revoking_records() -> Any:
    """Return the subquery of the newest revisions of requests whose removal is not confirmed."""
    return CurrentRequest.objects.filter(state="revoking").values("record_id")
