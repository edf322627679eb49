"""The tables about clients themselves: profile versions, monthly figures, members."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.write import conform
from recsys.simulation.book import Adoptions
from recsys.simulation.clients import FORMS, INDUSTRIES, NEVER, ROLES, SIZES, IntArray, size_codes
from recsys.simulation.frames import named, numbered, optional
from recsys.simulation.months import STAGES, Figures
from recsys.simulation.operator import Month, Operator
from recsys.simulation.streams import Purpose
from recsys.simulation.timeline import DAY, HOUR
from recsys.tables import CLIENT_MONTHS, CLIENTS, MEMBERS

_VERSION_LAG = 6 * HOUR
_FIGURES_LAG = 2 * DAY + 9 * HOUR
_LATEST_PROFILE_DAYS = 14
_LATEST_FIGURES_DAYS = 21
_CORRECTION_DAYS = (10, 40)
_MISBILLED = 0.15

_COLUMNS = ("row", "at", "stage", "n_employees", "revenue_minor", "points")
_YEAR = 365 * DAY
_CLOSED = -2


class Profiles:
    """Profile versions and monthly figures, month by month."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        clients = operator.clients
        self._stages = np.full(len(clients), -1)
        self._n_employees = clients.n_employees.copy()
        self._revenue_minor = clients.revenue_minor.copy()
        self._marks: dict[str, list[IntArray]] = {name: [] for name in _COLUMNS}
        self._figures: list[pl.DataFrame] = []
        offer_ids, loyalty = operator.shelf.offer_ids, operator.world.loyalty_offer
        self._loyalty = offer_ids.index(loyalty) if loyalty in offer_ids else -1
        self._loyal_from, self._loyal_to = np.full((2, len(clients)), NEVER)
        for adoptions in operator.initial:
            self._track_loyalty(adoptions)

    def add(self, month: Month) -> None:
        """Write a month down."""
        clients, timeline, number = self._operator.clients, self._operator.timeline, month.number
        begins_at, ends_at = (int(bound) for bound in timeline.bounds[number : number + 2])
        is_known = (clients.joined_at <= begins_at) | (clients.joined_at == NEVER)
        left, left_at = self._leave_loyalty(month)
        self._track_loyalty(month.adoptions)
        stages = np.where(month.is_gone, _CLOSED, month.moment.stages)
        changed = np.flatnonzero(is_known & (stages != self._stages))
        self._mark(changed, stages[changed], np.full(len(changed), begins_at))
        self._mark_reports(month, begins_at, ends_at)
        joined = np.flatnonzero((clients.joined_at > begins_at) & (clients.joined_at < ends_at))
        onboarding = np.full(len(joined), STAGES.index("onboarding"))
        self._mark(joined, onboarding, clients.joined_at[joined])
        is_open = self._stages[left] >= 0
        self._mark(left[is_open], self._stages[left[is_open]], left_at[is_open])
        self._figures.append(self._figures_frame(month, int(timeline.first_days[number]), ends_at))

    def _mark_reports(self, month: Month, begins_at: int, ends_at: int) -> None:
        """New figures begin a version on a day of the month after its first."""
        reports = month.reports
        is_known = (self._stages[reports.rows] >= 0) & (
            (self._n_employees[reports.rows] != reports.n_employees)
            | (self._revenue_minor[reports.rows] != reports.revenue_minor)
        )
        rows = reports.rows[is_known]
        self._n_employees[rows] = reports.n_employees[is_known]
        self._revenue_minor[rows] = reports.revenue_minor[is_known]
        luck = self._operator.streams.uniforms(Purpose.REPORTS, month.number, rows + 1)
        n_days = (ends_at - begins_at) // DAY - 1
        at = begins_at + (1 + np.floor(luck * n_days).astype(np.int64)) * DAY
        self._mark(rows, self._stages[rows], at)

    def _track_loyalty(self, adoptions: Adoptions) -> None:
        is_loyalty = adoptions.offers == self._loyalty
        rows = adoptions.rows[is_loyalty]
        self._loyal_from[rows], self._loyal_to[rows] = adoptions.at[is_loyalty], NEVER

    def _leave_loyalty(self, month: Month) -> tuple[IntArray, IntArray]:
        """Who gives the loyalty offer up in a month, and when: the points go with it."""
        parts = (
            (month.adoptions.rows, month.adoptions.replaced, month.adoptions.at),
            (month.endings.rows, month.endings.offers, month.endings.at),
        )
        rows, offers, at = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        is_loyalty = (offers == self._loyalty) & (offers >= 0)
        rows, at = rows[is_loyalty], at[is_loyalty]
        self._loyal_to[rows] = at
        return rows, at

    def _points(self, rows: IntArray, at: IntArray) -> IntArray:
        """Loyalty points of clients at an instant, collected since the offer was connected."""
        since = self._loyal_from[rows]
        is_loyal = (since <= at) & (at < self._loyal_to[rows])
        years = np.where(is_loyal, at - np.minimum(since, at), 0) / _YEAR
        return np.round(self._operator.clients.yearly_points[rows] * years).astype(np.int64)

    def _mark(self, rows: IntArray, stages: IntArray, at: IntArray) -> None:
        self._stages[rows] = stages
        points = self._points(rows, at)
        columns = (rows, at, stages, self._n_employees[rows], self._revenue_minor[rows], points)
        for name, values in zip(_COLUMNS, columns, strict=True):
            self._marks[name].append(values)

    def clients_table(self) -> pl.DataFrame:
        """The table ``clients``: a version that ended has a second row with its end.

        A version ends where the next one begins, or where the profile is closed.
        """
        marks = {name: np.concatenate(values) for name, values in self._marks.items()}
        order = np.lexsort((marks["at"], marks["row"]))
        marks = {name: values[order] for name, values in marks.items()}
        rows, at = marks["row"], marks["at"]
        recorded_at = at + self._version_lags(rows, at)
        followed = np.flatnonzero(rows[:-1] == rows[1:])
        followed = followed[marks["stage"][followed] != _CLOSED]
        started = np.flatnonzero(marks["stage"] != _CLOSED)
        # An end is never known before the beginning.
        end_known = np.maximum(recorded_at[followed + 1], recorded_at[followed] + HOUR)
        places = np.concatenate([started, followed])
        return self._versions_frame(
            {name: values[places] for name, values in marks.items()},
            np.concatenate([np.full(len(started), -1), at[followed + 1]]),
            np.concatenate([recorded_at[started], end_known]),
        )

    def _version_lags(self, rows: IntArray, at: IntArray) -> IntArray:
        """How long after a version holds it is recorded; the first day's versions are known at once."""
        operator = self._operator
        luck = operator.streams.uniforms(Purpose.FEED, -1, -(rows + 1) - at // HOUR * len(operator.clients))
        late = operator.world.feed.late_profiles
        n_hours = np.floor(luck / max(late, 1e-12) * _LATEST_PROFILE_DAYS * 24).astype(np.int64)
        lags = np.where(luck < late, _VERSION_LAG + n_hours * HOUR, _VERSION_LAG)
        return np.where(at == operator.timeline.starts_at, 0, lags)

    def _versions_frame(
        self, marks: dict[str, IntArray], valid_to: IntArray, recorded_at: IntArray
    ) -> pl.DataFrame:
        clients, rows = self._operator.clients, marks["row"]
        n_employees, revenue_minor = marks["n_employees"], marks["revenue_minor"]
        since = np.where(clients.joined_at == NEVER, -1, clients.joined_at)[rows]
        frame = pl.DataFrame(
            {
                "client_id": numbered("c", rows),
                "valid_from": marks["at"],
                "valid_to": optional(valid_to),
                "recorded_at": recorded_at,
                "name": pl.Series(clients.names).gather(rows),
                "legal_form": named(FORMS, clients.forms[rows]),
                "size": named(SIZES, size_codes(n_employees, revenue_minor)),
                "industry": named(INDUSTRIES, clients.industries[rows]),
                "region": named(tuple(self._operator.world.regions), clients.regions[rows]),
                "stage": named(STAGES, marks["stage"]),
                "n_employees": optional(n_employees),
                "revenue_minor": optional(revenue_minor),
                "client_since_on": self._to_days(since),
                "is_vip": clients.is_vip[rows],
                "loyalty_points": marks["points"],
                "account_group_id": numbered("g", clients.groups[rows]),
                "tags": pl.Series(clients.tags, dtype=pl.List(pl.String)).gather(rows),
                "is_profiling_allowed": clients.is_profiling_allowed[rows],
            }
        )
        return conform(frame, CLIENTS).sort("client_id", "valid_from", "recorded_at")

    def _to_days(self, instants: IntArray) -> pl.Series:
        zone = self._operator.world.time_zone
        return optional(instants).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).dt.date()

    def months_table(self) -> pl.DataFrame:
        """The table ``client_months``; the last month's figures are known just after the world's end."""
        return conform(pl.concat(self._figures), CLIENT_MONTHS).sort("client_id", "month_on", "known_at")

    def members_table(self) -> pl.DataFrame:
        """The table ``members``."""
        members, timeline = self._operator.members, self._operator.timeline
        joined_at = self._operator.clients.joined_at[members.clients]
        known_at = np.where(joined_at == NEVER, timeline.starts_at, np.maximum(joined_at, timeline.starts_at))
        frame = pl.DataFrame(
            {
                "member_id": numbered("m", np.arange(len(members.clients))),
                "client_id": numbered("c", members.clients),
                "role": named(ROLES, members.roles),
                "recorded_at": known_at,
            }
        )
        return conform(frame, MEMBERS).sort("member_id")

    def _figures_frame(self, month: Month, first_day: int, ends_at: int) -> pl.DataFrame:
        """Figures as they become known; those that are corrected later are wrong at first."""
        figures, feed = month.figures, self._operator.world.feed
        n = len(figures.rows)
        number = month.number
        luck = self._operator.streams.rng(Purpose.FEED, 10_000 + number).random((4, len(self._stages)))[
            :, figures.rows
        ]
        late = np.floor(luck[0] / max(feed.late_figures, 1e-12) * _LATEST_FIGURES_DAYS).astype(np.int64) * DAY
        known_at = ends_at + _FIGURES_LAG + np.where(luck[0] < feed.late_figures, late, 0)
        columns = {name: getattr(figures, name) for name in Figures.__slots__ if name != "rows"}
        frame = pl.DataFrame(
            {
                "client_id": numbered("c", figures.rows),
                "month_on": np.full(n, first_day, dtype=np.int32),
                "known_at": known_at,
                **columns,
            }
        )
        corrected = np.flatnonzero(luck[1] < feed.corrected_figures)
        if len(corrected) == 0:
            return frame
        least, most = _CORRECTION_DAYS
        days = least + np.floor(luck[2, corrected] * (most - least)).astype(np.int64)
        later = frame[corrected].with_columns(known_at=known_at[corrected] + days * DAY)
        wrong = figures.spend_minor.copy()
        factor = 1 + _MISBILLED * (2 * luck[3, corrected] - 1)
        wrong[corrected] = np.round(wrong[corrected] * factor).astype(np.int64)
        return pl.concat([frame.with_columns(spend_minor=wrong), later])
