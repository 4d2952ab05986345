"""Every address of the portal."""

from django.contrib import admin
from django.urls import include, path

handler500 = "approvals.portal.errors.server_error"
urlpatterns = [
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("", include("approvals.portal.urls")),
]
