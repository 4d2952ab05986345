"""Tables of the portal. Fields, constraints and FSM transitions; use cases live in services."""

from approvals.directory.models import Group, Membership, PublicKey, User
from approvals.models.catalogue import Entitlement, Policy, Resource
from approvals.models.decision import Decision
from approvals.models.evidence import GrantEvent, Notice
from approvals.models.export import ReportExport
from approvals.models.handover import Handover
from approvals.models.pointer import Asked, CurrentRequest, Waiting
from approvals.models.request import AccessRequest
from approvals.models.signin import SignIn
from approvals.outbox.models import Circuit, OutboxItem

__all__ = [
    "AccessRequest",
    "Asked",
    "Circuit",
    "CurrentRequest",
    "Decision",
    "Entitlement",
    "GrantEvent",
    "Group",
    "Handover",
    "Membership",
    "Notice",
    "OutboxItem",
    "Policy",
    "PublicKey",
    "ReportExport",
    "Resource",
    "SignIn",
    "User",
    "Waiting",
]
