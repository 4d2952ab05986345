"""What the admin's start page lists: in groups by what it is for, not by application."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

_CATALOGUE = ("Resource", "Entitlement", "Policy")
_PEOPLE = ("User", "Group", "Membership")


def app_list(request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
    """Return the groups with the models that this operator may open; none that is empty.

    Whatever is neither of the catalogue nor of people is a record.
    """
    apps = admin.site._build_app_dict(request, app_label)
    models = {each["object_name"]: each for app in apps.values() for each in app["models"]}
    named = {*_CATALOGUE, *_PEOPLE}
    rest = [each for name, each in models.items() if name not in named]
    groups = (
        ("catalogue", "Catalogue", [models[name] for name in _CATALOGUE if name in models]),
        ("people", "People", [models[name] for name in _PEOPLE if name in models]),
        ("records", "Records, to read only", sorted(rest, key=lambda each: str(each["name"]))),
    )
    return [
        {
            "name": title,
            "app_label": label,
            "app_url": reverse("admin:index"),
            "has_module_perms": True,
            "models": found,
        }
        for label, title, found in groups
        if found
    ]


def app_index(
    request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
) -> HttpResponse:
    """Show the start page: there is one application for whoever configures."""
    return admin.site.index(request, extra_context)
