"""What `aws_identity_center` is told, checked. No network."""

from __future__ import annotations

import re

from approvals.connectors.aws import client as aws_client
from approvals.connectors.protocol import Field, Settings

FIND_BY = ("login", "email", "email_as_login")
_INSTANCE = re.compile(r"arn:aws[a-z-]*:sso:::instance/(sso)?ins-[A-Za-z0-9.-]{16}")
_STORE = re.compile(r"d-[0-9a-z]{10}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PERMISSION_SET = re.compile(
    r"arn:aws[a-z-]*:sso:::permissionSet/(sso)?ins-[A-Za-z0-9.-]{16}/ps-[A-Za-z0-9./-]{16}"
)
_ACCOUNT = re.compile(r"[0-9]{12}")

RESOURCE_FIELDS = (
    *aws_client.RESOURCE_FIELDS,
    Field(
        name="instance_arn",
        label="Instance",
        help="The Identity Center instance: arn:aws:sso:::instance/ssoins-….",
        required=True,
    ),
    Field(
        name="identity_store_id",
        label="Identity store",
        help="The identity store of that instance: d-….",
        required=True,
    ),
    Field(
        name="find_user_by",
        label="Find the user by",
        help="What of the subject names the user there: sign-in name, e-mail address, or the "
        "e-mail address as user name.",
        choices=FIND_BY,
    ),
    Field(
        name="portal_url",
        label="Access portal",
        help="The AWS access portal that the subject signs in to, shown to them.",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(name="account_id", label="Account", help="Twelve digits.", required=True),
    Field(
        name="permission_set_arn",
        label="Permission set",
        help="The permission set: arn:aws:sso:::permissionSet/ssoins-…/ps-….",
        required=True,
    ),
)


def find_by(resource: Settings) -> str:
    """Return what of the subject names the user there."""
    return str(resource.get("find_user_by", FIND_BY[0]))


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = aws_client.errors_in(resource, known=tuple(field.name for field in RESOURCE_FIELDS))
    if not aws_client.matches(_INSTANCE, resource.get("instance_arn")):
        found.append('Set "instance_arn" to arn:aws:sso:::instance/ssoins-….')
    if not aws_client.matches(_STORE, resource.get("identity_store_id")):
        found.append('Set "identity_store_id" to the instance\'s store: d-….')
    if resource.get("find_user_by", FIND_BY[0]) not in FIND_BY:
        found.append(f'Set "find_user_by" to one of {", ".join(FIND_BY)}.')
    portal = resource.get("portal_url")
    if portal not in (None, "") and not (
        isinstance(portal, str) and portal.startswith("https://") and portal.isprintable()
    ):
        found.append('Set "portal_url" to an https address.')
    if entitlement is None:
        return found
    found += aws_client.unknown(entitlement, tuple(field.name for field in ENTITLEMENT_FIELDS))
    if not aws_client.matches(_ACCOUNT, entitlement.get("account_id")):
        found.append('Set "account_id" to the twelve digits of the account, as a text.')
    if not aws_client.matches(_PERMISSION_SET, entitlement.get("permission_set_arn")):
        found.append('Set "permission_set_arn" to arn:aws:sso:::permissionSet/ssoins-…/ps-….')
    return found
