"""The admin asks for what a connector declares, field by field, and keeps what it doesn't know."""

import json
from typing import Any

import pytest
from django.test import Client

from approvals.admin.connector_fields import PREFIX
from approvals.models import Entitlement, Resource
from tests.portal.test_admin import address, change, fields
from tests.world import World


@pytest.fixture
def operator(world: World, client: Client) -> Client:
    client.force_login(world.admin)
    return client


@pytest.fixture
def bastion(world: World) -> Resource:
    return Resource.objects.create(
        name="bastion", connector="ssh_certificate", secret="env:CA", owner=world.carol,
        settings={"host": "bastion.example.com", "port": 2222},
    )  # fmt: skip


@pytest.fixture
def shell(bastion: Resource) -> Entitlement:
    return Entitlement.objects.create(
        resource=bastion, name="shell", risk="medium", settings={"principals": ["ops", "{login}"]}
    )


def faults(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return {name: list(found) for name, found in answer.context["adminform"].form.errors.items()}


def test_declared_settings_are_fields(operator: Client, bastion: Resource) -> None:
    url = address("resource", "change", bastion.pk)
    sent = fields(operator, url)
    assert (sent[f"{PREFIX}host"], sent[f"{PREFIX}port"]) == ("bastion.example.com", 2222)
    page = operator.get(url).content.decode()
    for text in ("Revocation list", "Absolute path of a file on the workers"):
        assert text in page
    assert 'type="hidden" name="settings"' in page
    assert "style=" not in page


def test_saving_unchanged_changes_nothing(
    operator: Client, bastion: Resource, shell: Entitlement
) -> None:
    for model, row in (("resource", bastion), ("entitlement", shell)):
        before = row.settings
        assert change(operator, model, row.pk).status_code == 302
        row.refresh_from_db()
        assert row.settings == before


def test_fields_are_written_into_the_settings(
    operator: Client, bastion: Resource, shell: Entitlement
) -> None:
    answer = change(
        operator, "resource", bastion.pk,
        **{f"{PREFIX}host": "", f"{PREFIX}port": "22", f"{PREFIX}krl_file": "/srv/a.krl"},
    )  # fmt: skip
    assert answer.status_code == 302
    bastion.refresh_from_db()
    assert bastion.settings == {"port": 22, "krl_file": "/srv/a.krl"}
    answer = change(
        operator, "entitlement", shell.pk,
        **{f"{PREFIX}principals": "ops\r\n\r\n admin ", f"{PREFIX}end_sessions": "on"},
    )  # fmt: skip
    assert answer.status_code == 302
    shell.refresh_from_db()
    assert shell.settings == {"principals": ["ops", "admin"], "end_sessions": True}


def test_what_is_wrong_is_said_at_its_field(
    operator: Client, bastion: Resource, shell: Entitlement
) -> None:
    sent = {f"{PREFIX}port": "70000", f"{PREFIX}krl_file": "relative"}
    found = faults(change(operator, "resource", bastion.pk, **sent))
    assert found.keys() == sent.keys()
    assert "1 to 65535" in found[f"{PREFIX}port"][0]
    assert "absolute path" in found[f"{PREFIX}krl_file"][0]
    found = faults(change(operator, "resource", bastion.pk, **{f"{PREFIX}port": "many"}))
    assert found == {f"{PREFIX}port": ["Enter a whole number."]}
    found = faults(change(operator, "entitlement", shell.pk, **{f"{PREFIX}principals": ""}))
    assert found == {f"{PREFIX}principals": ["This field is required."]}
    bastion.refresh_from_db()
    shell.refresh_from_db()
    assert (bastion.settings["port"], shell.settings["principals"]) == (2222, ["ops", "{login}"])


def test_what_is_not_declared_is_shown_and_kept(operator: Client, bastion: Resource) -> None:
    odd = {"colour": "blue", "port": "twenty-two"}
    Resource.objects.filter(pk=bastion.pk).update(settings={"host": "a", **odd})
    url = address("resource", "change", bastion.pk)
    assert json.loads(fields(operator, url)["settings"]) == odd
    page = operator.get(url).content.decode()
    assert "<textarea" in page[page.index('name="settings"') - 40 :][:60]
    answer = change(operator, "resource", bastion.pk)
    found = faults(answer)
    assert "colour" in found["settings"][0]
    assert "1 to 65535" in found[f"{PREFIX}port"][0]
    assert "blue" in answer.content.decode()
    bastion.refresh_from_db()
    assert bastion.settings == {"host": "a", **odd}


def test_json_does_not_say_what_a_field_says(operator: Client, bastion: Resource) -> None:
    answer = change(
        operator, "resource", bastion.pk, settings='{"port": 23}', **{f"{PREFIX}port": "24"}
    )
    assert "has a field above" in faults(answer)["settings"][0]


def test_a_new_resource_is_asked_for_what_its_connector_needs(
    operator: Client, world: World
) -> None:
    url = address("resource", "add")
    first = fields(operator, url)
    assert not [name for name in first if name.startswith(PREFIX)]
    sent = first | {
        "name": "people", "owner": world.carol.pk, "connector": "scim_group", "secret": "env:SCIM",
    }  # fmt: skip
    answer = operator.post(url, sent)
    assert faults(answer).keys() == {"connector"}
    assert not Resource.objects.filter(name="people").exists()
    form = answer.context["adminform"].form
    sent["settings_of"] = form["settings_of"].value()
    assert sent["settings_of"] == "scim_group"
    assert faults(operator.post(url, sent)).keys() == {f"{PREFIX}url"}
    sent[f"{PREFIX}url"] = "https://id.example.com/scim/v2"
    assert operator.post(url, sent).status_code == 302
    assert Resource.objects.get(name="people").settings == {"url": "https://id.example.com/scim/v2"}


def test_a_new_entitlement_is_asked_for_what_its_resource_needs(
    operator: Client, bastion: Resource
) -> None:
    url = address("entitlement", "add")
    sent = fields(operator, url) | {"resource": bastion.pk, "name": "shell", "risk": "medium"}
    answer = operator.post(url, sent)
    assert faults(answer).keys() == {"resource"}
    sent |= {"settings_of": "ssh_certificate", f"{PREFIX}principals": "ops"}
    assert operator.post(url, sent).status_code == 302
    assert Entitlement.objects.get(name="shell").settings == {"principals": ["ops"]}
    page = operator.get(f"{url}?resource={bastion.pk}").content.decode()
    assert f'name="{PREFIX}principals"' in page


@pytest.mark.parametrize("nonsense", ["x", "-1", "9" * 40, "\0"])
def test_a_resource_of_nonsense_is_refused(
    operator: Client, shell: Entitlement, nonsense: str
) -> None:
    assert "resource" in faults(change(operator, "entitlement", shell.pk, resource=nonsense))
