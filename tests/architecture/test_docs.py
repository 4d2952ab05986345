"""The documents tell the truth: links, commands, settings, states, examples, queries."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.db import connection, transaction

from approvals.connectors.portal import PortalGroup
from approvals.connectors.postgres_role import PostgresRole
from approvals.domain import cases, chain, documents, policy, states, windows
from approvals.domain.states import Event

ROOT = Path(settings.BASE_DIR)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BY_NAME = {path.name: path for path in DOCUMENTS}
PRODUCT = ("approvals", "audit", "jitportal")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def text(name: str) -> str:
    return BY_NAME[name].read_text(encoding="utf-8")


def tables(name: str, *titles: str) -> Iterator[list[str]]:
    """Yield the rows of every table with exactly these column titles."""
    inside = False
    for line in text(name).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif tuple(cells) == titles:
            inside = True
        elif inside and not line.startswith("|---"):
            yield cells


def blocks(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, also those that stand indented in a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```",
        path.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [body for _, body in found]


def code(path: Path) -> str:
    """Return everything in a document that is set as code."""
    whole = path.read_text(encoding="utf-8")
    fenced = re.findall(r"```\w*\n(.*?)```", whole, re.DOTALL)
    rest = re.sub(r"```.*?```", "", whole, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`]+)`", rest)])


@cache
def files() -> tuple[str, ...]:
    """Return the path of each file that is or would be under git."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def sources() -> str:
    found = (ROOT / name for name in files() if name.startswith(PRODUCT) and name.endswith(".py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


# -- links and commands


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    whole = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", whole, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_document
def test_every_relative_link_resolves(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_file(), f"{path.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(file), f"{path.name} links to no heading: {target}"


def test_every_document_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", text("README.md")))
    assert linked >= {path.name for path in DOCUMENTS} - {"README.md"}


@each_document
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?m)(?:^|[ `&])make ([a-z][\w-]*)", code(path)))
    assert named <= targets, f"{path.name} names make {sorted(named - targets)}"


@each_document
def test_every_management_command_exists(path: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z]\w*)", code(path)))
    assert named <= set(get_commands()), f"{path.name} names {sorted(named - set(get_commands()))}"


@each_document
def test_every_path_of_the_repository_exists(path: Path) -> None:
    rooms = "|".join((*PRODUCT, "tests", "docs"))
    for name in set(re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w./-]*\w)", code(path))):
        if not name.startswith("docs/"):
            assert (ROOT / name).exists(), f"{path.name} names {name}, which is not there"


# -- settings

_VARIABLES = """
import json
from jitportal import env, settings
print(json.dumps({v.name: [v.kind, v.default, v.help, v.secret] for v in env.VARIABLES.values()}))
"""


def variables() -> dict[str, list[Any]]:
    """Return what the settings read, as a production process does: some are read with https only."""
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "x" * 60,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "PORTAL_URL": "https://access.example.com",
    }
    answer = subprocess.run(
        [sys.executable, "-c", _VARIABLES],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found: dict[str, list[Any]] = json.loads(answer.stdout)
    return found


def _default(name: str, value: Any) -> str:
    if name in {"SECRET_KEY", "DATABASE_URL"}:
        return "none: required"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("", []):
        return "empty"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def test_the_table_of_settings_is_what_the_settings_read() -> None:
    written = {
        row[0].strip("`"): row[1:]
        for row in tables("configuration.md", "name", "takes", "default", "what for", "secret")
    }
    read = {
        name: [kind, _default(name, default), purpose, "yes" if secret else "no"]
        for name, (kind, default, purpose, secret) in variables().items()
    }
    assert written == read


def test_nothing_else_is_read_from_the_environment_unsaid() -> None:
    pattern = r"""os\.environ(?:\.get\(|\[)"([A-Z][A-Z0-9_]*)"|getenv\("([A-Z][A-Z0-9_]*)\""""
    read = {one or other for one, other in re.findall(pattern, sources())}
    own = {"DJANGO_SETTINGS_MODULE", "PATH"}
    said = {row[0].strip("`") for row in tables("configuration.md", "name", "what for")}
    assert read - own <= said | set(variables())
    assert {name for name in said if f'"{name}"' not in sources()} == set()


# -- states and rules


def test_the_table_of_states_is_the_machine() -> None:
    written = list(
        tables("how-it-works.md", "transition", "from", "to", "event", "only if", "who causes it")
    )
    assert written == [
        [arrow.name, arrow.source, ", ".join(arrow.targets), arrow.event, arrow.guard, arrow.actor]
        for arrow in states.TRANSITIONS
    ]
    assert states.STAYING == (Event.VOTED, Event.ESCALATED)


def test_the_table_of_topics_is_the_event_map() -> None:
    from approvals import handlers
    from approvals.outbox import queue

    rows = list(tables("how-it-works.md", "topic", "lane", "what happens"))
    assert {row[0].strip("`") for row in rows} == set(handlers.HANDLERS)
    assert {row[1] for row in rows} == set(queue.LANES)


def test_every_example_of_a_policy_is_one() -> None:
    found = 0
    for path in DOCUMENTS:
        for block in blocks(path, "json"):
            document = json.loads(block)
            if "rules" in document:
                policy.parse(document)
                found += 1
    assert found >= 3


def test_every_example_of_a_case_agrees() -> None:
    found = [json.loads(block) for block in blocks(BY_NAME["chain-cases.md"], "json")]
    assert found
    for case in found:
        assert cases.run(case) == []
        assert case["ask"], "a case that asks nothing shows nothing"


def test_every_example_of_settings_is_accepted() -> None:
    for connector in (PostgresRole(), PortalGroup()):
        page = ROOT / "docs" / "connectors" / f"{connector.key}.md"
        examples = [json.loads(block) for block in blocks(page, "json")]
        assert examples, connector.key
        for example in examples:
            assert connector.validate(resource_settings={}, entitlement_settings=example) == []


def test_the_limits_of_policies_are_the_codes() -> None:
    written = {
        name: int(value.replace(",", "")) for name, value in tables("policies.md", "limit", "value")
    }
    assert chain.WITHIN_MAX_SECONDS == policy.LONGEST_MAX_SECONDS
    assert written == {
        "Rules in a policy": policy.RULES_MAX,
        "Groups in a rule": policy.GROUPS_MAX,
        "Levels in a chain": chain.LEVELS_MAX,
        "Windows of a rule": windows.WINDOWS_MAX,
        "Escalation steps of a level": chain.STEPS_MAX,
        "Sources in a list": chain.SOURCES_MAX,
        "Quorum": chain.QUORUM_MAX,
        "Managers upwards (`of`)": chain.MANAGER_DEPTH_MAX,
        "Longest duration and response time, seconds": policy.LONGEST_MAX_SECONDS,
        "Characters of `reason_min`": policy.REASON_MIN_MAX_CHARS,
        "Characters of a name": documents.NAME_MAX_CHARS,
        "Reminders between two due moments": chain.REMINDERS_MAX,
    }


# -- running it


def test_every_event_of_the_log_that_is_explained_is_logged() -> None:
    whole = sources()
    rows = list(tables("production.md", "event", "means"))
    assert rows
    for row in rows:
        for event in re.findall(r"`([\w.]+)`", row[0]):
            assert f'"{event}"' in whole, f"nothing logs {event}"


@pytest.mark.django_db
def test_every_query_to_watch_by_runs() -> None:
    queries = blocks(BY_NAME["production.md"], "sql")
    assert len(queries) >= 4
    for query in queries:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(query)
            cursor.fetchall()


def test_the_leaders_lock_is_the_one_to_watch() -> None:
    from jitportal import schedule

    assert f"objid = {schedule._LEADER_LOCK} " in text("production.md")


# -- what no file may say

#: Written in pieces, so that this file doesn't say it either.
NEVER = {
    "a package registry's host": "|".join(
        re.escape("".join(parts))
        for parts in (
            ("py", "pi.org"), ("python", "hosted.org"), ("registry.", "npmjs"), ("regis", "try.yarnpkg"),
            ("crates", ".io"), ("proxy.", "golang.org"),
        )
    ),
    "a folder of the machine that it was written on": r"(?<![\w.~}-])/wo" + r"rk(?![\w-])|\.\./sha" + "red",
    "a number of our tracker": r"(?i)\bissue\s*" + r"#|\bissue " + r"\d",
}  # fmt: skip


@pytest.mark.parametrize("what", NEVER)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(NEVER[what])
    for name in files():
        try:
            whole = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = pattern.search(whole)
        assert found is None, f"{name} names {what}: {found and found[0]!r}"
