"""Publishing reaches a consumer quickly, and gives up quickly when the broker is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from jitportal import broker
from jitportal.embedded import roles, server
from jitportal.embedded.postgres import Cluster
from jitportal.embedded.queue import Transport


@pytest.fixture
def url(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """The broker's address; DATABASE_URL points elsewhere, as it does in every process of ours."""
    monkeypatch.setenv("DATABASE_URL", cluster.url(roles.APP))
    address = roles.broker_url(cluster=cluster)
    broker.install(address)
    return address


@pytest.fixture
def app(url: str) -> Iterator[Celery]:
    made = _app(url)
    yield made
    made.close()


def _app(address: str) -> Celery:
    made = Celery("tests", set_as_current=False)
    made.conf.update(broker.celery_broker(address))
    return made


def _sessions(cluster: Cluster, condition: str) -> int:
    with cluster.connect() as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE application_name = 'jitportal broker' AND {condition}".encode()
        ).fetchone()
    return int(found[0]) if found else 0


def test_installing_twice_keeps_the_queues(url: str) -> None:
    address = url.replace("pgmq://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("SELECT pgmq.create('kept')")
        broker.install(url)
        queues = connection.execute("SELECT queue_name FROM pgmq.list_queues()").fetchall()
        assert ("kept",) in queues
        connection.execute("SELECT pgmq.drop_queue('kept')")


def test_another_version_is_replaced(url: str) -> None:
    with psycopg.connect(url.replace("pgmq://", "postgresql://"), autocommit=True) as connection:
        connection.execute("COMMENT ON SCHEMA pgmq IS '0.1'")
        broker.install(url)
        found = connection.execute("SELECT obj_description('pgmq'::regnamespace)").fetchone()
        assert found is not None
        assert found[0] != "0.1"


@pytest.mark.parametrize("address", [Cluster.url, Cluster.socket_url])
def test_it_is_reached_over_loopback_and_the_socket_and_logs_show_no_password(
    url: str, cluster: Cluster, address: Callable[[Cluster, str, str], str]
) -> None:
    where = address(cluster, roles.BROKER, roles.BROKER_DATABASE).replace("postgresql", "pgmq", 1)
    assert ("?host=" in where) == (address is Cluster.socket_url)
    made = _app(where)
    with made.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
        assert connection.connected
        assert connection.as_uri() == where.replace(cluster.password(roles.BROKER), "**")
    made.close()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("pgmq://u:p#secret@h:5433/db", "pgmq://u:**@h:5433/db"),
        ("pgmq://u:p?secret@h/db", "pgmq://u:**@h/db"),
        ("pgmq:///db?host=/run/pg&user=u&password=secret", "pgmq://u:**@/db?host=%2Frun%2Fpg"),
        ("pgmq://u@/db?host=/run/pg&password=secret", "pgmq://u:**@/db?host=%2Frun%2Fpg"),
        ("pgmq://u@h/db", "pgmq://u@h/db"),
        ("pgmq://u:secret@h:port/db?nothing=known", "pgmq://**"),
    ],
)
def test_logs_show_no_password_wherever_it_stands(address: str, shown: str) -> None:
    assert Transport.as_uri(address) == shown
    assert Transport.as_uri(address, include_password=True) == address


def test_a_message_wakes_its_consumer(app: Celery) -> None:
    heard: list[Any] = []
    lags: list[float] = []
    with app.connection_for_read() as connection:
        queue = Queue("woken", Exchange("woken"), "woken")

        def hear(body: Any, message: Any) -> None:
            heard.append(body)
            message.ack()

        with connection.Consumer([queue], callbacks=[hear]), app.connection_for_write() as outgoing:
            producer = outgoing.Producer()
            for number in range(10):
                sent_at = time.monotonic()
                producer.publish(number, exchange="woken", routing_key="woken", declare=[queue])
                while len(heard) <= number:
                    connection.drain_events(timeout=2)
                lags.append(time.monotonic() - sent_at)
    assert heard == list(range(10))
    assert sorted(lags)[5] < 0.15  # polling alone would take 0.2


def test_only_consumers_listen(app: Celery, cluster: Cluster) -> None:
    for _ in range(3):
        app.send_task("anything", queue="unheard")
    assert _sessions(cluster, "true") > 0
    assert _sessions(cluster, "query LIKE 'LISTEN%'") == 0


def test_what_was_not_acknowledged_comes_again(app: Celery) -> None:
    options = {"visibility_timeout": 1}
    app.send_task("anything", queue="again")
    seen = []
    for _ in range(2):
        with app.connection_for_read(transport_options=options) as connection:
            again: Any = Queue("again", no_declare=True)
            waiting = connection.SimpleQueue(again)
            ends = time.monotonic() + 5
            while time.monotonic() < ends:
                try:
                    seen.append(waiting.get(block=False).headers["id"])
                    break
                except waiting.Empty:
                    time.sleep(0.1)
    assert len(seen) == 2
    assert seen[0] == seen[1]


@pytest.mark.parametrize("scheme", ["pgmq", "redis", "amqp"])
@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_publishing_gives_up_within_seconds(scheme: str, *, silent: bool) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        if silent:
            stranger.listen()  # accepts, and never answers
        app = _app(f"{scheme}://user:secret@127.0.0.1:{port}/0")
        began = time.monotonic()
        with pytest.raises((OperationalError, OSError, psycopg.OperationalError)) as refusal:
            app.send_task("anything", queue="away")
        assert time.monotonic() - began < 2 * (broker.CONNECT_SECONDS + broker.SOCKET_SECONDS)
        assert "secret" not in str(refusal.value)


def test_a_scheme_of_no_use_is_refused_with_the_useful_ones() -> None:
    with pytest.raises(broker.UnknownBroker, match=r"sqs://.*redis://.*amqp://.*pgmq://"):
        broker.celery_broker("sqs://example.com")


def test_without_a_url_there_are_no_settings() -> None:
    assert broker.celery_broker("") == {}


def test_a_free_port_is_free() -> None:
    assert server.is_free(server.free_port())
