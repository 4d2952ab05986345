"""Tables of the portal. Fields, constraints and FSM transitions; use cases live in services."""

from approvals.directory.models import Group, Membership, PublicKey, User
from approvals.models.catalogue import Entitlement, Policy, Resource
from approvals.models.decision import Decision
from approvals.models.evidence import GrantEvent, Notice
from approvals.models.export import ReportExport
from approvals.models.finding import Finding, Observation
from approvals.models.handing_over import RequestHandover
from approvals.models.handover import Handover
from approvals.models.heartbeat import Heartbeat, Incident
from approvals.models.message import RequestMessage
from approvals.models.notice_centre import NoticeEntry, NoticePreferences
from approvals.models.pointer import Asked, CurrentRequest, Waiting
from approvals.models.refused import RefusedAttempt
from approvals.models.repeat import KeyedWrite
from approvals.models.report_schedule import ReportRun, ReportSchedule, SavedReport
from approvals.models.request import AccessRequest
from approvals.models.review import ReviewCampaign, ReviewDecision, ReviewItem, ReviewShown
from approvals.models.shelf import Favourite, SavedView
from approvals.models.signin import SignIn
from approvals.outbox.models import Circuit, OutboxItem

__all__ = [
    "AccessRequest",
    "Asked",
    "Circuit",
    "CurrentRequest",
    "Decision",
    "Entitlement",
    "Favourite",
    "Finding",
    "GrantEvent",
    "Group",
    "Handover",
    "Heartbeat",
    "Incident",
    "KeyedWrite",
    "Membership",
    "Notice",
    "NoticeEntry",
    "NoticePreferences",
    "Observation",
    "OutboxItem",
    "Policy",
    "PublicKey",
    "RefusedAttempt",
    "ReportExport",
    "ReportRun",
    "ReportSchedule",
    "RequestHandover",
    "RequestMessage",
    "Resource",
    "ReviewCampaign",
    "ReviewDecision",
    "ReviewItem",
    "ReviewShown",
    "SavedReport",
    "SavedView",
    "SignIn",
    "User",
    "Waiting",
]
