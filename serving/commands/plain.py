"""What is told of a wrong option: in words of the terminal, not of a library."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from recsys.config import describe_fault


class PlainGroup(TyperGroup):
    """Commands whose usage errors are in plain words."""

    def invoke(self, ctx: Any) -> Any:
        """Run what was typed.

        Raises:
            typer.BadParameter: An option or an argument has a wrong value.
        """
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _plain(error)
            raise


def _plain(error: typer.BadParameter) -> str:
    cause = error.__cause__
    faults = cause.errors() if isinstance(cause, ValidationError) else []
    told = [
        str(fault["ctx"]["error"]) if fault["type"] == "value_error" else describe_fault(fault, "it")
        for fault in faults
    ]
    return "; ".join(told) or error.message
