"""A command that signs (a KMS, an HSM): whatever it answers, only its key's signature is taken."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from audit.domain import note
from audit.domain.note import LogKey, LogSigner
from audit.services import signing
from audit.services.signing import CommandSigner, SigningFailed

NAME, SEED, TEXT = "jit.example.com/ledger", b"7" * 32, b"jit.example.com/ledger\n1\nroot\n"
SIGNS = """
import base64, sys
sys.path.insert(0, {checkout!r})
from audit.domain.note import LogSigner
signer = LogSigner(name={name!r}, seed={seed!r})
print(base64.b64encode(signer.sign(sys.stdin.buffer.read())).decode())
sys.exit({status})
"""


def signer(tmp_path: Path, program: str) -> CommandSigner:
    file = tmp_path / "sign.py"
    file.write_text(program)
    key = LogSigner(name=NAME, seed=SEED).key
    assert isinstance(key, LogKey)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(file))}"
    return CommandSigner(key=key, command=command)


def signs(*, seed: bytes = SEED, status: int = 0) -> str:
    checkout = str(Path(__file__).parents[2])
    return SIGNS.format(checkout=checkout, name=NAME, seed=seed, status=status)


def test_a_command_signs(tmp_path: Path) -> None:
    made = signer(tmp_path, signs())
    signature = made.sign(TEXT)
    assert note.verifies_ed25519(public=made.key.public, message=TEXT, value=signature)
    assert signature == LogSigner(name=NAME, seed=SEED).sign(TEXT)
    assert (made.name, made.key_id) == (NAME, made.key.key_id)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (signs(seed=b"8" * 32), "without a valid signature by the key of LEDGER_VKEY"),
        (signs(status=1), "ended with status 1"),
        ("print('not base64!')", "did not sign (Error)"),
        ("print('QUJD')", "without a valid signature"),
        ("", "without a valid signature"),
        ("raise SystemExit('no access to the key')", "ended with status 1"),
    ],
    ids=["another key", "status 1", "no base64", "too short", "nothing", "an error"],
)
def test_anything_else_is_no_signature(tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(SigningFailed) as refusal:
        signer(tmp_path, program).sign(TEXT)
    assert said in str(refusal.value)


def test_a_command_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "COMMAND_SECONDS", 0.3)
    with pytest.raises(SigningFailed, match="TimeoutExpired"):
        signer(tmp_path, "import time; time.sleep(60)").sign(TEXT)


def test_a_command_that_is_not_there_is_told() -> None:
    key = LogSigner(name=NAME, seed=SEED).key
    with pytest.raises(SigningFailed, match="FileNotFoundError"):
        CommandSigner(key=key, command="/nowhere/sign").sign(TEXT)
