#!/usr/bin/env python3
"""Verify a ledger offline: a whole export, or one entry's proof.

    python verifier.py export DIR [--old CHECKPOINT] [--older DIR] [--policy FILE | --vkey KEY ...]
    python verifier.py proof FILE --entry FILE [--payload FILE] [--policy FILE | --vkey KEY ...]

This one file is the whole program: it needs Python 3.11 or newer and the `cryptography` package,
and shares no code with the portal that wrote the log, so that a mistake there is not repeated here.

`export` reads DIR/checkpoint, DIR/tile/... and, where it is there, DIR/payloads.jsonl. From the
entries alone it computes every tile and the root again, follows every object's revisions by number
and hash, checks every value against its commitment, and, with --old, that the history begins with
the one that an earlier checkpoint vouches for. Only this proves that nothing is missing.
Without payloads an entry is known by its beginning and its end; the form of what is between them,
the commitments, is looked at where their values are.
A log whose first entry is a succession goes on where an older log ended: objects' first entries in
it may continue entries of that log. That they continue the newest ones, and not some from which
that log went on otherwise, shows only with --older, the export of the older log up to the end that
the succession is bound to: it is verified too. Give it again for the log before, the newest first.
Without it these links are counted and NOT COMPARED. --old then also takes the older log's last
checkpoint; with --older, any of that log. Erasures in later logs come with an older log's export as
proofs, in DIR/later: their logs need a key as well.
`proof` shows that one entry is in the log that a checkpoint vouches for.

Exit status: 0 all of it holds, 1 something doesn't (the first bad record is named), 2 it could not
be looked at: wrong arguments, no such file, no key, a full disk.

Source: RFC 6962, RFC 8032, RFC 8785; C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof,
tlog-policy, tlog-cosignature.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import gc
import hmac
import itertools
import json
import marshal
import os
import re
import signal
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:  # the others that not every run needs are imported where they are used
    import sqlite3
    from concurrent.futures import Future

HASH = 32
WIDTH = 256
CHUNK_BUNDLES = 64
SHOWN_MOST = 20
LISTED_MOST = 1000
NOTE_BYTES_MOST = 1_000_000
LINE_BYTES_MOST = 1 << 26
PAIRS = struct.Struct("64s")
DIGEST = type(sha256()).digest
EMPTY_ROOT = sha256(b"").digest()
ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}


class Broken(Exception):
    """What was given is wrong, changed or not by whom it says."""


class Unusable(Exception):
    """Nothing could be verified: an argument, a file or a key is missing."""


# -- strict readers: one spelling for one value


def decimal(text: str) -> int:
    """Return the number that digits without leading zeros spell."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or int(text) >= 2**63:
        raise Broken(f"{text[:40]!r} is not a number")
    return int(text)


def unbase64(text: str, *, size: int | None = None) -> bytes:
    """Return the bytes of a canonical base64 text."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Broken(f"{text[:60]!r} is not base64") from error
    if base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise Broken(f"{text[:60]!r} is not the base64 of {size or 'any'} bytes")
    return data


def utf8(data: bytes) -> str:
    """Return data as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Broken("a file that should be text is not UTF-8") from error


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 form of texts, whole numbers, booleans, nulls, lists and objects."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return b"{" + b",".join(canonical(n) + b":" + canonical(value[n]) for n in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 2**53):
        raise Broken("a number that the ledger doesn't use")
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Broken("a text that is not Unicode") from error


def parse(data: bytes) -> Any:
    """Return the value of canonical JSON bytes, of which every byte counts."""
    try:
        value = json.loads(data)
        same = canonical(value) == data
    except (ValueError, RecursionError) as error:
        raise Broken("not JSON") from error
    if not same:
        raise Broken("not canonical JSON")
    return value


# -- keys, notes, policies


@dataclass(frozen=True)
class Key:
    """A public key: a log's (Ed25519 or ML-DSA-44) or a witness's (cosignature, ML-DSA-44)."""

    name: str
    kind: int
    public: bytes

    @property
    def identity(self) -> tuple[str, bytes]:
        """Return what a signature line names the key by."""
        material = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return self.name, sha256(material).digest()[:4]

    def verify(self, text: bytes, value: bytes) -> int | None:
        """Return the time of a cosignature, None for a plain signature.

        Raises: Broken when it is not this key's signature on a checkpoint's text.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519

        at = None
        try:
            if self.kind != ED25519:
                at, value = int.from_bytes(value[:8], "big"), value[8:]
                if at >= 2**63:
                    raise ValueError("a time beyond what the format allows")
            if self.kind == ML_DSA_44:
                self._verify_ml_dsa(text, at or 0, value)
            else:
                head = b"" if at is None else b"cosignature/v1\ntime %d\n" % at
                ed25519.Ed25519PublicKey.from_public_bytes(self.public).verify(value, head + text)
        except (InvalidSignature, ValueError) as error:
            raise Broken(f"a signature in the name of {self.name} is not by its key") from error
        return at

    def _verify_ml_dsa(self, text: bytes, at: int, value: bytes) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm

        said = read_checkpoint(text)
        origin, name = said.origin.encode(), self.name.encode()
        message = (
            b"subtree/v1\n\x00"
            + (bytes([len(name)]) + name + at.to_bytes(8, "big"))
            + (bytes([len(origin)]) + origin + bytes(8) + said.size.to_bytes(8, "big") + said.root)
        )
        try:
            from cryptography.hazmat.primitives.asymmetric import mldsa

            mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(value, message)
        except (ImportError, AttributeError, UnsupportedAlgorithm) as error:
            raise Unusable(
                f"the key of {self.name} is ML-DSA-44, which the installed cryptography lacks"
            ) from error


def is_name(text: str) -> bool:
    """Return whether a key may have this name."""
    return bool(text) and "+" not in text and not any(c.isspace() or c < " " for c in text)


def read_key(vkey: str) -> Key:
    """Return the key that a vkey (name+id+base64) holds."""
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not is_name(parts[0]):
        raise Broken(f"{vkey[:80]!r} is no verifier key")
    data = unbase64(parts[2])
    if not data or len(data) - 1 != KEY_BYTES.get(data[0]):
        raise Broken(f"the key of {parts[0]} is of no known kind")
    key = Key(parts[0], data[0], data[1:])
    if key.identity[1].hex() != parts[1]:
        raise Broken(f"the id of the key of {key.name} is not that key's")
    return key


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, and by whom it is signed (cosigner -> seconds since 1970)."""

    origin: str
    size: int
    root: bytes
    cosigned: dict[str, int] = field(default_factory=dict)
    text: bytes = b""


def read_checkpoint(text: bytes) -> Checkpoint:
    """Return what a checkpoint's text says; nothing is verified."""
    lines = utf8(text).split("\n")
    if lines.pop() or len(lines) < 3 or not all(lines):
        raise Broken("a checkpoint has at least three lines, none of them empty")
    found = Checkpoint(lines[0], decimal(lines[1]), unbase64(lines[2], size=HASH))
    if found.size == 0 and found.root != EMPTY_ROOT:
        raise Broken("a checkpoint of size 0 has the root of the empty tree")
    return found


def read_note(message: bytes) -> tuple[bytes, list[tuple[tuple[str, bytes], bytes]]]:
    """Return a note's text and, for each signature line, the key's identity and the signature."""
    whole = utf8(message)
    text, blank, rest = whole.rpartition("\n\n")
    if len(message) > NOTE_BYTES_MOST or any(c < " " and c != "\n" for c in whole):
        raise Broken("a checkpoint is too long or has control characters")
    if not blank or not rest.endswith("\n"):
        raise Broken("a checkpoint is text, an empty line and signature lines")
    signatures = []
    for line in rest[:-1].split("\n"):
        words = line.split(" ")
        if len(words) != 3 or words[0] != "—" or not is_name(words[1]):
            raise Broken(f"{line[:60]!r} is no signature line")
        data = unbase64(words[2])
        if len(data) < 5:
            raise Broken(f"the signature of {words[1]} is too short")
        signatures.append(((words[1], data[:4]), data[4:]))
    return (text + "\n").encode(), signatures


@dataclass
class Trust:
    """Whom to believe: logs, witnesses by name, groups (least, members) and the quorum."""

    source: str
    quorum: str = "none"
    logs: list[Key] = field(default_factory=list)
    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def witnessed(self, name: str, by: dict[str, int]) -> bool:
        """Return whether a witness or group (or "none") has witnessed."""
        if name not in self.groups:
            return name == "none" or name in by
        least, members = self.groups[name]
        return sum(self.witnessed(member, by) for member in members) >= least

    def check(self, message: bytes, *, quorum: bool = True) -> Checkpoint:
        """Return a checkpoint that a trusted log signed and, if asked, the quorum cosigned."""
        text, signatures = read_note(message)
        said = read_checkpoint(text)
        logs = {key.identity: key for key in self.logs if key.name == said.origin}
        if not logs:
            raise Broken(f"the checkpoint is of {said.origin!r}, of which no key was given")
        cosigned: dict[str, int] = {}
        signed = False
        names = {key.identity: name for name, key in self.witnesses.items()}
        for identity, value in signatures:
            if identity in logs:
                logs[identity].verify(text, value)
                signed = True
            if identity in names:
                at = self.witnesses[names[identity]].verify(text, value)
                cosigned[names[identity]] = at or 0
        if not signed:
            raise Broken(f"no signature on the checkpoint is by a given key of {said.origin}")
        if quorum and not self.witnessed(self.quorum, cosigned):
            by = ", ".join(sorted(cosigned)) or "nobody"
            raise Broken(f"too few witnesses cosigned: {self.quorum} is needed, there is {by}")
        return Checkpoint(said.origin, said.size, said.root, cosigned, text)


def trust_keys(vkeys: list[str]) -> Trust:
    """Return the trust in these keys: one of the Ed25519 logs must have signed, and all others."""
    trust = Trust("the keys given")
    for vkey in vkeys:
        key = read_key(vkey.strip())
        if key.kind == ED25519:
            trust.logs.append(key)
        else:
            trust.witnesses[key.name] = key
    if not trust.logs:
        raise Broken("none of the keys is a log's")
    if trust.witnesses:
        trust.quorum = "every given witness"
        trust.groups[trust.quorum] = len(trust.witnesses), [*trust.witnesses]
    return trust


def trust_policy(data: bytes, *, source: str) -> Trust:
    """Return the trust that a policy file describes."""
    trust, quorums, members = Trust(source), 0, set[str]()
    if not data.endswith(b"\n") or any((b < 0x20 and b not in b"\t\n") or b == 0x7F for b in data):
        raise Broken("the policy is cut off or has control characters")
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        words = [word for word in re.split("[ \t]+", line) if word]
        taken = {"none", *trust.witnesses, *trust.groups}
        match words:
            case []:
                pass
            case [word, *_] if word.startswith("#"):
                pass
            case ["log", vkey, *url] if len(url) < 2:
                trust.logs.append(read_key(vkey))
            case ["witness", name, vkey, *url] if len(url) < 2 and name not in taken:
                trust.witnesses[name] = read_key(vkey)
            case ["group", name, least, *of] if of and name not in taken:
                if not taken - {"none"} >= set(of) or members & set(of) or len(set(of)) < len(of):
                    raise Broken(f"the group {name} has members that it can't have")
                members |= set(of)
                count = {"any": 1, "all": len(of)}.get(least) or decimal(least)
                if not 1 <= count <= len(of):
                    raise Broken(f"the group {name} can't need {least}")
                trust.groups[name] = count, of
            case ["quorum", name] if name in taken:
                trust.quorum, quorums = name, quorums + 1
            case _:
                raise Broken(f"{line[:80]!r} is no line of a policy")
    _check_kinds(trust)
    if quorums != 1:
        raise Broken("a policy has exactly one quorum line")
    return trust


def _check_kinds(trust: Trust) -> None:
    for keys, kinds in (
        (trust.logs, (ED25519, ML_DSA_44)),
        ([*trust.witnesses.values()], (COSIGNATURE, ML_DSA_44)),
    ):
        if any(key.kind not in kinds for key in keys):
            raise Broken("a key in the policy is of the wrong kind for what it is used for")
        if len({key.public for key in keys}) < len(keys):
            raise Broken("a key stands in the policy twice")


# -- the tree


def climb(row: bytes, wanted: int = 1) -> bytes:
    """Return the hashes, `wanted` in number, over that many times a power of two of hashes."""
    fresh = sha256(b"\x01").copy  # copying a started hash is faster than starting one
    while len(row) > wanted * HASH:
        above = []
        for (pair,) in PAIRS.iter_unpack(row):
            node = fresh()
            node.update(pair)
            above.append(node.digest())
        row = b"".join(above)
    return row


def fold(levels: list[list[bytes]]) -> bytes:
    """Return the root of a tree of which these are the partial tiles, lowest level first."""
    root: bytes | None = None
    for hashes in levels:
        end = len(hashes)
        while end:
            width = end & -end
            peak = climb(b"".join(hashes[end - width : end]))
            root = peak if root is None else sha256(b"\x01" + peak + root).digest()
            end -= width
    return EMPTY_ROOT if root is None else root


def include(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to."""
    if not index < size:
        raise Broken(f"leaf {index} is not in a log of {size}")
    at, last, root = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise Broken("the proof has too many hashes")
        if at & 1 or at == last:
            root = sha256(b"\x01" + step + root).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = sha256(b"\x01" + root + step).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise Broken("the proof has too few hashes")
    return root


def tile_path(level: int | str, index: int, width: int) -> str:
    """Return where a tile or an entry bundle is."""
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{level}/{'/'.join(['x' + group for group in groups[:-1]] + groups[-1:])}{partial}"


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes of a tile."""
    return [data[at : at + HASH] for at in range(0, len(data), HASH)]


def read_tile(folder: Path, level: int | str, index: int, width: int) -> bytes | None:
    """Return a tile's bytes, None when there is no such file."""
    try:
        return read_file(f"{folder}/{tile_path(level, index, width)}")
    except OSError:
        return None


def read_file(path: str) -> bytes:
    """Return a file's bytes, in fewer steps than a file object takes."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        data = os.read(number, os.fstat(number).st_size + 1)
        while more := os.read(number, 1 << 20):
            data += more
        return data
    finally:
        os.close(number)


def compare_tile(
    folder: Path, level: int, index: int, hashes: list[bytes]
) -> tuple[int, str] | None:
    """Return the leaf and the words for the first hash in which a stored tile is wrong."""
    path = tile_path(level, index, len(hashes))
    stored = read_tile(folder, level, index, len(hashes))
    span = WIDTH**level
    first = index * WIDTH * span
    if stored is None:
        return first, f"{path} is missing"
    if stored == b"".join(hashes):
        return None
    found = split_hashes(stored)
    at = next((i for i, h in enumerate(hashes) if found[i : i + 1] != [h]), None)
    if at is None:
        return first, f"{path} is longer than it should be"
    if level == 0:
        return first + at, f"the entry's hash is not the one in {path}"
    leaf = first + at * span
    return leaf, f"{path}: hash {at}, over leaves {leaf} to {leaf + span - 1}, is wrong"


# -- scanning: one chunk of bundles, in a process of its own where there are several


#: An entry's canonical bytes from after its fields on: its object and op; then prev, rev and type.
NAME = re.compile(rb'(\},"id":"[^"\\]++","model":"[^"\\]++","op":")[^"\\]++')
LINK = re.compile(
    NAME.pattern + rb'","prev":"([0-9a-f]{64})?",'
    rb'"rev":([1-9][0-9]{0,15}),"type":"(rev|erase|heartbeat|succession)","v":1\}'
)
#: How every entry begins, in its first ten bytes.
HEAD = b'{"actor":"'
#: What only the log says, of itself.
OWN = {b"heartbeat", b"succession"}
TYPES = {"rev", "erase", "heartbeat", "succession"}
MEMBERS = {"actor", "at", "fields", "id", "model", "op", "prev", "rev", "type", "v"}
PREV = b'","prev":"'


def link_of(entry: bytes) -> re.Match[bytes] | None:
    """Return the `LINK` of an entry that a ledger may have, None of other bytes.

    What is between that and the entry's beginning is looked at where values come with it.
    """
    match = LINK.fullmatch(entry, max(0, entry.rfind(b'},"id":"')))
    if not match or not entry.startswith(HEAD):
        return None
    if match[4] in OWN and not match[1].endswith(b'"model":"log","op":"'):
        return None
    return match


def ending(prev: bytes, rev: int) -> bytes:
    """Return how a revision's entry ends from the closing quote of its op on."""
    return b'%b%b","rev":%d,"type":"rev","v":1}' % (PREV, prev, rev)


def read_ending(end: bytes) -> tuple[bytes, int]:
    """Return prev and revision of an ending, none and 1 of no ending."""
    at = len(PREV) + 2 * HASH
    return (end[len(PREV) : at], int(end[at + 8 : -20])) if end else (b"", 1)


#: The length of such an ending with a prev and a revision below 10; by the digit of a revision the
#: next one's ending from behind its prev; and the endings of an object's first two entries. The
#: slices are made once, not for each entry.
ENDING = len(ending(bytes(2 * HASH), 9))
BEGIN, END = slice(len(HEAD)), slice(-ENDING, None)
NEXT = {ord(f"{rev}"): ending(b"", rev + 1)[len(PREV) :] for rev in range(10)}
START = ending(b"", 1)
SECOND = NEXT[ord("1")]
#: What crosses chunks of an object: its id and model up to the op, its first leaf in the chunk
#: doubled, plus 1 for an erasure; then the ending that this entry has (of an erasure, with the
#: revision that would follow), empty for an object's first; and the ending that has to come next.
Head = tuple[bytes, int, bytes, bytes]
Problem = tuple[int | None, str]
Gap = tuple[int, bytes, int, str]
#: An erasure in a later log: that log, its leaf there, and what it erased.
Later = tuple[str, int, list[Gap]]
#: Such erasures are counted from here on, behind every leaf of the log itself.
AFTER = 1 << 60


@dataclass
class Chunk:
    """What one chunk of bundles came to."""

    roots: list[bytes] = field(default_factory=list)
    tail: list[bytes] = field(default_factory=list)
    heads: Iterable[Head] = ()
    problems: list[Problem] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    erasures: list[Gap] = field(default_factory=list)
    entries: int = 0
    foreign: int = 0
    first_foreign: int = -1
    values: int = 0
    succession: dict[str, Any] | None = None


#: What is known of an object whose newest entry is the one with the digest that this is kept under:
#: its id and model up to the op, how its next revision's entry ends, and its newest revision.
State = tuple[bytes, bytes, int]


@dataclass
class Order:
    """Each object's first and newest entry inside one chunk, and the rules between."""

    chunk: Chunk
    first: dict[bytes, tuple[int, int, bytes, bool]] = field(default_factory=dict)
    newest: dict[bytes, State] = field(default_factory=dict)
    ends: dict[int, bytes] = field(default_factory=dict)

    def follow(self, leaf: int, entries: list[bytes]) -> None:
        """Check that each entry continues its object's previous entry.

        The next revision of an object that the chunk has seen is recognised by its beginning and
        its end, where canonical JSON puts id, model, op, prev, rev and type.
        """
        newest, ends, fresh = self.newest, self.ends, sha256().copy
        for entry in entries:
            hashed = fresh()
            hashed.update(entry)
            digest = hashed.hexdigest().encode()
            at = entry.rfind(b'","prev":"') + 10
            before = newest.pop(entry[at : at + 64], None)
            name_at = entry.rfind(b'},"id":"')
            if (
                before is None
                or entry[at + 64 :] != before[1]
                or entry.rfind(before[0]) != name_at
                or entry[:10] != HEAD
            ):
                self._unusual(leaf, entry, digest, before)
            else:
                rev = before[2] + 1
                newest[digest] = before[0], ends.get(rev) or self._end(rev), rev
            leaf += 1

    def _end(self, rev: int) -> bytes:
        return self.ends.setdefault(rev, b'","rev":%d,"type":"rev","v":1}' % (rev + 1))

    def _unusual(self, leaf: int, entry: bytes, digest: bytes, before: State | None) -> None:
        """Check an entry that isn't simply the next revision of an object seen in this chunk."""
        match = link_of(entry)
        if not match:
            if not self.chunk.foreign:
                self.chunk.first_foreign = leaf
            self.chunk.foreign += 1
            return
        name = match[1]
        prev, rev, erases = match[2] or b"", int(match[3]), match[4] == b"erase"
        if erases:
            note_erasure(self.chunk, leaf, entry, name, rev)
        words = None
        if match[4] == b"succession":
            words = self._succession(leaf, entry)
        if words:
            pass
        elif bool(prev) is (rev == 1 and not erases):
            words = f"revision {rev} has {'a' if prev else 'no'} prev"
        elif before is None and name not in self.first:
            self.first[name] = leaf, rev, prev, erases
        elif before is None:
            words = broken_link(prev, rev, erases, (b"", 0))
        elif before[0] != name:
            words = "its prev is an entry of another object"
        else:
            words = broken_link(prev, rev, erases, (prev, before[2]))
        if words:
            self.chunk.problems.append((leaf, words))
        self.newest[digest] = name, self._end(rev), rev

    def _succession(self, leaf: int, entry: bytes) -> str | None:
        """Note the log's beginning; return what is wrong about it."""
        try:
            said = parse(entry)
            good = re.fullmatch("[0-9a-f]{64}", said["fields"]["checkpoint"]) and said["rev"] == 1
        except (Broken, KeyError, TypeError):
            good = None
        if leaf or not good:
            return "a succession is the first entry of a log, and names the older log's end"
        self.chunk.succession = said
        return None

    def heads(self) -> Iterator[Head]:
        """Yield each object's ends in this chunk."""
        newest = {name: (digest, rev) for digest, (name, _, rev) in self.newest.items()}
        for name, (leaf, rev, prev, erases) in self.first.items():
            if name not in newest:
                continue  # another object's entry claimed it: that is a problem already
            digest, last = newest[name]
            link = ending(prev, rev + erases) if prev else b""
            yield name, leaf * 2 + erases, link, ending(digest, last + 1)


#: What is known of an object under the ending that its next entry has to have: its id and model up
#: to the op, the length of that, and the rest of a head.
Known = tuple[bytes, int, int, bytes]


@dataclass
class Usual:
    """Follows objects in few steps for as long as nothing is unusual.

    Whatever `Order` has a problem with is refused here, and may be refused without one.
    """

    chunk: Chunk
    names: set[bytes] = field(default_factory=set)
    newest: dict[bytes, Known] = field(default_factory=dict)

    def follow(self, leaf: int, entries: list[bytes]) -> bool:
        """Return whether each entry rightly follows its object's previous entry."""
        newest, take, after, head = self.newest, self.newest.pop, NEXT, HEAD
        first, last, quote, prev, until = BEGIN, END, b'"', PREV, -ENDING
        hashes = hash_links(entries)
        numbers = range(leaf, leaf + len(entries))
        for at, entry, digest in zip(numbers, entries, hashes, strict=True):
            known = take(entry[last], None)
            if (
                known
                and entry[first] == head
                and entry[(op := entry.rfind(quote, 0, until) + 1) - known[1] : op] == known[0]
            ):
                newest[prev + digest + after[entry[-21]]] = known
            elif entry.endswith(START):
                if not self._begin(at, entry, digest):
                    return False
            elif not self._meet(at, entry, digest, known):
                return False
        return True

    def _begin(self, leaf: int, entry: bytes, digest: bytes) -> bool:
        """Take an object's first entry, of the usual type."""
        at, end = entry.rfind(b'},"id":"'), len(entry) - len(START)
        match = NAME.fullmatch(entry, at, end) if at > 0 else None
        if not match or entry[:10] != HEAD or match[1] in self.names:
            return False
        name = match[1]
        self.names.add(name)
        self.newest[PREV + digest + SECOND] = name, len(name), leaf * 2, b""
        return True

    def _meet(self, leaf: int, entry: bytes, digest: bytes, known: Known | None) -> bool:
        """Take an entry that isn't plainly the next revision of an object seen in this chunk."""
        match = link_of(entry)
        if not match or match[4] == b"succession":
            return False
        name, prev, rev, erases = match[1], match[2], int(match[3]), match[4] == b"erase"
        if (prev is None) is not (rev == 1 and not erases):
            return False
        link = ending(prev, rev + erases) if prev else b""
        if known is None:
            known = self.newest.pop(link, None)
        if known is None and name not in self.names:
            self.names.add(name)
            known = name, len(name), leaf * 2 + erases, link
        elif known is None or known[0] != name:
            return False
        self.newest[ending(digest, rev + 1)] = known
        return not erases or note_erasure(self.chunk, leaf, entry, name, rev)

    def heads(self) -> Iterator[Head]:
        """Yield each object's ends in this chunk."""
        for following, (name, _, mark, link) in self.newest.items():
            yield name, mark, link, following


def keep(heads: Iterable[Head], path: Path, buckets: int) -> None:
    """Write heads by bucket, an object's always into the same, behind where each bucket ends."""
    made: list[list[Head]] = [[] for _ in range(buckets)]
    for head in heads:
        made[crc32(head[0]) % buckets].append(head)
    parts = [marshal.dumps(each) for each in made]
    ends = itertools.accumulate(map(len, parts), initial=0)
    path.write_bytes(b"".join([struct.pack(f"<{buckets + 1}Q", *ends), *parts]))


def kept(path: Path, bucket: int, buckets: int) -> list[Head]:
    """Return what `keep` wrote of one bucket."""
    with path.open("rb") as file:
        file.seek(8 * bucket)
        begin, end = struct.unpack("<2Q", file.read(16))
        file.seek(8 * (buckets + 1) + begin)
        heads: list[Head] = marshal.loads(file.read(end - begin))  # noqa: S302
    return heads


def note_erasure(chunk: Chunk, leaf: int, entry: bytes, name: bytes, rev: int) -> bool:
    """Note what an erasure erases; return whether it says so."""
    try:
        fields = parse(entry)["fields"]
    except (Broken, KeyError, TypeError):
        fields = None
    if not isinstance(fields, dict) or not fields:
        chunk.problems.append((leaf, "the erasure doesn't say what it erases"))
        return False
    chunk.erasures += [(leaf, name[2:-8], rev, each) for each in fields]
    return True


def broken_link(
    prev: bytes, rev: int, erases: bool, before: tuple[bytes, int] | None
) -> str | None:
    """Return what is wrong between an entry and its object's previous one."""
    if before is None:
        return "it follows an entry of its object that isn't there" if prev else None
    if not prev:
        return "it claims to be its object's first entry, and is not"
    if prev != before[0]:
        return "its prev is not the hash of its object's previous entry"
    if rev != before[1] + (not erases):
        return f"revision {rev} follows revision {before[1]}"
    return None


def split_bundle(data: bytes, width: int) -> tuple[list[bytes], str | None]:
    """Return a bundle's entries, and what is wrong with it."""
    entries: list[bytes] = []
    add, stop = entries.append, 0
    with suppress(IndexError):  # at the end, or behind it if the last entry is cut off
        while True:
            at = stop + 2
            stop = at + (data[stop] << 8 | data[stop + 1])
            add(data[at:stop])
    if stop != len(data):
        return entries[: -1 if stop > len(data) else None], "the bundle is cut off"
    if len(entries) != width:
        return entries[:width], f"the bundle has {len(entries)} entries, not {width}"
    return entries, None


@dataclass(frozen=True)
class Job:
    """A chunk to scan: which bundles of which export, and its payload lines by leaf, if any."""

    folder: Path
    first: int
    count: int
    size: int
    payloads: dict[int, bytes] | None


def scan(job: Job, heads: Path, buckets: int) -> Chunk:
    """Return what a chunk's entries come to, each checked against tiles and payloads.

    What crosses chunks is left in the folder `heads`, since it is more than what else is found.
    """
    chunk = glance(job) or look(job)
    keep(chunk.heads, heads / str(job.first), buckets)
    chunk.heads = ()
    return chunk


@dataclass
class Links:
    """How objects go on across a log's chunks; `problems` are the first of `count` by leaf.

    `continued` are those that go on from before the log, `unseen` those of them that go on from
    what isn't there to be compared.
    """

    continued: int = 0
    unseen: int = 0
    count: int = 0
    problems: list[Problem] = field(default_factory=list)


def follow(
    bucket: int, logs: list[tuple[Path, range]], buckets: int, *, succeeds: bool
) -> list[Links]:
    """Return how one bucket's objects go on across the chunks of logs, the oldest log first.

    Where the oldest succeeds another, objects may continue entries that are in none of them.
    """
    due: dict[bytes, bytes] = {}
    return [_follow(bucket, heads, chunks, buckets, due, succeeds) for heads, chunks in logs]


def _follow(
    bucket: int, heads: Path, chunks: range, buckets: int, due: dict[bytes, bytes], succeeds: bool
) -> Links:
    links, before = Links(), set(due)
    for first in chunks:
        for name, mark, link, following in kept(heads / str(first), bucket, buckets):
            expected = due.get(name, b"")
            due[name] = following
            if link == expected:
                links.continued += name in before
            elif link and not expected and succeeds:
                links.continued += 1
                links.unseen += 1
            else:
                links.count += 1
                links.problems.append(unlinked(mark, link, expected))
            before.discard(name)
        links.problems.sort()  # leaves of later chunks are higher
        del links.problems[SHOWN_MOST:]
    return links


def unlinked(mark: int, link: bytes, expected: bytes) -> Problem:
    """Return what is wrong about a head with another link than is expected."""
    leaf, erases = divmod(mark, 2)
    prev, rev = read_ending(link)
    digest, following = read_ending(expected)
    before = (digest, following - 1) if expected else None
    return leaf, broken_link(prev, rev - erases, bool(erases), before) or ""


def glance(job: Job) -> Chunk | None:
    """Return what a chunk comes to if nothing is wrong with it, else None.

    Nearly every chunk is of this kind, and this takes less time than `look`, which names what is
    wrong with the others. What one of them refuses, the other must not let pass.
    """
    chunk = Chunk()
    usual = Usual(chunk)
    row = []
    for index in range(job.first, job.first + job.count):
        width = min(WIDTH, job.size - index * WIDTH)
        leaf = index * WIDTH
        data = read_tile(job.folder, "entries", index, width) or b""
        entries, wrong = split_bundle(data, width)
        if wrong:
            return None
        hashes = hash_leaves(entries)
        leaves = b"".join(hashes)
        if leaves != read_tile(job.folder, 0, index, width) or not usual.follow(leaf, entries):
            return None
        if width == WIDTH:
            row.append(leaves)
        else:
            chunk.tail = hashes
        chunk.entries += width
        open_payloads(chunk, job, leaf, entries)
    chunk.roots = split_hashes(climb(b"".join(row), len(row)))
    chunk.heads = usual.heads()
    return None if chunk.problems else chunk


def look(job: Job) -> Chunk:
    """Return what a chunk comes to, and what is wrong with which of its entries."""
    chunk = Chunk()
    order = Order(chunk)
    for index in range(job.first, job.first + job.count):
        width = min(WIDTH, job.size - index * WIDTH)
        leaf = index * WIDTH
        data = read_tile(job.folder, "entries", index, width)
        path = tile_path("entries", index, width)
        entries, wrong = ([], "missing") if data is None else split_bundle(data, width)
        if wrong:
            chunk.problems.append((leaf + len(entries), f"{path}: {wrong}"))
        hashes = hash_leaves(entries)
        if not wrong and (problem := compare_tile(job.folder, 0, index, hashes)):
            chunk.problems.append(problem)
            wrong = problem[1]
        if wrong:
            # Go on with the stored hashes: if they lead to the root, it is the entry that is bad.
            stored = read_tile(job.folder, 0, index, width) or b""
            hashes = split_hashes(stored.ljust(width * HASH, b"\0")[: width * HASH])
        if width == WIDTH:
            chunk.roots.append(climb(b"".join(hashes)))
        else:
            chunk.tail = hashes
        chunk.entries += len(entries)
        order.follow(leaf, entries)
        open_payloads(chunk, job, leaf, entries)
    chunk.heads = order.heads()
    chunk.problems = sorted(chunk.problems, key=lambda p: p[0] or 0)[:SHOWN_MOST]
    return chunk


def hash_leaves(entries: list[bytes]) -> list[bytes]:
    """Return the leaf hash of each entry."""
    fresh, made = sha256(b"\x00").copy, []
    for entry in entries:
        digest = fresh()
        digest.update(entry)
        made.append(digest.digest())
    return made


def hash_links(entries: list[bytes]) -> tuple[bytes, ...]:
    """Return the hash of each entry as the next one of its object spells it."""
    digests = map(DIGEST, map(sha256, entries))
    return struct.unpack("64s" * len(entries), b"".join(digests).hex().encode())


def open_payloads(chunk: Chunk, job: Job, leaf: int, entries: list[bytes]) -> None:
    """Check the values that came with a bundle's entries, if any did."""
    if job.payloads is not None:
        for at, entry in enumerate(entries, leaf):
            open_payload(chunk, at, entry, job.payloads.get(at))


def open_payload(chunk: Chunk, leaf: int, entry: bytes, line: bytes | None) -> None:
    """Check an entry's form in full, and the values that came with it against its commitments."""
    try:
        said = parse(entry)
        if set(said) != MEMBERS or type(said["rev"]) is not int:
            raise Broken("the entry doesn't have the members it should")
        if said["type"] not in TYPES:
            raise Broken("the entry is of a type that a ledger doesn't have")
        fields = said["fields"] if said["type"] == "rev" else {}
        held = parse(line)["fields"] if line else {}
        for name, pair in held.items():
            if name not in fields:
                raise Broken(f"there is a value for {name}, to which the entry doesn't commit")
            check_value(fields[name], name, pair)
        object_name = canonical({"id": said["id"], "model": said["model"]})[1:-2]
        chunk.values += len(held)
        chunk.gaps += [(leaf, object_name, said["rev"], n) for n in fields if n not in held]
    except Broken as error:
        chunk.problems.append((leaf, str(error)))
    except (KeyError, TypeError, AttributeError):
        chunk.problems.append((leaf, "the entry or its payload doesn't have the members it should"))


def check_value(commitment: str, name: str, pair: dict[str, Any]) -> None:
    """Return if a value with its salt is what was committed to."""
    if set(pair) != {"salt", "value"} or not re.fullmatch("[0-9a-f]{64}", pair["salt"]):
        raise Broken(f"the payload of {name} is not a value and a 32-byte salt")
    message = name.encode() + b"\x00" + canonical(pair["value"])
    made = hmac.digest(bytes.fromhex(pair["salt"]), message, "sha256").hex()
    if not hmac.compare_digest(made, commitment):
        raise Broken(f"the value of {name} is not what the entry committed to")


# -- the whole export


@dataclass
class Report:
    """What was found; `problems` are the first of them by leaf."""

    what: str
    keys_from: str
    checkpoint: Checkpoint | None = None
    old: Checkpoint | None = None
    entries: int = 0
    foreign: int = 0
    payloads: bool = False
    values: int = 0
    erased: int = 0
    erased_listed: list[dict[str, Any]] = field(default_factory=list)
    succeeds: str = ""
    continued: int = 0
    unseen: int = 0
    older: list[Report] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    first_bad: str = ""
    said: dict[str, Any] = field(default_factory=dict)

    def add(self, *problems: Problem, count: int = 1) -> None:
        """Note the first of so many problems; those without a leaf come last."""
        self.problem_count += count
        self.problems += problems
        self.problems.sort(key=lambda p: (p[0] is None, p[0] or 0))
        del self.problems[SHOWN_MOST:]

    def take(self, older: Report) -> None:
        """Note an older log's report, and its problems as that log's."""
        self.older.append(older)
        origin = older.checkpoint.origin if older.checkpoint else ""
        said = [
            (None, f"{origin}: {'' if leaf is None else f'leaf {leaf}: '}{words}")
            for leaf, words in older.problems
        ]
        self.add(*said, count=older.problem_count)


class Payloads:
    """The payload lines, handed out in the order of their leaves."""

    def __init__(self, path: Path, report: Report) -> None:
        self._report = report
        self._file = path.open("rb")
        self._number = 0
        self._newest = -1
        self._next: tuple[int, bytes] | None = None
        self._advance()

    def _advance(self) -> None:
        self._next = None
        while line := self._file.readline(LINE_BYTES_MOST):
            self._number += 1
            match = re.search(rb',"leaf":(0|[1-9][0-9]{0,15})\}\n\Z', line)
            if match and (leaf := int(match[1])) > self._newest:
                self._newest = leaf
                self._next = leaf, line[:-1]
                return
            words = "is out of order" if match else "is not a payload"
            self._report.add((None, f"line {self._number} of the payloads {words}"))

    def below(self, end: int) -> dict[int, bytes]:
        """Return the lines of the leaves below `end` that weren't handed out yet."""
        found = {}
        while self._next and self._next[0] < end:
            found[self._next[0]] = self._next[1]
            self._advance()
        return found

    def close(self) -> None:
        """Note lines that belong to no leaf."""
        if self._next:
            self._report.add((None, f"there are payloads for leaf {self._next[0]}, beyond the log"))
        self._file.close()


class Scan:
    """One full scan; it keeps tiles' right edge, and everything about objects in files."""

    def __init__(
        self, folder: Path, report: Report, checkpoint: Checkpoint, payloads: Path | None
    ) -> None:
        self.folder = folder
        self.report = report
        self.checkpoint = checkpoint
        self.payloads = payloads
        self.origin = checkpoint.origin
        self.size = checkpoint.size
        self.root = checkpoint.root
        self.edge: list[list[bytes]] = [[]]
        self.done: list[int] = [0]
        self.chunks = range(0, -(-self.size // WIDTH), CHUNK_BUNDLES)
        self.first_foreign: int | None = None
        self.gaps: sqlite3.Connection | None = None

    def read(
        self,
        do: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]],
        heads: Path,
        buckets: int,
        show: Callable[[int], None],
    ) -> None:
        """Scan every bundle, and leave in the folder `heads` what crosses chunks."""
        payloads = Payloads(self.payloads, self.report) if self.payloads else None
        heads.mkdir()
        for chunk in do(partial(scan, heads=heads, buckets=buckets), self._jobs(payloads)):
            self._take(chunk)
            show(chunk.entries)
        if payloads:
            payloads.close()

    def finish(self, links: Iterable[Links], later: Callable[[], list[Later]]) -> None:
        """Note what holds across bundles."""
        for level, hashes in enumerate(self.edge):
            if level and hashes:
                self._compare(level, hashes)
        if fold(self.edge) != self.root:
            self.report.add((None, "the entries' tree does not have the checkpoint's root"))
        for found in links:
            self.report.continued += found.continued
            self.report.unseen += found.unseen
            self.report.add(*found.problems, count=found.count)
        self._erased(later)
        if self.first_foreign is not None and self.report.foreign < self.report.entries:
            self.report.add((self.first_foreign, "this is not an entry of a ledger"))

    def _jobs(self, payloads: Payloads | None) -> Iterator[Job]:
        bundles = -(-self.size // WIDTH)
        for first in self.chunks:
            count = min(CHUNK_BUNDLES, bundles - first)
            end = min(self.size, (first + count) * WIDTH)
            lines = payloads.below(end) if payloads else None
            yield Job(self.folder, first, count, self.size, lines)

    def _compare(self, level: int, hashes: list[bytes]) -> None:
        problem = compare_tile(self.folder, level, self.done[level], hashes)
        if problem:
            self.report.add(problem)

    def _take(self, chunk: Chunk) -> None:
        for problem in chunk.problems:
            self.report.add(problem)
        self.report.entries += chunk.entries
        self.report.values += chunk.values
        if chunk.succession:
            self.report.succeeds = chunk.succession["fields"]["checkpoint"]
            if chunk.succession["id"] != self.origin:
                self.report.add((0, "the succession is another log's"))
        if chunk.foreign and self.first_foreign is None:
            self.first_foreign = chunk.first_foreign
        self.report.foreign += chunk.foreign
        for root in chunk.roots:
            self._rise(1, root)
        self.edge[0] = chunk.tail
        self._keep("gap", chunk.gaps)
        self._keep("erasure", chunk.erasures)

    def _rise(self, level: int, root: bytes) -> None:
        if level == len(self.edge):
            self.edge.append([])
            self.done.append(0)
        self.edge[level].append(root)
        if len(self.edge[level]) == WIDTH:
            self._compare(level, self.edge[level])
            above = climb(b"".join(self.edge[level]))
            self.edge[level] = []
            self.done[level] += 1
            self._rise(level + 1, above)

    def _keep(self, table: str, rows: list[Gap]) -> None:
        if rows:
            with sqlite_errors():
                self._insert(table, rows)

    def _insert(self, table: str, rows: list[Gap]) -> None:
        if self.gaps is None:
            import sqlite3

            self.gaps = sqlite3.connect("")  # a file that SQLite deletes by itself
            for each in ("gap", "erasure"):
                self.gaps.execute(
                    f"CREATE TABLE {each} (leaf INT, object BLOB, rev INT, name TEXT)"
                )
        self.gaps.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", rows)  # noqa: S608

    def _erased(self, later: Callable[[], list[Later]]) -> None:
        if self.gaps is not None:
            with sqlite_errors():
                self._account(self.gaps, later())

    def _account(self, gaps: sqlite3.Connection, found: list[Later]) -> None:
        """Account for every value that isn't there by the erasure that took it."""
        for number, (_, _, erased) in enumerate(found, AFTER):
            self._keep("erasure", [(number, *each[1:]) for each in erased])
        gaps.execute("CREATE INDEX found ON erasure (object, name)")
        rows = gaps.execute(
            "SELECT leaf, name, (SELECT min(leaf) FROM erasure WHERE object = gap.object"
            " AND name = gap.name AND rev >= gap.rev AND leaf > gap.leaf) FROM gap"
            " ORDER BY leaf, name"
        )
        for leaf, name, see in rows:
            if see is None:
                self.report.add((leaf, f"the value of {name} is missing, and nothing erased it"))
                continue
            self.report.erased += 1
            if len(self.report.erased_listed) < LISTED_MOST:
                log, at, _ = (self.origin, see, None) if see < AFTER else found[see - AFTER]
                where = {"see": at} if log == self.origin else {"see": at, "log": log}
                self.report.erased_listed.append({"leaf": leaf, "field": name, **where})
        gaps.close()


@contextmanager
def sqlite_errors() -> Iterator[None]:
    """Say that nothing could be verified where SQLite's own file fails, as on a full disk."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise Unusable(f"what is kept in a temporary file was lost: {error}") from error


@contextmanager
def workers(jobs: int) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]]:
    """Yield a `map` that works in so many processes; only a few of its results are under way."""
    if jobs < 2:
        yield map
        return
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

    def spread(function: Callable[[Any], Any], todo: Iterable[Any]) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        for job in todo:
            waiting.append(pool.submit(function, job))
            if len(waiting) > jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        with ProcessPoolExecutor(jobs, initializer=gc.disable) as pool:
            yield spread
    except BrokenExecutor as error:
        raise Unusable(str(error)) from error


def root_before(folder: Path, size: int, old: int) -> bytes:
    """Return the root that the stored tree of `size` had when it was `old`."""
    levels: list[list[bytes]] = []
    while old >> 8 * len(levels):
        level = len(levels)
        index, width = divmod(old >> 8 * level, WIDTH)
        held = min(WIDTH, (size >> 8 * level) - index * WIDTH)
        data = read_tile(folder, level, index, held) if width else b""
        levels.append(split_hashes((data or b"").ljust(width * HASH, b"\0"))[:width])
    return fold(levels)


def describe(folder: Path, size: int, leaf: int) -> str:
    """Return which object's which revision a leaf is, as far as its bytes still say."""
    index = leaf // WIDTH
    data = read_tile(folder, "entries", index, min(WIDTH, size - index * WIDTH)) or b""
    entries, _ = split_bundle(data, WIDTH)
    try:
        said = json.loads(entries[leaf % WIDTH])
        return f"leaf {leaf} ({said['model']} {said['id']}, revision {said['rev']})"
    except (IndexError, ValueError, KeyError, TypeError, RecursionError):
        return f"leaf {leaf}"


def verify_export(
    folder: Path,
    trust: Trust,
    *,
    old: bytes | None = None,
    payloads: Path | None = None,
    older: Iterable[Path] = (),
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return what a full scan of an export finds, and of those of `older` logs, newest first."""
    report = Report("export", trust.source, payloads=payloads is not None)
    try:
        scans = [_scan_of(folder, report, trust, payloads)]
        if old is not None:
            report.old = trust.check(old, quorum=False)
        for each in older:
            beside = each / "payloads.jsonl"
            found = Report("export", trust.source, payloads=beside.is_file())
            its = beside if found.payloads else None
            scans.append(_scan_of(each, found, trust, its, older=True))
    except Broken as error:
        report.add((None, str(error)))
        return report
    read = _read(scans, jobs, progress)
    for one, links in zip(scans, read, strict=True):
        one.finish(links, partial(read_later, one.folder, trust, one.report))
        if one.report is not report:
            report.take(one.report)
    if report.old:
        _continues(scans, report, report.old)
    if report.problems and report.problems[0][0] is not None:
        report.first_bad = describe(folder, scans[0].size, report.problems[0][0])
    return report


def _scan_of(
    folder: Path, report: Report, trust: Trust, payloads: Path | None, *, older: bool = False
) -> Scan:
    """Return the scan of an export; an older log's end needs no more witnesses than it has."""
    try:
        message = (folder / "checkpoint").read_bytes()
    except FileNotFoundError as error:
        raise Unusable(f"{folder} has no checkpoint: it is no export") from error
    report.checkpoint = trust.check(message, quorum=not older)
    return Scan(folder, report, report.checkpoint, payloads)


def _read(
    scans: list[Scan], jobs: int, progress: Callable[[int, int], None] | None
) -> list[list[Links]]:
    """Read logs, the newest first, and return the links of each; drop those that are not before."""
    from tempfile import TemporaryDirectory

    total, done = sum(each.size for each in scans), 0

    def show(entries: int) -> None:
        nonlocal done
        done += entries
        if progress:
            progress(done, total)

    buckets = min(WIDTH, 1 + total // 50_000)
    jobs = jobs if total > WIDTH * CHUNK_BUNDLES * 2 else 1
    logs: list[tuple[Path, range]] = []
    with TemporaryDirectory() as name, workers(jobs) as do:
        for number, each in enumerate(scans):
            logs.insert(0, (Path(name, str(number)), each.chunks))
            each.read(do, logs[0][0], buckets, show)
            if number + 1 < len(scans) and not _succeeds(each.report, scans[number + 1].checkpoint):
                del scans[number + 1 :]
        succeeds = bool(scans[-1].report.succeeds)
        each_bucket = partial(follow, logs=logs, buckets=buckets, succeeds=succeeds)
        found = list(do(each_bucket, range(buckets)))
    return [[links[-1 - number] for links in found] for number in range(len(scans))]


def _succeeds(report: Report, older: Checkpoint) -> bool:
    """Return whether a log began by succeeding this end of an older one; note if not."""
    if sha256(older.text).hexdigest() == report.succeeds:
        return True
    words = f"the log began by succeeding another end than this one of {older.origin}"
    report.add((0, words if report.succeeds else f"the log succeeds none, not {older.origin}"))
    return False


def read_later(folder: Path, trust: Trust, report: Report) -> list[Later]:
    """Return the erasures in later logs that an export of an older log brings proofs of."""
    found: list[Later] = []
    for path in sorted((folder / "later").glob("*.tlog-proof")):
        beside = path.with_suffix(".entry.json")
        entry = beside.read_bytes() if beside.is_file() else b""
        proven = verify_proof(path.read_bytes(), entry, trust)
        try:
            if proven.problems or proven.checkpoint is None:
                raise Broken(proven.problems[0][1])
            said, log = proven.said, proven.checkpoint.origin
            if said["type"] != "erase" or report.checkpoint is None:
                raise Broken("this is no erasure")
            if log == report.checkpoint.origin:
                raise Broken("this is not of a later log")
            name = canonical({"id": said["id"], "model": said["model"]})[1:-2]
            gaps = [(0, name, int(said["rev"]), str(each)) for each in said["fields"]]
            found.append((log, said["leaf"], gaps))
        except Broken as error:
            report.add((None, f"later/{path.name}: {error}"))
        except (KeyError, TypeError, ValueError):
            report.add((None, f"later/{path.name}: this is no erasure"))
    return found


def _continues(scans: list[Scan], report: Report, old: Checkpoint) -> None:
    """Note what is wrong between an earlier checkpoint and the log that it is of."""
    same = [each for each in scans if each.origin == old.origin]
    if not same and report.succeeds:
        _succeeds(report, old)
    elif not same:
        report.add((None, f"the earlier checkpoint is of another log: {old.origin}"))
    else:
        folder, size = same[0].folder, same[0].size
        of = "" if same[0] is scans[0] else f" of {old.origin}"
        if old.size > size:
            words = f"the end{of} is cut off: there were {old.size} entries, now there are {size}"
            report.add((None if of else size, words))
        elif root_before(folder, size, old.size) != old.root:
            words = f"the first {old.size} entries{of} are not those of the earlier checkpoint"
            report.add((None, words))


# -- one proof


def verify_proof(data: bytes, entry: bytes, trust: Trust, payload: bytes | None = None) -> Report:
    """Return whether an entry is in the log, by its proof file."""
    report = Report("proof", trust.source, payloads=payload is not None, entries=1)
    leaf: int | None = None
    try:
        head, _, message = data.partition(b"\n\n")
        lines = utf8(head).split("\n")
        if lines.pop(0) != "c2sp.org/tlog-proof@v1":
            raise Broken("this is no proof file")
        if lines and lines[0].startswith("extra "):
            unbase64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise Broken("the proof has no index")
        leaf = decimal(lines.pop(0).removeprefix("index "))
        proof = [unbase64(line, size=HASH) for line in lines]
        checkpoint = report.checkpoint = trust.check(message)
        if include(hash_leaves([entry])[0], leaf, checkpoint.size, proof) != checkpoint.root:
            hint = ": the file ends in a newline" if entry.endswith(b"\n") else ""
            raise Broken(f"the entry is not the one that the proof is of{hint}")
        _open_proven(report, leaf, entry, payload)
    except Broken as error:
        report.add((leaf, str(error)))
    if report.problems and leaf is not None:
        report.first_bad = f"leaf {leaf}"
    return report


def _open_proven(report: Report, leaf: int, entry: bytes, payload: bytes | None) -> None:
    try:
        said = json.loads(entry)
    except (ValueError, RecursionError):
        said = None
    report.said = {"leaf": leaf, **(said if isinstance(said, dict) else {})}
    if payload is None:
        return
    chunk = Chunk()
    line = payload.removesuffix(b"\n")
    if parse(line).get("leaf") != leaf:
        raise Broken("the payload belongs to another leaf")
    open_payload(chunk, leaf, entry, line)
    report.values = chunk.values
    for problem in chunk.problems:
        report.add(problem)
    for _, _, _, name in chunk.gaps:
        report.erased_listed.append({"leaf": leaf, "field": name, "see": None})


# -- saying it


def as_json(report: Report, seconds: float) -> dict[str, Any]:
    """Return a report for machines."""
    seen, old = report.checkpoint, report.old
    return {
        "ok": not report.problem_count,
        "what": report.what,
        "keys_from": report.keys_from,
        "origin": seen and seen.origin,
        "size": seen and seen.size,
        "root": seen and base64.b64encode(seen.root).decode(),
        "cosigned": {name: moment(at) for name, at in seen.cosigned.items()} if seen else {},
        "old_origin": old and old.origin,
        "old_size": old and old.size,
        "succeeds": report.succeeds or None,
        "continued": report.continued,
        "not_compared": report.unseen,
        "older": [older_json(each) for each in report.older],
        "entries": report.entries,
        "foreign_entries": report.foreign,
        "payloads": report.payloads,
        "values": report.values,
        "erased": report.erased,
        "erased_listed": report.erased_listed,
        "entry": report.said,
        "first_bad": report.first_bad or None,
        "problem_count": report.problem_count,
        "problems": [{"leaf": leaf, "what": words} for leaf, words in report.problems],
        "seconds": round(seconds, 3),
    }


def older_json(report: Report) -> dict[str, Any]:
    """Return of an older log's report what is not in that of the newer."""
    seen = report.checkpoint
    return {
        "origin": seen and seen.origin,
        "size": seen and seen.size,
        "root": seen and base64.b64encode(seen.root).decode(),
        "payloads": report.payloads,
        "values": report.values,
        "erased": report.erased,
        "continued": report.continued,
        "not_compared": report.unseen,
        "problem_count": report.problem_count,
    }


def moment(seconds: int) -> str:
    """Return a time in UTC."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def as_text(report: Report, seconds: float) -> Iterator[str]:
    """Yield a report's lines for people."""
    for leaf, words in report.problems:
        yield f"BAD  {'' if leaf is None else f'leaf {leaf}: '}{words}"
    if report.problem_count > len(report.problems):
        yield f"     and {report.problem_count - len(report.problems)} more"
    for each in report.erased_listed[:SHOWN_MOST]:
        where = "not given" if each["see"] is None else f"erased, see leaf {each['see']}"
        where += f" of {each['log']}" if "log" in each else ""
        yield f"     leaf {each['leaf']}, {each['field']}: {where}"
    if report.erased > SHOWN_MOST:
        yield f"     and {report.erased - SHOWN_MOST} more erased values"
    if report.problem_count:
        first = report.first_bad or report.problems[0][1]
        yield f"NOT VERIFIED. First bad record: {first}."
        return
    seen = report.checkpoint
    assert seen is not None
    root = base64.b64encode(seen.root).decode()
    yield f"{seen.origin}: {seen.size} entries, root {root}"
    for name, at in seen.cosigned.items():
        yield f"     cosigned by {name} at {moment(at)}"
    if not seen.cosigned:
        yield "     no witness cosigned this: the log's owner could show others another log"
    if report.said:
        says = ", ".join(f"{k} {v}" for k, v in report.said.items() if k not in ("fields", "v"))
        yield f"     the entry says: {says}"
    yield from _succession_text(report, seen)
    if report.payloads:
        yield f"     {report.values} values are those committed to, {report.erased} are erased"
    if report.foreign:
        yield "     the entries are not of a ledger: no objects were followed"
    yield f"     keys: {report.keys_from}"
    yield f"VERIFIED in {seconds:.1f} s."


def _succession_text(report: Report, seen: Checkpoint) -> Iterator[str]:
    old = report.old
    names = [each.checkpoint.origin for each in report.older if each.checkpoint]
    if report.succeeds and not names:
        yield "     the log succeeds an older one, whose own export is to be verified as well"
    for each in report.older:
        assert each.checkpoint is not None
        held = f", {each.values} values" if each.payloads else ", without its values"
        held += f", {each.unseen} links NOT COMPARED with the log before it" if each.unseen else ""
        yield f"     the older log {each.checkpoint.origin}: {each.entries} entries{held}"
    if report.succeeds:
        yield f"     {report.continued} objects continue entries of the older log"
    if report.unseen:
        yield f"     NOT COMPARED with the older log: {report.unseen} of these; see --older"
    if old and old.origin in (seen.origin, *names):
        of = "" if old.origin == seen.origin else f" of {old.origin}"
        yield f"     continues the earlier checkpoint{of} of {old.size} entries"
    elif old:
        yield f"     succeeds {old.origin}, which ended with {old.size} entries as given"


def bar(done: int, total: int) -> None:
    """Draw how far it is on a terminal."""
    part = done / total if total else 1.0
    line = f"\r[{'#' * int(part * 40):<40}] {part:4.0%} {done:,} entries"
    sys.stderr.write(line + ("\n" if done >= total else ""))
    sys.stderr.flush()


def choose_trust(options: argparse.Namespace) -> Trust:
    """Return whom the arguments say to trust, or else whom the export itself names."""
    try:
        if options.policy:
            return trust_policy(options.policy.read_bytes(), source=f"policy {options.policy}")
        if options.vkey:
            keys = [Path(k).read_text() if Path(k).is_file() else k for k in options.vkey]
            return trust_keys(keys)
        beside = getattr(options, "folder", None)
        if beside and (beside / "policy").is_file():
            warning = "THE EXPORT'S OWN policy: give --policy or --vkey with keys from elsewhere"
            return trust_policy((beside / "policy").read_bytes(), source=warning)
    except Broken as error:
        raise Unusable(str(error)) from error
    raise Unusable("no key: give --policy or --vkey; a signature proves nothing without one")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="export|proof")
    export = verbs.add_parser("export", help="scan a whole export")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument("--old", type=Path, metavar="CHECKPOINT", help="one kept from earlier")
    export.add_argument(
        "--older", type=Path, metavar="DIR", action="append", default=[],
        help="the export of the log that this one succeeds; again for the one before, and so on",
    )  # fmt: skip
    export.add_argument("--payloads", type=Path, metavar="FILE", help="default DIR/payloads.jsonl")
    export.add_argument("--jobs", type=int, default=0, help="processes (default: up to 2)")
    proof = verbs.add_parser("proof", help="verify one entry's proof")
    proof.add_argument("file", type=Path, metavar="FILE")
    proof.add_argument("--entry", type=Path, required=True, metavar="FILE", help="its exact bytes")
    proof.add_argument("--payload", type=Path, metavar="FILE", help="its values and salts")
    for verb in (export, proof):
        keys = verb.add_mutually_exclusive_group()
        keys.add_argument("--policy", type=Path, metavar="FILE", help="a C2SP trust policy")
        keys.add_argument(
            "--vkey", action="append", metavar="KEY", help="a log's or witness's key, or its file"
        )
        verb.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def run(options: argparse.Namespace) -> Report:
    """Return what the chosen verification found."""
    trust = choose_trust(options)
    if options.verb == "proof":
        payload = options.payload.read_bytes() if options.payload else None
        entry = options.entry.read_bytes()
        return verify_proof(options.file.read_bytes(), entry, trust, payload)
    payloads = options.payloads or options.folder / "payloads.jsonl"
    return verify_export(
        options.folder,
        trust,
        old=options.old.read_bytes() if options.old else None,
        payloads=payloads if options.payloads or payloads.is_file() else None,
        older=options.older,
        jobs=options.jobs or min(2, os.cpu_count() or 1),
        progress=bar if sys.stderr.isatty() else None,
    )


def end(number: int, _: object) -> None:
    """Leave, and take temporary files along."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = arguments().parse_args(argv)
    begun = time.monotonic()
    before = signal.signal(signal.SIGTERM, end)
    try:
        report = run(options)
    except (Unusable, OSError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
    seconds = time.monotonic() - begun
    if options.json:
        sys.stdout.write(json.dumps(as_json(report, seconds), indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in as_text(report, seconds))
    return 1 if report.problem_count else 0


if __name__ == "__main__":
    gc.disable()  # nothing here refers to itself, and looking for it takes time
    sys.exit(main())
