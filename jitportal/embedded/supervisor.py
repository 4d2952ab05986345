"""Starts child processes, shows what they say, starts those again that die, and stops them all.

Knows nothing of what the children do: demo.py says which there are. Everything runs in one thread,
the main one, since children are tied to the thread that starts them (children.py).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from jitportal.embedded import children, files, places
from jitportal.embedded.account import Account
from jitportal.embedded.terminal import Terminal

TICK_SECONDS = 0.3
STEADY_SECONDS = 30  # a child that lived this long begins again with the shortest pause
LONGEST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 10
QUIT_SECONDS = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Program:
    """A child: its name in the logs, its command, and when it is stopped (low first).

    Of one that logs to standard error only, `shows_output` off hides the greeting on the other.
    `own` are variables that it alone is given; a `clean` one gets no others. `account` is whom it
    runs as, where that isn't us.
    """

    name: str
    command: tuple[str, ...]
    stop_order: int = 0
    shows_output: bool = True
    own: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    clean: bool = False
    account: Account | None = None


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_seconds: float = 0.0
    due_at: float = 0.0
    output: int | None = None
    unfinished: bytes = field(default=b"", repr=False)


class Interrupted(Exception):
    """Someone asked us to stop."""


class Supervisor:
    """Runs `programs` in `environment` until it is told to stop.

    `record` is a file of what was started, by which end_recorded() finds what a killed supervisor
    left behind.
    """

    def __init__(self, *, terminal: Terminal, record: Path) -> None:
        self._terminal = terminal
        self._record = record
        self._children: list[_Child] = []
        self._environment: Mapping[str, str] = {}
        self._selector = selectors.DefaultSelector()
        self._asked = 0

    # -- being told to stop -------------------------------------------------------------------

    def listen(self) -> None:
        """From now on Ctrl-C and its kin set a mark, which check() turns into Interrupted."""
        for sign in SIGNALS:
            signal.signal(sign, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def check(self) -> None:
        """Raises Interrupted once someone asked us to stop."""
        if self._asked:
            raise Interrupted

    # -- one command ---------------------------------------------------------------------------

    def complete(self, program: Program, environment: Mapping[str, str]) -> int:
        """Run a command to its end, showing what it says; its exit status.

        Raises:
            Interrupted: someone asked us to stop; the command was ended.
        """
        child = _Child(program)
        self._start(child, environment)
        process = child.process
        assert process is not None
        self._children.append(child)
        try:
            while not _has_ended(process):
                self.check()
                self._listen_to_children(0.1)
        finally:
            self._children.remove(child)
            if not _has_ended(process):
                _signal_group(process, signal.SIGKILL)
                process.wait()
            self._forget(child)
        return int(process.returncode)

    # -- all of them ---------------------------------------------------------------------------

    def start(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Every program runs, beside those that run already."""
        self._environment = environment
        started = [_Child(program) for program in programs]
        self._children += started
        for child in started:
            self._start(child, environment)

    def run(self, *, every_tick: Callable[[], None]) -> None:
        """Show logs and restart what dies, until Interrupted comes."""
        while True:
            self.check()
            self._listen_to_children(TICK_SECONDS)
            every_tick()
            for child in self._children:
                self._look_after(child)

    def pid(self, name: str) -> int | None:
        """The id of the program of that name while it runs."""
        for child in self._children:
            if child.program.name == name and child.process and not _has_ended(child.process):
                return child.process.pid
        return None

    def restart_all(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """These programs run with this environment, newly started, and no others."""
        self.stop()
        self.start(programs, environment)

    def stop(self) -> None:
        """No child runs: asked in their order, killed when they take long or we are asked again."""
        for order in sorted({child.program.stop_order for child in self._children}):
            group = [child for child in self._children if child.program.stop_order == order]
            self._stop_group(group)
        self._children = []
        self._record.unlink(missing_ok=True)

    # -- inside -----------------------------------------------------------------------------------

    def _start(self, child: _Child, environment: Mapping[str, str]) -> None:
        child.started_at = time.monotonic()
        read, write = os.pipe()
        try:
            child.process = subprocess.Popen(
                child.program.command,
                env={**({} if child.program.clean else environment), **dict(child.program.own)},
                stdin=subprocess.DEVNULL,
                stdout=write if child.program.shows_output else subprocess.DEVNULL,
                stderr=write,
                start_new_session=True,
                preexec_fn=children.dies_with_us(signal.SIGKILL),
                **(child.program.account.process_options() if child.program.account else {}),
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        os.set_blocking(read, False)
        child.output = read
        self._selector.register(read, selectors.EVENT_READ, child)
        self._write_record()

    def _write_record(self) -> None:
        running = {
            str(child.process.pid): _start_ticks(child.process.pid)
            for child in self._children
            if child.process is not None and child.process.returncode is None
        }
        files.write_private(self._record, files.to_json(running))

    def _listen_to_children(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._hear(key.data)

    def _hear(self, child: _Child) -> bool:
        """Show what the child said since; False when there is no more for now."""
        if child.output is None:
            return False
        try:
            said = os.read(child.output, 65536)
        except BlockingIOError:
            return False
        if not said:
            self._close(child)
        *lines, child.unfinished = (child.unfinished + said).split(b"\n")
        for line in lines:
            self._terminal.say(child.program.name, line.decode(errors="replace").rstrip() or " ")
        return bool(said)

    def _forget(self, child: _Child) -> None:
        """Show the rest of what an ended child said, and listen to it no more."""
        while self._hear(child):
            pass
        self._close(child)
        if child.unfinished:
            self._terminal.say(child.program.name, child.unfinished.decode(errors="replace"))
            child.unfinished = b""

    def _close(self, child: _Child) -> None:
        if child.output is not None:
            self._selector.unregister(child.output)
            os.close(child.output)
            child.output = None

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            if not _has_ended(child.process):
                return
            status = int(child.process.returncode)
            self._forget(child)
            child.process = None
            steady = now - child.started_at > STEADY_SECONDS
            last_pause = 0.0 if steady else child.pause_seconds
            child.pause_seconds = min(max(last_pause * 2, 1.0), LONGEST_PAUSE_SECONDS)
            child.due_at = now + child.pause_seconds
            self._terminal.say(
                "demo",
                f"{child.program.name} ended ({_meaning(status)}); "
                f"starts again in {child.pause_seconds:.0f} s.",
            )
        elif now >= child.due_at:
            self._start(child, self._environment)

    def _stop_group(self, group: Sequence[_Child]) -> None:
        patience = self._asked
        waiting = [child for child in group if child.process is not None]
        for sign, seconds in (
            (signal.SIGTERM, STOP_SECONDS),
            (signal.SIGQUIT, QUIT_SECONDS),
            (signal.SIGKILL, 5),
        ):
            for child in waiting:
                if child.process is None or _has_ended(child.process):
                    continue
                if sign == signal.SIGKILL:
                    _signal_group(child.process, sign)
                else:
                    os.kill(child.process.pid, sign)
            ends = time.monotonic() + seconds
            while waiting and time.monotonic() < ends:
                self._listen_to_children(0.1)
                waiting = [
                    child for child in waiting if child.process and not _has_ended(child.process)
                ]
                if self._asked > patience and sign != signal.SIGKILL:
                    break
        for child in group:
            self._forget(child)
            child.process = None


def end_recorded(record: Path, *, mark: str) -> int:
    """End what a killed supervisor left behind; how many processes there were.

    Ids are used again, so a process is ours only if it leads the recorded group since the
    recorded moment, or is in that group and has `mark` (NAME=value) in its environment.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + STOP_SECONDS
    recorded = {int(pid): ticks for pid, ticks in files.read_json(record).items()}
    while recorded and time.monotonic() < deadline:
        left = [pid for pid in _members(recorded) if _is_ours(pid, recorded.get(pid), mark)]
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended.add(pid)
        time.sleep(0.05)
    record.unlink(missing_ok=True)
    return len(ended)


def descendants(pid: int) -> list[int]:
    """The living processes that came from `pid`, whatever groups they are in; without /proc none.

    Not those whose parent ended.
    """
    parents: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for entry in places.PROC.iterdir():
            fields = _stat(int(entry.name)) if entry.name.isdigit() else []
            if fields:
                parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def _members(groups: Container[int]) -> list[int]:
    """The living processes of these groups; none where there is no /proc."""
    found = []
    with contextlib.suppress(OSError):
        for entry in places.PROC.iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields and fields[0] != "Z" and int(fields[2]) in groups:
                    found.append(int(entry.name))
    return found


def _is_ours(pid: int, recorded_ticks: int | None, mark: str) -> bool:
    if recorded_ticks is not None:
        return _start_ticks(pid) == recorded_ticks
    try:
        environment = (places.PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(mark) in environment


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if that can't be known."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str]:
    """What proc(5) says in `stat` from the third field on (the state); [] if it is gone."""
    try:
        return (places.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child ended; then nothing of its group is left either.

    The group is killed before the child is reaped: until then nobody else can get its id.
    """
    if process.returncode is not None:
        return True
    if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return False
    _signal_group(process, signal.SIGKILL)
    process.wait()
    return True


def _signal_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """To the child and all that it started: it leads its own group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)


def _meaning(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
