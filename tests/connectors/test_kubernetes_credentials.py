"""How the Kubernetes connector signs in, and what an API server's refusals mean (at a FAKE)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from approvals.connectors.kubernetes_rolebinding import (
    KubernetesRoleBinding,
    cluster,
    credentials,
)
from approvals.connectors.protocol import PermanentError, TransientError

from .authority import authority
from .kubernetes_api import TOKEN, FakeAPIServer, Refused, serving
from .moments import now
from .test_kubernetes_rolebinding import settings_of, spec_of

connector = KubernetesRoleBinding()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeAPIServer]:
    with serving(tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, PermanentError), (401, PermanentError), (403, PermanentError), (422, PermanentError),
     (307, PermanentError), (410, TransientError), (429, TransientError), (500, TransientError),
     (503, TransientError)],
)  # fmt: skip
def test_errors_are_told_apart_and_keep_the_secret(
    api: FakeAPIServer, status: int, error: type[Exception]
) -> None:
    def refuse(method: str, path: str) -> None:
        raise Refused(status, "Reason", f"no: {TOKEN}\n\x1b[2J")

    api.before.append(refuse)
    for call in (connector.grant, connector.revoke):
        with pytest.raises(error) as caught:
            call(spec_of(api))
        assert TOKEN not in str(caught.value)
        assert "\x1b" not in str(caught.value)
    health = connector.check(now=now(), resource_settings=settings_of(api), secret=TOKEN)
    assert not health.ok


def test_a_token_that_is_refused_is_permanent(api: FakeAPIServer) -> None:
    with pytest.raises(PermanentError, match="does not accept the secret"):
        connector.grant(spec_of(api, secret="another-token-altogether"))


def test_missing_rights_name_what_to_give(api: FakeAPIServer) -> None:
    api.forbidden = {("create", "rolebindings"), ("create", "clusterrolebindings")}
    with pytest.raises(PermanentError, match="Give jitportal's service account the rights"):
        connector.grant(spec_of(api))
    health = connector.check(now=now(), resource_settings=settings_of(api), secret=TOKEN)
    assert health.ok
    assert "only in namespaces that allow it" in health.message


def test_the_certificate_must_hold(api: FakeAPIServer) -> None:
    for ca in (authority("Somebody else").pem, None):
        with pytest.raises(PermanentError, match="certificate"):
            connector.grant(spec_of(api, resource_settings=settings_of(api, ca=ca)))
    assert api.requests == []


def test_a_slow_server_is_given_up_in_time(
    api: FakeAPIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "READ_TIMEOUT_SECONDS", 0.3)
    api.before.append(lambda method, path: time.sleep(1))
    started = time.monotonic()
    with pytest.raises(TransientError):
        connector.grant(spec_of(api))
    assert time.monotonic() - started < 1
    monkeypatch.setattr(cluster, "WITHIN_SECONDS", -1.0)
    with pytest.raises(TransientError, match="too slow"):
        connector.grant(spec_of(api))


def test_something_else_that_answers_is_permanent(api: FakeAPIServer) -> None:
    other = settings_of(api, server=f"{api.url}/not-kubernetes")
    assert not connector.check(now=now(), resource_settings=other, secret=TOKEN).ok
    with pytest.raises(PermanentError):
        connector.grant(spec_of(api, resource_settings=other))


def kubeconfig(
    api: FakeAPIServer, user: dict[str, Any], cluster: dict[str, Any] | None = None
) -> str:
    """JSON is YAML."""
    encoded = base64.b64encode(authority().pem.encode()).decode()
    there = {"server": api.url, "certificate-authority-data": encoded}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": there | (cluster or {})}],
            "users": [{"name": "u", "user": user}],
        },
        indent=1,
    )


def test_a_kubeconfig_is_enough(api: FakeAPIServer) -> None:
    secret = kubeconfig(api, {"token": TOKEN})
    connector.grant(spec_of(api, secret=secret, resource_settings={}))
    assert api.users("view") == ["alice"]
    assert connector.check(now=now(), resource_settings={}, secret=secret).ok


def test_a_kubeconfig_with_a_client_certificate_signs_in(api: FakeAPIServer) -> None:
    certificate, key = authority().issue("jitportal", client=True)
    user = {
        "client-certificate-data": base64.b64encode(certificate.encode()).decode(),
        "client-key-data": base64.b64encode(key.encode()).decode(),
    }
    secret = kubeconfig(api, user, {"tls-server-name": "kubernetes.test"})
    connector.grant(spec_of(api, secret=secret, resource_settings={}))
    assert api.users("view") == ["alice"]
    access = credentials.read(resource={}, secret=secret)
    assert key not in repr(access)


@pytest.mark.parametrize(
    ("user", "there"),
    [
        ({"exec": {"command": "touch", "args": ["/tmp/owned"]}}, {}),
        ({"auth-provider": {"name": "gcp"}}, {}),
        ({"tokenFile": "/etc/passwd"}, {}),
        ({"client-certificate": "/x", "client-key": "/y"}, {}),
        ({"username": "admin", "password": "hunter2"}, {}),
        ({"token": "hunter2hunter2", "as": "system:admin"}, {}),
        ({"token": "hunter2hunter2"}, {"insecure-skip-tls-verify": True}),
        ({"token": "hunter2hunter2"}, {"proxy-url": "http://127.0.0.1:1"}),
        ({"token": "hunter2hunter2"}, {"certificate-authority": "/etc/x.pem"}),
        ({"token": "hunter2hunter2"}, {"certificate-authority-data": "!"}),
        ({"token": "hunter2hunter2"}, {"server": "http://127.0.0.1:1"}),
        ({"token": "hunter2\nhunter2"}, {}),
        ({}, {}),
    ],
)
def test_a_kubeconfig_that_does_more_than_sign_in_is_refused(
    api: FakeAPIServer, user: dict[str, Any], there: dict[str, Any]
) -> None:
    with pytest.raises(PermanentError, match="kubeconfig") as caught:
        connector.grant(spec_of(api, secret=kubeconfig(api, user, there), resource_settings={}))
    assert "hunter2" not in str(caught.value)
    assert api.requests == []


@pytest.mark.parametrize(
    "secret",
    [None, "", "short", "hunter2 hunter2", "[hunter2", "a: &a [*a, hunter2]", "current-context: x",
     '{"current-context": "x", "contexts": "hunter2"}', "!!python/object:os.system hunter2"],
)  # fmt: skip
def test_a_secret_that_is_nothing_of_the_kind_is_permanent_and_not_repeated(
    api: FakeAPIServer, secret: str | None
) -> None:
    with pytest.raises(PermanentError, match="token, or a kubeconfig") as caught:
        connector.grant(spec_of(api, secret=secret))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(PermanentError, match='set "server"'):
        connector.grant(spec_of(api, secret=TOKEN, resource_settings={}))
