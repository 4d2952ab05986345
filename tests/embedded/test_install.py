"""What `make` installs is what the checkout's locks name, whatever was installed before."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from jitportal.embedded import install


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The locks that pip was given, in a checkout of its own."""
    given: list[str] = []

    def call(command: list[str], **_: object) -> int:
        if "pip" in command:
            given.append(command[-1])
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # the process holds it until it ends
    install.VENV.mkdir()
    return given


def at(version: str) -> None:
    Path(install.RUNTIME_LOCK).write_text(f"a=={version}\n")
    Path(install.DEVELOPMENT_LOCK).write_text(f"a=={version}\nb==1\n")


def test_it_installs_once_and_the_development_lock_holds_the_other(pip: list[str]) -> None:
    at("1")
    for lock in (install.DEVELOPMENT_LOCK, install.DEVELOPMENT_LOCK, install.RUNTIME_LOCK):
        assert install.main(lock) == 0
    assert pip == [install.DEVELOPMENT_LOCK]


def test_an_older_checkout_gets_its_own_packages_back(pip: list[str]) -> None:
    at("1")
    install.main(install.RUNTIME_LOCK)
    at("2")
    install.main(install.DEVELOPMENT_LOCK)
    at("1")
    install.main(install.RUNTIME_LOCK)
    assert pip == [install.RUNTIME_LOCK, install.DEVELOPMENT_LOCK, install.RUNTIME_LOCK]


def test_what_pip_broke_off_is_not_taken_for_installed(
    pip: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at("1")
    install.main(install.RUNTIME_LOCK)
    at("2")
    monkeypatch.setattr(subprocess, "call", lambda command, **_: int("pip" in command))
    assert install.main(install.RUNTIME_LOCK) == 1
    at("1")
    assert not install.is_installed(install.RUNTIME_LOCK)
