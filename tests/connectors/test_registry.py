"""Which connectors there are, and that each has what people need to use it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from approvals import connectors
from approvals.connectors import registry
from approvals.connectors.protocol import PermanentError

from .contract import ConnectorContract
from .noop import Noop

HERE = Path(__file__).parent
PAGES = HERE.parents[1] / "docs" / "connectors"
#: Stored with resources and with every grant: these never change.
KEYS = {
    "aws_identity_center", "aws_sts", "kubernetes_rolebinding", "ldap_group", "portal",
    "postgres_login", "postgres_role", "scim_group", "ssh_certificate", "webhook",
}  # fmt: skip


def found() -> list[str]:
    return sorted(key for key, _ in registry.choices())


def test_each_connector_is_found_by_the_key_that_it_has() -> None:
    for key, title in registry.choices():
        assert registry.get(key).key == key
        assert registry.get(key).title == title
    assert set(found()) >= KEYS


def test_each_has_a_folder_of_its_own_called_as_its_key() -> None:
    room = Path(connectors.__path__[0])
    for key in found():
        told = (room / key / "__init__.py").read_text(encoding="utf-8")
        assert "CONNECTOR = " in told, key
        assert (room / key / "connector.py").exists(), key


@pytest.mark.parametrize("key", found())
def test_each_connector_has_a_page_that_tells_its_settings(key: str) -> None:
    text = (PAGES / f"{key}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# `{key}`"), "its heading is its key"
    connector = registry.get(key)
    for field in [*connector.resource_fields, *connector.entitlement_fields]:
        assert f"`{field.name}`" in text, field.name
        assert field.label
        assert field.help.endswith("."), field.name


def test_every_page_is_a_connectors_and_is_listed() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == found()
    overview = PAGES.with_suffix(".md").read_text(encoding="utf-8")
    for key in found():
        assert f"- [`{key}`](connectors/{key}.md): " in overview, key


def _tested(suite: type[ConnectorContract]) -> Iterator[str]:
    for each in suite.__subclasses__():
        if each.__name__.startswith("Test"):
            yield each.key
        yield from _tested(each)


def test_every_connector_keeps_the_contract() -> None:
    """A subclass of the suite that pytest collects; what it is about, the suite itself checks."""
    for module in HERE.glob("test_*.py"):
        import_module(f"{__package__}.{module.stem}")
    assert set(found()) - set(_tested(ConnectorContract)) == set()


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
