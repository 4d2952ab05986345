"""What people keep for themselves: saved views of the inbox, favourites of the catalogue."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from approvals.domain.refusals import Invalid, NotFound
from approvals.models import Entitlement, Favourite, SavedView, User

NAME_MOST = 60
VIEWS_MOST = 20
FAVOURITES_MOST = 100


@transaction.atomic
def save_view(*, actor: User, name: str, query: Mapping[str, str], now: datetime) -> SavedView:
    """Keep the filters under a name; one that exists is replaced.

    Raises: Invalid without a name or a filter, or for one view too many.
    """
    name = " ".join(name.split())
    if not name or "\0" in name or len(name) > NAME_MOST:
        raise Invalid(f"Give the view a name of at most {NAME_MOST} characters.", field="name")
    if not query:
        raise Invalid("Choose a filter first; a view without one is the inbox itself.")
    User.objects.select_for_update().only("pk").get(pk=actor.pk)  # two at once count each other
    others = SavedView.objects.filter(person=actor).exclude(name=name)
    if others.count() >= VIEWS_MOST:
        raise Invalid(f"You have {VIEWS_MOST} views already. Remove one first.")
    view, _ = SavedView.objects.update_or_create(
        person=actor, name=name, defaults={"query": dict(query), "created_at": now}
    )
    return view


def remove_view(*, actor: User, view_id: int) -> None:
    """Forget one of the person's views. Raises: NotFound where they have none of that number."""
    deleted, _ = SavedView.objects.filter(pk=view_id, person=actor).delete()
    if not deleted:
        raise NotFound("You have no such view.")


@transaction.atomic
def star(*, actor: User, entitlement: Entitlement, now: datetime) -> None:
    """Make an entitlement a favourite; again changes nothing. Raises: Invalid for too many."""
    User.objects.select_for_update().only("pk").get(pk=actor.pk)
    mine = Favourite.objects.filter(person=actor)
    if mine.exclude(entitlement=entitlement).count() >= FAVOURITES_MOST:
        raise Invalid(f"You have {FAVOURITES_MOST} favourites already. Remove one first.")
    mine.get_or_create(person=actor, entitlement=entitlement, defaults={"created_at": now})


def unstar(*, actor: User, entitlement: Entitlement) -> None:
    """Take a favourite away; where it is none nothing changes."""
    Favourite.objects.filter(person=actor, entitlement=entitlement).delete()
