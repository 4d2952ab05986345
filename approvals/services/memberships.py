"""Memberships of directory groups: standing ones by operators, timed ones by grants.

The portal connector's store: it adds and removes memberships on behalf of grants, with history.
"""

from django.db import transaction
from django.db.models import Q

from approvals.connectors import portal
from approvals.models import Group, Membership, User


class MembershipStore:
    """The directory's memberships as `connectors.portal.Store` wants them."""

    @transaction.atomic
    def add(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        """Make sure of a membership; True when a grant carries it, False when it is standing.

        Raises: portal.UnknownLogin, portal.UnknownGroup.
        """
        person, found = _person(login), _group(group)
        membership = (
            Membership.objects.select_for_update().filter(person=person, group=found).first()
        )
        if membership is None:
            membership = Membership(person=person, group=found, granted_by=request_id)
            membership._change_reason = reason  # type: ignore[attr-defined]
            membership.save()
        return membership.granted_by is not None

    @transaction.atomic
    def remove(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        """Remove a membership that a grant made; standing ones stay. True when one was removed."""
        carried = Membership.objects.select_for_update().filter(granted_by__isnull=False)
        # By the request as well as by names: people and groups may be called otherwise by now.
        found = list(
            carried.filter(
                Q(granted_by=request_id) | Q(person__username__iexact=login, group__name=group)
            )
        )
        for membership in found:
            membership._change_reason = reason  # type: ignore[attr-defined]
            membership.delete()
        return bool(found)

    def members(self, *, group: str) -> list[str]:
        """Return the login names in a group. Raises: portal.UnknownGroup."""
        return sorted(
            Membership.objects.filter(group=_group(group)).values_list(
                "person__username", flat=True
            )
        )


def _person(login: str) -> User:
    try:
        return User.objects.get(username__iexact=login)
    except User.DoesNotExist:
        raise portal.UnknownLogin(login) from None


def _group(name: str) -> Group:
    try:
        return Group.objects.get(name=name)
    except Group.DoesNotExist:
        raise portal.UnknownGroup(name) from None


def register() -> None:
    """Hand the store to the portal connector; called once at start-up."""
    portal.use(MembershipStore())
