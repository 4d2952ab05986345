"""The report of access reviews against an independent count in SQL."""

from datetime import timedelta

from approvals import handlers
from approvals.models import ReviewItem
from approvals.reports import registry
from approvals.selectors import clock
from approvals.services import grants, review_opening, reviews
from tests.reports.test_counts import another, figures, filters, rows, sql
from tests.world import World


def test_each_item_is_a_line_with_what_became_of_it(world: World) -> None:
    now = clock.now()
    kept = world.active(minutes=400)
    removed = world.active(by=another(world, "frank"), minutes=400)
    gone = world.active(by=another(world, "gina"), minutes=400)
    waits = world.active(by=another(world, "hank"), minutes=400)
    campaign = review_opening.open_campaign(
        actor=world.dora, name="Q4", due_at=now + timedelta(days=1), now=clock.now()
    )
    key = {row.request_id: row.item_id for row in ReviewItem.objects.all()}
    for request, verdict in ((kept, "keep"), (removed, "remove")):
        reviews.decide(
            actor=world.bob, items=[key[request.request_id]], verdict=verdict, reason="Looked.",
            now=clock.now(),
        )  # fmt: skip
    grants.end(actor=gone.subject, request_id=gone.request_id, now=clock.now())
    before = {row["request_id"]: row for row in rows("access-reviews")}
    assert before[str(removed.request_id)]["remedied_at"] is None, "the target has yet to confirm"
    handlers.work("provisioning")
    reviews.settle(campaign_id=campaign.campaign_id, now=clock.now())

    found = {row["request_id"]: row for row in rows("access-reviews")}
    expected = dict(
        sql(
            "SELECT i.request_id::text, (SELECT d.verdict FROM approvals_reviewdecision d"
            " WHERE d.item_id = i.item_id) FROM approvals_reviewitem i"
        )
    )
    assert {key: row["decision"] for key, row in found.items()} == {
        key: verdict or "waits" for key, verdict in expected.items()
    }
    assert expected[str(gone.request_id)] == "gone"
    ((confirmed_at,),) = sql(
        "SELECT removal_confirmed_at FROM approvals_accessrequest"
        " WHERE request_id = %s AND event = 'confirmed'",
        removed.request_id,
    )
    line = found[str(removed.request_id)]
    assert (line["remedied_at"], line["rationale"], line["relationship"]) == (
        confirmed_at, "Looked.", "manager",
    )  # fmt: skip
    assert found[str(kept.request_id)]["remedied_at"] is None
    assert (found[str(waits.request_id)]["reviewer"], line["signed_off_by"]) == ("Bob", "")
    assert figures("access-reviews") == {
        "Kept": "1", "Removed": "1", "Had ended": "1", "Not reviewed in time": "0", "Waiting": "1",
    }  # fmt: skip

    reviews.sign_off(actor=world.dora, campaign_id=campaign.campaign_id, now=campaign.due_at)
    report = registry.report("access-reviews")
    wide = filters(last=campaign.due_at.date() + timedelta(days=1))
    assert {(row["signed_off_by"], row["decision"]) for row in rows("access-reviews", wide)} == {
        ("Dora", "keep"), ("Dora", "remove"), ("Dora", "gone"),
    }  # fmt: skip
    first = report.page(wide, after=None, limit=3)
    (last,) = report.page(wide, after=first[-1].cursor, limit=3)
    assert {str(row.request_id) for row in (*first, last)} == found.keys()
    assert len(rows("access-reviews", filters(person_id=waits.subject_id, last=wide.last))) == 1
    assert len(rows("access-reviews", filters(person_id=world.bob.pk, last=wide.last))) == 4
    assert rows("access-reviews", filters(person_id=world.mallory.pk)) == []
