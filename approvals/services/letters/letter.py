"""The form of a letter, and what it is written from."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings

from approvals.models import AccessRequest, RequestHandover, User
from approvals.selectors import chains, telling
from approvals.services import wording
from approvals.services.wording import short

SUBJECT_MOST = 120
NAME_MOST = 60

CHANGES_NOTHING = "Opens its page after sign-in. The link itself changes nothing."
DECIDES_NOTHING = "Opens the request after sign-in. Nothing is decided by this link."


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of facts; `tone` is bad, warn or nothing."""

    label: str
    value: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A notice in words. `quote` is what a person or a target wrote, `quoted` says whose words.

    `steps` are (label, text to copy); `paragraphs` say what happens and what to do; `silence` what
    happens if the reader does nothing; `why` why they get it.
    """

    subject: str
    eyebrow: str
    headline: str
    why: str
    action: str
    url: str
    url_note: str = CHANGES_NOTHING
    quote: str = ""
    quoted: str = ""
    facts: tuple[Fact, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    paragraphs: tuple[str, ...] = ()
    silence: str = ""


@dataclass(frozen=True)
class Case:
    """What a letter is written from. `view` is there while the request is pending."""

    kind: str
    to: User
    event: AccessRequest
    record: AccessRequest
    owner: User
    view: chains.ChainView | None
    now: datetime
    error: str = ""
    exchange: telling.Exchange | None = None
    handover: RequestHandover | None = None

    @property
    def clock(self) -> wording.Clock:
        """Return the reader's clock."""
        return wording.Clock(zone(self.to), self.now)

    @property
    def access(self) -> str:
        """Return resource and entitlement."""
        return short(self.record.access_name, 120)

    @property
    def requester(self) -> str:
        """Return who asked."""
        return short(self.record.requester_name, NAME_MOST)

    @property
    def subject(self) -> str:
        """Return who gets the access."""
        return short(self.record.subject_name, NAME_MOST)

    @property
    def is_mine(self) -> bool:
        """Return whether the access is the reader's own."""
        return self.record.subject_id == int(self.to.pk)

    @property
    def whose(self) -> str:
        """Return "Your" or "Alice's"."""
        return "Your" if self.is_mine else f"{self.subject}'s"

    @property
    def request(self) -> str:
        """Return "Your request for …", as those who asked, or who get the access, know it."""
        whose = "Your" if self.to.pk == self.record.requester_id else f"{self.requester}'s"
        if self.record.subject_id == self.record.requester_id:
            return f"{whose} request for {self.access}"
        return f"{whose} request for {self.access} for {'you' if self.is_mine else self.subject}"

    @property
    def actor(self) -> str:
        """Return who caused the event, as it stands inside a sentence."""
        if self.event.actor_id is None:
            return "the portal"
        return short(self.event.actor_name, NAME_MOST)

    @property
    def said(self) -> str:
        """Return the heading of the event's comment."""
        return f"{'The portal' if self.event.actor_id is None else self.actor} said"

    @property
    def length(self) -> str:
        """Return how long the access is for."""
        return wording.words(self.record.duration)

    @property
    def page(self) -> str:
        """Return the address of the request's page."""
        return f"{settings.PORTAL_URL}/requests/{self.record.request_id}/"

    @property
    def extension(self) -> str:
        """Return the address of the form that asks for more time."""
        return f"{settings.PORTAL_URL}/requests/new/?extends={self.record.request_id}"

    @property
    def inbox(self) -> str:
        """Return the address of the request in the reader's inbox."""
        return f"{settings.PORTAL_URL}/inbox/?request={self.record.request_id}"

    @property
    def why(self) -> str:
        """Return why someone who is no approver gets this."""
        if self.to.pk == self.record.requester_id:
            return "You get this because you asked for it."
        if self.is_mine:
            return f"You get this because {self.requester} asked for it for you."
        if self.to.pk == self.owner.pk:
            return f"You get this because you own {short(self.record.resource_name, NAME_MOST)}."
        return "You get this because you are an operator of this portal."


def zone(person: User) -> ZoneInfo:
    """Return a person's timezone, or the portal's where they chose none."""
    return ZoneInfo(person.timezone or settings.TIME_ZONE)
