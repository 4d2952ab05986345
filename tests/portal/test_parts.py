"""Parts of pages that htmx fetches: refusals, what keeps the focus, and where changes are said."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from approvals import handlers
from approvals.models import Group, Membership
from approvals.selectors import clock
from approvals.services import questions
from tests.world import World

HTMX = {"HX-Request": "true"}
TEMPLATES = Path(settings.BASE_DIR) / "templates"
#: Live regions that are never swapped themselves.
STAYING = {"base.html", "base_plain.html", "asking/page.html"}


class Focusable(HTMLParser):
    """Collects what inside `data-polls` can have the focus, or be open, and has no id."""

    VOID = frozenset({"input", "br", "meta", "link", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.depth = self.seen = 0
        self.nameless: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"] or "")
        if self.depth:
            can = tag in ("button", "select", "textarea", "summary", "details") or (
                (tag == "a" and "href" in found)
                or (tag == "input" and found.get("type") != "hidden")
                or "data-copy" in found
            )
            self.seen += can
            if can and not found.get("id"):
                self.nameless.append(self.get_starttag_text() or tag)
        if tag not in self.VOID and (self.depth or "data-polls" in found):
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self.depth and tag not in self.VOID:
            self.depth -= 1


def test_what_polls_replace_keeps_the_focus_by_ids(client: Client, world: World) -> None:
    active = world.active()
    pending = world.ask(what=world.own, ticket="X-1")
    questions.ask(actor=world.carol, request_id=pending.request_id, text="Why?", now=clock.now())
    handlers.work("notices")
    seen = 0
    for who, address in (
        (world.alice, "/"), (world.alice, f"/requests/{active.request_id}/"),
        (world.alice, f"/requests/{pending.request_id}/"),
        (world.carol, f"/requests/{pending.request_id}/"), (world.carol, "/notices/"),
        (world.admin, f"/requests/{active.request_id}/"), (world.admin, "/operations/"),
        (world.dora, "/operations/"), (world.alice, "/notices/?show=unread"),
        (world.carol, "/inbox/"), (world.mallory, "/"),
    ):  # fmt: skip
        client.force_login(who)
        found = Focusable()
        found.feed(client.get(address).content.decode())
        assert found.nameless == [], address
        assert len(found.ids) == len(set(found.ids)), address
        seen += found.seen
    assert seen > 40


def test_changes_are_said_by_a_region_that_is_never_swapped(client: Client, world: World) -> None:
    for template in TEMPLATES.rglob("*.html"):
        name = str(template.relative_to(TEMPLATES))
        if name in STAYING:
            continue
        text = template.read_text()
        assert not re.search(r'role="status"|aria-live=', text), name
        for tag in re.findall(r"<[^<>]*data-say=[^<>]*>?", text):
            assert " id=" in tag, (name, "what is said is told apart by its id")
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert page.count('role="status"') == 1
    assert '<div id="voice" class="hidden" role="status" aria-live="polite"></div>' in page


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/inbox/?request=00000000-0000-7000-8000-000000000000", 404, "It may not exist"),
        ("/inbox/?request=x", 404, "It may not exist"),
        ("/inbox/?after=x", 400, "This link to the next rows is broken."),
        ("/reports/", 403, ""),
    ],
)
def test_a_refusal_to_htmx_is_a_message_on_the_page_that_it_has(
    client: Client, world: World, address: str, status: int, words: str
) -> None:
    client.force_login(world.bob)
    response = client.get(address, headers=HTMX)
    text = response.content.decode()
    assert response.status_code == status
    assert words in text
    assert text.startswith('<div id="messages"')
    assert 'role="alert"' in text
    for part in ("<html", "<main", "<nav"):
        assert part not in text
    assert response["HX-Retarget"] == "#messages"
    assert response["HX-Reswap"] == "outerHTML"
    assert response["X-Page-Part"] == "1"
    whole = client.get(address)
    assert whole.status_code == status
    assert whole.content.decode().count("<main") == 1
    assert "X-Page-Part" not in whole


def test_a_refused_decision_is_marked_as_a_part(client: Client, world: World) -> None:
    request = world.ask()
    client.force_login(world.bob)
    response = client.post(
        f"/requests/{request.request_id}/decide/",
        {"verdict": "deny", "seen_revision": 1, "comment": ""},
        headers=HTMX,
    )
    assert response.status_code == 400
    assert response["X-Page-Part"] == "1"
    assert "HX-Retarget" not in response
    assert '<span id="inbox-count" class="row" hx-swap-oob="true">' in response.content.decode()


def test_news_of_the_inbox_counts_what_came_changed_and_went(client: Client, world: World) -> None:
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    client.force_login(world.carol)
    second = world.decide(world.bob, world.ask(by=world.mallory))
    page = client.get("/inbox/").content.decode()
    address = re.search(r'hx-get="(/inbox/news/[^"]+)"', page)
    assert address is not None
    query = address[1].replace("&amp;", "&")
    assert client.get(query, headers=HTMX).status_code == 204
    world.ask(what=world.own, ticket="X-1")
    questions.ask(actor=world.carol, request_id=second.request_id, text="Why?", now=clock.now())
    shown = client.get(query, headers=HTMX)
    assert "1 new, 1 changed" in shown.content.decode()
    world.decide(world.carol, second)
    shown = client.get(query, headers=HTMX)
    text = shown.content.decode()
    assert "1 new, 1 gone" in text
    again = re.search(r'hx-get="(/inbox/news/[^"]+)"', text)
    assert again is not None
    assert client.get(again[1].replace("&amp;", "&"), headers=HTMX).status_code == 204
    assert client.get("/inbox/news/?seen=%00nonsense&told=1+new", headers=HTMX).status_code == 204
