"""The log over HTTP: the same for everybody, cached as it may be, and enough to verify it all."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from audit.domain import checkpoint, merkle, note, policy, tiles, verifier
from audit.models import Log
from audit.selectors import log as reads
from tests.audit.exports import verify
from tests.audit.ledger.logs import POLICY
from tests.audit.sealer import new_signer, seal
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> note.LogSigner:
    return new_signer()


@pytest.fixture
def log(world: World, signer: note.LogSigner) -> Log:
    world.ended()
    return seal(signer)


def size_of(log: Log) -> int:
    newest = reads.newest_checkpoint(log)
    assert newest is not None
    return newest.size


def test_a_log_that_is_read_over_http_verifies(
    log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    client = Client()
    for name in ("checkpoint", "policy", "verifier.py"):
        (tmp_path / name).write_bytes(client.get(f"/ledger/{name}").content)
    said = checkpoint.open_verified(message=(tmp_path / "checkpoint").read_bytes(), log=signer.key)
    for each in tiles.every(size=said.size):
        path = tmp_path / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get(f"/ledger/{each.path}").content)
    assert verify(tmp_path, "--vkey", signer.key.vkey)["ok"]
    assert (tmp_path / "verifier.py").read_bytes() == Path(verifier.__file__).read_bytes()
    (held,) = policy.read((tmp_path / "policy").read_bytes()).logs
    assert held.key == signer.key
    assert client.get(f"{held.url.partition('.com')[2] or held.url}checkpoint").status_code == 200


def test_it_is_the_same_for_everybody_and_knows_nobody(log: Log, world: World) -> None:
    signed_in, stranger = Client(), Client()
    signed_in.force_login(world.alice)
    odd = Client()
    odd.cookies["sessionid"] = "left-over"
    for path in ("checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3", "policy", "verifier.py",
                 "tile/0/999", f"logs/{reads.key_id(log)}/checkpoint"):  # fmt: skip
        answers = [client.get(f"/ledger/{path}") for client in (stranger, signed_in, odd)]
        for answer in answers:
            assert answer.content == answers[0].content
            assert answer.headers == answers[0].headers
            assert "Vary" not in answer
            assert not answer.cookies


def test_only_the_checkpoint_is_asked_for_again(log: Log) -> None:
    client = Client()
    head, tile = client.get("/ledger/checkpoint"), client.get("/ledger/tile/0/000.p/5")
    bundle = client.get("/ledger/tile/entries/000.p/5")
    assert head["Cache-Control"] == "public, no-cache"
    assert head["Content-Type"] == "text/plain; charset=utf-8"
    for each in (tile, bundle):
        assert each["Cache-Control"] == "public, max-age=31536000, immutable"
        assert each["Content-Type"] == "application/octet-stream"
    assert client.get("/ledger/tile/0/001")["Cache-Control"] == "no-store"


def test_what_the_reader_has_already_is_not_sent_again(
    log: Log, world: World, signer: note.LogSigner
) -> None:
    client = Client()
    for path in ("/ledger/checkpoint", "/ledger/tile/0/000.p/5", "/ledger/verifier.py"):
        first = client.get(path)
        again = client.get(path, headers={"if-none-match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == first["ETag"]
        assert again["Cache-Control"] == first["Cache-Control"]
    old = client.get("/ledger/checkpoint")["ETag"]
    world.ask()
    seal(signer)
    assert client.get("/ledger/checkpoint", headers={"if-none-match": old}).status_code == 200


def test_head_says_the_same_without_a_body_and_nothing_else_is_allowed(log: Log) -> None:
    client = Client()
    for path in ("/ledger/checkpoint", "/ledger/tile/0/000.p/2", "/ledger/policy"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head["Content-Length"] == str(len(got.content))
        assert head["ETag"] == got["ETag"]
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert client.generic(method, path).status_code == 405


def test_partial_tiles_of_every_width_that_the_log_has(log: Log) -> None:
    client, size = Client(), size_of(log)
    entries = reads.entries(log, start=0, count=size)
    assert size < tiles.WIDTH
    for width in range(1, size + 1):
        tile = client.get(f"/ledger/tile/0/000.p/{width}").content
        assert tile == b"".join(merkle.leaf_hash(entry) for entry in entries[:width])
        data = client.get(f"/ledger/tile/entries/000.p/{width}").content
        assert tiles.unbundle(data, width=width) == entries[:width]
    assert client.get(f"/ledger/tile/0/000.p/{size + 1}").status_code == 404
    assert client.get("/ledger/tile/0/000").status_code == 404
    assert client.get("/ledger/tile/1/000.p/1").status_code == 404


NO_TILES = [
    "0/0", "0/00", "0/0000", "0/001", "00/000.p/1", "0/000.p/0", "0/000.p/01", "0/000.p/256",
    "0/000.p/1/", "0/000.p/", "0/000/", "0/x000/000.p/1", "0/x000/000", "64/000", "63/000", "-1/000",
    "data/000.p/1", "entries/000.p/0", "entries/000.P/1", "Entries/000.p/1", "8/0/000.p/1",
    "0/../0/000.p/1", "0//000.p/1", "0/000.p/1%00", "0/%30%30%30", "0/٠٠٠.p/1",
    "0/" + "x999/" * 40 + "999", "0/x009/x007/x199/x254/x740/991.p/1",
    "entries/" + "x999/" * 6 + "999",
]  # fmt: skip


def test_only_the_one_path_of_a_tile_is_answered(log: Log) -> None:
    client = Client()
    for path in NO_TILES:
        answer = client.get(f"/ledger/tile/{path}")
        assert answer.status_code == 404, path
        assert answer["Content-Type"] == "text/plain; charset=utf-8", path
    assert client.get("/ledger/tile/0/000.p/1%0a").status_code == 404


def test_an_older_log_stays_under_its_own_address(
    log: Log, world: World, signer: note.LogSigner
) -> None:
    client = Client()
    before = client.get("/ledger/checkpoint").content
    second = new_signer("jit.example.com/ledger-2")
    newer = seal(second)
    old, new = (f"/ledger/logs/{reads.key_id(each)}" for each in (log, newer))
    assert client.get(f"{old}/checkpoint").content == before
    assert client.get("/ledger/checkpoint").content == client.get(f"{new}/checkpoint").content
    assert client.get("/ledger/checkpoint").content.startswith(b"jit.example.com/ledger-2\n")
    assert (
        client.get(f"{old}/tile/0/000.p/2").content
        == client.get(f"{old}/tile/0/000.p/3").content[:64]
    )
    assert (
        client.get(f"{old}/tile/0/000.p/2").content != client.get("/ledger/tile/0/000.p/1").content
    )
    assert client.get("/ledger/tile/0/000.p/2").status_code == 404
    assert client.get("/ledger/logs/00000000/checkpoint").status_code == 404
    assert client.get("/ledger/logs/00000000/tile/0/000.p/1").status_code == 404
    published = policy.read(client.get("/ledger/policy").content)
    assert [each.key for each in published.logs] == [second.key, signer.key]
    assert published.quorum == "none"


def test_no_page_of_the_log_has_what_anybody_wrote(world: World, signer: note.LogSigner) -> None:
    world.ask(reason="Zebra-42 is why")
    made = seal(signer)
    data = Client().get(f"/ledger/tile/entries/000.p/{size_of(made)}").content
    for words in (b"Zebra-42", b"alice", b"Alice", b"orders-db", b"@"):
        assert words not in data, words


def test_the_policy_names_the_witnesses_of_the_configuration(
    log: Log, signer: note.LogSigner, tmp_path: Path, settings: Settings
) -> None:
    file = tmp_path / "witnesses"
    file.write_bytes(POLICY.encode())
    settings.LEDGER_WITNESSES = str(file)
    published = policy.read(Client().get("/ledger/policy").content)
    assert [each.key for each in published.logs] == [signer.key]
    assert (published.quorum, published.witnesses) == (POLICY.quorum, POLICY.witnesses)
