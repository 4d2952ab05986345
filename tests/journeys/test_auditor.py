"""The auditor's errand: a report, its file, a pack that verifies offline, and the trace of it."""

import csv
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Page, expect

from tests.journeys.conftest import Demo
from tests.journeys.screenshots import Theme, seat
from tests.journeys.test_axe import findings


def taken(page: Page, button: str, folder: Path) -> Path:
    """Press what gives a file; return where it was put."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).or_(
            page.get_by_role("link", name=button)
        ).first.click()
    download: Download = waiting.value
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_an_auditor_takes_evidence_home(
    demo: Demo, browser: Browser, tmp_path: Path, width: int, theme: Theme
) -> None:
    with seat(browser, demo, "dora", width=width, theme=theme) as page:
        page.goto(f"{demo.url}/reports/")
        page.get_by_role("link", name="Who had access").first.click()
        page.get_by_label("Person").fill("liam")
        page.get_by_role("button", name="Show", exact=True).click()
        page.wait_for_url("**person=liam**")
        shown = page.get_by_role("heading", name=re.compile(r"^\d+ rows?$"))
        expect(shown).to_be_visible()
        rows = int(shown.inner_text().split()[0])
        assert rows > 0
        page.get_by_text("More files").click()
        with taken(page, "Plain CSV", tmp_path).open(newline="") as file:
            assert sum(1 for _ in csv.DictReader(file)) == rows

        page.goto(f"{demo.url}/reports/evidence/")
        page.get_by_label("Samples").fill("3")
        page.get_by_label("Seed").fill("2026-q4")
        assert findings(page, name="evidence") == []
        with zipfile.ZipFile(taken(page, "Make the pack", tmp_path)) as packed:
            packed.extractall(tmp_path / "pack")
        done = subprocess.run(
            [sys.executable, "-I", "verify_all.py"],
            cwd=tmp_path / "pack", env={}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"(\d+) of (\d+) proofs VERIFIED", done.stdout)
        assert found is not None
        assert found[1] == found[2] != "0"

        page.goto(f"{demo.url}/audit/?kind=downloads")
        expect(page.get_by_text("Evidence pack").first).to_be_visible()
        assert findings(page, name="downloads") == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
