"""What a browser calls itself, in words: `Chrome on Linux` instead of its user agent.

Lives here: the names that are well known, and where they stand. It is a help to readers and proves
nothing: anybody can send any user agent. The whole of it stays recorded beside.
"""

import re

_MOST = 60

#: In this order: most browsers also claim to be those below them.
_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/"),
    ("Opera", r"\b(?:OPR|Opera)/"),
    ("Vivaldi", r"\bVivaldi/"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/"),
    ("Chrome", r"\b(?:Headless)?(?:Chrome|Chromium|CriOS)/"),
    ("Safari", r"\bVersion/[\d.]+.*\bSafari/"),
)
_SYSTEMS = (
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac(?:intosh| OS X)\b"),
    ("Linux", r"\b(?:Linux|X11)\b"),
)
_PROGRAM = re.compile(r"(curl|Wget|python-requests|Go-http-client|okhttp|PostmanRuntime)/")


def words(agent: str) -> str:
    """Return the browser and the system that a user agent names, or its beginning as it is."""
    browser, system = _first(_BROWSERS, agent), _first(_SYSTEMS, agent)
    if browser and system:
        return f"{browser} on {system}"
    if found := _PROGRAM.match(agent):
        return found[1]
    if browser:
        return browser
    return agent if len(agent) <= _MOST else f"{agent[:_MOST]}…"


def _first(known: tuple[tuple[str, str], ...], agent: str) -> str:
    return next((name for name, mark in known if re.search(mark, agent)), "")
