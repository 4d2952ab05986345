"""The tree: tiles, roots and proofs of every size, against hashing by the definition."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.domain import merkle, tiles, verifier
from audit.domain.lines import Malformed
from tests.audit.ledger.logs import Store

MOST = 600
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(MOST)]
sizes = st.integers(0, MOST)


def defined(hashes: list[bytes]) -> bytes:
    """Return the root as RFC 6962 section 2.1 defines it."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01" + defined(hashes[:half]) + defined(hashes[half:])).digest()


ROOTS = [defined(LEAVES[:size]) for size in range(MOST + 1)]


@pytest.fixture(scope="module")
def whole() -> Store:
    store = Store()
    store.append(LEAVES)
    return store


def test_every_size_has_its_defined_root(whole: Store) -> None:
    tree = whole.tree
    edge = tiles.Edge()
    for size in range(MOST + 1):
        assert tree.root(size) == merkle.root_of(LEAVES[:size]) == edge.root == ROOTS[size]
        edge, _ = tiles.append(edge=edge, leaf_hashes=LEAVES[size : size + 1])


@settings(max_examples=40, deadline=None)
@given(sizes, st.lists(st.integers(1, 300), max_size=8))
def test_batches_make_the_same_tiles_as_one(size: int, batches: list[int]) -> None:
    """Full tiles are the same however the leaves came; each size's own partial tiles are there."""
    store, once = Store(), Store()
    once.append(LEAVES[:size])
    for batch in [*batches, size]:
        count = min(batch, size - store.edge.size)
        store.append(LEAVES[store.edge.size : store.edge.size + count])
        assert tiles.load_edge(size=store.edge.size, read=store.read) == store.edge
        named = [t for t in tiles.every(size=store.edge.size) if t.level != "entries"]
        assert all(tile in store.tiles for tile in named)
    assert store.edge == once.edge
    assert once.tiles.items() <= store.tiles.items()
    assert store.tree.root() == store.edge.root == ROOTS[size]


def test_nothing_appended_changes_nothing() -> None:
    edge = tiles.Edge()
    assert tiles.append(edge=edge, leaf_hashes=[]) == (edge, [])
    assert edge.root == merkle.EMPTY_ROOT


def test_every_inclusion_proof_of_some_sizes_verifies(whole: Store) -> None:
    tree = whole.tree
    for size in (1, 2, 3, 7, 8, 9, 255, 256, 257, 511, 512, 513, 599, MOST):
        for index in range(size):
            proof = tree.inclusion(index=index, size=size)
            merkle.verify_inclusion(
                leaf=LEAVES[index], index=index, size=size, proof=proof, root=ROOTS[size]
            )
            assert verifier.include(LEAVES[index], index, size, proof) == ROOTS[size]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, MOST), st.data())
def test_an_inclusion_proof_proves_that_leaf_alone(size: int, data: st.DataObject) -> None:
    store = Store()
    store.append(LEAVES)
    index = data.draw(st.integers(0, size - 1))
    proof = store.tree.inclusion(index=index, size=size)

    def holds(**other: object) -> bool:
        given = {
            "leaf": LEAVES[index],
            "index": index,
            "size": size,
            "proof": proof,
            "root": ROOTS[size],
        }
        try:
            merkle.verify_inclusion(**{**given, **other})  # type: ignore[arg-type]
        except merkle.ProofFailed:
            return False
        return True

    assert holds()
    assert not holds(leaf=LEAVES[(index + 1) % MOST])
    assert not holds(root=ROOTS[size - 1])
    assert not holds(index=size)
    assert not holds(index=-1)
    assert not holds(proof=[*proof, bytes(32)])
    if proof:
        assert not holds(proof=proof[:-1])
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(proof=[*proof[:at], bytes(32), *proof[at + 1 :]])
    other = data.draw(st.integers(0, size - 1))
    assert holds(index=other) == (other == index)


def test_every_consistency_proof_to_some_sizes_verifies(whole: Store) -> None:
    tree = whole.tree
    for new in (0, 1, 2, 3, 8, 9, 255, 256, 257, 512, 513, 599, MOST):
        for old in range(new + 1):
            proof = tree.consistency(old=old, new=new)
            merkle.verify_consistency(
                old=old, new=new, old_root=ROOTS[old], new_root=ROOTS[new], proof=proof
            )


@settings(max_examples=200, deadline=None)
@given(st.integers(1, MOST), st.data())
def test_a_consistency_proof_proves_nothing_else(new: int, data: st.DataObject) -> None:
    store = Store()
    store.append(LEAVES)
    old = data.draw(st.integers(1, new))
    proof = store.tree.consistency(old=old, new=new)

    def holds(**other: object) -> bool:
        given = {
            "old": old,
            "new": new,
            "old_root": ROOTS[old],
            "new_root": ROOTS[new],
            "proof": proof,
        }
        try:
            merkle.verify_consistency(**{**given, **other})  # type: ignore[arg-type]
        except merkle.ProofFailed:
            return False
        return True

    assert holds()
    assert not holds(old_root=bytes(32))
    assert not holds(new_root=bytes(32))
    assert not holds(proof=[*proof, bytes(32)])
    assert not holds(old=new + 1)
    if proof:
        assert not holds(proof=proof[:-1])
        assert not holds(proof=[])
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(proof=[*proof[:at], bytes(32), *proof[at + 1 :]])


def test_the_empty_tree_begins_every_tree_and_has_one_root() -> None:
    merkle.verify_consistency(old=0, new=5, old_root=merkle.EMPTY_ROOT, new_root=ROOTS[5], proof=[])
    with pytest.raises(merkle.ProofFailed, match="another root"):
        merkle.verify_consistency(old=0, new=5, old_root=bytes(32), new_root=ROOTS[5], proof=[])
    with pytest.raises(merkle.ProofFailed, match="nothing is to be proven"):
        merkle.verify_consistency(
            old=0, new=5, old_root=merkle.EMPTY_ROOT, new_root=ROOTS[5], proof=[bytes(32)]
        )


def test_what_a_tree_does_not_have_is_refused(whole: Store) -> None:
    tree = whole.tree
    with pytest.raises(ValueError):
        tree.root(MOST + 1)
    with pytest.raises(ValueError):
        tree.inclusion(index=5, size=5)
    with pytest.raises(ValueError):
        tree.consistency(old=6, new=5)
    with pytest.raises(ValueError):
        merkle.full_root(LEAVES[:3])


def test_a_tile_of_the_wrong_length_is_refused(whole: Store) -> None:
    tree = tiles.Tree(size=MOST, read=lambda tile: whole.read(tile) + b"x")
    with pytest.raises(Malformed, match="has 65 bytes"):
        tree.root()
    with pytest.raises(Malformed):
        tiles.load_edge(size=MOST, read=lambda tile: whole.read(tile)[:-1])


# -- names and bundles


@given(st.sampled_from(["entries", 0, 1, 63]), st.integers(0, 10**12), st.integers(1, 256))
def test_a_tile_is_found_again_by_its_path(level: tiles.Level, index: int, width: int) -> None:
    tile = tiles.Tile(level, index, width)
    assert tiles.parse(tile.path) == tile
    assert verifier.tile_path(level, index, width) == tile.path


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/x000/000", "tile/0/001/000", "tile/0/x001/x000",
        "tile/x/000", "tile/data/000", "/tile/0/000", "tile/0/000/", "tile/0/000\n", "tile/0/٠٠٠",
        "tile/0/x1/000", "tile/0/../000",
    ],
)  # fmt: skip
def test_no_other_path_names_a_tile(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse(path)


@given(st.lists(st.binary(max_size=40), max_size=256))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    data = tiles.bundle(entries)
    assert tiles.unbundle(data, width=len(entries)) == entries
    assert verifier.split_bundle(data, len(entries)) == (entries, None)
    with pytest.raises(Malformed):
        tiles.unbundle(data, width=len(entries) + 1)
    with pytest.raises(Malformed):
        tiles.unbundle(data + b"\x00", width=len(entries))
    if data:
        with pytest.raises(Malformed):
            tiles.unbundle(data[:-1], width=len(entries))
        assert verifier.split_bundle(data[:-1], len(entries))[1]


def test_the_largest_entry_and_the_fullest_bundle() -> None:
    entry = b"x" * tiles.ENTRY_BYTES_MOST
    assert tiles.unbundle(tiles.bundle([entry]), width=1) == [entry]
    with pytest.raises(Malformed):
        tiles.bundle([entry + b"x"])
    with pytest.raises(ValueError):
        tiles.bundle([b""] * 257)
