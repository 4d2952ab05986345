"""Short sessions of an AWS role.

Told in docs/connectors/aws_sts.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.aws_sts.connector import StsSession

__all__ = ["CONNECTOR", "StsSession"]

CONNECTOR = StsSession()
