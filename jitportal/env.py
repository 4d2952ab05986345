"""Typed readers of environment variables, each read in one place and documented by its own line.

A variable `NAME` may also be given as `NAME_FILE`, the path of a file that holds the value, as is
how container platforms hand over secrets. A wrong value stops the start with a sentence that names
the variable and what it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environs import Env, FileAwareEnv
from environs.exceptions import EnvError

_env = FileAwareEnv(strip_whitespace=True)


@dataclass(frozen=True)
class Variable:
    """One documented setting: what it is called, what it takes, what holds when it is absent."""

    name: str
    kind: str
    default: Any
    help: str
    secret: bool = False


VARIABLES: dict[str, Variable] = {}


def _read(
    kind: str, reader: Callable[..., Any], name: str, default: Any, help: str, secret: bool
) -> Any:
    VARIABLES[name] = Variable(name, kind, default, help, secret)
    try:
        return reader(name, default)
    except (EnvError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} must be {kind}: {error}. {help}") from error


def text(name: str, default: str, help: str, *, secret: bool = False) -> str:
    """Read a string. Raises: ImproperlyConfigured when its file can't be read."""
    value: str = _read("text", _env.str, name, default, help, secret)
    return value


def flag(name: str, default: bool, help: str) -> bool:
    """Read a yes/no value (1, true, yes, on / 0, false, no, off)."""
    value: bool = _read("yes or no", _env.bool, name, default, help, False)
    return value


def whole(name: str, default: int, help: str, *, least: int = 0) -> int:
    """Read a whole number of at least `least`. Raises: ImproperlyConfigured."""
    value: int = _read("a whole number", _env.int, name, default, help, False)
    if value < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}, not {value}. {help}")
    return value


def seconds(name: str, default: float, help: str) -> float:
    """Read a length of time in seconds, above zero. Raises: ImproperlyConfigured."""
    value: float = _read("a number of seconds", _env.float, name, default, help, False)
    if not 0 < value < 1e9:
        raise ImproperlyConfigured(f"{name} must be more than 0 seconds, not {value}. {help}")
    return value


def words(name: str, default: list[str], help: str) -> list[str]:
    """Read a comma-separated list."""
    value: list[str] = _read("a comma-separated list", _env.list, name, default, help, False)
    return [word.strip() for word in value if word.strip()]


def url(
    name: str, default: str, help: str, *, schemes: tuple[str, ...], secret: bool = False
) -> str:
    """Read a URL of one of `schemes` (or nothing). Raises: ImproperlyConfigured."""
    value = text(name, default, help, secret=secret)
    VARIABLES[name] = Variable(name, "a URL", default, help, secret)
    if value and urlsplit(value).scheme not in schemes:
        allowed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must begin with one of {allowed}. {help}")
    return value


__all__ = ["VARIABLES", "Env", "Variable", "flag", "seconds", "text", "url", "whole", "words"]
