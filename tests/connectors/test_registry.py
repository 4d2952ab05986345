"""Which connectors there are, and that each has what people need to use it."""

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
    assert {"portal", "postgres_role", "ldap_group", "scim_group"} <= dict(
        registry.choices()
    ).keys()


def test_each_connector_declares_its_settings_and_has_a_page() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for key, _ in registry.choices():
        connector = registry.get(key)
        page = docs / "connectors" / f"{key}.md"
        text = page.read_text() if page.exists() else (docs / "connectors.md").read_text()
        assert f"`{key}`" in text, key
        fields = [*connector.resource_fields, *connector.entitlement_fields]
        for field in fields:
            assert f"`{field.name}`" in text, (key, field.name)
            assert field.label, key
            assert field.help.endswith("."), (key, field.name)


def test_an_unknown_key_names_the_known_ones() -> None:
    with pytest.raises(PermanentError, match="ldap_group, portal"):
        registry.get("nothing")


def test_a_connector_is_registered_for_a_block_only(tmp_path: Path) -> None:
    noop = Noop(tmp_path)
    with registry.registered(noop):
        assert registry.get("noop") is noop
        with pytest.raises(ValueError, match="taken"), registry.registered(noop):
            pass
        assert registry.get("noop") is noop
    with pytest.raises(PermanentError):
        registry.get("noop")
