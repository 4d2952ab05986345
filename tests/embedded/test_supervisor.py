"""Children are shown, restarted and stopped, and no stranger is ever ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jitportal.embedded import files, supervisor
from jitportal.embedded.supervisor import Interrupted, Program, Supervisor, end_recorded
from jitportal.embedded.terminal import Terminal

PATIENCE_SECONDS = 10
ENVIRONMENT = dict(os.environ)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "processes.json"


@pytest.fixture
def running(record: Path) -> Iterator[Supervisor]:
    made = Supervisor(terminal=Terminal(), record=record)
    yield made
    made.stop()


def _python(name: str, code: str, *, stop_order: int = 0) -> Program:
    return Program(name, (sys.executable, "-c", code), stop_order)


def _run_until(running: Supervisor, done: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS

    def look() -> None:
        if done() or time.monotonic() > ends:
            raise Interrupted

    with pytest.raises(Interrupted):
        running.run(every_tick=look)
    assert done()


def _ended(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True


def test_lines_are_marked_with_who_said_them(
    running: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys; print('to out', flush=True);"
        "print('to err \\x1b[2J', file=sys.stderr, flush=True); print('end', end='')"
    )
    assert running.complete(_python("web", code), ENVIRONMENT) == 0
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == ["web          │ end", "web          │ to err ·[2J", "web          │ to out"]


def test_the_exit_status_of_a_command_comes_back(running: Supervisor) -> None:
    assert running.complete(_python("web", "raise SystemExit(3)"), ENVIRONMENT) == 3


def test_a_child_that_dies_starts_again_after_a_pause(
    running: Supervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    code = f"open({str(log)!r}, 'a').write('x'); raise SystemExit(5)"
    running.start([_python("beat", code)], ENVIRONMENT)
    _run_until(running, lambda: log.exists() and len(log.read_text()) >= 2)
    assert "beat ended (exit status 5); starts again in 1 s." in capsys.readouterr().out


def test_stopping_goes_in_order_and_takes_the_stubborn_too(
    running: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(supervisor, "QUIT_SECONDS", 0.2)
    log = tmp_path / "log"
    polite = (
        "import signal, time, sys\n"
        f"def bye(*_): open({str(log)!r}, 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        f"open({str(log)!r} + sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    deaf = (
        "import signal, time, sys, subprocess\n"
        "for sign in (signal.SIGTERM, signal.SIGQUIT): signal.signal(sign, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(log)!r} + 'deaf', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    ).replace("import signal", "import os, signal")
    programs = [
        Program("due", (sys.executable, "-c", polite, "2"), stop_order=1),
        Program("web", (sys.executable, "-c", polite, "1"), stop_order=0),
        _python("beat", deaf, stop_order=2),
    ]
    running.start(programs, ENVIRONMENT)
    ready = [Path(f"{log}{name}") for name in ("1", "2", "deaf")]
    _run_until(running, lambda: all(path.exists() for path in ready) and bool(ready[2].read_text()))
    deaf_pids = [int(pid) for pid in ready[2].read_text().split()]
    running.stop()
    assert log.read_text() == "12"
    assert all(_ended(pid) for pid in deaf_pids)


def test_leftovers_are_ended_and_a_stranger_with_a_recorded_id_is_not(record: Path) -> None:
    code = "import time; print(flush=True); time.sleep(60)"
    marked = {**ENVIRONMENT, "DEMO_MARK": str(record)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], start_new_session=True, env=env, stdout=subprocess.PIPE
        )
        for env in (marked, ENVIRONMENT)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        ours, stranger = processes
        ticks = supervisor._start_ticks(ours.pid)
        files.write_private(record, files.to_json({str(ours.pid): ticks, str(stranger.pid): 1}))
        assert end_recorded(record, mark=f"DEMO_MARK={record}") == 1
        assert ours.wait(timeout=5) == -9
        assert stranger.poll() is None
        assert not record.exists()
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
