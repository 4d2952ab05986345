"""Verifies an evidence pack on the machine that it was unpacked on: `python3 verify_all.py`.

It travels in the pack and imports nothing of the portal. First every file's SHA-256 is compared
with manifest.json; then verifier.py checks each proof against the policy file. Ends with status 1
if anything does not hold. The policy beside it is the portal's own word: give the one that you
noted earlier as an argument to rely on that instead.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 if all of it holds."""
    policy = Path(arguments[0]).resolve() if arguments else HERE / "policy"
    files = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))["files"]
    wrong = [name for name, digest in files.items() if _sha256(name) != digest]
    for name in wrong:
        _say(f"CHANGED  {name}")
    verifier = _verifier()
    proofs = sorted(HERE.glob("samples/*/proofs/*.tlog-proof"))
    failed = 0
    for proof in proofs:
        status, words = _verify(verifier, proof, policy=policy)
        if status != 0:
            failed += 1
            _say(f"FAILED   {proof.relative_to(HERE)}\n{words}")
    _say(f"{len(files) - len(wrong)} of {len(files)} files are as the manifest lists them.")
    _say(f"{len(proofs) - failed} of {len(proofs)} proofs VERIFIED.")
    return 1 if wrong or failed else 0


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


def _sha256(name: str) -> str:
    try:
        return hashlib.sha256((HERE / name).read_bytes()).hexdigest()
    except OSError:
        return "missing"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
