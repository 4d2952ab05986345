"""Fixtures of the ledger's tests."""

from __future__ import annotations

import pytest

from approvals.models import AccessRequest
from audit.domain.note import LogSigner
from tests.audit.sealer import new_signer, seal
from tests.audit.tampering import look
from tests.world import World


@pytest.fixture
def signer() -> LogSigner:
    """The log's key."""
    return new_signer()


@pytest.fixture
def ended(world: World, signer: LogSigner) -> AccessRequest:
    """A request that was active and is over, with its decisions and grant events, sealed."""
    request = world.ended()
    seal(signer, batch=7)
    assert look().ok
    return request
