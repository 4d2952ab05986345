"""Trust policies: which logs, which witnesses, and how many of them make a checkpoint good.

Source: C2SP tlog-policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from audit.domain import checkpoint as checkpoints
from audit.domain import cosignature, note
from audit.domain.checkpoint import Checkpoint
from audit.domain.cosignature import CosignerKey
from audit.domain.lines import Malformed

_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_NONE = "none"
LogKey = note.LogKey | CosignerKey


class QuorumMissed(ValueError):
    """Too few of the policy's witnesses cosigned a checkpoint."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log that the policy accepts."""

    key: LogKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness that the policy knows."""

    key: CosignerKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A group that has witnessed when `least` of its members have."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trusted:
    """A checkpoint that satisfies a policy: by which log, cosigned by whom and when (seconds)."""

    checkpoint: Checkpoint
    log: LogKey
    cosigned_at: Mapping[str, int]


@dataclass(slots=True)
class Policy:
    """A parsed policy; `quorum` is a witness's or group's name, or "none"."""

    quorum: str = _NONE
    logs: list[Log] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def satisfied(self, name: str, *, cosigners: set[str]) -> bool:
        """Return whether these witnesses' cosignatures make the named one have witnessed."""
        if name == _NONE:
            return True
        group = self.groups.get(name)
        if group is None:
            return name in cosigners
        met = [member for member in group.members if self.satisfied(member, cosigners=cosigners)]
        return len(met) >= group.least

    def trusted(self, message: bytes) -> Trusted:
        """Return what a checkpoint says if one of the logs signed it and the quorum cosigned it.

        Raises: Malformed, note.BadSignature, note.Untrusted, QuorumMissed.
        """
        checkpoint, read_note = checkpoints.read(message)
        logs = [log.key for log in self.logs if log.key.name == checkpoint.origin]
        names = {(each.key.name, each.key.key_id): n for n, each in self.witnesses.items()}
        keys = [*logs, *(each.key for each in self.witnesses.values())]
        signed = note.verified(note=read_note, keys=keys)
        by = next((key for key in logs if any(key is each for each, _ in signed)), None)
        if by is None:
            raise note.Untrusted(f"no log of the policy signed this of {checkpoint.origin!r}")
        cosigned_at = {
            names[key.name, key.key_id]: cosignature.split(signature.value)[0]
            for key, signature in signed
            if (key.name, key.key_id) in names
        }
        if not self.satisfied(self.quorum, cosigners=set(cosigned_at)):
            raise QuorumMissed(
                f"the quorum {self.quorum!r} is missed: cosigned by "
                + (", ".join(sorted(cosigned_at)) or "nobody that the policy knows")
            )
        return Trusted(checkpoint, by, cosigned_at)

    def encode(self) -> bytes:
        """Return the policy as a file."""
        text = [f"log {log.key.vkey} {log.url}".rstrip() for log in self.logs]
        for name, witness in self.witnesses.items():
            text.append(f"witness {name} {witness.key.vkey} {witness.url}".rstrip())
        for name, group in self.groups.items():
            text.append(f"group {name} {group.least} {' '.join(group.members)}")
        text.append(f"quorum {self.quorum}")
        return "".join(f"{line}\n" for line in text).encode("utf-8", "surrogateescape")


def read(data: bytes) -> Policy:
    """Return the policy that a file holds.

    Raises: Malformed, with the number of the line; cosignature.Unsupported.
    """
    policy = Policy()
    seen = _Seen()
    for number, words in _lines(data):
        try:
            _line(policy, seen, words)
        except Malformed as error:
            raise Malformed(f"line {number} of the policy: {error}") from error
    if not seen.quorum:
        raise Malformed("a policy has exactly one quorum line; this one has none")
    return policy


@dataclass(slots=True)
class _Seen:
    """What only reading has to remember."""

    quorum: bool = False
    members: set[str] = field(default_factory=set)


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that says something.

    Bytes above 127 are opaque: what isn't UTF-8 is kept by surrogate escapes.
    """
    if any(byte < 0x20 and byte not in b"\t\n" for byte in data) or 0x7F in data:
        raise Malformed("a policy has no control characters but tab and newline")
    text = data.decode("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        raise Malformed("each line of a policy ends in a newline, the last one too")
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        words = [word for word in re.split(r"[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            yield number, words


def _line(policy: Policy, seen: _Seen, words: list[str]) -> None:
    match words:
        case ["log", vkey, *url] if len(url) <= 1:
            _log(policy, vkey, *url)
        case ["witness", name, vkey, *url] if len(url) <= 1:
            _witness(policy, name, vkey, *url)
        case ["group", name, least, *members] if members:
            _group(policy, seen, name, least, members)
        case ["quorum", name]:
            if seen.quorum:
                raise Malformed("a policy has exactly one quorum line")
            if name != _NONE and name not in policy.witnesses and name not in policy.groups:
                raise Malformed(f"{name!r} is not defined above")
            policy.quorum, seen.quorum = name, True
        case _:
            raise Malformed(f"{' '.join(words)[:80]!r} is no line of a policy")


def _log(policy: Policy, vkey: str, url: str = "") -> None:
    key = cosignature.read_key(vkey)
    if isinstance(key, CosignerKey) and key.kind == cosignature.ED25519:
        raise Malformed(f"the key of {key.name} is a witness's, not a log's")
    if any(key.public == log.key.public for log in policy.logs):
        raise Malformed(f"the key of {key.name} is already a log's")
    policy.logs.append(Log(key, url))


def _witness(policy: Policy, name: str, vkey: str, url: str = "") -> None:
    _new(policy, name)
    key = cosignature.read_key(vkey)
    if not isinstance(key, CosignerKey):
        raise Malformed(f"the key of {key.name} is a log's, not a witness's")
    if any(key.public == witness.key.public for witness in policy.witnesses.values()):
        raise Malformed(f"the key of {key.name} is already a witness's")
    policy.witnesses[name] = Witness(key, url)


def _group(policy: Policy, seen: _Seen, name: str, least: str, members: list[str]) -> None:
    _new(policy, name)
    for member in members:
        if member not in policy.witnesses and member not in policy.groups:
            raise Malformed(f"{member!r} is not defined above")
        if member in seen.members:
            raise Malformed(f"{member!r} is already a member of a group")
        seen.members.add(member)
    words = {"any": 1, "all": len(members)}
    if least not in words and not _COUNT.fullmatch(least):
        raise Malformed(f"a group needs any, all or a number of its members, not {least[:40]!r}")
    count = words.get(least) or int(least)
    if count > len(members):
        raise Malformed(f"a group of {len(members)} can't need {count}")
    policy.groups[name] = Group(count, tuple(members))


def _new(policy: Policy, name: str) -> None:
    if name == _NONE or name in policy.witnesses or name in policy.groups:
        raise Malformed(f"{name!r} is already taken")
