"""Sign-in: people come from the directory, so nobody signs up by themselves."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from approvals.directory.models import User


class PortalAccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth, closed for sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Refuse: operators and the directory add people."""
        return False


def display_name(user: User) -> str:
    """Return what the sign-in pages call a person."""
    return user.get_full_name()
