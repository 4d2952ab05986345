"""One request from asking to gone."""

from approvals import handlers
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.world import World


def test_a_request_becomes_access_and_ends(world: World, noop: Noop) -> None:
    request = world.ask(minutes=2)
    assert (request.state, request.revision, request.level) == ("pending", 1, 1)
    assert world.decide(world.bob, request).level == 2
    assert world.decide(world.carol, request).state == "approved"
    handlers.work("provisioning")
    active = world.newest(request)
    assert active.state == "active"
    assert active.ends_at is not None
    assert grants.end_due(now=active.ends_at) == 1
    assert world.newest(request).state == "revoking"
    handlers.work("provisioning", now=active.ends_at)
    ended = world.newest(request)
    assert (ended.state, ended.revision) == ("expired", 6)
    assert ended.removal_lag is not None
