"""A text of the policy in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from recsys.config import RunConfig, readable
from recsys.domain import Language

_LONGEST = 300


class Wording(RunConfig):
    """What people read, in Russian and English.

    Attributes:
        ru: In Russian.
        en: In English.

    Example:
        >>> Wording(ru="Только для VIP", en="VIP only").in_language(Language.EN)
        'VIP only'
    """

    ru: str = Field(min_length=1, max_length=_LONGEST)
    en: str = Field(min_length=1, max_length=_LONGEST)

    _is_readable = field_validator("ru", "en")(readable)

    @model_validator(mode="before")
    @classmethod
    def _both_languages(cls, value: Any) -> Any:
        if isinstance(value, Mapping | Wording):
            return value
        raise ValueError("people read this in both languages; write {ru: …, en: …}")

    def in_language(self, language: Language) -> str:
        """The text in a language."""
        return self.ru if language is Language.RU else self.en
