"""The table contracts: names, columns, types, units, nullability.

Training and serving meet in these tables and nowhere else but the bundle. A dataset is a folder of
``<table>.parquet`` or ``<table>.csv`` files (or the same tables in a database) and an optional
``dataset.toml``. Optional tables and columns may be missing; a model that needs one says so.

Two time stamps stand in most tables: ``occurred_at`` (when it happened) and ``recorded_at`` (when it
was known). Cutting at as_of cuts on ``recorded_at``, so late data cannot leak. A row with the same key
and a later ``recorded_at`` replaces the earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from recsys.domain import (
    Change,
    DismissalReason,
    EventType,
    LegalForm,
    MemberRole,
    OfferKind,
    PricePeriod,
    Size,
    Stage,
)


class ColumnType(StrEnum):
    """What a column holds."""

    ID = "id"  # opaque string, 1–64 characters
    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"  # int64 minor units
    INSTANT = "instant"  # aware UTC
    DAY = "day"
    FLAG = "flag"
    TEXTS = "texts"  # list of strings; in CSV joined by ";"
    JSON = "json"  # one JSON value, as text


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        type: What it holds.
        about: Meaning and unit, for the reference.
        is_nullable: Whether a value may be missing; a nullable column may be missing as a whole.
        choices: The allowed values; empty means any.
        minimum: The smallest allowed value of a number; None means any.
    """

    name: str
    type: ColumnType
    about: str
    is_nullable: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: Its name, and its file's stem.
        about: What one row is.
        key: Columns that identify a row's subject; a later ``recorded_at`` replaces the row.
        columns: The columns in order.
        references: Columns whose values must stand in another table: column → (table, column).
    """

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[tuple[str, str, str], ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        return self._by_name()[name]

    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def _id(name: str, about: str, *, is_nullable: bool = False) -> Column:
    return Column(name, ColumnType.ID, about, is_nullable)


def _text(name: str, about: str, choices: tuple[str, ...] = ()) -> Column:
    return Column(name, ColumnType.TEXT, about, is_nullable=True, choices=choices)


def _integer(name: str, about: str, *, minimum: int | None = 0) -> Column:
    return Column(name, ColumnType.INTEGER, about, is_nullable=True, minimum=minimum)


def _share(name: str, about: str) -> Column:
    return Column(name, ColumnType.NUMBER, about, is_nullable=True, minimum=0)


def _money(name: str, about: str, *, is_nullable: bool = True) -> Column:
    return Column(name, ColumnType.MONEY, about, is_nullable)


def _instant(name: str, about: str, *, is_nullable: bool = False) -> Column:
    return Column(name, ColumnType.INSTANT, about, is_nullable)


def _flag(name: str, about: str) -> Column:
    return Column(name, ColumnType.FLAG, about, is_nullable=True)


_RECORDED_AT = _instant("recorded_at", "when this row became known")

CLIENTS = Table(
    name="clients",
    about="one version of a client's profile, valid in [valid_from, valid_to)",
    key=("client_id", "valid_from"),
    columns=(
        _id("client_id", "the company"),
        _instant("valid_from", "the version holds from here"),
        _instant("valid_to", "until here, excluded; missing = still valid", is_nullable=True),
        _RECORDED_AT,
        _text("name", "company name, for people"),
        _text("legal_form", "legal form", tuple(LegalForm)),
        _text("size", "size class; missing = derived from staff and revenue", tuple(Size)),
        _text("industry", "OKVED section A–S", tuple("ABCDEFGHIJKLMNOPQRS")),
        _text("region", "region code"),
        _text("stage", "lifecycle stage", tuple(Stage)),
        _integer("n_employees", "people employed"),
        _money("revenue_minor", "revenue of the last full year"),
        Column("client_since_on", ColumnType.DAY, "first day of the contract", is_nullable=True),
        _flag("is_vip", "VIP status"),
        Column(
            "vip_reviewed_on", ColumnType.DAY, "day of the last review of the VIP status", is_nullable=True
        ),
        _integer("loyalty_points", "points on the account"),
        _id("account_group_id", "group of companies under one roof", is_nullable=True),
        Column("tags", ColumnType.TEXTS, "further facts as key=value", is_nullable=True),
        _flag("is_profiling_allowed", "profiling switch; missing = on"),
        _text("change_reason", "why this version was written, where somebody said so"),
    ),
)

CLIENT_MONTHS = Table(
    name="client_months",
    about="a client's figures of one month",
    key=("client_id", "month_on"),
    columns=(
        _id("client_id", "the company"),
        Column("month_on", ColumnType.DAY, "first day of the month"),
        _instant("known_at", "when the figures became known"),
        _integer("n_sims_employees", "SIMs of office staff"),
        _integer("n_sims_field", "SIMs of field staff"),
        _integer("n_sims_devices", "SIMs in devices (M2M)"),
        _money("spend_minor", "billed for the month, VAT included"),
        _integer("voice_minutes", "minutes called"),
        _integer("data_megabytes", "megabytes used"),
        _integer("n_sms", "messages sent"),
        _share("overage_share", "share of spend beyond the tariff, 0–1"),
        _share("roaming_share", "share of spend while roaming, 0–1"),
        _share("m2m_share", "share of SIMs in devices, 0–1"),
        _integer("overdue_days", "days the oldest unpaid bill is overdue"),
    ),
    references=(("client_id", "clients", "client_id"),),
)

MEMBERS = Table(
    name="members",
    about="a person of a client, with the role",
    key=("member_id",),
    columns=(
        _id("member_id", "the person"),
        _id("client_id", "the company"),
        Column("role", ColumnType.TEXT, "role", choices=tuple(MemberRole)),
        _RECORDED_AT,
    ),
    references=(("client_id", "clients", "client_id"),),
)

OFFERS = Table(
    name="offers",
    about="one version of an offer",
    key=("offer_id",),
    columns=(
        _id("offer_id", "the offer"),
        Column("kind", ColumnType.TEXT, "whose offer it is", choices=tuple(OfferKind)),
        _RECORDED_AT,
        _text("title_ru", "title in Russian"),
        _text("title_en", "title in English"),
        _id("supplier_id", "who provides it", is_nullable=True),
        _text("category", "shelf of the catalogue"),
        _text("need_group", "offers of one group meet the same need"),
        _money("margin_minor", "expected margin a month"),
        Column("regions", ColumnType.TEXTS, "where it can be had; missing = all", is_nullable=True),
        Column(
            "legal_forms",
            ColumnType.TEXTS,
            "who may have it; missing = all",
            is_nullable=True,
            choices=tuple(LegalForm),
        ),
        _text("exclusive_slot", "at most one offer of a slot can be held"),
        _instant("valid_from", "live from here; missing = since ever", is_nullable=True),
        _instant("valid_to", "live until here, excluded; missing = no end", is_nullable=True),
        _flag("is_stopped", "taken off by hand"),
    ),
)

OFFER_RELATIONS = Table(
    name="offer_relations",
    about="how an offer stands to another",
    key=("offer_id", "relation", "alternative", "other_offer_id"),
    columns=(
        _id("offer_id", "the offer"),
        Column("relation", ColumnType.TEXT, "the kind", choices=("requires", "excludes", "upgrades_to")),
        _id("other_offer_id", "the other offer"),
        Column(
            "alternative",
            ColumnType.INTEGER,
            "requires: rows of one number are alternatives, every number must be met; else 0",
            minimum=0,
        ),
        _RECORDED_AT,
    ),
    references=(
        ("offer_id", "offers", "offer_id"),
        ("other_offer_id", "offers", "offer_id"),
    ),
)

OFFER_PRICES = Table(
    name="offer_prices",
    about="one price of an offer; the most specific one applies",
    key=("offer_id", "region", "size", "period"),
    columns=(
        _id("offer_id", "the offer"),
        _text("region", "only here; missing = elsewhere"),
        _text("size", "only for this size class; missing = every other", tuple(Size)),
        Column("period", ColumnType.TEXT, "what the price is for", choices=tuple(PricePeriod)),
        Column("amount_minor", ColumnType.MONEY, "amount, VAT included", minimum=0),
        _RECORDED_AT,
    ),
    references=(("offer_id", "offers", "offer_id"),),
)

HOLDINGS = Table(
    name="holdings",
    about="a service connected or a product bought; the latest recorded row of an id holds",
    key=("holding_id",),
    columns=(
        _id("holding_id", "the connection"),
        _id("client_id", "the company"),
        _id("offer_id", "the offer"),
        _instant("connected_at", "when it was connected or bought"),
        _instant(
            "disconnected_at",
            "when it ended; equal to connected_at = seen once, never held; missing = goes on",
            is_nullable=True,
        ),
        _RECORDED_AT,
        _text("edition", "edition or tier"),
        _integer("quantity", "seats, SIMs, pieces; missing = 1", minimum=1),
        _text("unit", "what the quantity counts"),
        _money("price_minor", "agreed price of one period"),
        Column("term_ends_on", ColumnType.DAY, "last day of the term", is_nullable=True),
        _text("connected_by", "who connected it", ("client", "manager", "portal", "other")),
        _text("source", "system the row comes from"),
    ),
    references=(("client_id", "clients", "client_id"), ("offer_id", "offers", "offer_id")),
)

DECISIONS = Table(
    name="decisions",
    about="what the policy chose for one placement of one request; the client may be one not in `clients`",
    key=("decision_id",),
    columns=(
        _id("decision_id", "the decision"),
        _id("client_id", "the company"),
        _id("member_id", "the person", is_nullable=True),
        _id("placement_id", "the placement"),
        _text("channel", "where it was shown"),
        Column("occurred_at", ColumnType.INSTANT, "when it was taken"),
        _RECORDED_AT,
        Column("seed", ColumnType.INTEGER, "seed of the draws"),
        _id("policy_version", "version of the rules", is_nullable=True),
        _id("catalogue_version", "version of the catalogue", is_nullable=True),
        _id("bundle_version", "version of the models; missing = none was used", is_nullable=True),
        _integer("state_version", "version of the client's state"),
        _flag("is_personalised", "whether the client's own data ordered the list"),
        _text("degraded", "why a fallback was used; missing = none was"),
        _text("basis", "on what the scores rest", ("holdings", "profile", "population")),
        Column(
            "candidates",
            ColumnType.JSON,
            "object of equally long lists: offer_id, change, priority, and its factors probability, context,"
            " value, levers (left out = all are 1) of every candidate; refused: list of"
            " [offer_id, stage, rule]",
            is_nullable=True,
        ),
        Column(
            "request",
            ColumnType.JSON,
            "object of what else a replay needs: k, language, time_zone; where there was any: role,"
            " spending_limit_minor, excluded (offer_ids), used_up_caps, profile (told of a client without"
            " one), above (decision_ids of the lists before it in the same answer)",
            is_nullable=True,
        ),
    ),
)

DECISION_ITEMS = Table(
    name="decision_items",
    about="one slot of a decision",
    key=("decision_id", "slot"),
    columns=(
        _id("decision_id", "the decision"),
        Column("slot", ColumnType.INTEGER, "1-based slot", minimum=1),
        _id("offer_id", "the offer"),
        Column("change", ColumnType.TEXT, "what it would change", choices=tuple(Change)),
        Column(
            "logging_probability",
            ColumnType.NUMBER,
            "P(this offer at this slot | the slots above), 0–1",
            minimum=0,
        ),
        Column("reasons", ColumnType.TEXTS, "codes of the reasons given", is_nullable=True),
    ),
    references=(("decision_id", "decisions", "decision_id"), ("offer_id", "offers", "offer_id")),
)

EVENTS = Table(
    name="events",
    about="something that happened; the client may be one not in `clients`",
    key=("event_id",),
    columns=(
        _id("event_id", "the event"),
        Column("event_type", ColumnType.TEXT, "what happened", choices=tuple(EventType)),
        _id("client_id", "the company"),
        _instant("occurred_at", "when it happened"),
        _RECORDED_AT,
        _id("offer_id", "the offer", is_nullable=True),
        _id("decision_id", "the decision that showed it", is_nullable=True),
        _id("member_id", "the person", is_nullable=True),
        _integer("slot", "1-based slot of the list", minimum=1),
        _text("reason", "why, for a dismissal", tuple(DismissalReason)),
        _text("topic", "what about, for a complaint"),
    ),
    references=(("offer_id", "offers", "offer_id"),),
)

TABLES: tuple[Table, ...] = (
    CLIENTS,
    CLIENT_MONTHS,
    MEMBERS,
    OFFERS,
    OFFER_RELATIONS,
    OFFER_PRICES,
    HOLDINGS,
    DECISIONS,
    DECISION_ITEMS,
    EVENTS,
)
REQUIRED_TABLES: tuple[Table, ...] = (CLIENTS, OFFERS, HOLDINGS)


def table_named(name: str) -> Table:
    """The contract of that table; KeyError names the known ones."""
    for table in TABLES:
        if table.name == name:
            return table
    raise KeyError(f"no table {name!r}; known: {', '.join(table.name for table in TABLES)}")
