"""The contracts of what is known of clients and offers."""

from __future__ import annotations

from recsys.domain import LegalForm, MemberRole, OfferKind, PricePeriod, Size, Stage
from recsys.tables.contract import (
    RECORDED_AT,
    Column,
    ColumnType,
    Table,
    flag_column,
    id_column,
    instant_column,
    integer_column,
    money_column,
    share_column,
    text_column,
)

CLIENTS = Table(
    name="clients",
    about="one version of a client's profile, valid in [valid_from, valid_to)",
    key=("client_id", "valid_from"),
    columns=(
        id_column("client_id", "the company"),
        instant_column("valid_from", "the version holds from here"),
        instant_column("valid_to", "until here, excluded; missing = still valid", is_nullable=True),
        RECORDED_AT,
        text_column("name", "company name, for people"),
        text_column("legal_form", "legal form", tuple(LegalForm)),
        text_column("size", "size class; missing = derived from staff and revenue", tuple(Size)),
        text_column("industry", "OKVED section A–S", tuple("ABCDEFGHIJKLMNOPQRS")),
        text_column("region", "region code"),
        text_column("stage", "lifecycle stage", tuple(Stage)),
        integer_column("n_employees", "people employed"),
        money_column("revenue_minor", "revenue of the last full year"),
        Column("client_since_on", ColumnType.DAY, "first day of the contract", is_nullable=True),
        flag_column("is_vip", "VIP status"),
        Column(
            "vip_reviewed_on", ColumnType.DAY, "day of the last review of the VIP status", is_nullable=True
        ),
        integer_column("loyalty_points", "points on the account"),
        id_column("account_group_id", "group of companies under one roof", is_nullable=True),
        Column("tags", ColumnType.TEXTS, "further facts as key=value", is_nullable=True),
        flag_column("is_profiling_allowed", "profiling switch; missing = on"),
        text_column("change_reason", "why this version was written, where somebody said so"),
    ),
)

CLIENT_MONTHS = Table(
    name="client_months",
    about="a client's figures of one month",
    key=("client_id", "month_on"),
    columns=(
        id_column("client_id", "the company"),
        Column("month_on", ColumnType.DAY, "first day of the month"),
        instant_column("known_at", "when the figures became known"),
        integer_column("n_sims_employees", "SIMs of office staff"),
        integer_column("n_sims_field", "SIMs of field staff"),
        integer_column("n_sims_devices", "SIMs in devices (M2M)"),
        money_column("spend_minor", "billed for the month, VAT included"),
        integer_column("voice_minutes", "minutes called"),
        integer_column("data_megabytes", "megabytes used"),
        integer_column("n_sms", "messages sent"),
        share_column("overage_share", "share of spend beyond the tariff, 0–1"),
        share_column("roaming_share", "share of spend while roaming, 0–1"),
        share_column("m2m_share", "share of SIMs in devices, 0–1"),
        integer_column("overdue_days", "days the oldest unpaid bill is overdue"),
    ),
    references=(("client_id", "clients", "client_id"),),
)

MEMBERS = Table(
    name="members",
    about="a person of a client, with the role",
    key=("member_id",),
    columns=(
        id_column("member_id", "the person"),
        id_column("client_id", "the company"),
        Column("role", ColumnType.TEXT, "role", choices=tuple(MemberRole)),
        RECORDED_AT,
    ),
    references=(("client_id", "clients", "client_id"),),
)

OFFERS = Table(
    name="offers",
    about="one version of an offer",
    key=("offer_id",),
    columns=(
        id_column("offer_id", "the offer"),
        Column("kind", ColumnType.TEXT, "whose offer it is", choices=tuple(OfferKind)),
        RECORDED_AT,
        text_column("title_ru", "title in Russian", is_shown=True),
        text_column("title_en", "title in English", is_shown=True),
        id_column("supplier_id", "who provides it", is_nullable=True),
        text_column("category", "shelf of the catalogue"),
        text_column("need_group", "offers of one group meet the same need"),
        money_column("margin_minor", "expected margin a month"),
        Column("regions", ColumnType.TEXTS, "where it can be had; missing = all", is_nullable=True),
        Column(
            "legal_forms",
            ColumnType.TEXTS,
            "who may have it; missing = all",
            is_nullable=True,
            choices=tuple(LegalForm),
        ),
        text_column("exclusive_slot", "at most one offer of a slot can be held"),
        instant_column("valid_from", "live from here; missing = since ever", is_nullable=True),
        instant_column("valid_to", "live until here, excluded; missing = no end", is_nullable=True),
        flag_column("is_stopped", "taken off by hand"),
    ),
)

OFFER_RELATIONS = Table(
    name="offer_relations",
    about="how an offer stands to another",
    key=("offer_id", "relation", "alternative", "other_offer_id"),
    columns=(
        id_column("offer_id", "the offer"),
        Column("relation", ColumnType.TEXT, "the kind", choices=("requires", "excludes", "upgrades_to")),
        id_column("other_offer_id", "the other offer"),
        Column(
            "alternative",
            ColumnType.INTEGER,
            "requires: rows of one number are alternatives, every number must be met; else 0",
            minimum=0,
        ),
        RECORDED_AT,
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
        id_column("offer_id", "the offer"),
        text_column("region", "only here; missing = elsewhere"),
        text_column("size", "only for this size class; missing = every other", tuple(Size)),
        Column("period", ColumnType.TEXT, "what the price is for", choices=tuple(PricePeriod)),
        Column("amount_minor", ColumnType.MONEY, "amount, VAT included", minimum=0),
        RECORDED_AT,
    ),
    references=(("offer_id", "offers", "offer_id"),),
)

HOLDINGS = Table(
    name="holdings",
    about="a service connected or a product bought; the latest recorded row of an id holds",
    key=("holding_id",),
    columns=(
        id_column("holding_id", "the connection"),
        id_column("client_id", "the company"),
        id_column("offer_id", "the offer"),
        instant_column("connected_at", "when it was connected or bought"),
        instant_column(
            "disconnected_at",
            "when it ended; equal to connected_at = seen once, never held; missing = goes on",
            is_nullable=True,
        ),
        RECORDED_AT,
        text_column("edition", "edition or tier"),
        integer_column("quantity", "seats, SIMs, pieces; missing = 1", minimum=1),
        text_column("unit", "what the quantity counts"),
        money_column("price_minor", "agreed price of one period"),
        Column("term_ends_on", ColumnType.DAY, "last day of the term", is_nullable=True),
        text_column("connected_by", "who connected it", ("client", "manager", "portal", "other")),
        text_column("source", "system the row comes from"),
    ),
    references=(("client_id", "clients", "client_id"), ("offer_id", "offers", "offer_id")),
)
