"""What an operator of the service sets: ``RECSYS_*`` variables, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.config import describe_fault
from recsys.errors import ConfigError

_OPTIONS: Mapping[str, str] = MappingProxyType({"bundles_dir": "--bundles", "is_portal_enabled": "--portal"})
"""Options of `recsys-serve run` that are not called as the setting is."""


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
        description="folder of bundles; the one that is live is served, the newest where nobody promoted one;"
        " without a folder, lists follow the catalogue",
    )
    shadow_share: float = Field(
        0.05, ge=0, le=1, description="share of the decisions that a bundle in shadow is tried on"
    )
    journal_dir: Path = Field(
        Path("recsys-journal"),
        description="folder on this machine's disk where decisions wait while the database is away",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    workers: int = Field(1, ge=1, le=64, description="server processes")
    is_portal_enabled: bool = Field(False, description="whether the demo portal is served under /portal")
    max_body_bytes: int = Field(
        1_048_576, ge=1024, description="longest request body; a longer one is refused with status 413"
    )
    body_seconds: float = Field(10.0, gt=0, description="time for a request's head, and for its body")
    request_seconds: float = Field(
        30.0, gt=0, description="time for a request; one that takes longer is answered with status 503"
    )
    rate_limit_per_second: float = Field(
        0.0, ge=0, description="requests of each API key in each worker; more get status 429; 0 = no limit"
    )
    member_token_audience: str = Field(
        "recsys", min_length=1, description="what the claim `aud` of a member token must say"
    )
    member_token_requests_per_second: float = Field(
        5.0, ge=0, description="requests with member tokens for each client in each worker; 0 = no limit"
    )
    score_cache_size: int = Field(
        50_000, ge=0, description="clients whose scores are kept in memory by each worker; 0 keeps none"
    )
    public_url: str | None = Field(
        None, description="address under which browsers reach the server, such as https://recsys.example.org"
    )
    is_console_enabled: bool = Field(False, description="whether the console is served under /console/")
    is_console_cookie_secure: bool = Field(
        True, description="whether browsers send the console's cookies over https only; false to develop"
    )
    session_hours: float = Field(8.0, gt=0, le=24 * 30, description="longest session of the console")
    session_idle_minutes: float = Field(
        30.0,
        ge=2,  # use is written down once a minute
        description="how long a session of the console may stand unused",
    )
    oidc_issuer: str | None = Field(None, description="address of the OpenID provider; none = passwords only")
    oidc_client_id: str = Field("", description="what the provider calls this server")
    oidc_client_secret: str = Field("", repr=False, description="the secret that the provider gave with it")
    oidc_role_claim: str = Field(
        "groups", min_length=1, description="claim that decides what a person may do"
    )
    oidc_roles: str = Field(
        "", description="value=role,value=role: the first value that the claim has gives the role"
    )
    metrics_dir: Path | None = Field(
        None,
        description="folder in which workers leave their figures for each other; left out = a temporary one",
    )
    drain_seconds: float = Field(
        0.0, ge=0, le=3600, description="how long the server still answers after SIGTERM, while not ready"
    )
    request_log_share: float = Field(
        0.0, ge=0, le=1, description="share of the sound requests of the busiest paths that get a log line"
    )
    slow_request_seconds: float = Field(
        1.0, gt=0, description="a request that takes so long gets a log line on every path"
    )
    log_months: int | None = Field(
        None,
        ge=4,  # as `serving.upkeep.LEAST_LOG_MONTHS`
        description="whole months before the present one whose decisions and events are kept; none = all",
    )
    answer_days: int = Field(
        7, ge=1, description="days for which a retry with the same request_id gets the same answer"
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
    """The settings of the environment; those given here, by options of a command, go before it.

    Raises:
        ConfigError: A variable or an option has a wrong value; the text names it and what was expected.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError("; ".join(_told(fault, overrides) for fault in error.errors())) from error


def _told(fault: ErrorDetails, overrides: Mapping[str, object]) -> str:
    name = str(fault["loc"][0])
    place = _OPTIONS.get(name, f"--{name}") if name in overrides else f"RECSYS_{name.upper()}"
    return describe_fault(fault, place, _bounds(name))


def _bounds(name: str) -> str:
    """What a setting may be, where it is bounded on both sides."""
    field = Settings.model_fields.get(name)
    limits = () if field is None else field.metadata
    least, most = ({getattr(limit, side, None) for limit in limits} - {None} for side in ("ge", "le"))
    return f"from {least.pop():g} to {most.pop():g}" if least and most else ""
