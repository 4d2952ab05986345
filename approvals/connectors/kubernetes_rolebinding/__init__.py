"""A role in a Kubernetes cluster.

Told in docs/connectors/kubernetes_rolebinding.md, done in `connector`; its settings are in
`settings`.
"""

from approvals.connectors.kubernetes_rolebinding.connector import KubernetesRoleBinding

__all__ = ["CONNECTOR", "KubernetesRoleBinding"]

CONNECTOR = KubernetesRoleBinding()
