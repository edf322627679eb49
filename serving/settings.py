"""What an operator of the service sets: ``RECSYS_*`` variables, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.config import describe
from recsys.errors import ConfigError


class Settings(BaseSettings):
    """Every setting of the service; the variable is the name in capitals after ``RECSYS_``.

    Example:
        >>> Settings(port=9090).port
        9090
    """

    model_config = SettingsConfigDict(env_prefix="RECSYS_", frozen=True, extra="forbid")

    database_url: str = Field(
        "sqlite:///recsys.db",
        min_length=1,
        repr=False,
        description="where clients, decisions and events live: sqlite:///FILE or postgresql://USER@HOST/NAME",
    )
    bundles_dir: Path | None = Field(
        None,
        description="folder of bundles, the newest is served; without one, lists follow the catalogue",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    workers: int = Field(1, ge=1, le=64, description="server processes")
    is_portal_enabled: bool = Field(False, description="whether the demo portal is served under /portal")
    max_body_bytes: int = Field(
        1_048_576, ge=1024, description="longest request body; a longer one is refused with status 413"
    )
    score_cache_size: int = Field(
        50_000, ge=0, description="clients whose scores are kept in memory by each worker; 0 keeps none"
    )
    time_zone: str = Field("UTC", description="days and months are midnights of this zone")

    @field_validator("time_zone")
    @classmethod
    def _is_known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("no such time zone; write one like Europe/Moscow") from error
        return value


def read_settings(overrides: Mapping[str, object]) -> Settings:
    """The settings of the environment; those given here go before it.

    Raises:
        ConfigError: A variable has a wrong value; the text names it and what was expected.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(f"settings (RECSYS_*): {describe(error)}") from error
