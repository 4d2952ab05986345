"""The explicit list of connectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from approvals.connectors import registry
from approvals.connectors.protocol import PermanentError

from .noop import Noop


def test_each_connector_is_found_by_the_key_that_it_has() -> None:
    for key, title in registry.choices():
        assert registry.get(key).key == key
        assert registry.get(key).title == title
    assert [key for key, _ in registry.choices()] == ["portal", "postgres_role"]


def test_an_unknown_key_names_the_known_ones() -> None:
    with pytest.raises(PermanentError, match="portal, postgres_role"):
        registry.get("ldap")


def test_a_connector_is_registered_for_a_block_only(tmp_path: Path) -> None:
    noop = Noop(tmp_path)
    with registry.registered(noop):
        assert registry.get("noop") is noop
        with pytest.raises(ValueError, match="taken"), registry.registered(noop):
            pass
        assert registry.get("noop") is noop
    with pytest.raises(PermanentError):
        registry.get("noop")
