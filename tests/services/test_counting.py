"""The cache's table keeps no address for longer than it counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection

from approvals.selectors import clock
from approvals.services import counting


@pytest.mark.django_db
def test_what_has_expired_goes_and_the_rest_stays() -> None:
    cache.set("rl:login:ip:203.0.113.7", [1], timeout=60)
    cache.set("rl:login:ip:203.0.113.8", [1], timeout=7200)
    assert counting.clear(now=clock.now()) == 0
    assert counting.clear(now=clock.now() + timedelta(minutes=5)) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT cache_key FROM jitportal_cache")
        assert [row[0].split(":")[-1] for row in cursor.fetchall()] == ["203.0.113.8"]
