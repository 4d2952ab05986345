"""`chain_cases FILE`: what it prints and how it exits; it needs neither settings nor database."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest

from approvals.management.commands.chain_cases import Command

FILE = Path(__file__).parent / "data" / "chain.json"


def run(path: Path) -> int:
    """Run the command as the command line does and return its exit code."""
    try:
        Command().run_from_argv(["manage.py", "chain_cases", str(path)])
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


def test_the_shared_cases_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FILE) == 0
    assert capsys.readouterr().out == "30 cases, 0 differ.\n"


def test_a_difference_is_named_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = deepcopy(json.loads(FILE.read_text(encoding="utf-8")))
    cases[0]["ask"][1]["waiting_on"] = ["erin"]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases), encoding="utf-8")
    assert run(path) == 1
    assert capsys.readouterr().out == (
        'one level, one manager: at 59: waiting_on: expected ["erin"], got ["bob"]\n'
        "30 cases, 1 differ.\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"{}", "must hold a list of cases"),
        (b"[]", "must hold a list of cases"),
        (b"[3]", "ill-formed: case 1: document: must be an object"),
        (b'[{"name": "x"}]', "ill-formed: case 1: document: lacks the key 'people'"),
    ],
)
def test_a_file_that_holds_no_cases_exits_2_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "cases.json"
    if content is not None:
        path.write_bytes(content)
    assert run(path) == 2
    assert message in capsys.readouterr().err
