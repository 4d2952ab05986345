"""What the demo says about itself, before anything of it runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jitportal.embedded import demo, files, server


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> demo.Demo:
    """A demo that never ran, on a machine without a DATABASE_URL."""
    for name in ("DATABASE_URL", "BROKER_URL", "ORDERS_DB_DSN", "PORT"):
        monkeypatch.delenv(name, raising=False)
    return demo.Demo(checkout=Path(), directory=tmp_path / "demo", developing=False)


def test_exports_of_a_demo_that_does_not_run_are_refused(quiet: demo.Demo) -> None:
    with pytest.raises(demo.DemoFailed, match="make demo"):
        quiet.exports()


def test_what_a_killed_demo_left_is_no_running_demo(quiet: demo.Demo, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "lock").write_text("1")
    files.write_private(tmp_path / "demo" / "running.json", '{"WEB_URL": "http://127.0.0.1:1"}')
    with pytest.raises(demo.DemoFailed, match="No demo runs"):
        quiet.exports()


def test_exports_survive_a_shell() -> None:
    value = "a b'c\"d$HOME`x`;&"
    said = subprocess.run(
        ["/bin/sh", "-c", demo.as_shell({"ODD": value}) + 'printf %s "$ODD"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == value


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_of_nonsense_is_refused(
    quiet: demo.Demo, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(demo.DemoFailed, match="PORT must be a number"):
        quiet._choose_port()


def test_the_next_port_is_taken_when_ours_is_in_use(
    quiet: demo.Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "is_free", lambda port: port > 9001)
    monkeypatch.setenv("PORT", "9000")
    quiet._choose_port()
    assert quiet._port == 9002
    assert "Port 9000 is taken: this demo takes 9002." in capsys.readouterr().out


def test_debug_reaches_the_children_only_when_developing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "ORDERS_DB_DSN"):
        monkeypatch.setenv(name, "postgresql://elsewhere")
    monkeypatch.setenv("DEBUG", "1")
    for developing in (False, True):
        made = demo.Demo(checkout=Path(), directory=tmp_path, developing=developing)
        assert ("DEBUG" in made._environment()) is developing
        assert made._environment()["DATABASE_URL"] == os.environ["DATABASE_URL"]
