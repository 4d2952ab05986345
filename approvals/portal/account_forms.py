"""The sign-in forms, in the portal's words: labels in sentence case, and no label told twice."""

from typing import Any

from allauth.account import forms


class _Plain:
    """A form whose labels read as sentences and whose fields have no placeholder."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields  # type: ignore[attr-defined]
        for field in fields.values():
            field.label = str(field.label or "").capitalize()
            field.widget.attrs.pop("placeholder", None)


class Login(_Plain, forms.LoginForm):  # type: ignore[misc]
    """Signing in, by name or address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "Sign-in name or e-mail"


class ChangePassword(_Plain, forms.ChangePasswordForm):  # type: ignore[misc]
    """Another password, by whoever knows the old one."""


class SetPassword(_Plain, forms.SetPasswordForm):  # type: ignore[misc]
    """A first password."""


class ResetPassword(_Plain, forms.ResetPasswordForm):  # type: ignore[misc]
    """The address that a link is sent to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail"


class ResetPasswordKey(_Plain, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Another password, by whoever has the link."""


class Reauthenticate(_Plain, forms.ReauthenticateForm):  # type: ignore[misc]
    """The password once more."""
