"""The inbox: what waits for a person's decision, the request they read, and what they decided."""

import uuid
from dataclasses import dataclass, field

from django.contrib import messages
from django.core.exceptions import TooManyFieldsSent
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Refusal, Settled, StaleRevision
from approvals.portal import passing, repeats, views
from approvals.portal.views import PortalRequest
from approvals.selectors import chains, clock, deciding, inbox_news, shelf, sifting
from approvals.selectors import questions as asked
from approvals.selectors import requests as reads
from approvals.selectors.requests import Cursor
from approvals.selectors.sifting import Sieve
from approvals.services import questions, requests


@dataclass
class Answer:
    """What the last form came to: a sentence of success, or a refusal and what was typed."""

    done: str = ""
    refusal: Refusal | None = None
    comment: str = ""
    question: str = ""
    name: str | None = None
    """The name for a view that was refused; None where something else was sent."""
    passed: passing.Passing = field(default_factory=passing.Passing)
    meanwhile: list[deciding.Happened] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Return the status that the refusal asks for."""
        return self.refusal.status if self.refusal else 200

    @property
    def question_error(self) -> str:
        """Return what is wrong with the question, if that is what was refused."""
        refusal = self.refusal
        return (
            refusal.message if isinstance(refusal, Invalid) and refusal.field == "question" else ""
        )

    @property
    def comment_error(self) -> str:
        """Return what is wrong with the comment, if that is what was refused."""
        refusal = self.refusal
        return (
            refusal.message if isinstance(refusal, Invalid) and refusal.field == "comment" else ""
        )

    @property
    def name_error(self) -> str:
        """Return why the view was not saved, if one was to be."""
        return self.refusal.message if self.refusal and self.name is not None else ""

    @property
    def problem(self) -> str:
        """Return why it was refused, unless that stands beside the field that is the reason."""
        handed = self.passed.to_error or self.passed.why_error
        is_beside = self.comment_error or self.question_error or self.name_error or handed
        return self.refusal.message if self.refusal and not is_beside else ""


@dataclass(frozen=True)
class NewsBar:
    """What a list says of itself: `words` of what changed since its mark, and where it is anew."""

    words: str
    seen: str
    here: str

    @property
    def query(self) -> str:
        """Return what is asked to learn whether there is more."""
        _, _, same = self.here.partition("?")
        return urlencode({"seen": self.seen, "told": self.words}) + (f"&{same}" if same else "")


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show what waits and the request that is read: `?request=`, or the most urgent one.

    `who`, `resource`, `risk` and `overdue` narrow the list.
    """
    asked_for = request.GET.get("request")
    return _board(
        request,
        chosen=_uuid(asked_for) if asked_for else None,
        after=views.read_cursor(request.GET.get("after")),
        by=sifting.sieve(request.GET),
        is_reading=bool(asked_for),
    )


@views.page("POST")
@repeats.once
def decide(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Record the person's decision, then show what waits next; a refusal shows the request anew."""
    deciding.readable(request_id, by=request.user)
    after = views.read_cursor(request.POST.get("after"))
    by = sieve_of(request.POST.get("sieve", ""))
    answer = Answer(comment=request.POST.get("comment", ""))
    waiting = tuple(sifting.inbox(person=request.user, by=by, after=after))
    try:
        record = requests.decide(
            actor=request.user,
            request_id=request_id,
            verdict=request.POST.get("verdict", ""),
            seen_revision=_seen(request),
            comment=answer.comment,
            now=clock.now(),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        answer.refusal = explained(request, request_id, refusal)
        if isinstance(refusal, StaleRevision | Settled):
            answer.meanwhile = _meanwhile(request, request_id)
        return _board(
            request, chosen=request_id, after=after, by=by, answer=answer, is_reading=True
        )
    view = chains.load(record, now=record.occurred_at) if record.state == "pending" else None
    done = deciding.outcome(record, view, reader=request.user)
    following = deciding.following(waiting, request_id)
    if views.wants_fragment(request):
        return _board(
            request, chosen=following, after=after, by=by, answer=Answer(done=done),
            is_reading=following is not None,
        )  # fmt: skip
    messages.success(request, done)
    return redirect(_address(following, after, by))


@views.page("POST")
@repeats.once
def ask(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Put a question to who asked for the access, then show the same request again."""
    deciding.readable(request_id, by=request.user)
    after = views.read_cursor(request.POST.get("after"))
    by = sieve_of(request.POST.get("sieve", ""))
    text = request.POST.get("question", "")
    answer = Answer(comment=request.POST.get("comment", ""))
    try:
        questions.ask(actor=request.user, request_id=request_id, text=text, now=clock.now())
    except NotFound:
        raise
    except Refusal as refusal:
        answer.refusal, answer.question = explained(request, request_id, refusal), text
        return _board(
            request, chosen=request_id, after=after, by=by, answer=answer, is_reading=True
        )
    done = "Your question is sent. You are told when it is answered."
    if views.wants_fragment(request):
        answer.done = done
        return _board(
            request, chosen=request_id, after=after, by=by, answer=answer, is_reading=True
        )
    messages.success(request, done)
    return redirect(_address(request_id, after, by))


@views.page("POST")
@repeats.once
def hand_over(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Give the person's place to another, then show what waits next; a refusal shows it anew."""
    deciding.readable(request_id, by=request.user)
    after = views.read_cursor(request.POST.get("after"))
    by = sieve_of(request.POST.get("sieve", ""))
    waiting = tuple(sifting.inbox(person=request.user, by=by, after=after))
    typed, made = passing.hand_over(request, request_id, seen_revision=_seen(request))
    if made is None:
        assert typed.refusal is not None
        answer = Answer(comment=request.POST.get("comment", ""), passed=typed)
        answer.refusal = explained(request, request_id, typed.refusal)
        if isinstance(typed.refusal, StaleRevision | Settled):
            answer.meanwhile = _meanwhile(request, request_id)
        return _board(
            request, chosen=request_id, after=after, by=by, answer=answer, is_reading=True
        )
    done, following = passing.said(made), deciding.following(waiting, request_id)
    if views.wants_fragment(request):
        return _board(
            request, chosen=following, after=after, by=by, answer=Answer(done=done),
            is_reading=following is not None,
        )  # fmt: skip
    messages.success(request, done)
    return redirect(_address(following, after, by))


@views.page("GET")
def news(request: PortalRequest) -> HttpResponse:
    """Return what changed in the list that a page shows; 204 while the page says that already.

    `seen` is the list's mark, `told` what the page says. The list, what is selected in it and what
    is read stay as they are until the person fetches them anew.
    """
    by, after = sifting.sieve(request.GET), views.read_cursor(request.GET.get("after"))
    seen, chosen = request.GET.get("seen", ""), request.GET.get("request")
    found = inbox_news.since(seen, person=request.user, after=after, by=by)
    if request.GET.get("told", "") == found.words:
        return HttpResponse(status=204)
    bar = NewsBar(found.words, seen, _address(_uuid(chosen) if chosen else None, after, by))
    return render(request, "inbox/_news.html", {"news": bar})


@views.page("GET")
def decided(request: PortalRequest) -> HttpResponse:
    """Show the person's last decisions, and what became of the requests."""
    rows = reads.decided_by(person=request.user)
    return render(request, "inbox/decided.html", {"rows": rows, "now": clock.now()})


def _board(
    request: PortalRequest,
    *,
    chosen: uuid.UUID | None,
    after: Cursor | None,
    by: Sieve,
    is_reading: bool,
    answer: Answer | None = None,
) -> HttpResponse:
    board = deciding.board(person=request.user, chosen=chosen, after=after, by=by)
    saved = shelf.views(person=request.user)
    answer = answer or Answer()
    reading = board.reading
    fragment = views.wants_fragment(request)
    context = {
        "board": board,
        "reading": reading,
        "now": board.now,
        "answer": answer,
        "is_reading": is_reading and board.reading is not None,
        "after": views.cursor_text(after) if after else "",
        "next": views.cursor_text(board.next) if board.next else "",
        "sieve": by,
        "views": saved,
        "conversation": reading and asked.conversation(reading.record, reading.messages),
        "passing": answer.passed,
        "first_name": reading and asked.first_name(reading.record),
        "is_saved": any(view.query == by.query for view in saved),
        "news": NewsBar(
            "", inbox_news.mark(board.items), _address(chosen if is_reading else None, after, by)
        ),
        "fragment": fragment,
    }
    template = "inbox/_board.html" if fragment else "inbox/page.html"
    response = render(request, template, context, status=answer.status)
    if fragment and answer.done:
        response["HX-Replace-Url"] = _address(chosen, after, by)
    return response


def unnamed(request: PortalRequest, *, by: Sieve, name: str, refusal: Refusal) -> HttpResponse:
    """Show the filtered list again with the name of a view that was refused, and why."""
    answer = Answer(refusal=refusal, name=name)
    return _board(request, chosen=None, after=None, by=by, answer=answer, is_reading=False)


def explained(request: PortalRequest, request_id: uuid.UUID, refusal: Refusal) -> Refusal:
    """Return the refusal with what is known about it: who settled it, and when."""
    if isinstance(refusal, Settled):
        return Settled(deciding.settled(request_id, reader=request.user), code=refusal.code)
    if isinstance(refusal, NotAllowed) and refusal.code == "already_voted":
        return NotAllowed("You have voted on this request. It was counted once.", code=refusal.code)
    return refusal


def _meanwhile(request: PortalRequest, request_id: uuid.UUID) -> list[deciding.Happened]:
    """Return what happened since the revision that the person saw."""
    try:
        return deciding.since(request_id, revision=_seen(request))
    except Invalid:
        return []


def _seen(request: PortalRequest) -> int:
    value = request.POST.get("seen_revision", "")
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise Invalid("The page did not say what you saw. Look at the request again, then decide.")
    return int(value)


def _uuid(value: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError as error:
        raise NotFound from error


def sieve_of(query: str) -> Sieve:
    """Return the filters that a form carries along as a query string."""
    try:
        return sifting.sieve(QueryDict(query[:1_000]).dict())
    except (TooManyFieldsSent, UnicodeDecodeError):
        return Sieve()


def _address(chosen: uuid.UUID | None, after: Cursor | None, by: Sieve) -> str:
    query = ({"request": str(chosen)} if chosen else {}) | by.values
    if after:
        query["after"] = views.cursor_text(after)
    return reverse("inbox") + (f"?{urlencode(query)}" if query else "")
