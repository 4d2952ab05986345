"""Who may open what: every URL of the resolver, for every role, as one table declares it.

A URL that the table does not know fails the test, so that none is ever added unprotected. The
request is alice's; bob is asked (and her manager), carol owns the resource, dora is compliance,
admin is an operator, mallory has nothing to do with it.
"""

import itertools
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, get_resolver

from approvals.models import AccessRequest, CurrentRequest, Decision
from audit.models import AppendOnly
from tests.world import World

ROLES = ("anonymous", "mallory", "alice", "bob", "carol", "dora", "admin")


class Url(NamedTuple):
    """One pattern of the resolver: its name with its namespace, and its whole route."""

    name: str
    route: str


def _walk(resolver: Any, route: str = "/", namespace: str = "") -> Iterator[Url]:
    for pattern in resolver.url_patterns:
        here = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern, here, inner)
        else:
            yield Url(f"{namespace}{pattern.name or 'unnamed'}", here)


URLS = tuple(_walk(get_resolver()))

#: Statuses in the order of ROLES, for GET and for POST (with BODIES). 302 of the anonymous is the
#: way to sign in. A missing method must be answered with 405 to everybody.
READ_BY_ALL = {"GET": (302, 200, 200, 200, 200, 200, 200)}
READ_BY_AUDITORS = {"GET": (302, 403, 403, 403, 403, 200, 200)}
READ_BY_CONCERNED = {"GET": (302, 404, 200, 200, 200, 200, 200)}
NOT_SEALED = {"GET": (302, 404, 409, 409, 409, 409, 409)}
OPEN = {"GET": (200,) * 7}
OPEN_FORM = {"GET": (200,) * 7, "POST": (200,) * 7}
OWN_FORM = {"GET": (302, *(200,) * 6), "POST": (302, *(302,) * 6)}
GONE_SIGNED_IN = {"GET": (200, *(302,) * 6), "POST": (200, *(302,) * 6)}
TABLE: Mapping[str, Mapping[str, Sequence[int]]] = {
    # the portal
    "my_access": READ_BY_ALL,
    "catalogue": READ_BY_ALL,
    "request_new": {"GET": (302, *(302,) * 6), "POST": (302, *(404,) * 6)},
    "request_preview": {"POST": (302, *(404,) * 6)},
    "request": READ_BY_CONCERNED,
    "request_status": READ_BY_CONCERNED,
    "request_seal": READ_BY_CONCERNED,
    "request_takers": READ_BY_CONCERNED,
    "request_proof": NOT_SEALED,
    "request_entry": NOT_SEALED,
    "request_payload": {"GET": (302, 404, 404, 404, 404, 409, 409)},
    "request_cancel": {"POST": (302, 404, 302, 403, 403, 403, 302)},
    "request_end": {"POST": (302, 404, 302, 302, 302, 302, 302)},
    "request_decide": {"POST": (302, 404, 403, 302, 403, 403, 403)},
    "request_ask": {"POST": (302, 404, 403, 302, 403, 403, 403)},
    "request_answer": {"POST": (302, 404, 400, 403, 403, 403, 403)},  # nothing was asked
    "inbox_ask": {"POST": (302, 404, 403, 302, 403, 403, 403)},
    "request_hand_over": {"POST": (302, 404, 403, 302, 403, 403, 403)},
    "inbox_hand_over": {"POST": (302, 404, 403, 302, 403, 403, 403)},
    "inbox": READ_BY_ALL,
    "inbox_decided": READ_BY_ALL,
    "inbox_bulk": {"GET": (302, *(400,) * 6), "POST": (302, *(400,) * 6)},  # nothing is selected
    "inbox_bulk_done": {"GET": (302,) * 7},  # nothing was decided
    "inbox_news": {"GET": (302, 204, 204, 200, 204, 204, 204)},  # to bob the request is new
    "view_save": {"POST": (302, *(400,) * 6)},  # it has no name
    "view_remove": {"POST": (302, *(404,) * 6)},  # there is none of that number
    "star": {"POST": (302, *(404,) * 6)},  # there is no such entitlement
    "notices": READ_BY_ALL,
    "notice_count": READ_BY_ALL,
    "notices_read": {"POST": (302,) * 7},
    "notice": {"GET": (302, *(404,) * 6)},  # there is none of that number
    "notice_read": {"POST": (302, *(404,) * 6)},
    "settings_notices": {"POST": (302, *(400,) * 6)},  # nothing was chosen
    "reports": READ_BY_AUDITORS,
    "report": READ_BY_AUDITORS,
    "report_csv": READ_BY_AUDITORS,
    "report_xlsx": READ_BY_AUDITORS,
    "report_pdf": READ_BY_AUDITORS,
    "report_save": {"POST": (302, 403, 403, 403, 403, 400, 400)},  # it has no name
    "saved_report": {  # there is none of that number
        "GET": (302, 403, 403, 403, 403, 404, 404),
        "POST": (302, 403, 403, 403, 403, 404, 404),
    },
    "saved_rename": {"POST": (302, 403, 403, 403, 403, 404, 404)},
    "saved_remove": {"POST": (302, 403, 403, 403, 403, 404, 404)},
    "schedule_change": {"POST": (302, 403, 403, 403, 403, 404, 404)},
    "evidence": {
        "GET": (302, 403, 403, 403, 403, 200, 200),
        "POST": (302, 403, 403, 403, 403, 400, 400),
    },
    "end_all": {
        "GET": (302, 403, 403, 403, 403, 200, 200),
        "POST": (302, 403, 403, 403, 403, 400, 400),
    },
    "operations": READ_BY_AUDITORS,
    "operations_retry": {"POST": (302, 403, 403, 403, 403, 403, 302)},
    "drift": READ_BY_AUDITORS,
    "drift_look": {"POST": (302, 403, 403, 403, 403, 403, 404)},  # there is none of that number
    "drift_keep": {"POST": (302, 403, 403, 403, 403, 404, 404)},  # there is none
    "reviews": READ_BY_ALL,
    "review_decide": {"POST": (302, *(400,) * 6)},  # nothing is chosen
    "review_start": {"POST": (302, 403, 403, 403, 403, 400, 403)},  # it has no name
    "review": {"GET": (302, 403, 403, 403, 403, 404, 404)},  # there is none
    "review_sign_off": {"POST": (302, 403, 403, 403, 403, 404, 403)},
    "review_cancel": {"POST": (302, 403, 403, 403, 403, 404, 403)},
    "audit": READ_BY_AUDITORS,
    "audit_log": READ_BY_AUDITORS,
    "audit_leaf": {"GET": (302, 403, 403, 403, 403, 404, 404)},  # there is none: nothing is sealed
    "audit_verify": READ_BY_AUDITORS,
    "request_credentials": {"POST": (302, 404, 302, 404, 404, 404, 404)},
    "look": {"POST": (302,) * 7},
    "key_add": {"POST": (302, *(400,) * 6)},  # there is no key
    "key_remove": {"POST": (302, *(404,) * 6)},
    "erasures": {
        "GET": (302, 403, 403, 403, 403, 200, 200),
        "POST": (302, 403, 403, 403, 403, 400, 400),
    },
    "erasure": {"GET": (302, 403, 403, 403, 403, 404, 404)},  # there is none
    "erasure_decide": {"POST": (302, 403, 403, 403, 403, 404, 404)},
    "settings": {"GET": (302, *(200,) * 6), "POST": (302, *(302,) * 6)},
    "demo_mail": {"GET": (404,) * 7},
    "demo_message": {"GET": (404,) * 7},
    "healthz": OPEN_FORM,
    "readyz": OPEN_FORM,
    "metrics": {"GET": (404,) * 7},  # no token is set
    "favicon": {"GET": (302,) * 7, "POST": (302,) * 7},
    # the log, for everybody alike; here nothing is sealed yet
    "ledger_checkpoint": {"GET": (404,) * 7},
    "ledger_tile": {"GET": (404,) * 7},
    "ledger_log_checkpoint": {"GET": (404,) * 7},
    "ledger_log_tile": {"GET": (404,) * 7},
    "ledger_policy": {"GET": (404,) * 7},
    "ledger_verifier": OPEN,
    # sign-in
    "account_login": GONE_SIGNED_IN,
    "account_signup": GONE_SIGNED_IN,
    "account_logout": {"GET": (302, *(200,) * 6), "POST": (302,) * 7},
    "account_inactive": OPEN,
    "account_email_verification_sent": OPEN,
    "account_reset_password_done": OPEN,
    "account_reset_password_from_key_done": OPEN,
    "account_reset_password": OPEN_FORM,
    "account_reset_password_from_key": OPEN_FORM,
    "account_confirm_email": {"GET": (200,) * 7, "POST": (404,) * 7},
    "account_confirm_login_code": {"GET": (302,) * 7, "POST": (302,) * 7},
    "account_reauthenticate": {"GET": (302, *(403,) * 6), "POST": (302, *(403,) * 6)},
    "account_change_password": {"GET": (302,) * 7, "POST": (302,) * 7},
    "account_set_password": {"GET": (302, *(200,) * 6), "POST": (302, *(200,) * 6)},
    "account_email": {"GET": (404,) * 7, "POST": (404,) * 7},
    "no_email_form": {"GET": (404,) * 7, "POST": (404,) * 7},
}
#: Everything in the admin is for operators; what they may do there has tests of its own.
OPERATORS_ONLY = "admin:*"
BODIES = {
    "request_end": {"comment": "Incident."},
    "request_decide": {"verdict": "approve", "seen_revision": "1"},
    "request_ask": {"question": "Why?"},
    "request_answer": {"question": "1", "answer": "So."},
    "inbox_ask": {"question": "Why?"},
    "request_hand_over": {"to": "mallory", "why": "Away.", "seen_revision": "1"},
    "inbox_hand_over": {"to": "mallory", "why": "Away.", "seen_revision": "1"},
    "erasure_decide": {"verdict": "approve"},
}
SAFE_OF_THE_ADMIN = {"admin:login", "admin:logout"}


class Case(NamedTuple):
    """A world with a request to ask about, which fits the URL: active where it is to be ended."""

    world: World
    request: AccessRequest


@pytest.fixture
def case(world: World, request: pytest.FixtureRequest) -> Case:
    url = getattr(request.node, "callspec", None) and request.node.callspec.params.get("url")
    ending = isinstance(url, Url) and url.name == "request_end"
    return Case(world, world.active() if ending else world.ask())


def address(url: Url, case: Case, *, request_id: uuid.UUID | None = None) -> str:
    """Return a path of that route, about the things of the small world."""
    values = {
        "request_id": str(request_id or case.request.request_id), "name": "who-had-access",
        "object_id": str(_object(url, case)), "id": str(case.world.alice.pk), "key": "some-key",
        "uidb36": "1", "content_type_id": "1", "app_label": "approvals", "url": "nothing",
        "erasure_id": str(uuid.UUID(int=0)), "log_id": "1", "leaf": "0", "part": "proof",
        "path": "0/000.p/1", "log": "0123abcd", "key_id": "1",
        "resource_id": "0", "finding_id": "0", "notice_id": "0", "campaign_id": str(uuid.UUID(int=0)), "view_id": "0",
        "saved_id": "0", "what": "pause",
    }  # fmt: skip
    path = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", lambda m: values[m[1]], url.route)
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda m: values[m[1]], path)
    path = re.sub(r"\(\[\^/\]\+\)", str(_object(url, case)), path)
    return re.sub(r"[\^$]|\\Z", "", path)


def _object(url: Url, case: Case) -> object:
    """Return the key of a real object of the model that an admin URL is about."""
    for model in admin.site._registry:
        if f"/{model._meta.app_label}/{model._meta.model_name}/" in url.route:
            return model._default_manager.values_list("pk", flat=True).first() or 1
    return 1


def signed_in(case: Case, role: str, *, csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=csrf)
    if role != "anonymous":
        client.force_login(getattr(case.world, role))
    return client


def is_of_the_admin(url: Url) -> bool:
    return fnmatchcase(url.name, OPERATORS_ONLY)


def ids(url: Any) -> str:
    return f"{url.name}-{url.route}" if isinstance(url, Url) else str(url)


DECLARED = [url for url in URLS if not is_of_the_admin(url)]
ADMIN = [url for url in URLS if is_of_the_admin(url)]


def test_every_url_is_declared_and_every_declared_one_exists() -> None:
    assert {url.name for url in DECLARED} == TABLE.keys()
    assert len(DECLARED) == len(TABLE), "two URLs share a name"
    assert ADMIN


@contextmanager
def undone() -> Iterator[None]:
    """Take back what happens inside, so that each role finds the same world."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("url", DECLARED, ids=ids)
def test_each_role_gets_what_the_table_says(case: Case, url: Url) -> None:
    body = BODIES.get(url.name, {})
    for method, role in itertools.product(("GET", "POST"), ROLES):
        with undone():
            client = signed_in(case, role)
            sent = body if method == "POST" else {}
            response = client.generic(method, address(url, case), **_form(sent))
            declared = TABLE[url.name].get(method, (405,) * 7)
            assert response.status_code == declared[ROLES.index(role)], (method, role)
            elsewhere = url.name.startswith("account") or url.name in ("favicon", "look")
            if role == "anonymous" and response.status_code == 302 and not elsewhere:
                assert response["Location"].startswith("/accounts/login/?next=/")
            if role in ("anonymous", "mallory"):
                assert case.request.reason not in b"".join(response).decode()


def _form(body: dict[str, str]) -> dict[str, Any]:
    return {"data": urlencode(body), "content_type": "application/x-www-form-urlencoded"}


def test_other_methods_are_not_allowed(world: World) -> None:
    case = Case(world, world.ask())
    client = signed_in(case, "admin")
    for url in DECLARED:
        if url.name.startswith(("account", "healthz", "readyz", "favicon")):
            continue
        for method in ("PUT", "PATCH", "DELETE"):
            assert client.generic(method, address(url, case)).status_code == 405, (url, method)


@pytest.mark.parametrize("url", [url for url in URLS if "request_id" in url.route], ids=ids)
def test_requests_that_do_not_exist_are_404_to_everybody(case: Case, url: Url) -> None:
    method = next(iter(TABLE[url.name]))
    for role in ROLES[1:]:
        path = address(url, case, request_id=uuid.uuid4())
        body = _form(BODIES.get(url.name, {}))
        assert signed_in(case, role).generic(method, path, **body).status_code == 404, role


def test_nothing_is_posted_without_a_csrf_token(world: World) -> None:
    case = Case(world, world.ask())
    for role in ("alice", "bob", "admin"):
        before = _everything()
        client = signed_in(case, role, csrf=True)
        for url in URLS:
            body = _form(BODIES.get(url.name, {}))
            response = client.generic("POST", address(url, case), **body)
            allowed = {403} if "POST" in TABLE.get(url.name, {"POST": ()}) else {403, 405}
            assert response.status_code in allowed, (url, role)
        assert _everything() == before


def _everything() -> tuple[int, ...]:
    return AccessRequest.objects.count(), Decision.objects.count(), CurrentRequest.objects.count()


def test_nothing_acts_on_get(world: World) -> None:
    case = Case(world, world.ask())
    before = _everything()
    query = {"verdict": "approve", "seen_revision": "1", "comment": "x", "state": "approved"}
    for role in ("alice", "bob"):
        client = signed_in(case, role)
        for url in DECLARED:
            if "GET" in TABLE[url.name] and url.name != "account_logout":
                client.get(address(url, case), query)
    assert _everything() == before


@pytest.mark.parametrize("role", ROLES[:-1])
def test_the_admin_is_closed_to_all_but_operators(world: World, role: str) -> None:
    case = Case(world, world.ask())
    client = signed_in(case, role)
    for url, method in itertools.product(ADMIN, ("GET", "POST")):
        if url.name in SAFE_OF_THE_ADMIN:
            continue
        response = client.generic(method, address(url, case))
        assert response.status_code in (302, 403, 404, 405), (url, method)
        if response.status_code == 302:
            assert "login" in response["Location"], (url, method)


def test_the_admin_opens_to_operators_without_an_error(world: World) -> None:
    case = Case(world, world.ask())
    client = signed_in(case, "admin")
    for url in ADMIN:
        if url.name not in SAFE_OF_THE_ADMIN:
            response = client.get(address(url, case))
            assert response.status_code in (200, 301, 302, 403, 404, 405), url


RECORDS = [
    url
    for url in ADMIN
    for model in admin.site._registry
    if issubclass(model, AppendOnly)
    and f"/{model._meta.model_name}/" in url.route
    and url.name.endswith(("_add", "_change", "_delete"))
]


def test_operators_change_no_record_in_the_admin(world: World) -> None:
    case = Case(world, world.active())
    before = _everything()
    client = signed_in(case, "admin")
    assert RECORDS
    for url in RECORDS:
        response = client.post(address(url, case), {"post": "yes"})
        assert response.status_code in (302, 403, 405), url
    assert _everything() == before
