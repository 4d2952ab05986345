"""What trouble with processes means and what to do, for mails, the operators' page and `doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One kind of trouble in plain words. `over` is said when it has ended."""

    title: str
    means: str
    do: str
    over: str


_QUEUES = {
    "due": (
        "Access whose time is up is not removed, and nothing is escalated or lapses.",
        "systemctl status jitportal-due",
    ),
    "provisioning": (
        "No access is made at the targets, and none is removed from them.",
        "systemctl status jitportal-provisioning",
    ),
    "notices": (
        "Nobody is mailed, so approvers do not hear of what waits for them. Targets are not looked "
        "at, access reviews do not move on, and nobody outside is shown the ledger's checkpoints.",
        "systemctl status jitportal-notices",
    ),
    "news": (
        "Nobody is told that their access has ended.",
        "systemctl status jitportal-notices",
    ),
}


def about(kind: str) -> Words:
    """Return the words for a kind of incident, as `selectors.processes` names them."""
    family, _, name = kind.rpartition(":")
    if kind == "beat":
        return Words(
            "Beat is silent",
            "Workers look by themselves, every second, for access whose time is up, for silent "
            "levels and for what waits in the outbox, so that goes on, a little later than usual. "
            "Access reviews, scheduled reports, looks at targets and the daily jobs are not begun.",
            "Start beat, and read its log: systemctl status jitportal-beat. A second beat on "
            "another host takes over by itself.",
            "Beat is back",
        )
    if kind == "ends":
        return Words(
            "Access is overdue",
            "People hold access whose time is up, because no sweep ends it.",
            "Look at the log of the worker of the queue due for work.ends, and restart it. The "
            "sweep ends everything that is overdue as soon as it runs.",
            "No access is overdue any more",
        )
    if kind == "undecidable":
        return Words(
            "Requests wait that nobody can decide",
            "Of those whom their level asks nobody is there, or only who may not decide: the group "
            "is empty, the manager is missing, or they asked for it themselves. Without anybody "
            "the requests escalate or lapse when their time is up.",
            "Open each (the Audit log finds it by its reference), and put somebody into the group "
            "that its level asks, or give the person a manager: whoever comes is asked at once. "
            "For later requests give the level a fallback in its policy.",
            "Somebody can decide on every request again",
        )
    if family == "target":
        return Words(
            f"{name} does not answer",
            "No access is made or removed there; whoever has access keeps it. Other targets are "
            "not held up.",
            "Look whether the system runs, is reachable from the workers, and still takes its "
            "secret: `manage.py doctor` asks it. What waits is done at once when it answers; "
            "“Try again” on any of it asks now instead of within a minute.",
            f"{name} answers again",
        )
    if family == "unseen":
        return Words(
            f"{name} can’t be observed",
            "Access that somebody adds or takes away there, and access that is still there after "
            "its end, is not noticed. Granting and removing may work all the same.",
            "Read what it said, on the page Targets (/access/drift/): mostly the portal’s account "
            "there may no longer list who has access. Mend it, then “Look now”.",
            f"{name} is observed again",
        )
    means, status = _QUEUES.get(name, ("Its work is not done.", ""))
    if family == "queue":
        return Words(
            f"No message reaches the worker of {name}",
            "Beat and the worker live, but nothing comes through the broker. Workers look by "
            "themselves, every second, for what is due, so that goes on, a little later than "
            f"usual; what beat alone begins stays. Where the worker hangs: {means}",
            "Look whether the broker answers and has room, and whether all threads of the worker "
            f"hang: {status}. `manage.py doctor` asks the broker.",
            f"Messages reach the worker of {name} again",
        )
    if family == "lane":
        return Words(
            f"Work of the lane {name} is not taken",
            f"Work is due and nobody begins it. {means}",
            f"Look at the worker's log, and start more workers if it is only busy: {status}.",
            f"Work of the lane {name} is taken again",
        )
    return Words(
        f"The worker of {name} is silent",
        means,
        f"Start it, and read its log: {status}.",
        f"The worker of {name} is back",
    )
