"""The time that counts: the database's, so that no host's clock can move due work."""

from audit.selectors.clock import now

__all__ = ["now"]
