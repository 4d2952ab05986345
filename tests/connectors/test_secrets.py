"""References to secrets, and hiding what they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from approvals.connectors import secrets
from approvals.connectors.protocol import GrantSpec, PermanentError

CANARY = "canary-7f3a"


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_DSN", CANARY)
    assert secrets.resolve("env:ORDERS_DSN") == CANARY


@pytest.mark.parametrize(
    ("written", "read"),
    [(CANARY, CANARY), (f"{CANARY}\n", CANARY), (f"{CANARY}\r\n", CANARY), (" a \n\n", " a \n")],
)
def test_a_file_is_read_without_one_trailing_newline(
    tmp_path: Path, written: str, read: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(written.encode())
    file.chmod(0o400)
    assert secrets.resolve(f"file:{file}") == read


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text(CANARY)
    file.chmod(mode)
    with pytest.raises(PermanentError, match="chmod 600") as caught:
        secrets.resolve(f"file:{file}")
    assert CANARY not in str(caught.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    empty = tmp_path / "empty"
    empty.touch(0o600)
    long = tmp_path / "long"
    long.touch(0o600)
    long.write_text("x" * (secrets.LONGEST_BYTES + 1))
    binary = tmp_path / "binary"
    binary.touch(0o600)
    binary.write_bytes(b"\xff\xfe")
    for path in (pipe, empty, long, binary, tmp_path, tmp_path / "missing"):
        with pytest.raises(PermanentError):
            secrets.resolve(f"file:{path}")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        CANARY,
        f"postgresql://u:{CANARY}@h/d",
        f"env:postgresql://u:{CANARY}@h/d",
        f"file:{CANARY}",
        f"vault:{CANARY}",
        f"ENV:{CANARY}",
        f" env:{CANARY}",
    ],
)
def test_a_secret_pasted_as_its_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(PermanentError) as caught:
        secrets.resolve(reference)
    assert CANARY not in str(caught.value)


def test_a_missing_or_empty_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORDERS_DSN", raising=False)
    with pytest.raises(PermanentError, match="ORDERS_DSN"):
        secrets.resolve("env:ORDERS_DSN")
    monkeypatch.setenv("ORDERS_DSN", "")
    with pytest.raises(PermanentError, match="ORDERS_DSN"):
        secrets.resolve("env:ORDERS_DSN")


@pytest.mark.parametrize("password", ["hunter22", "p@ss/w#rd?%", "it's a \\ secret", "ü€ 漢"])
def test_a_password_is_hidden_in_every_spelling(password: str) -> None:
    encoded = quote(password, safe="")
    escaped = password.replace("\\", "\\\\").replace("'", "\\'")
    for secret in (
        password,
        f"postgresql://user:{encoded}@host:5432/db?sslmode=require",
        f"postgresql://host/db?user=u&password={encoded}",
        f"host=h user=u password='{escaped}' dbname=d",
        f"postgresql://user:{password}@host/db",
    ):
        for spelling in {password, encoded, secret} if "://" in secret else {password, secret}:
            said = f"connection to {spelling} failed"
            assert password not in secrets.redact(said, secret), secret
            assert spelling not in secrets.redact(said, secret), secret


def test_each_long_line_of_a_secret_is_hidden() -> None:
    secret = f"-----BEGIN KEY-----\n{CANARY}\n-----END KEY-----"
    assert CANARY not in secrets.redact(f"bad key: {CANARY}", secret)


def test_what_is_not_secret_stays() -> None:
    secret = f"postgresql://user:{CANARY}@db.example.test:5432/orders"
    said = f'user "user" at db.example.test failed with {CANARY}'
    assert secrets.redact(said, secret) == 'user "user" at db.example.test failed with [hidden]'
    assert secrets.redact("nothing to hide", None) == "nothing to hide"
    assert secrets.redact("nothing to hide", "") == "nothing to hide"


def test_a_spec_does_not_show_its_secret() -> None:
    spec = GrantSpec(
        request_id="1",
        subject_login="alice",
        subject_email="",
        resource="r",
        entitlement="e",
        resource_settings={},
        entitlement_settings={},
        secret=CANARY,
    )
    assert CANARY not in repr(spec)
    assert CANARY not in f"{spec}"
