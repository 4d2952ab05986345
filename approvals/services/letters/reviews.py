"""Letters about access reviews: you are asked, you are still asked, it can be signed off."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from approvals.models import ReviewCampaign, User
from approvals.services import wording
from approvals.services.letters.letter import NAME_MOST, Fact, Letter, zone
from approvals.services.wording import short


@dataclass(frozen=True, kw_only=True)
class ReviewCase:
    """A review for one reader; `items` wait for them."""

    to: User
    now: datetime
    campaign: ReviewCampaign
    items: int

    @property
    def clock(self) -> wording.Clock:
        """Return the reader's clock."""
        return wording.Clock(zone(self.to), self.now)

    @property
    def name(self) -> str:
        """Return the campaign's name."""
        return short(self.campaign.name, NAME_MOST)

    @property
    def count(self) -> str:
        """Return how much waits."""
        return f"{self.items} access{'es' if self.items != 1 else ''}"

    @property
    def due(self) -> str:
        """Return when it is due."""
        return self.clock.at(self.campaign.due_at)


def asked(case: ReviewCase) -> Letter:
    """Ask a reviewer to judge what people hold."""
    return _ask(
        case,
        subject=f"Review {case.count} by {case.due}: {case.name}",
        headline=f"Say which of {case.count} people still need",
    )


def reminder(case: ReviewCase) -> Letter:
    """Remind a reviewer of what they have not decided."""
    return _ask(
        case,
        subject=f"Still to review by {case.due}: {case.count}, {case.name}",
        headline=f"{case.count.capitalize()} still wait{'s' if case.items == 1 else ''} for you",
    )


def _ask(case: ReviewCase, *, subject: str, headline: str) -> Letter:
    removed = case.campaign.on_silence == ReviewCampaign.Silence.REMOVE
    return Letter(
        subject=subject,
        eyebrow=f"Access review · due {case.due}, {case.clock.away(case.campaign.due_at)}",
        headline=headline,
        facts=(
            Fact("Review", case.name),
            Fact("About", case.campaign.scope_name),
            Fact("Due", case.clock.exactly(case.campaign.due_at)),
        ),
        paragraphs=(
            "For each: keep it if the person needs it for their work now, else remove it. Say why "
            "in a sentence. What you remove ends at once.",
        ),
        silence=(
            "What nobody has decided on by then is removed."
            if removed
            else "What nobody has decided on by then stays, and is reported as not reviewed."
        ),
        why="You get this because you are asked to review what people have access to.",
        action="Open the review",
        url=f"{settings.PORTAL_URL}/reviews/",
    )


def ready(case: ReviewCase) -> Letter:
    """Tell compliance that nothing is left to decide."""
    return Letter(
        subject=f"Ready to sign off: {case.name}",
        eyebrow="Access review · every item is decided",
        headline=f"{case.name} can be signed off",
        facts=(
            Fact("About", case.campaign.scope_name),
            Fact("Items", f"{case.campaign.items:,}"),
        ),
        paragraphs=(
            "Its page says what was kept and removed, and how carefully people seem to have looked."
            " Look at that before you sign it off.",
        ),
        silence="Until somebody signs it off it stays open.",
        why="You get this because you are a compliance admin of this portal.",
        action="See the review",
        url=f"{settings.PORTAL_URL}/reviews/{case.campaign.campaign_id}/",
    )
