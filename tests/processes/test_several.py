"""Two of each process on one database and one Redis or RabbitMQ; then one of each is killed -9."""

import contextlib
import email
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.policy import default as policy
from itertools import count
from pathlib import Path

import pytest
import requests as http
from django.db import connection, connections

from approvals.domain import states
from approvals.models import (
    AccessRequest,
    Asked,
    CurrentRequest,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    Notice,
    OutboxItem,
    Resource,
    User,
)  # fmt: skip
from approvals.selectors import clock
from approvals.services import notifications
from approvals.services import requests as asking
from jitportal import schedule
from tests.connectors.noop import Noop
from tests.processes import brokers
from tests.processes.conftest import QUEUES, THREADS, Processes
from tests.world import World

Until = Callable[..., float]

pytestmark = pytest.mark.django_db(transaction=True)
KINDS = ("web", "beat", *QUEUES)
PASSWORD = "a long password for tests"
SHORT = 12
"""People whose access, asked for by the services, runs out after seconds."""
VISITORS = 4
"""People who ask over HTTP, twice each: once approved at once, once by bob and carol."""


@pytest.fixture(params=brokers.KINDS)
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with brokers.KINDS[request.param]() as url:
        yield url


@pytest.fixture
def processes(broker_url: str, transactional_db: None, tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path, broker_url=broker_url)
    yield found
    found.kill_all()
    connection.close()


class Browser:
    """One signed-in person, who uses whichever web process answers, as behind a load balancer."""

    def __init__(self, processes: Processes, login: str) -> None:
        self._processes = processes
        self._session = http.Session()
        self._turn = count()
        answer = self._send("GET", "/accounts/login/")
        answer = self._send("POST", "/accounts/login/", login=login, password=PASSWORD)
        assert answer.status_code == 302, answer.text[-2000:]

    def post(self, path: str, **data: object) -> int:
        """Return the status of the answer, which is no error of the server's."""
        status = self._send("POST", path, **data).status_code
        assert status < 500, (path, status)
        return status

    def _send(self, method: str, path: str, **data: object) -> http.Response:
        end = time.monotonic() + 30
        while True:
            ports = list(self._processes.ports.values())
            port = ports[next(self._turn) % len(ports)]
            data["csrfmiddlewaretoken"] = self._session.cookies.get("csrftoken", default="")
            with contextlib.suppress(http.RequestException):
                return self._session.request(
                    method, f"http://{brokers.HOST}:{port}{path}",
                    data=data if method == "POST" else None, timeout=10, allow_redirects=False,
                )  # fmt: skip
            assert time.monotonic() < end, "no web process answers"
            time.sleep(0.05)


def leader() -> int | None:
    """The server process that holds beat's lock for whoever leads."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = %s",
            [schedule._LEADER_LOCK],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def people(names: list[str], world: World) -> list[User]:
    """Engineers whose manager is bob."""
    eng = Group.objects.get(name="eng")
    made = []
    for name in names:
        user = User.objects.create_user(
            name, f"{name}@example.com", PASSWORD, name=name.title(), manager=world.bob
        )
        Membership.objects.create(person=user, group=eng)
        made.append(user)
    return made


def in_a_call(noop: Noop, processes: Processes) -> str | None:
    """The name of a worker that waits for the target now."""
    open_calls: Counter[int] = Counter()
    for call in noop.calls():
        open_calls[call["pid"]] += 1 if call["stage"] == "began" else -1
    names = (name for name in processes.running if open_calls[processes.pid(name)] > 0)
    return next(names, None)


def pages_answer(processes: Processes) -> bool:
    for port in processes.ports.values():
        try:
            if http.get(f"http://{brokers.HOST}:{port}/readyz", timeout=5).status_code != 200:
                return False
        except http.RequestException:
            return False
    return True


def test_one_of_each_of_two_is_killed_and_nothing_is_lost_or_done_twice(
    world: World, noop: Noop, processes: Processes, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.start(*(f"{kind}.{number}" for number in (1, 2) for kind in KINDS))
    second = Resource.objects.create(name="wiki", connector="noop", owner=world.bob)
    wiki = Entitlement.objects.create(
        resource=second, name="edit", risk="low", policy=world.read.policy
    )
    short = people([f"p{number:02}" for number in range(SHORT)], world)
    visitors = people([f"v{number}" for number in range(VISITORS)], world)
    for user in (world.bob, world.carol):
        user.set_password(PASSWORD)
        user.save()
    until(lambda: pages_answer(processes))
    until(lambda: leader() is not None)
    noop.control(before_seconds=0.2, after_seconds=0.2)

    # The form takes a minute at least, which the machine and the database don't ask for.
    monkeypatch.setattr(asking, "_check", lambda **_: None)
    for number, person in enumerate(short):
        for what in (world.read, wiki):
            seconds = 2 + number % 2
            world.ask(what=what, by=person, minutes=seconds / 60)

    with ThreadPoolExecutor(4) as pool:
        browsing = [pool.submit(visit, processes, user.username, world) for user in visitors]
        judging = pool.submit(judge, processes, len(visitors))
        until(lambda: sum(call["stage"] == "done" for call in noop.calls()) >= SHORT // 2)
        until(lambda: in_a_call(noop, processes) is not None)
        caller = in_a_call(noop, processes) or "provisioning.1"
        (leading,), was = processes.leaders(), leader()
        killing = time.time()
        processes.kill(caller, leading, "web.1", "due.1", "notices.1")
        killed = time.time()
        until(lambda: leader() not in (None, was), 20)
        assert time.time() - killing < 20, "another beat leads within seconds"
        until(lambda: len(processes.leaders()) == 2, 5)
        for task in (*browsing, judging):
            task.result(timeout=60)

    until(lambda: not CurrentRequest.objects.exclude(state__in=states.FINAL).exists())
    until(lambda: not OutboxItem.objects.filter(not_before__lte=clock.now()).exists())
    check(noop=noop)
    check_mails(processes.folder / "mail", killing=killing, killed=killed)
    check_that_a_worker_ends_its_call_when_asked_to_stop(world, noop, processes, until)
    left = processes.running
    assert processes.ask_to_stop(*left, seconds=30) == dict.fromkeys(left, 0), processes.logs()


def visit(processes: Processes, login: str, world: World) -> None:
    """Ask for two things, then give back the one that is there at once."""
    try:
        browser = Browser(processes, login)
        for what in (world.read, world.write):
            browser.post(
                "/requests/new/", entitlement=what.pk, length=600, when="now", reason="Why."
            )
        mine = CurrentRequest.objects.filter(subject__username=login, entitlement=world.read)
        end = time.monotonic() + 60
        while not mine.filter(state="active").exists():
            assert time.monotonic() < end, "not active"
            time.sleep(0.1)
        browser.post(f"/requests/{mine.get().request_id}/end/")
    finally:
        connections.close_all()


def judge(processes: Processes, number: int) -> None:
    """Bob approves every other one and denies the rest; carol approves; what is active they end."""
    try:
        bob, carol = Browser(processes, "bob"), Browser(processes, "carol")
        wanted = CurrentRequest.objects.filter(entitlement__name="read-write")
        end = time.monotonic() + 60
        while wanted.filter(state__in=["denied", "revoked"]).count() < number:
            assert time.monotonic() < end, list(wanted.values_list("state", flat=True))
            for row in wanted.select_related("record"):
                path = f"/requests/{row.request_id}"
                if row.state == "pending":
                    seen = row.record.revision
                    who = bob if seen == 1 else carol
                    good = int(row.record.subject_name[-1]) % 2 == 0
                    who.post(
                        f"{path}/decide/", verdict="approve" if good else "deny",
                        seen_revision=seen, comment="Seen.",
                    )  # fmt: skip
                elif row.state == "active":
                    bob.post(f"{path}/end/", comment="Enough.")
            time.sleep(0.1)
    finally:
        connections.close_all()


def check(*, noop: Noop) -> None:
    """What must hold in the end, read from the records and from the target."""
    asked = Counter(AccessRequest.objects.filter(revision=1).values_list("subject", "entitlement"))
    assert len(asked) == 2 * SHORT + 2 * VISITORS
    assert set(asked.values()) == {1}, "nobody asked twice"
    ends: Counter[str] = Counter()
    for request_id in CurrentRequest.objects.values_list("request_id", flat=True):
        rows = list(AccessRequest.objects.filter(request_id=request_id).order_by("revision"))
        assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
        final = [row.state for row in rows if row.state in states.FINAL]
        assert final == [rows[-1].state], "one final state, the last one"
        ends[rows[-1].state] += 1
        events = GrantEvent.objects.filter(request_id=request_id, kind__in=["granted", "removed"])
        kinds = Counter(events.values_list("kind", flat=True))
        assert kinds == ({} if final == ["denied"] else {"granted": 1, "removed": 1})
    half = VISITORS // 2
    assert ends == {"expired": 2 * SHORT, "revoked": VISITORS + half, "denied": half}
    assert noop.held() == set()
    assert not Asked.objects.exists(), "nobody is asked any more"


def check_mails(folder: Path, *, killing: float, killed: float) -> None:
    """Each notice of a request is recorded once and sent once.

    But for what the dead worker had handed to the mail server and not come to record, one for each
    of its threads at most: that comes twice, with one Message-ID, or, where it is not true any more
    when its turn comes again, stays without a record.
    """
    known = CurrentRequest.objects.values_list("request_id", flat=True)
    threads = {notifications._message_id(str(request_id)) for request_id in known}
    sent: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=policy)
        if message["In-Reply-To"] in threads:
            moment = int(path.name.partition("-")[0]) / 1e9
            sent.setdefault(message["Message-ID"], []).append(moment)
    keys = Notice.objects.filter(request_id__isnull=False, channel="email").values_list(
        "once_key", flat=True
    )
    recorded = {notifications._message_id(key) for key in keys}
    assert recorded <= set(sent)
    assert len(recorded) > 2 * SHORT
    cut_off = {
        key: moments for key, moments in sent.items() if len(moments) > 1 or key not in recorded
    }
    assert len(cut_off) <= THREADS
    for first, *others in cut_off.values():
        assert first <= killed, "a mail of the living was sent twice, or not recorded"
        assert len(others) <= 1
        assert all(moment >= killing for moment in others)


def check_that_a_worker_ends_its_call_when_asked_to_stop(
    world: World, noop: Noop, processes: Processes, until: Until
) -> None:
    noop.control(after_seconds=1.5)
    request = world.ask(what=world.read)
    began = len(noop.calls("grant"))
    until(lambda: len(noop.calls("grant")) > began)
    (left,) = (name for name in processes.running if name.startswith("provisioning"))
    assert processes.ask_to_stop(left, seconds=30) == {left: 0}
    assert world.newest(request).state == "active"
    assert len(noop.calls("grant")) == began + 2, "one call, begun and done"
