"""The fields that a new password is chosen in, wherever that is."""

from __future__ import annotations

from typing import Any

from wtforms import Form, PasswordField, ValidationError
from wtforms.validators import InputRequired

from mail6m.access.passwords import too_weak
from mail6m.web.menu import N_


class NewPasswordForm(Form):
    """A new password, twice."""

    new = PasswordField(
        N_("Nouveau mot de passe"), [InputRequired(N_("Indiquez un nouveau mot de passe."))]
    )
    again = PasswordField(
        N_("Une deuxième fois"), [InputRequired(N_("Répétez le nouveau mot de passe."))]
    )

    def __init__(self, given: Any = None, email: str = "") -> None:
        self.email = email
        super().__init__(given)

    def validate_new(self, field: PasswordField) -> None:
        """Not one that is soon guessed."""
        if too_weak(field.data or "", self.email):
            raise ValidationError(
                N_("Trop facile à deviner : prenez au moins 12 caractères, et pas votre adresse.")
            )

    def validate_again(self, field: PasswordField) -> None:
        """The same one."""
        if field.data != self.new.data:
            raise ValidationError(N_("Les deux mots de passe ne sont pas les mêmes."))
