"""Every address of the portal."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from approvals.portal import errors

handler500 = "approvals.portal.errors.server_error"
urlpatterns = [
    # An address is the directory's to change: it decides who gets a person's notices.
    path("accounts/email/", errors.not_here, name="no_email_form"),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("jitportal/favicon.svg")), name="favicon"),
    path("ledger/", include("audit.api.urls")),
    path("", include("approvals.portal.urls")),
]
