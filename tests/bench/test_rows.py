"""What the benches conclude from their figures, and the floor's script."""

import json
from pathlib import Path

from tests.bench import floor, rows
from tests.bench.rows import percentile, row


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 50) == 7


def test_a_goal_judges_the_value_or_the_ratio() -> None:
    assert row("a.b", 5, "ms", at_most=5).holds is True
    assert row("a.b", 5.1, "ms", at_most=5).holds is False
    assert row("a.b", 39, "1/s", floor=100, judged="ratio", at_least=0.4).holds is False
    assert row("a.b", 1, "1/s", floor=100, ratio=0.5, judged="ratio", at_least=0.4).holds is True
    assert row("a.b", 5, "ms").holds is None


def test_a_goal_on_a_ratio_without_a_floor_does_not_hold() -> None:
    assert row("a.b", 5, "ms", judged="ratio", at_most=2).holds is False


def test_results_replace_those_of_the_same_bench_only(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows.write([row("one.a", 1, "s"), row("two.a", 1, "s")], path)
    rows.write([row("one.b", 2, "s")], path)
    assert [entry["name"] for entry in json.loads(path.read_text())] == ["two.a", "one.b"]


def test_the_floor_varies_the_request_and_the_subject_and_nothing_else() -> None:
    request_id = "01a20bab-e97d-7335-81d4-b11a14b990c4"
    text = floor.script(
        [
            f"SELECT 1 WHERE id = '{request_id.replace('-', '')}'::uuid AND at < '12:30:00'",
            f"SELECT lock('{request_id}', 7100000000);",
        ],
        request_id=request_id,
        subject=7_100_000_000,
    )
    assert text.splitlines()[3:] == [
        "SELECT 1 WHERE id = '01a20babe97d733581d4:jpb_request'::uuid AND at < '12:30:00';",
        "SELECT lock('01a20bab-e97d-7335-81d4-:jpb_request', :jpb_subject);",
    ]
