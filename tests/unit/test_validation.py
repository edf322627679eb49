"""Every kind of bad input is named: table, line, column, value, what was expected."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.data.read import read_dataset
from recsys.errors import ConfigError, DataError, Fault, SchemaError
from training.pipelines.validate import validate

CLIENTS = """client_id,valid_from,recorded_at,size,n_employees,revenue_minor,industry
c1,2024-01-01,2024-01-01T00:00:00Z,,10,,G
c2,2024-01-01,2024-01-01T00:00:00Z,large,,,
"""
OFFERS = """offer_id,kind,recorded_at,title_en
pbx,own,2024-01-01T00:00:00Z,"Virtual PBX, Start"
crm,partner,2024-01-01T00:00:00Z,CRM
"""
HOLDINGS = """holding_id,client_id,offer_id,connected_at,disconnected_at,recorded_at,quantity
h1,c1,pbx,2024-02-01T10:00:00+03:00,,2024-02-01T10:00:00+03:00,2
h2,c2,crm,2024-02-02,2024-03-01,2024-03-01T00:00:00Z,
"""
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a dataset of CSV files; keyword arguments replace tables (None = leave the file out)."""

    def write(**tables: str | bytes | None) -> Path:
        texts = {"clients": CLIENTS, "offers": OFFERS, "holdings": HOLDINGS, **tables}
        for name, text in texts.items():
            if text is not None:
                data = text.encode() if isinstance(text, str) else text
                (tmp_path / f"{name}.csv").write_bytes(data)
        return tmp_path

    return write


def faults_of(folder: Path) -> tuple[Fault, ...]:
    with pytest.raises(SchemaError) as caught:
        read_dataset(folder)
    assert caught.value.n_faults == len(caught.value.faults)
    return caught.value.faults


def test_a_sound_folder_is_read_with_types_and_every_column(folder: Folder) -> None:
    dataset = read_dataset(folder())
    first = dataset.table("holdings").row(0, named=True)
    assert first["connected_at"] == datetime(2024, 2, 1, 7, tzinfo=UTC)
    assert (first["quantity"], first["disconnected_at"], first["term_ends_on"]) == (2, None, None)
    assert dataset.table("clients")["size"].to_list() == ["micro", "large"]  # derived, given
    assert dataset.table("offers").sort("offer_id")["title_en"].to_list() == ["CRM", "Virtual PBX, Start"]
    assert "events" not in dataset.tables
    assert dataset.meta.name == folder().name


@pytest.mark.parametrize("title", ["   ", "\u00a0", "PBX \x1b[31mStart", "PBX\x00", "PBX\x9b"])
def test_a_title_that_nobody_can_read_is_named(title: str, folder: Folder) -> None:
    (fault,) = faults_of(folder(offers=OFFERS.replace("CRM", f'"{title}"')))
    assert (fault.table, fault.line, fault.column) == ("offers", 3, "title_en")
    assert fault.expected == "a text to read: not blank, without control characters"


def test_a_day_is_midnight_of_the_datasets_time_zone(folder: Folder) -> None:
    place = folder()
    (place / "dataset.toml").write_text('time_zone = "Europe/Moscow"\n')
    valid_from = read_dataset(place).table("clients")["valid_from"][0]
    assert valid_from == datetime(2023, 12, 31, 21, tzinfo=UTC)


def test_an_unknown_time_zone_is_a_configuration_error(folder: Folder) -> None:
    place = folder()
    (place / "dataset.toml").write_text('time_zone = "Mars/Olympus"\n')
    with pytest.raises(ConfigError, match=r"dataset\.toml: time_zone: .*no such time zone"):
        read_dataset(place)


def row(**values: str) -> str:
    """The sound holdings with one further row in line 4."""
    columns = HOLDINGS.splitlines()[0].split(",")
    sound = {
        "holding_id": "h3",
        "client_id": "c1",
        "offer_id": "crm",
        "connected_at": "2024-02-01",
        "recorded_at": "2024-02-01",
    }
    return HOLDINGS + ",".join({**sound, **values}.get(column, "") for column in columns) + "\n"


@pytest.mark.parametrize(
    ("values", "column", "value", "expected"),
    [
        ({"quantity": "two"}, "quantity", "two", "a whole number"),
        ({"quantity": "1.5"}, "quantity", "1.5", "a whole number"),
        ({"quantity": "99999999999999999999"}, "quantity", "99999999999999999999", "a whole number"),
        ({"quantity": "0"}, "quantity", "0", "at least 1"),
        ({"offer_id": ""}, "offer_id", "", "a value: an id of 1–64 characters"),
        ({"holding_id": "h" * 65}, "holding_id", "h" * 65, "an id of 1–64 characters"),
        ({"connected_at": "soon"}, "connected_at", "soon", "an instant with its offset"),
        ({"connected_at": "2024-02-30"}, "connected_at", "2024-02-30", "an instant with its offset"),
        (
            {"connected_at": "2024-02-01T10:00:00"},
            "connected_at",
            "2024-02-01T10:00:00",
            "an instant with its offset",
        ),
        ({"client_id": "c9"}, "client_id", "c9", "an id that stands in clients.client_id"),
        ({"offer_id": "fax"}, "offer_id", "fax", "an id that stands in offers.offer_id"),
        (
            {"disconnected_at": "2024-01-31"},
            "disconnected_at",
            "2024-01-31 00:00:00+00:00",
            "not earlier than connected_at",
        ),
    ],
)
def test_a_bad_value_is_named(
    folder: Folder, values: dict[str, str], column: str, value: str, expected: str
) -> None:
    (fault,) = faults_of(folder(holdings=row(**values)))
    assert (fault.table, fault.line, fault.column, fault.value) == ("holdings", 4, column, value)
    assert fault.expected.startswith(expected)


def test_a_bad_choice_names_the_choices(folder: Folder) -> None:
    (fault,) = faults_of(folder(offers=OFFERS.replace("partner", "foreign")))
    assert (fault.line, fault.column, fault.value) == (3, "kind", "foreign")
    assert fault.expected == "one of own, partner, content"


def test_a_bad_choice_inside_a_list_is_named(folder: Folder) -> None:
    offers = (
        "offer_id,kind,recorded_at,legal_forms\npbx,own,2024-01-01,llc;notary\ncrm,own,2024-01-01,llc;gmbh\n"
    )
    (fault,) = faults_of(folder(offers=offers))
    assert (fault.line, fault.column, fault.value) == (3, "legal_forms", "llc;gmbh")


def test_a_version_that_ends_as_it_begins_is_a_fault_and_a_sighting_is_none(folder: Folder) -> None:
    clients = (
        "client_id,valid_from,valid_to,recorded_at\n"
        "c1,2024-01-01,2024-01-01,2024-01-01\n"
        "c2,2024-01-01,,2024-01-01\n"
    )
    (fault,) = faults_of(folder(clients=clients, holdings=row(disconnected_at="2024-02-01")))
    assert (fault.table, fault.line, fault.column) == ("clients", 2, "valid_to")
    assert fault.expected == "later than valid_from"


def test_a_duplicate_key_names_the_first_line(folder: Folder) -> None:
    (fault,) = faults_of(folder(holdings=HOLDINGS + HOLDINGS.splitlines()[1] + "\n"))
    assert (fault.line, fault.column) == (4, "holding_id, recorded_at")
    assert fault.value.startswith("h1, 2024-02-01")
    assert fault.expected == "a new key; it stands in line 2 already"


def test_a_later_record_of_the_same_key_is_a_version(folder: Folder) -> None:
    holdings = row(holding_id="h1", recorded_at="2024-05-01")
    assert len(read_dataset(folder(holdings=holdings)).table("holdings")) == 3


def test_a_misspelt_column_names_the_nearest(folder: Folder) -> None:
    unknown, missing = faults_of(folder(offers=OFFERS.replace("kind", "knd")))
    assert (unknown.line, unknown.column, unknown.value) == (1, "knd", "knd")
    assert unknown.expected.endswith("did you mean kind?")
    assert (missing.line, missing.column) == (1, "kind")


def test_broken_offers_do_not_accuse_the_holdings(folder: Folder) -> None:
    faults = faults_of(folder(offers=OFFERS.replace("offer_id", "offerid")))
    assert {fault.table for fault in faults} == {"offers"}


def test_twenty_faults_are_shown_and_all_counted(folder: Folder) -> None:
    rows = "".join(f"x{number},c1,nothing,2024-02-01,,2024-02-01,\n" for number in range(50))
    with pytest.raises(SchemaError, match="and 30 more") as caught:
        read_dataset(folder(holdings=HOLDINGS + rows))
    assert (len(caught.value.faults), caught.value.n_faults) == (20, 50)
    assert [fault.line for fault in caught.value.faults] == list(range(4, 24))


@pytest.mark.parametrize(
    ("line", "found"), [("h3,c1,crm,2024-02-01,,2024-02-01", 6), ("h3,,c1,crm,2024-02-01,,2024-02-01,1", 8)]
)
def test_a_shifted_row_is_named(folder: Folder, line: str, found: int) -> None:
    (fault,) = faults_of(folder(holdings=f"{HOLDINGS}{line}\nh4,c1,crm,2024-02-01,,2024-02-01,1\n"))
    assert (fault.line, fault.column, fault.value) == (4, "(row)", line)
    assert fault.expected == f"7 fields, found {found}"


def test_lines_are_physical_ones_under_quoted_line_breaks(folder: Folder) -> None:
    offers = (
        "offer_id,kind,recorded_at,title_en\n"
        'pbx,own,2024-01-01,"two\n\nlines, one ""quote"""\n'
        "\n"
        "crm,none,2024-01-01,\n"
    )
    (fault,) = faults_of(folder(offers=offers))
    assert (fault.line, fault.column) == (6, "kind")
    titles = read_dataset(folder(offers=offers.replace("none", "own"))).table("offers")["title_en"]
    assert titles.to_list() == [None, 'two\n\nlines, one "quote"']


def test_a_quote_that_is_never_closed_is_named(folder: Folder) -> None:
    offers = OFFERS + 'pbx2,own,2024-01-01,"open\nfax,own,2024-01-01,Fax\n'
    (fault,) = faults_of(folder(offers=offers))
    assert (fault.line, fault.expected) == (4, "a closing quote")


def test_windows_line_ends_and_a_byte_order_mark_are_read(folder: Folder) -> None:
    data = b"\xef\xbb\xbf" + CLIENTS.replace("\n", "\r\n").encode()
    assert len(read_dataset(folder(clients=data)).table("clients")) == 2


def test_a_file_that_is_not_utf8_names_line_and_byte(folder: Folder) -> None:
    data = CLIENTS.encode() + "c3,2024-01-01,2024-01-01,,,,Ж\n".encode("cp1251")
    with pytest.raises(DataError, match=r"clients\.csv, line 4: byte \d+ of the file \(0xc6\) is not UTF-8"):
        read_dataset(folder(clients=data))


def test_semicolons_are_explained(folder: Folder) -> None:
    with pytest.raises(DataError, match="separate fields by commas"):
        read_dataset(folder(clients=CLIENTS.replace(",", ";")))


def test_a_column_that_stands_twice_is_named(folder: Folder) -> None:
    with pytest.raises(DataError, match="column 'size' stands twice"):
        read_dataset(folder(clients=CLIENTS.replace("industry", "size", 1)))


@pytest.mark.parametrize("table", ["clients", "offers"])
def test_an_empty_table_of_clients_or_offers_is_refused(folder: Folder, table: str) -> None:
    header = {"clients": CLIENTS, "offers": OFFERS}[table].splitlines()[0]
    with pytest.raises(DataError, match=f"table {table} has no rows"):
        read_dataset(folder(**{table: header, "holdings": HOLDINGS.splitlines()[0]}))


@pytest.mark.parametrize("table", ["clients", "offers"])
def test_an_empty_table_is_the_only_fault_though_others_refer_to_it(folder: Folder, table: str) -> None:
    header = {"clients": CLIENTS, "offers": OFFERS}[table].splitlines()[0]
    place = folder(**{table: header})
    report = validate(str(place))
    assert report.n_faults == 1
    assert str(report).splitlines()[0] == f"{place}: table {table} has no rows"
    assert "stands in" not in str(report)


def test_one_fault_is_told_as_one(folder: Folder) -> None:
    with pytest.raises(SchemaError, match=r"^1 fault in the data:\n"):
        read_dataset(folder(holdings=row(quantity="0")))
    with pytest.raises(SchemaError, match=r"^2 faults in the data:\n"):
        read_dataset(folder(holdings=row(quantity="0", offer_id="fax")))


def test_empty_holdings_are_legal(folder: Folder) -> None:
    assert read_dataset(folder(holdings=HOLDINGS.splitlines()[0] + "\n")).table("holdings").is_empty()


def test_a_file_without_a_header_is_refused(folder: Folder) -> None:
    with pytest.raises(DataError, match="first line must name the columns"):
        read_dataset(folder(holdings=""))


def test_missing_tables_are_all_named(folder: Folder) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(folder(clients=None, holdings=None))
    assert "neither clients.parquet nor clients.csv" in str(caught.value)
    assert "neither holdings.parquet nor holdings.csv" in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        read_dataset(tmp_path / "nothing")


def test_a_file_of_no_table_names_the_nearest(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"no table is called 'event'; did you mean events\?"):
        read_dataset(folder(event="event_id\n"))


def test_two_files_for_one_table_are_refused(folder: Folder) -> None:
    place = folder()
    pl.DataFrame({"offer_id": ["x"]}).write_parquet(place / "offers.parquet")
    with pytest.raises(DataError, match=r"offers: two files, offers\.csv and offers\.parquet"):
        read_dataset(place)


def test_a_truncated_parquet_file_is_named(folder: Folder) -> None:
    place = folder(offers=None)
    pl.DataFrame({"offer_id": ["x"] * 1000}).write_parquet(place / "offers.parquet")
    data = (place / "offers.parquet").read_bytes()
    (place / "offers.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"offers\.parquet: not a whole Parquet file"):
        read_dataset(place)


def test_a_file_that_cannot_be_opened_is_named(folder: Folder) -> None:
    place = folder(offers=None)
    (place / "offers.csv").mkdir()
    with pytest.raises(DataError, match=r"offers\.csv: cannot be read: Is a directory"):
        read_dataset(place)


@pytest.mark.parametrize(
    ("recorded_at", "quantity", "column", "expected"),
    [
        ([datetime(2024, 1, 1)], [1], "recorded_at", "an instant with its offset"),  # noqa: DTZ001
        ([datetime(2024, 1, 1, tzinfo=UTC)], [2.5], "quantity", "a whole number"),
        ([datetime(2024, 1, 1, tzinfo=UTC)], [True], "quantity", "a whole number"),
        ([None], [1], "recorded_at", "a value: an instant"),
    ],
)
def test_a_wrong_type_in_parquet_is_named(
    folder: Folder, recorded_at: list[object], quantity: list[object], column: str, expected: str
) -> None:
    place = folder(holdings=None)
    frame = {
        "holding_id": ["h1"],
        "client_id": ["c1"],
        "offer_id": ["pbx"],
        "connected_at": [datetime(2024, 1, 1, tzinfo=UTC)],
        "recorded_at": recorded_at,
        "quantity": quantity,
    }
    pl.DataFrame(frame).write_parquet(place / "holdings.parquet")
    (fault,) = faults_of(place)
    assert (fault.table, fault.line, fault.column) == ("holdings", 2, column)
    assert fault.expected.startswith(expected)


def holdings(term_ends_on: pl.Series, connected_at: pl.Series | None = None) -> pl.DataFrame:
    """Sound holdings but for these columns."""
    n_rows = len(term_ends_on)
    start = pl.Series([datetime(2024, 1, 1, tzinfo=UTC)]).new_from_index(0, n_rows)
    return pl.DataFrame(
        {
            "holding_id": [f"h{number}" for number in range(n_rows)],
            "client_id": ["c1"] * n_rows,
            "offer_id": ["pbx"] * n_rows,
            "connected_at": start if connected_at is None else connected_at,
            "recorded_at": start,
            "term_ends_on": term_ends_on,
        }
    )


def test_the_first_and_the_last_day_of_the_calendar_are_sound(folder: Folder) -> None:
    days = pl.Series([date(1, 1, 1), date(2024, 5, 1), date(9999, 12, 31), None])
    ends = [moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max)]  # noqa: DTZ901
    moments = pl.Series([*ends, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)])
    place = folder(holdings=None)
    holdings(days, moments).write_parquet(place / "holdings.parquet")
    held = read_dataset(place).table("holdings")
    assert held["term_ends_on"].to_list() == days.to_list()
    assert held["connected_at"].to_list() == moments.to_list()


@pytest.mark.parametrize("n_days", [-719_163, 2_932_897, 2**31 - 1, -(2**31)])
def test_a_day_beyond_the_calendar_is_the_only_fault_of_its_column(folder: Folder, n_days: int) -> None:
    place = folder(holdings=None)
    days = pl.Series([19_000, n_days, None, 20_000], dtype=pl.Int32).cast(pl.Date)
    holdings(days).write_parquet(place / "holdings.parquet")
    (fault,) = faults_of(place)
    assert (fault.line, fault.column, fault.value) == (3, "term_ends_on", str(n_days))
    assert fault.expected == "a day, like 2024-01-31"
    assert read_dataset(place, skip_bad_rows=True).table("holdings")["holding_id"].to_list() == [
        "h0",
        "h2",
        "h3",
    ]
    assert f'""term_ends_on"":""{n_days}""' in (place / "skipped" / "holdings.csv").read_text()


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow"])
def test_a_moment_beyond_the_calendar_is_the_only_fault_of_its_column(
    folder: Folder, unit: pl._typing.TimeUnit, zone: str
) -> None:
    place = folder(holdings=None)
    # The last one is sound, and in Moscow it lies in the year 10000.
    per_second = {"ms": 10**3, "us": 10**6}[unit]
    found = [0, 2**62, -(2**62), 253_402_300_799 * per_second]
    moments = pl.Series(found).cast(pl.Datetime(unit, zone))
    holdings(pl.Series([None] * 4, dtype=pl.Date), moments).write_parquet(place / "holdings.parquet")
    faults = faults_of(place)
    assert [(fault.line, fault.column, fault.value) for fault in faults] == [
        (3, "connected_at", str(2**62)),
        (4, "connected_at", str(-(2**62))),
    ]
    held = read_dataset(place, skip_bad_rows=True).table("holdings")
    assert held["connected_at"][1] == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "zone"), [("0000-12-31T23:59:59Z", "UTC"), ("0001-01-01", "Europe/Moscow")]
)
def test_a_text_before_the_calendar_is_a_fault(folder: Folder, value: str, zone: str) -> None:
    place = folder(holdings=row(connected_at=value))
    (place / "dataset.toml").write_text(f'time_zone = "{zone}"\n')
    (fault,) = faults_of(place)
    assert (fault.line, fault.column, fault.value) == (4, "connected_at", value)


def test_a_day_of_the_year_0_is_a_fault(folder: Folder) -> None:
    clients = "client_id,valid_from,recorded_at,client_since_on\n" + "".join(
        f"c{number},2024-01-01,2024-01-01,{year}-01-01\n" for number, year in ((1, "0001"), (2, "0000"))
    )
    (fault,) = faults_of(folder(clients=clients))
    assert (fault.line, fault.column, fault.value) == (3, "client_since_on", "0000-01-01")


def test_duplicates_after_thousands_of_sound_rows_are_named(folder: Folder) -> None:
    # A large CSV file is read in pieces; of its first ones no row is a duplicate.
    undated = "h3,c1,pbx,2024-02-01,,,1\n"
    rows = [f"x{number},c1,pbx,2024-02-01,,2024-02-01T10:00:00Z,1\n" for number in range(20_000)]
    with pytest.raises(SchemaError) as caught:
        read_dataset(folder(holdings=HOLDINGS + undated + "".join([*rows, *rows[-5_000:]])))
    assert caught.value.n_faults == 1 + 5_000
    first = caught.value.faults[1]
    assert (first.line, first.expected) == (20_005, "a new key; it stands in line 15005 already")


def test_json_that_is_none_is_named(folder: Folder) -> None:
    decisions = (
        "decision_id,client_id,placement_id,occurred_at,recorded_at,seed,candidates\n"
        'd1,c1,home,2024-02-01,2024-02-01,1,"{""offer_id"": [""pbx""]}"\n'
        'd2,c1,home,2024-02-01,2024-02-01,1,"{""offer_id"": ["\n'
    )
    (fault,) = faults_of(folder(decisions=decisions))
    assert (fault.line, fault.column, fault.expected) == (3, "candidates", "one JSON value")


def test_items_of_an_absent_table_are_dangling(folder: Folder) -> None:
    items = "decision_id,slot,offer_id,change,logging_probability\nd1,1,pbx,new,0.5\n"
    (fault,) = faults_of(folder(decision_items=items))
    assert fault.expected == "an id that stands in decisions.decision_id, a table that is absent"


def test_skipping_leaves_bad_rows_out_and_writes_them_beside_the_data(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    clients = CLIENTS + "c3,someday,2024-01-01,huge,1,2,Z\n"
    holdings = row(client_id="c3") + "h5,c1\nh6,c2,pbx,2024-02-01,,2024-02-01,1\n"
    place = folder(clients=clients, holdings=holdings)
    dataset = read_dataset(place, skip_bad_rows=True)
    assert dataset.table("clients")["client_id"].to_list() == ["c1", "c2"]
    assert dataset.table("holdings")["holding_id"].to_list() == ["h1", "h2", "h6"]  # h3: its client is gone
    skipped = pl.read_csv(place / "skipped" / "clients.csv")
    assert skipped.columns == ["line", "column", "value", "expected", "row"]
    assert skipped["column"].to_list() == ["valid_from", "size", "industry"]
    assert set(skipped["row"]) == {"c3,someday,2024-01-01,huge,1,2,Z"}
    shifted = pl.read_csv(place / "skipped" / "holdings.csv")
    assert shifted["line"].to_list() == [4, 5]
    assert shifted["row"].to_list()[1] == "h5,c1"
    assert not (place / "skipped" / "offers.csv").exists()
    assert "holdings: 2 rows with faults are left out" in caplog.text


def test_skipping_forgets_the_rows_skipped_before(folder: Folder) -> None:
    place = folder(holdings=row(client_id="c3"))
    read_dataset(place, skip_bad_rows=True)
    (place / "holdings.csv").write_text(HOLDINGS)
    assert len(read_dataset(place, skip_bad_rows=True).table("holdings")) == 2
    assert not (place / "skipped" / "holdings.csv").exists()


def test_skipping_does_not_cure_a_misspelt_column(folder: Folder) -> None:
    with pytest.raises(SchemaError, match="did you mean quantity"):
        read_dataset(folder(holdings=HOLDINGS.replace("quantity", "quantty")), skip_bad_rows=True)


def test_skipping_every_client_is_refused(folder: Folder) -> None:
    clients = CLIENTS.splitlines()[0] + "\nc1,never,never,,,,\n"
    with pytest.raises(DataError, match="every row of table clients has faults"):
        read_dataset(folder(clients=clients), skip_bad_rows=True)


def test_skipped_rows_of_parquet_are_written_as_json(folder: Folder) -> None:
    place = folder(offers=None)
    frame = pl.DataFrame(
        {
            "offer_id": ["pbx", "crm", "fax"],
            "kind": ["own", "own", "odd"],
            "recorded_at": [datetime(2024, 1, 1, tzinfo=UTC)] * 3,
        }
    )
    frame.write_parquet(place / "offers.parquet")
    read_dataset(place, skip_bad_rows=True)
    (text,) = pl.read_csv(place / "skipped" / "offers.csv")["row"]
    assert text == '{"offer_id":"fax","kind":"odd","recorded_at":"2024-01-01T00:00:00+00:00"}'


def test_the_report_counts_every_table_and_problem(folder: Folder) -> None:
    report = validate(str(folder(offers=None, holdings=row(quantity="two", client_id="c9"))))
    assert report.n_faults_by_table == {"clients": 0, "holdings": 2}
    assert report.n_faults == 3  # the missing table counts
    assert "holdings, line 4, column quantity: 'two' – expected a whole number" in str(report)
    assert "neither offers.parquet nor offers.csv" in str(report)


def test_the_report_of_sound_data_says_so(folder: Folder) -> None:
    report = validate(str(folder()))
    assert report.n_faults == 0
    assert str(report).endswith(": sound")
    assert report.n_rows == {"clients": 2, "offers": 2, "holdings": 2}


def test_a_report_without_a_folder_names_it(tmp_path: Path) -> None:
    report = validate(str(tmp_path / "nothing"))
    assert report.n_faults == 1
    assert "there is no such folder" in report.problems[0]


def test_a_hundred_thousand_rows_validate_in_seconds(folder: Folder) -> None:
    rows = "".join(f"x{number},c1,pbx,2024-02-01,,2024-02-01T10:00:00Z,1\n" for number in range(100_000))
    place = folder(holdings=HOLDINGS + rows)
    started = time.perf_counter()
    assert len(read_dataset(place).table("holdings")) == 100_002
    assert time.perf_counter() - started < 10
