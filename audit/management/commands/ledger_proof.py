"""`ledger_proof OBJECT_ID`: writes what shows that a record is in the log."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.domain import verifier
from audit.management.commands.ledger_export import add_log, chosen_log
from audit.models import Log
from audit.selectors import holders, policies, proofs
from audit.selectors import log as reads


class Command(BaseCommand):
    """Each entry gets three files: its proof, its bytes, and its values with their salts."""

    help = "Write the proofs of one object's entries, or of one leaf, and the verifier for them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an object or a leaf, and the folder."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("object_id", nargs="?", metavar="OBJECT_ID", help="such as a request's")
        what.add_argument("--leaf", type=int, metavar="N", help="one leaf by its index")
        parser.add_argument("--out", type=Path, required=True, metavar="DIR")
        add_log(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the files. Raises: CommandError where there is nothing to prove."""
        folder: Path = options["out"]
        try:
            made = [proofs.of_leaf(log=log, index=index) for log, index in self._leaves(options)]
            folder.mkdir(parents=True, exist_ok=True)
            for each in made:
                self._write(folder, each)
            published = policies.published()
            (folder / "policy").write_bytes(published.encode() if published else b"")
            (folder / "verifier.py").write_bytes(Path(verifier.__file__).read_bytes())
        except (proofs.NoSuchLeaf, reads.NoSuchTile, holders.PolicyUnreadable) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename} was not written: {error.strerror}.") from error

    def _leaves(self, options: dict[str, Any]) -> list[tuple[Log, int]]:
        if options["leaf"] is not None:
            return [(chosen_log(options["log"]), options["leaf"])]
        only = chosen_log(options["log"]) if options["log"] else None
        places = proofs.places(object_id=options["object_id"])
        sealed = [
            (each.log, each.index)
            for each in places
            if each.log is not None and each.index is not None and only in (None, each.log)
        ]
        waiting = sum(each.log is None for each in places)
        if waiting:
            self.stderr.write(f"{waiting} entries are not sealed yet: no proof is made of them.")
        if not sealed:
            raise CommandError(f"The log has no sealed entry of {options['object_id']}.")
        return sealed

    def _write(self, folder: Path, made: proofs.Proven) -> None:
        name = f"{reads.key_id(made.log)}-{made.index}"
        (folder / f"{name}.tlog-proof").write_bytes(made.proof)
        (folder / f"{name}.entry.json").write_bytes(made.entry)
        command = f"python3 verifier.py proof {name}.tlog-proof --entry {name}.entry.json"
        if made.payload is not None:
            (folder / f"{name}.payload.json").write_bytes(made.payload)
            command += f" --payload {name}.payload.json"
        self.stdout.write(f"{command} --policy policy")
