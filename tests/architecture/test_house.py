"""The house: sizes, rooms, who may import whom, and nothing that nobody uses."""

import re
import subprocess
import sys
from pathlib import Path

import allauth
import django
import pytest
from django.conf import settings
from django.template.loader import get_template

from tests.architecture.test_docs import PRODUCT, ROOT, files

LINES_MOST = 400
#: One file on purpose: an auditor carries it away and runs it alone.
ONE_FILE = {"audit/domain/verifier.py"}
TOP = {
    "manage.py", "pyproject.toml", "README.md", "jitportal", "approvals", "audit", "templates",
    "tests", "docs", "Makefile", ".ci", ".gitignore", "requirements.lock", "requirements-dev.lock",
    "deploy", ".dockerignore",
}  # fmt: skip

#: Templates that a framework looks up by name, and where it has its own of that name.
_FRAMEWORKS = (
    Path(allauth.__file__).parent / "templates",
    Path(django.__file__).parent / "contrib" / "admin" / "templates",
)
#: Names that Django and allauth look for without having one.
_BY_NAME = {
    "400.html", "403.html", "403_csrf.html", "404.html", "429.html", "500.html",
    "account/email/password_reset_key_message.html", "account/email/unknown_account_message.html",
}  # fmt: skip


def modules(*, migrations: bool) -> list[str]:
    """Return the product's modules: its migrations, or all others."""
    return [
        name
        for name in files()
        if name.startswith(tuple(f"{room}/" for room in PRODUCT))
        and name.endswith(".py")
        and ("/migrations/" in name) is migrations
    ]


def test_no_module_is_too_long() -> None:
    long = {
        name: count
        for name in modules(migrations=False)
        if name not in ONE_FILE
        and (count := len((ROOT / name).read_text(encoding="utf-8").splitlines())) > LINES_MOST
    }
    assert long == {}


def test_the_top_level_has_nothing_else() -> None:
    found = {name.partition("/")[0] for name in files()}
    assert found - TOP == set()


def test_ci_installs_every_program_that_tests_require() -> None:
    told = re.compile(r'package="([a-z0-9-]+)"|apt install ([a-z0-9 -]+)"|package `([a-z0-9-]+)`')
    needed = {
        package
        for name in files()
        if name.startswith("tests/") and name.endswith(".py")
        for found in told.finditer((ROOT / name).read_text(encoding="utf-8"))
        for package in " ".join(filter(None, found.groups())).split()
    }
    installed = set(re.findall(r"[a-z0-9-]+", (ROOT / ".ci" / "run").read_text(encoding="utf-8")))
    assert {"chromium", "ldap-utils", "libc6-dev"} <= needed
    assert needed - installed == set()


def test_nothing_but_an_old_version_of_a_server_skips_a_test() -> None:
    """What is missing is said by `tests.programs`, which fails where nobody reads of it."""
    skip = re.compile(r"pytest\.(?:skip|importorskip)\((?!\"(?:[a-z ]+ )?before \d+)")
    found = [
        f"{name}: {line.strip()}"
        for name in files()
        if name.startswith("tests/") and name.endswith(".py") and name != "tests/programs.py"
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if skip.search(line)
    ]
    assert found == []
    assert "export CI=1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_locks_are_whole() -> None:
    """They're installed without resolving, so a package that a lock lacks shows only here."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_no_connector_reads_the_host_s_clock() -> None:
    """What time it is, they are told; how long something takes, `monotonic` says."""
    clock = re.compile(r"datetime\.(now|utcnow|today)\(|\btime\.time\(|timezone\.now\(")
    found = [
        f"{name}: {line.strip()}"
        for name in modules(migrations=False)
        if name.startswith("approvals/connectors/")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if clock.search(line)
    ]
    assert found == []


def test_every_migration_has_a_name_that_somebody_gave() -> None:
    names = [Path(name).name for name in modules(migrations=True)]
    assert len(names) > len(PRODUCT) - 1
    for name in names:
        if name != "__init__.py":
            assert re.fullmatch(r"\d{4}_[a-z][a-z0-9_]*\.py", name), name
            # What makemigrations calls them when nobody does.
            automatic = r"\d{4}_(auto|alter|remove|delete|rename)_|_and_more\.py$|_squashed_"
            assert not re.search(automatic, name), name


# -- templates


def templates() -> dict[str, str]:
    """Return every template of ours by the name that it is loaded by."""
    return {
        name.removeprefix("templates/"): (ROOT / name).read_text(encoding="utf-8")
        for name in files()
        if name.startswith("templates/")
    }


def named() -> set[str]:
    """Return every name of a template that stands in code or in another template."""
    found: set[str] = set()
    for name in modules(migrations=False):
        whole = (ROOT / name).read_text(encoding="utf-8")
        found.update(re.findall(r"""["']([\w/-]+\.(?:html|txt))["']""", whole))
    for whole in templates().values():
        found.update(re.findall(r"""{%-? *(?:include|extends) +["']([^"']+)["']""", whole))
    return found


def test_every_template_is_used() -> None:
    used = named() | _BY_NAME
    unused = [
        name
        for name in templates()
        if name not in used and not any((folder / name).is_file() for folder in _FRAMEWORKS)
    ]
    assert unused == []


@pytest.mark.parametrize(
    "name", sorted(named() & {*templates()} | {n for n in named() if "/" in n})
)
def test_every_template_that_is_named_exists(name: str) -> None:
    get_template(name)


def test_templates_come_from_one_folder() -> None:
    assert settings.TEMPLATES[0]["DIRS"] == [ROOT / "templates"]
    assert [n for n in files() if "/templates/" in n and n.startswith(PRODUCT)] == []
