"""Sign-in: people come from the directory, so nobody signs up by themselves."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest

from approvals.directory.models import User


class PortalAccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """allauth, closed for sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Refuse: operators and the directory add people."""
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail of sign-in, which says where the portal is, as all its mail does.

        An address that nobody has gets one too: otherwise the time that the answer takes would
        tell which addresses are known.
        """
        super().send_mail(template_prefix, email, {"portal_url": settings.PORTAL_URL} | context)


def display_name(user: User) -> str:
    """Return what the sign-in pages call a person."""
    return user.get_full_name()
