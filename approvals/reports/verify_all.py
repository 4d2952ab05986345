"""Verifies an evidence pack on the machine that it was unpacked on: `python3 verify_all.py`.

It travels in the pack and imports nothing of the portal. It checks

1. that every file has the SHA-256 that manifest.json lists;
2. that the samples are what the seed draws from the listed populations;
3. with verifier.py and the policy file, every proof that each drawn item is to have;
4. that each item's entries follow each other without a gap, and that its trail.json says what they
   commit to, no more and no less.

Ends with status 1 if anything does not hold. The policy beside it is the portal's own word: give
the one that you noted earlier as an argument to rely on that instead. manifest.json itself is
vouched for by the entry of the pack's own record in the log, which was sealed after the pack was
made: the last lines say how to compare it.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: What an entry's own members or nothing at all say, and no committed value.
UNCOMMITTED = {"id", "recorded_at"}
IMPLIED = {"request": {"hash", "previous_hash", "request_id", "revision", "event"}}
IMPLIED |= {"refused_attempt": {"uid"}}
#: Marks a value that was erased, of which nothing can be said any more.
ERASED = object()


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 if all of it holds."""
    pack = _Pack(Path(arguments[0]).resolve() if arguments else HERE / "policy")
    try:
        pack.check()
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        pack.wrong(f"the pack can't be read to its end: {type(error).__name__} {error}")
    _say(f"{pack.same} of {pack.files} files are as the manifest lists them.")
    _say(f"{pack.verified} of {pack.expected} proofs VERIFIED.")
    if pack.problems:
        _say(f"NOT VERIFIED: {pack.problems} problems.")
        return 1
    if not pack.items:
        _say("The manifest says that nothing was sampled: there was nothing to prove.")
    for line in _about_manifest(pack.manifest["pack"]):
        _say(line)
    return 0


class _Pack:
    """The pack in this folder, and what was found of it so far."""

    def __init__(self, policy: Path) -> None:
        self.policy = policy
        self.manifest: dict[str, Any] = {}
        self.files = self.same = self.expected = self.verified = self.problems = self.items = 0

    def wrong(self, words: str, *, mark: str = "WRONG") -> None:
        self.problems += 1
        _say(f"{mark:8} {words}")

    def check(self) -> None:
        self.manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
        self._check_files()
        drawn = self._check_samples()
        items = self.manifest["items"]
        self.items = len(items)
        listed = {item["request"]: sorted(item["drawn_as"]) for item in items}
        if len(items) != len(listed) or listed != drawn:
            self.wrong("the manifest's items are not those that were drawn")
        verifier = _verifier()
        for item in items:
            _Item(self, item, verifier).check()
        if items and not self.verified:
            self.wrong("items were drawn, and no proof of them is here")

    def _check_files(self) -> None:
        files = self.manifest["files"]
        self.files = len(files)
        for name, digest in files.items():
            if _sha256(name) == digest:
                self.same += 1
            else:
                self.wrong(name, mark="CHANGED")
        there = {
            path.relative_to(HERE).as_posix()
            for folder in ("reports", "samples")
            for path in (HERE / folder).rglob("*")
            if path.is_file()
        }
        needed = {"index.html", "policy", "verifier.py", "verify_all.py"}
        needed |= {f"reports/{report['id']}.csv" for report in self.manifest["reports"]}
        for name in sorted((there | needed) - set(files)):
            self.wrong(f"{name} is not among the manifest's files")

    def _check_samples(self) -> dict[str, list[str]]:
        """Return which samples each drawn id is in, after drawing them again."""
        found: dict[str, list[str]] = {}
        samples = {sample["name"]: sample for sample in self.manifest["samples"]}
        if not samples:
            self.wrong("the manifest names no samples")
        for name, sample in samples.items():
            ids = _lines(f"samples/population-{name}.txt")
            if len(set(ids)) != len(ids) or len(ids) != sample["population"]:
                self.wrong(f"{name}: the manifest counts another population than is listed")
            keys = {each: _ticket(self.manifest["seed"], name, each) for each in ids}
            drawn = sorted(ids, key=keys.__getitem__)[: self.manifest["sample_size"]]
            if not drawn == sample["drawn"] == _lines(f"samples/drawn-{name}.txt"):
                self.wrong(f"{name}: the seed draws others from the population than were drawn")
            for each in drawn:
                found.setdefault(each, []).append(name)
        return {each: sorted(names) for each, names in found.items()}


class _Item:
    """One sampled request: its proofs against the manifest, its entries against its trail."""

    def __init__(self, pack: _Pack, item: dict[str, Any], verifier: Any) -> None:
        self.pack, self.item, self.verifier = pack, item, verifier
        self.request: str = item["request"]
        self.folder = HERE / "samples" / item["folder"]
        self.unsealed = [each for each in item["entries"] if not each["sealed"]]
        #: The entries of each object in the manifest's order, with the values that came with them.
        self.entries: dict[tuple[str, str], list[tuple[dict[str, Any], bytes, dict[str, Any]]]] = {}

    def wrong(self, words: str) -> None:
        self.pack.wrong(f"{self.item['folder']}: {words}")

    def check(self) -> None:
        sealed = [each for each in self.item["entries"] if each["sealed"]]
        there = {path.name for path in self.folder.glob("proofs/*.tlog-proof")}
        for name in sorted(there ^ {f"{each['stem']}.tlog-proof" for each in sealed}):
            self.wrong(f"{name} is {'not expected' if name in there else 'missing'}")
        for each in sealed:
            self.pack.expected += 1
            if f"{each['stem']}.tlog-proof" in there and self._prove(each):
                self.pack.verified += 1
        for each in self.unsealed:
            _say(f"UNSEALED {self.item['folder']}: {each['stem']} was not sealed yet")
        trail = json.loads((self.folder / "trail.json").read_text(encoding="utf-8"))
        if trail["request"] != self.request:
            self.wrong("trail.json is of another request")
        self._compare(_records(trail))

    def _prove(self, expected: dict[str, Any]) -> bool:
        """Verify one proof and keep what its entry says; False where it doesn't hold."""
        proof = self.folder / "proofs" / f"{expected['stem']}.tlog-proof"
        status, words = _verify(self.verifier, proof, policy=self.pack.policy)
        if status != 0:
            self.pack.wrong(f"{proof.relative_to(HERE).as_posix()}\n{words}", mark="FAILED")
            return False
        data = proof.with_name(f"{expected['stem']}.entry.json").read_bytes()
        payload = proof.with_name(f"{expected['stem']}.payload.json")
        held = json.loads(payload.read_bytes())["fields"] if payload.is_file() else {}
        values = {name: pair["value"] for name, pair in held.items()}
        said = json.loads(data)
        if any(said[name] != expected[name] for name in ("model", "id", "op")):
            self.wrong(f"{expected['stem']} is the proof of another entry than the manifest lists")
            return False
        if not self._is_own(said, values):
            self.wrong(f"{expected['stem']} is the proof of another request's entry")
            return False
        self.entries.setdefault((said["model"], said["id"]), []).append((said, data, values))
        return True

    def _is_own(self, said: dict[str, Any], values: dict[str, Any]) -> bool:
        if said["model"] == "refused_attempt":
            return bool(values.get("request_id") == self.request or said["type"] == "erase")
        return bool(said["id"].partition(".")[0] == self.request)

    def _compare(self, records: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
        """Compare what the entries say with what the trail says, object for object."""
        waiting = {(each["model"], each["id"]) for each in self.unsealed}
        for key in sorted({*records, *self.entries}):
            rows, entries = records.get(key, []), self.entries.get(key, [])
            self._follow(key, entries)
            told = [each for each in entries if each[0]["type"] == "rev"]
            missing = len(rows) - len(told)
            expected = sum((it["model"], it["id"]) == key for it in self.unsealed)
            if missing < 0 or missing > expected:
                self.wrong(f"trail.json has {len(rows)} of {' '.join(key)}, proven are {len(told)}")
                continue
            self._compare_rows(key, rows, entries, may_be_erased=key in waiting)
        for said, _, _ in self.entries.get(("request", self.request), []):
            vote = ("decision", f"{self.request}.{said['rev']}")
            decides = said["op"] in ("voted", "approved", "denied") and said["actor"] != "system"
            if said["type"] == "rev" and decides and vote not in {*self.entries, *waiting}:
                self.wrong(f"the decision of revision {said['rev']} ({said['op']}) is missing")

    def _follow(self, key: tuple[str, str], entries: list[tuple[Any, bytes, Any]]) -> None:
        """Follow an object's entries from its first one on, by number and hash."""
        rev, prev = 0, ""
        for said, data, _ in entries:
            rev += said["type"] == "rev"
            if (said["rev"], said["prev"]) != (rev, prev):
                self.wrong(f"{' '.join(key)}: revision {said['rev']} does not follow {rev - 1}")
                return
            prev = hashlib.sha256(data).hexdigest()

    def _compare_rows(
        self,
        key: tuple[str, str],
        rows: list[dict[str, Any]],
        entries: list[tuple[Any, bytes, Any]],
        *,
        may_be_erased: bool,
    ) -> None:
        gone = {
            name for said, _, _ in entries if said["type"] == "erase" for name in said["fields"]
        }
        state: dict[str, Any] = {}
        told = [each for each in entries if each[0]["type"] == "rev"]
        for row, (said, _, values) in zip(rows, told, strict=False):
            for name in said["fields"]:
                if name not in values and name not in gone and not may_be_erased:
                    self.wrong(f"{' '.join(key)}: the value of {name} is not given, nor erased")
                state[name] = values.get(name, ERASED)
            where = f"trail.json, {' '.join(key)} revision {said['rev']}"
            for name in sorted({*row, *state} - UNCOMMITTED - IMPLIED.get(key[0], set())):
                sealed = state.get(name)
                if sealed is not ERASED and not _same(row.get(name), sealed):
                    self.wrong(f"{where}: {name} is not what was sealed")
            if key[0] == "request" and (row["revision"], row["event"]) != (said["rev"], said["op"]):
                self.wrong(f"{where}: it is another revision")


def _records(trail: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the trail's records by the log's name for the object that each is of."""
    request = trail["request"]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {("request", request): trail["revisions"]}
    kinds = (
        ("decisions", "decision", lambda row: f"{request}.{row['revision']}"),
        ("handovers", "request_handover", lambda row: f"{request}.{row['number']}"),
        ("messages", "request_message", lambda row: f"{request}.{row['number']}"),
        ("refused_attempts", "refused_attempt", lambda row: row["uid"]),
        ("grant_events", "grant_event", lambda row: f"{request}.{row['kind']}.{_began(row)}"),
    )
    for name, model, of in kinds:
        for row in trail[name]:
            found.setdefault((model, of(row)), []).append(row)
    for (model, _), rows in found.items():
        for row in rows:
            if row["request_id"] != request:
                raise ValueError(f"a {model} in trail.json is of another request")
    return found


def _began(row: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(row["started_at"]).astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def _same(told: Any, sealed: Any) -> bool:
    """Return whether a trail's value is the sealed one; the two write moments differently."""
    if told == sealed and type(told) is type(sealed):
        return True
    if isinstance(told, str) and isinstance(sealed, str):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(told) == datetime.fromisoformat(sealed)
    if isinstance(sealed, str):  # JSON with fractions is sealed as its text
        with contextlib.suppress(ValueError):
            return bool(json.loads(sealed) == told)
    return False


def _about_manifest(pack: str) -> list[str]:
    return [
        "What vouches for manifest.json, and so for reports and samples: its SHA-256 is",
        f"  {_sha256('manifest.json')}",
        f"and stands as `digest` in the sealed record of this pack, report_export {pack}.",
        "It was sealed after the pack was made, so its proof is not in here: find that id on the",
        "portal's Ledger page, take proof, entry and values, compare `digest` in the values, and",
        "  python3 verifier.py proof PROOF --entry ENTRY --payload VALUES --policy POLICY",
        "All of the above holds; only that comparison shows that this is the pack that was made.",
    ]


def _verifier() -> Any:
    """Load verifier.py from this folder, whatever else is installed."""
    spec = importlib.util.spec_from_file_location("verifier", HERE / "verifier.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verifier"] = module
    spec.loader.exec_module(module)
    return module


def _verify(verifier: Any, proof: Path, *, policy: Path) -> tuple[int, str]:
    """Return the verifier's exit status for one proof, and what it said."""
    stem = proof.name.removesuffix(".tlog-proof")
    payload = proof.with_name(f"{stem}.payload.json")
    command = ["proof", str(proof), "--entry", str(proof.with_name(f"{stem}.entry.json"))]
    command += ["--payload", str(payload)] if payload.is_file() else []
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = verifier.main([*command, "--policy", str(policy)])
    return status, said.getvalue()


def _ticket(seed: str, name: str, key: str) -> str:
    return hashlib.sha256(f"{seed}:{name}:{key}".encode()).hexdigest()


def _lines(name: str) -> list[str]:
    return (HERE / name).read_text(encoding="utf-8").split()


def _sha256(name: str) -> str:
    try:
        return hashlib.sha256((HERE / name).read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _say(text: str) -> None:
    """Write lines without a character that a terminal would act on."""
    shown = "".join(it if it.isprintable() or it == "\n" else ascii(it)[1:-1] for it in text)
    sys.stdout.write(f"{shown}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
