"""SSH certificates of an authority that sshd trusts.

Told in docs/connectors/ssh_certificate.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.ssh_certificate.connector import SshCertificate

__all__ = ["CONNECTOR", "SshCertificate"]

CONNECTOR = SshCertificate()
