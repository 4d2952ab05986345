"""The log as the packages of Go's own checksum database see it, by a small program of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command

from audit.domain import checkpoint, lines, merkle, note
from audit.models import Log
from audit.selectors import log as reads
from audit.selectors import proofs
from tests.audit.exports import export, unguarded
from tests.audit.ledger import logs
from tests.audit.sealer import new_signer, seal
from tests.programs import lacking
from tests.world import World

SOURCE = Path(__file__).parent.parent / "gocheck"
PACKAGES = Path("/usr/share/gocode")
MISSING = (
    "Go or its golang.org/x/mod is missing: on Debian install golang-go and golang-golang-x-mod-dev"
)

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Return the checker, built from source without a network."""
    if not shutil.which("go") or not (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        lacking(MISSING)
    folder = tmp_path_factory.mktemp("go")
    program = folder / "gocheck"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOCACHE": str(folder / "cache"),
        "GOPATH": str(PACKAGES),
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
    }
    command = ["go", "build", "-o", str(program), "."]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def signer() -> note.LogSigner:
    return new_signer()


@pytest.fixture
def log(transactional_db: None, world: World, signer: note.LogSigner) -> Log:
    world.ended()
    return seal(signer)


def write_tree_proof(path: Path, log: Log, *, old: int, new: int) -> Path:
    hashes = proofs.consistency(log=log, old=old, new=new)
    path.write_text("".join(f"{lines.encode(each)}\n" for each in hashes))
    return path


def test_the_portals_log_holds_and_so_do_its_proofs(
    check: Check, log: Log, world: World, signer: note.LogSigner, tmp_path: Path
) -> None:
    folder, kept, vkey = tmp_path / "out", tmp_path / "kept", signer.key.vkey
    export(folder)
    shutil.copy(folder / "checkpoint", kept)
    done = check("export", "-vkey", vkey, folder)
    assert (done.returncode, done.stderr) == (0, "")
    old = reads.newest_checkpoint(log)
    request = world.ended()
    seal(signer)
    export(folder)
    new = reads.newest_checkpoint(log)
    assert old is not None
    assert new is not None
    grown = write_tree_proof(tmp_path / "grown", log, old=old.size, new=new.size)
    done = check("export", "-vkey", vkey, "-old", kept, "-tree-proof", grown, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{new.size} entries" in done.stdout
    assert f"continues {old.size} entries" in done.stdout

    call_command("ledger_proof", str(request.request_id), out=tmp_path / "proofs")
    files = sorted((tmp_path / "proofs").glob("*.tlog-proof"))
    assert len(files) == request.revision
    for file in files:
        entry = file.with_suffix(".entry.json")
        done = check("proof", "-vkey", vkey, "-entry", entry, file)
        assert (done.returncode, done.stderr) == (0, "")
        done = check("proof", "-vkey", vkey, "-entry", SOURCE / "go.mod", file)
        assert done.returncode == 1


def test_a_large_tree_holds_and_what_is_changed_in_it_is_found(
    check: Check, tmp_path: Path
) -> None:
    """Over 256 full bundles, so that tiles of all kinds are there."""
    made, count, vkey = [*logs.lifecycles(66_100)], 66_100, logs.LOG.key.vkey
    folder = tmp_path / "out"
    logs.export(folder, made=made)
    kept = tmp_path / "kept"
    kept.write_bytes(
        logs.signed(size=65_537, root=merkle.root_of([*map(merkle.leaf_hash, made[:65_537])]))
    )
    done = check("export", "-vkey", vkey, "-old", kept, "-samples", "500", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{count} entries, 500 inclusion proofs, continues 65537" in done.stdout
    for name in ("checkpoint", "tile/entries/017", "tile/0/100", "tile/1/000", "tile/2/000.p/1"):
        path = folder / name
        good = path.read_bytes()
        at = len(good) // 2
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert check("export", "-vkey", vkey, folder).returncode == 1, name
        path.write_bytes(good)
    kept.write_bytes(logs.signed(size=65_537, root=merkle.leaf_hash(b"another")))
    done = check("export", "-vkey", vkey, "-old", kept, folder)
    assert done.returncode == 1


def test_another_key_and_another_origin_are_refused(check: Check, tmp_path: Path) -> None:
    logs.export(tmp_path / "out", made=[*logs.lifecycles(10)])
    other = note.LogSigner(name=logs.ORIGIN, seed=b"X" * 32)
    assert check("export", "-vkey", other.key.vkey, tmp_path / "out").returncode == 1
    said = checkpoint.Checkpoint("elsewhere", 0, merkle.EMPTY_ROOT)
    (tmp_path / "out/checkpoint").write_bytes(checkpoint.sign(checkpoint=said, signers=[logs.LOG]))
    assert check("export", "-vkey", logs.LOG.key.vkey, tmp_path / "out").returncode == 1


def test_a_log_that_was_rewritten_does_not_continue_the_earlier_checkpoint(
    check: Check, log: Log, signer: note.LogSigner, tmp_path: Path
) -> None:
    export(tmp_path / "before")
    tables = ("audit_leaf", "audit_node", "audit_checkpoint", "audit_entry")
    with unguarded(*tables) as raw:  # an entry goes, and all others are signed again
        for table in tables[:-1]:
            raw.execute(f"DELETE FROM {table}")
        raw.execute("DELETE FROM audit_entry WHERE id = (SELECT max(id) - 3 FROM audit_entry)")
    seal(signer)
    export(tmp_path / "after")
    vkey, kept = signer.key.vkey, tmp_path / "before/checkpoint"
    assert check("export", "-vkey", vkey, tmp_path / "after").returncode == 0
    assert check("export", "-vkey", vkey, "-old", kept, tmp_path / "after").returncode == 1
