"""Access at a system whose own receiver is told.

Told in docs/connectors/webhook.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.webhook.connector import Webhook

__all__ = ["CONNECTOR", "Webhook"]

CONNECTOR = Webhook()
