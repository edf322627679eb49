"""The contracts of what the engine decided, what followed, and what was tried."""

from __future__ import annotations

from recsys.domain import Change, DismissalReason, EventType, Size
from recsys.tables.contract import (
    RECORDED_AT,
    Column,
    ColumnType,
    Table,
    flag_column,
    id_column,
    instant_column,
    integer_column,
    text_column,
)

EXPERIMENT_STATUSES = ("draft", "running", "stopped", "decided")

DECISIONS = Table(
    name="decisions",
    about="what the policy chose for one placement of one request; the client may be one not in `clients`",
    key=("decision_id",),
    columns=(
        id_column("decision_id", "the decision"),
        id_column("client_id", "the company"),
        id_column("member_id", "the person", is_nullable=True),
        id_column("placement_id", "the placement"),
        text_column("channel", "where it was shown"),
        Column("occurred_at", ColumnType.INSTANT, "when it was taken"),
        RECORDED_AT,
        Column("seed", ColumnType.INTEGER, "seed of the draws"),
        id_column("policy_version", "version of the rules", is_nullable=True),
        id_column("catalogue_version", "version of the catalogue", is_nullable=True),
        id_column("bundle_version", "version of the models; missing = none was used", is_nullable=True),
        integer_column("state_version", "version of the client's state"),
        flag_column("is_personalised", "whether the client's own data ordered the list"),
        text_column("degraded", "why a fallback was used; missing = none was"),
        text_column("basis", "on what the scores rest", ("holdings", "profile", "population")),
        Column(
            "candidates",
            ColumnType.JSON,
            "object of equally long lists: offer_id, change, priority, and its factors probability, context,"
            " value, levers (left out = all are 1) of every candidate; refused: list of"
            " [stage, rule, [offer_id, …]], earlier [offer_id, stage, rule] for each offer",
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
        Column(
            "assignments",
            ColumnType.JSON,
            "list of [experiment_id, arm, is_triggered]; missing = the client was in no experiment",
            is_nullable=True,
        ),
    ),
)

DECISION_ITEMS = Table(
    name="decision_items",
    about="one slot of a decision",
    key=("decision_id", "slot"),
    columns=(
        id_column("decision_id", "the decision"),
        Column("slot", ColumnType.INTEGER, "1-based slot", minimum=1),
        id_column("offer_id", "the offer"),
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
        id_column("event_id", "the event"),
        Column("event_type", ColumnType.TEXT, "what happened", choices=tuple(EventType)),
        id_column("client_id", "the company"),
        instant_column("occurred_at", "when it happened"),
        RECORDED_AT,
        id_column("offer_id", "the offer", is_nullable=True),
        id_column("decision_id", "the decision that showed it", is_nullable=True),
        id_column("member_id", "the person", is_nullable=True),
        integer_column("slot", "1-based slot of the list", minimum=1),
        text_column("reason", "why, for a dismissal", tuple(DismissalReason)),
        text_column("topic", "what about, for a complaint"),
    ),
    references=(("offer_id", "offers", "offer_id"),),
)

EXPERIMENTS = Table(
    name="experiments",
    about="what was ordered of an experiment, or of the hold-out (`holdout`); the last number stands",
    key=("experiment_id", "number"),
    columns=(
        id_column("experiment_id", "the experiment"),
        Column("number", ColumnType.INTEGER, "1-based order of what was said of it", minimum=1),
        Column("status", ColumnType.TEXT, "how it stands from here on", choices=EXPERIMENT_STATUSES),
        Column("document", ColumnType.JSON, "how it stands in full, as one object"),
        Column("author", ColumnType.TEXT, "who said so: a key_id, `command line` or `guardrail`"),
        text_column("reason", "why, where somebody said so"),
        RECORDED_AT,
    ),
)

ASSIGNMENTS = Table(
    name="assignments",
    about="the arm of one client in one experiment; the client may be one not in `clients`",
    key=("experiment_id", "client_id"),
    columns=(
        id_column("experiment_id", "the experiment; `holdout` = the global hold-out"),
        id_column("client_id", "the company"),
        Column("unit_id", ColumnType.TEXT, "what was assigned: `group:` and its account group, or itself"),
        Column("arm", ColumnType.TEXT, "name of the arm; of the hold-out `held_out` or `treated`"),
        flag_column("is_forced", "put into the arm by hand, for a test; missing = no"),
        instant_column("assigned_at", "when it first stood"),
        instant_column(
            "triggered_at",
            "first decision in which the lists of the arms differed; missing = none did yet",
            is_nullable=True,
        ),
        id_column("trigger_decision_id", "that decision", is_nullable=True),
        RECORDED_AT,
    ),
)

SHADOW_DECISIONS = Table(
    name="shadow_decisions",
    about="what models in shadow would have shown instead of a decision's list, as far as it was sampled",
    key=("decision_id", "bundle_version"),
    columns=(
        id_column("decision_id", "the decision"),
        id_column("bundle_version", "version of the models in shadow"),
        id_column("live_version", "version of the models that the decision was made with"),
        id_column("placement_id", "the placement"),
        text_column("client_size", "size class of the client, where it is known", tuple(Size)),
        instant_column("occurred_at", "when the decision was taken"),
        RECORDED_AT,
        Column("n_shown", ColumnType.INTEGER, "offers that the decision showed", minimum=0),
        Column("n_differing", ColumnType.INTEGER, "of them, those that the shadow's list lacks", minimum=0),
        Column("n_candidates", ColumnType.INTEGER, "offers that both could have shown", minimum=0),
        Column(
            "rank_correlation",
            ColumnType.NUMBER,
            "Spearman's correlation of the candidates' priorities, −1–1; missing = none can be told",
            is_nullable=True,
        ),
        Column(
            "mean_difference",
            ColumnType.NUMBER,
            "mean over the candidates of the shadow's probability − the live one; missing = no candidates",
            is_nullable=True,
        ),
    ),
)
