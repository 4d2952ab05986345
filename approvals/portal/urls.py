"""Addresses of the pages."""

from django.urls import path

from approvals.portal import (
    asking,
    audit,
    catalogue,
    detail,
    health,
    inbox,
    mailbox,
    my_access,
    reports,
    settings,
)

urlpatterns = [
    path("", my_access.page, name="my_access"),
    path("catalogue/", catalogue.page, name="catalogue"),
    path("requests/new/", asking.page, name="request_new"),
    path("requests/new/preview/", asking.preview, name="request_preview"),
    path("requests/<uuid:request_id>/", detail.page, name="request"),
    path("requests/<uuid:request_id>/status/", detail.status, name="request_status"),
    path("requests/<uuid:request_id>/cancel/", detail.cancel, name="request_cancel"),
    path("requests/<uuid:request_id>/end/", detail.end, name="request_end"),
    path("requests/<uuid:request_id>/decide/", inbox.decide, name="request_decide"),
    path("inbox/", inbox.page, name="inbox"),
    path("inbox/decided/", inbox.decided, name="inbox_decided"),
    path("reports/", reports.index, name="reports"),
    path("reports/<slug:name>/", reports.page, name="report"),
    path("reports/<slug:name>/csv/", reports.csv, name="report_csv"),
    path("audit/", audit.page, name="audit"),
    path("settings/", settings.page, name="settings"),
    path("demo/mail/", mailbox.page, name="demo_mail"),
    path("demo/mail/<str:name>/", mailbox.message, name="demo_message"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
]
