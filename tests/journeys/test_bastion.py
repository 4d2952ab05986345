"""The demo's second target: a certificate from the page lets alice in, and then no more."""

import re
import subprocess
import time
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.journeys.conftest import Demo, SignIn
from tests.programs import require

REASON = "Restart the stuck worker of staging."


def ask(page: Page, demo: Demo, what: str, *, minutes: int) -> str:
    page.goto(f"{demo.url}/catalogue/")
    page.get_by_role("searchbox").fill(what)
    row = page.locator(".ent", has_text="bastion").filter(has_text=what).last
    row.get_by_role("link", name=re.compile("Request")).click()
    page.locator("#length-other").check()
    page.locator("#other").fill(f"{minutes}m")
    page.get_by_label("Why", exact=False).first.fill(REASON)
    page.get_by_role("button", name="Send request").click()
    page.wait_for_url(re.compile(r"/requests/[0-9a-f-]{36}/"))
    return page.url.rstrip("/").rsplit("/", 1)[-1]


def approve(page: Page, demo: Demo, request_id: str) -> None:
    page.goto(f"{demo.url}/inbox/?request={request_id}")
    expect(page.get_by_text(REASON).first).to_be_visible()
    page.get_by_role("button", name=re.compile("^Approve")).click()
    expect(page.get_by_text("Approved. The access").first).to_be_visible()


def keep_certificate(page: Page, demo: Demo, request_id: str) -> None:
    """Save what the page hands over where the demo's ssh looks for it."""
    page.goto(f"{demo.url}/requests/{request_id}/")
    page.get_by_role("button", name="Show them now").click()
    shown = page.get_by_text(re.compile("^ssh-ed25519-cert-v01@openssh.com ")).first
    told = shown.input_value() if shown.evaluate("e => 'value' in e") else shown.inner_text()
    Path(demo.environment["BASTION_ALICE_CERTIFICATE"]).write_text(told.strip() + "\n")


def ssh(demo: Demo, *words: str) -> subprocess.CompletedProcess[str]:
    program = require("ssh", package="openssh-client")
    config = demo.environment["BASTION_SSH_CONFIG"]
    return subprocess.run(
        [program, "-o", "BatchMode=yes", "-F", config, "bastion", *words],
        capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def refused(demo: Demo) -> bool:
    ran = ssh(demo, "echo in")
    return ran.returncode == 255 and "Permission denied" in ran.stderr


def test_a_certificate_lets_alice_in_until_she_gives_it_back(demo: Demo, sign_in: SignIn) -> None:
    require("sshd", package="openssh-server")
    assert refused(demo)
    alice = sign_in("alice")
    request_id = ask(alice, demo, "shell", minutes=5)
    approve(sign_in("bob"), demo, request_id)
    expect(alice.get_by_text("Active", exact=True).first).to_be_visible()
    keep_certificate(alice, demo, request_id)
    assert ssh(demo, "echo in").stdout == "in\n"
    alice.goto(f"{demo.url}/requests/{request_id}/")
    alice.locator("#give-back").click()
    expect(alice.get_by_text("Revoked", exact=True).first).to_be_visible()
    assert refused(demo), "the certificate is on the revocation list"


def test_a_session_and_a_certificate_end_on_time(demo: Demo, sign_in: SignIn) -> None:
    require("sshd", package="openssh-server")
    alice = sign_in("alice")
    request_id = ask(alice, demo, "logs", minutes=1)
    expect(alice.get_by_text("Active", exact=True).first).to_be_visible()  # its rule approves
    keep_certificate(alice, demo, request_id)
    ran = ssh(demo, "echo in")
    assert ran.returncode == 0
    assert "in\n" not in ran.stdout
    assert f"jit:{request_id}:1:alice" in ran.stdout, "the log tells of this very sign-in"
    ends = time.monotonic() + 75
    while not refused(demo) and time.monotonic() < ends:
        time.sleep(1)
    assert refused(demo)
    alice.goto(f"{demo.url}/requests/{request_id}/")
    expect(alice.get_by_text("Expired", exact=True).first).to_be_visible()
