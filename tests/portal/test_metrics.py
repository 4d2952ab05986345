"""/metrics says to who knows the token how late, how much and how long, in Prometheus' format."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals import handlers
from approvals.portal import exposition
from approvals.selectors import clock, metrics
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.services.alive import been_silent, everything_lives
from tests.world import World

TOKEN = "a-long-random-token"
SAMPLE = re.compile(
    r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)+)\})? (-?[0-9.e+-]+|[+-]Inf|NaN)'
)


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


def scraped() -> dict[str, float]:
    """Return the samples of a scrape, after a look at every line's form."""
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    family = ""
    text = answer.content.decode()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] in ([family, "gauge"], [family, "histogram"])
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1].startswith(family)
            name = line.rpartition(" ")[0]
            assert name not in found, "a sample stands once"
            found[name] = float(match[3])
    return found


def test_it_is_there_for_the_token_alone(world: World, client: Client, settings: Any) -> None:
    client.force_login(world.admin)
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN,
                  "Bearer ü"):  # fmt: skip
        answer = client.get("/metrics", headers={"Authorization": given})
        assert answer.status_code == 401, given
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert b"jitportal" not in answer.content
    settings.METRICS_TOKEN = ""
    for given in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}"):
        assert client.get("/metrics", headers={"Authorization": given}).status_code == 404


def test_an_empty_portal_has_figures(db: None) -> None:
    found = scraped()
    assert found["jitportal_removal_lag_seconds_count"] == 0
    assert found['jitportal_outbox_due{lane="due"}'] == 0
    assert found["jitportal_access_overdue"] == 0


def test_it_counts_what_is_open_at_each_target(world: World, noop: Noop, settings: Any) -> None:
    world.ask(what=world.own, ticket="OPS-1")
    active = world.active()
    name = world.resource.name
    found = scraped()
    assert found[f'jitportal_requests{{target="{name}",state="pending"}}'] == 1
    assert found[f'jitportal_requests{{target="{name}",state="active"}}'] == 1
    assert found[f'jitportal_removals_stuck{{target="{name}"}}'] == 0
    settings.STUCK_AFTER = timedelta(0)
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    found = scraped()
    assert found[f'jitportal_requests{{target="{name}",state="revoking"}}'] == 1
    assert found[f'jitportal_removals_stuck{{target="{name}"}}'] == 1
    assert found['jitportal_outbox_failing{lane="provisioning"}'] == 1


def test_lags_and_decisions_of_the_last_hour_are_spread(world: World) -> None:
    active = world.active()
    now = clock.now()
    grants.end(actor=world.alice, request_id=active.request_id, now=now)
    handlers.work("provisioning")
    confirmed = world.newest(active)
    assert confirmed.removal_lag is not None
    lag = confirmed.removal_lag.total_seconds()
    spread, decisions = metrics.last_hour(now=clock.now())
    assert spread.count == 1
    assert spread.sum == pytest.approx(lag, abs=1e-5)
    for bound, number in zip(spread.bounds, spread.at_most, strict=True):
        assert number == (lag <= bound)
    assert decisions.count == 1
    assert decisions.at_most == (1,) * len(metrics.DECISION_BOUNDS)
    found = scraped()
    assert found["jitportal_removal_lag_seconds_count"] == 1
    assert found['jitportal_removal_lag_seconds_bucket{le="+Inf"}'] == 1
    later, _ = metrics.last_hour(now=clock.now() + timedelta(hours=2))
    assert later.count == 0


def test_counts_are_cumulative() -> None:
    spread = metrics._spread((1.0, 2.0), {0: (3, 2.5), 2: (1, 9.0)})
    assert (spread.at_most, spread.count, spread.sum) == ((3, 3), 4, 11.5)


def test_silence_shows_in_the_ages(world: World) -> None:
    everything_lives()
    been_silent("beat", for_=timedelta(minutes=5))
    found = scraped()
    assert 300 <= found['jitportal_heartbeat_age_seconds{kind="beat",name=""}'] < 330
    assert found['jitportal_heartbeat_age_seconds{kind="queue",name="due"}'] < 30
    assert found["jitportal_incidents_open"] == 0


def test_names_can_not_break_out_of_their_labels() -> None:
    odd = 'a"b\\c\nd'
    text = exposition.write([exposition.gauge("x_y", "A\nb \\", [({"target": odd}, 1.5)])])
    assert text == ('# HELP x_y A\\nb \\\\\n# TYPE x_y gauge\nx_y{target="a\\"b\\\\c\\nd"} 1.5\n')


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.0, "1"), (0.25, "0.25"), (float("inf"), "+Inf"), (1e15, "1" + "0" * 15)],
)
def test_numbers_are_written_plainly(value: float, written: str) -> None:
    assert exposition._number(value) == written
