"""Why the portal refuses: one exception for each kind of answer that a caller must give.

Every refusal carries a `code` for programs and a message that tells a person what to do.
"""


class Refusal(Exception):
    """The request to the portal was understood and refused; nothing was changed."""

    status = 409

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Invalid(Refusal):
    """What was sent makes no sense: a wrong duration, a past start, a text that is too long."""

    status = 400

    def __init__(self, message: str, *, field: str = "", code: str = "invalid") -> None:
        super().__init__(message, code=code)
        self.field = field


class NotAllowed(Refusal):
    """This person may not do that (now)."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or it is none of this person's business."""

    status = 404

    def __init__(self, message: str = "There is no such request.") -> None:
        super().__init__(message, code="not_found")


class Settled(Refusal):
    """The request has moved to a state in which this can't be done any more."""


class StaleRevision(Refusal):
    """The request changed after it was looked at; look again before deciding."""

    def __init__(self, message: str, *, current: int | None = None) -> None:
        super().__init__(message, code="stale")
        self.current = current
