"""Logs that foreign verifiers accept: everything in them is read, verified and made again, byte by byte."""

from pathlib import Path

import pytest

from audit.domain import (
    checkpoint,
    cosignature,
    lines,
    merkle,
    note,
    policy,
    proof,
    tiles,
    verifier,
    witness,
)
from tests.audit.ledger import logs
from tests.audit.ledger.logs import LOG, WITNESS

DATA = Path(__file__).parent / "data"

each_log = pytest.mark.parametrize(
    "folder", [DATA / "tlog-1", DATA / "tlog-257"], ids=lambda f: f.name
)


def trusted(folder: Path) -> policy.Trusted:
    return policy.read((folder / "policy").read_bytes()).trusted(
        (folder / "checkpoint").read_bytes()
    )


def tree(folder: Path) -> tiles.Tree:
    return tiles.Tree(
        size=trusted(folder).checkpoint.size, read=lambda tile: (folder / tile.path).read_bytes()
    )


@each_log
def test_keys_are_those_of_the_seeds(folder: Path) -> None:
    assert LOG.key.vkey == (folder / "log.vkey").read_text()
    assert WITNESS.key.vkey == (folder / "witness.vkey").read_text()
    assert cosignature.read_key(LOG.key.vkey) == LOG.key
    assert cosignature.read_key(WITNESS.key.vkey) == WITNESS.key


@each_log
def test_the_checkpoint_is_trusted_and_made_again(folder: Path) -> None:
    message = (folder / "checkpoint").read_bytes()
    found = trusted(folder)
    assert found.log == LOG.key
    assert found.cosigned_at == {"w1": WITNESS.time_seconds}
    assert checkpoint.sign(checkpoint=found.checkpoint, signers=[LOG, WITNESS]) == message
    assert note.read(message).encode() == message
    alone = checkpoint.sign(checkpoint=found.checkpoint, signers=[LOG])
    again = checkpoint.cosigned(message=alone, signatures=note.read(message).signatures[1:])
    assert again == message


@each_log
def test_the_tree_has_the_root(folder: Path) -> None:
    assert tree(folder).root() == trusted(folder).checkpoint.root


@each_log
def test_the_old_checkpoint_is_continued(folder: Path) -> None:
    old = checkpoint.open_verified(message=(folder / "checkpoint.old").read_bytes(), log=LOG.key)
    new = trusted(folder).checkpoint
    body = (folder / "consistency").read_bytes()
    request = witness.read_request(body)
    assert request.old == old.size
    assert request.checkpoint == (folder / "checkpoint").read_bytes()
    assert request.encode() == body
    assert list(request.proof) == tree(folder).consistency(old=old.size)
    merkle.verify_consistency(
        old=old.size, new=new.size, old_root=old.root, new_root=new.root, proof=request.proof
    )


@each_log
def test_the_proof_verifies_and_is_made_again(folder: Path) -> None:
    data = (folder / "entry.tlog-proof").read_bytes()
    found = proof.read(data)
    trust = policy.read((folder / "policy").read_bytes())
    assert found.verify(entry=(folder / "entry.bin").read_bytes(), policy=trust) == trusted(folder)
    assert found.encode() == data
    assert list(found.hashes) == tree(folder).inclusion(index=found.index)
    assert data.partition(b"\n")[2] == (folder / "entry.bin.spicy").read_bytes()


@each_log
def test_the_policy_is_written_as_it_was_read(folder: Path) -> None:
    data = (folder / "policy").read_bytes()
    assert policy.read(data).encode() == data


@each_log
def test_entries_make_the_same_export_again(folder: Path, tmp_path: Path) -> None:
    size = trusted(folder).checkpoint.size
    entries: list[bytes] = []
    for tile in tiles.across(level="entries", size=size):
        data = (folder / tile.path).read_bytes()
        entries += tiles.unbundle(data, width=tile.width)
    assert (folder / "entry.bin").read_bytes() in entries
    logs.export(tmp_path, made=entries)

    def contents(root: Path) -> dict[str, bytes]:
        found = {
            p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()
        }
        return {
            name: data for name, data in found.items() if name.startswith(("tile/", "checkpoint"))
        }

    expected = contents(folder)
    del expected["checkpoint.old"]
    assert contents(tmp_path) == expected
    assert {f"{tile.path}" for tile in tiles.every(size=size)} == {*expected} - {"checkpoint"}


@each_log
def test_the_offline_verifier_accepts_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, trust = str(folder / "checkpoint.old"), str(folder / "policy")
    assert verifier.main(["export", str(folder), "--old", old, "--policy", trust]) == 0
    assert "VERIFIED" in capsys.readouterr().out
    keys = ["--vkey", str(folder / "log.vkey"), "--vkey", str(folder / "witness.vkey")]
    assert verifier.main(["export", str(folder), *keys]) == 0
    files = [str(folder / "entry.tlog-proof"), "--entry", str(folder / "entry.bin")]
    assert verifier.main(["proof", *files, *keys]) == 0


def test_the_published_example_of_a_note_verifies() -> None:
    """Source: C2SP signed-note, Example."""
    key = cosignature.read_key(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    )
    message = (
        "This is an example message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    ).encode()
    assert (
        note.open_verified(message=message, keys=[key])[0].text == b"This is an example message.\n"
    )


def test_the_published_example_of_a_tile_path() -> None:
    """Source: C2SP tlog-tiles, Merkle Tree and Partial Tiles."""
    assert tiles.Tile(0, 1234067).path == "tile/0/x001/x234/067"
    found = list(tiles.every(size=70_000))
    count = {level: [t.width for t in found if t.level == level] for level in (0, 1, 2)}
    assert count == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    assert [t.path for t in tiles.every(size=256)] == [
        "tile/entries/000", "tile/0/000", "tile/1/000.p/1",
    ]  # fmt: skip
    assert lines.encode(merkle.EMPTY_ROOT) == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
