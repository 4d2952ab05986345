"""Account assignments in AWS IAM Identity Center.

Told in docs/connectors/aws_identity_center.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.aws_identity_center.connector import IdentityCenter

__all__ = ["CONNECTOR", "IdentityCenter"]

CONNECTOR = IdentityCenter()
