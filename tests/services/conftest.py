"""Fixtures that tests of several use cases share."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives

from approvals import handlers
from approvals.models import AccessRequest
from approvals.selectors import clock
from approvals.services import grants, notifications
from tests.connectors.noop import Noop
from tests.services.mails import Deliver, Mail, mail_of, waiting
from tests.world import World


@pytest.fixture
def deliver(mailoutbox: list[EmailMultiAlternatives]) -> Deliver:
    """Send the waiting notices of a kind at a moment; return the mails that came of them."""

    def run(kind: str, *, now: datetime | None = None) -> list[Mail]:
        begin = len(mailoutbox)
        for item in waiting(kind):
            notifications.send(item, now or clock.now())
            item.delete()
        return [mail_of(message) for message in mailoutbox[begin:]]

    return run


@pytest.fixture
def stuck(world: World, noop: Noop, settings: Any) -> AccessRequest:
    """A removal that the target refuses, long enough for the alarm."""
    settings.STUCK_AFTER = timedelta(0)
    active = world.active()
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    return world.newest(active)


@pytest.fixture
def request_of_alice(world: World) -> AccessRequest:
    """Write access that is there for hours."""
    return world.active(minutes=400)
