"""Configuration in the Django admin: for operators, with history, and records to look at only.

Whatever is changed here keeps every version of itself. Nothing is deleted: people are deactivated,
resources and entitlements retired, since records name them.
"""

import allauth.account.admin  # noqa: F401 - registers what is unregistered below
import django.contrib.auth.admin  # noqa: F401 - likewise
from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.models import Group as PermissionGroup

from approvals.admin import catalogue, grouping, memberships, people, records

__all__ = ["catalogue", "grouping", "memberships", "people", "records"]

# Permissions come from directory groups with a portal role, addresses from the person.
for model in (PermissionGroup, EmailAddress):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

admin.site.site_title = admin.site.site_header = "jitportal configuration"
admin.site.index_title = "Configure"
admin.site.get_app_list = grouping.app_list  # type: ignore[method-assign]
admin.site.app_index = grouping.app_index  # type: ignore[method-assign,assignment]
# The portal's own navigation stands there.
admin.site.enable_nav_sidebar = False
# One way in, with its rate limits: the portal's own sign-in page.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
