"""Folders in /var/tmp are ours, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jitportal.embedded import places


def test_a_folder_is_made_with_its_mode(tmp_path: Path) -> None:
    made = places.make_owned(tmp_path / "new", mode=0o711)
    assert made.stat().st_mode & 0o777 == 0o711
    assert places.make_owned(made, mode=0o711) == made


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    trap.chmod(0o777)
    with pytest.raises(places.UnsafeFolder, match="writable by others"):
        places.make_owned(trap, mode=0o755)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    trap = tmp_path / "trap"
    if kind == "link":
        trap.symlink_to(tmp_path)
    else:
        trap.touch()
    with pytest.raises(places.UnsafeFolder, match="not a folder that we made"):
        places.make_owned(trap, mode=0o755)


def test_a_throw_away_stand_in_is_forgotten_with_its_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SHARED", tmp_path)
    gone, kept, durable = (tmp_path / name for name in ("gone", "kept", "durable"))
    for original in (gone, kept, durable):
        original.mkdir()
    stand_ins = [
        places.outside(gone, throw_away=True),
        places.outside(kept, throw_away=True),
        places.outside(durable, throw_away=False),
    ]
    gone.rmdir()
    durable.rmdir()
    places.forget_orphans()
    assert [place.exists() for place in stand_ins] == [False, True, True]
