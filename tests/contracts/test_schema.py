from __future__ import annotations

import re
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import serving.storage.migrations
from recsys.decision.policy.read import policy_from_documents
from recsys.domain import OfferKind
from recsys.errors import ConfigError, StoreUnavailableError
from recsys.tables import DECISION_ITEMS, TABLES
from serving.commands.terminal import make_ready
from serving.settings import Settings
from serving.storage.dialects import open_database
from serving.storage.migrate import NOTHING, migrate
from serving.storage.schema import CONTRACT, METADATA, SCHEMA_REVISION
from serving.storage.sql import SqlStore
from serving.storage.types import Instant
from serving.upkeep import LogMonth

T0 = datetime(2026, 3, 31, tzinfo=UTC)


ONLY_OF_SQLITE = "ix_decisions_log_month"
IS_OF_MONTH = re.compile(r"(decisions|events)_(\d{4}_\d{2}|default|kept)")


def tables_of(database_url: str) -> set[str]:
    """Tables that are there; a partition is none of its own."""
    database = open_database(database_url)
    try:
        names = sa.inspect(database.reader).get_table_names()
        return {name for name in names if not IS_OF_MONTH.fullmatch(name)}
    finally:
        database.dispose()


def is_compared(_object: Any, name: str | None, kind: str, _is_reflected: bool, _other: Any) -> bool:
    is_partition = kind == "table" and name is not None and IS_OF_MONTH.fullmatch(name)
    return not is_partition and name != ONLY_OF_SQLITE


def test_migrations_make_exactly_the_declared_schema(empty_database: str) -> None:
    assert migrate(empty_database) == SCHEMA_REVISION
    assert migrate(empty_database) == SCHEMA_REVISION
    database = open_database(empty_database)
    with warnings.catch_warnings(), database.reader.connect() as connection:
        # SQLite cannot tell of an index over expressions; the store's contract tests use it.
        warnings.filterwarnings("ignore", message=".*expression-based index.*")
        warnings.filterwarnings("ignore", message=".*can't reflect these indexes.*")
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": is_compared}
        )
        assert compare_metadata(context, METADATA) == []
        indexes = {index["name"] for index in sa.inspect(connection).get_indexes("decisions")}
        assert (ONLY_OF_SQLITE in indexes) == database.is_embedded
    database.dispose()


@pytest.mark.parametrize("text", [None, "placements: [{id: top, k: 3, max_k: 9, kinds: [partner]}] # ours\n"])
def test_placements_become_the_first_policy(empty_database: str, text: str | None) -> None:
    migrate(empty_database, "0002")
    store_placement(empty_database, text)
    migrate(empty_database)
    store = SqlStore(empty_database)
    (first,) = store.policies()
    assert store.policy_in_force(datetime.now(UTC)) == first
    policy = policy_from_documents(first.documents)
    assert first.version == policy.version
    assert [(each.placement_id, each.k, each.max_k, each.kinds) for each in policy.placements] == [
        ("top", 3, 9, (OfferKind.PARTNER,))
    ]
    assert text is None or first.documents["placements.yaml"] == text
    assert store.documents() == {"expert.yaml": "a"}
    assert [age.source for age in store.source_ages()] == []
    store.close()


def store_placement(database_url: str, text: str | None) -> None:
    """Store a placement as the program of that schema did."""
    database = open_database(database_url)
    kinds = '["partner"]' if database.is_embedded else "{partner}"
    with database.writer.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO placements VALUES ('top', 3, 9, :kinds, 0.25)"), {"kinds": kinds}
        )
        connection.execute(
            sa.text(
                "INSERT INTO loads (source, loaded_at) VALUES ('placements', '2025-01-01 00:00:00+00:00')"
            )
        )
        connection.execute(sa.text("INSERT INTO documents VALUES ('expert.yaml', 'a')"))
        if text is not None:
            connection.execute(
                sa.text("INSERT INTO documents VALUES ('placements.yaml', :text)"), {"text": text}
            )
    database.dispose()


def test_migrations_run_down_and_up_again(empty_database: str) -> None:
    migrate(empty_database)
    assert tables_of(empty_database) == {*METADATA.tables, "alembic_version"}
    assert migrate(empty_database, NOTHING) is None
    assert tables_of(empty_database) <= {"alembic_version"}
    store = SqlStore(empty_database)
    assert not store.is_ready()
    migrate(empty_database)
    assert store.is_ready()
    store.close()


N_DAYS = 400


def store_log(database_url: str) -> None:
    """Store a log of more than a year as the program of the schema before months did."""
    began_at = datetime(2025, 1, 15, 23, 30, tzinfo=UTC)
    database = open_database(database_url)
    with database.writer.begin() as connection:
        for n in range(N_DAYS):
            at = began_at + timedelta(days=n)
            told = {"id": f"d{n:04d}", "at": Instant().process_bind_param(at, database.dialect), "seed": n}
            connection.execute(
                sa.text(
                    "INSERT INTO decisions (decision_id, client_id, placement_id, occurred_at, recorded_at,"
                    " seed) VALUES (:id, 'acme', 'home', :at, :at, :seed)"
                ),
                told,
            )
            later = Instant().process_bind_param(at + timedelta(days=20), database.dialect)
            for event_type, decision_id in (
                ("impression", f"d{n:04d}"),
                ("click", f"d{n:04d}"),
                ("complaint", None),
            ):
                told = {"id": f"{event_type}{n:04d}", "type": event_type, "of": decision_id, "at": later}
                connection.execute(
                    sa.text(
                        "INSERT INTO events (event_id, event_type, client_id, decision_id, slot, occurred_at,"
                        " recorded_at) VALUES (:id, :type, 'acme', :of, 1, :at, :at)"
                    ),
                    told,
                )
    database.dispose()


def log_of(store: SqlStore) -> tuple[list[Any], list[Any]]:
    return list(store.read_rows("decisions")), list(store.read_rows("events"))


def test_the_log_becomes_one_of_months_and_back_again(empty_database: str) -> None:
    migrate(empty_database, "0005")
    store_log(empty_database)
    migrate(empty_database)
    store = SqlStore(empty_database)
    decisions, events = log_of(store)
    assert [row["seed"] for row in decisions] == list(range(N_DAYS))
    assert len(events) == 3 * N_DAYS
    sizes = store.month_sizes(datetime(2027, 1, 1, tzinfo=UTC))
    assert [size.month for size in sizes] == [f"2025-{n:02d}" for n in range(1, 13)] + [
        "2026-01",
        "2026-02",
        "2026-03",
    ]
    # the last three weeks' complaints refer to no decision, impressions and clicks do
    assert (sizes[0].n_decisions, sizes[0].n_events) == (17, 34)
    assert sum(size.n_events for size in sizes) == len(events)
    # whatever is told again is known, in its month and in any other
    store.upsert_rows("decisions", decisions[:3], T0)
    store.upsert_rows("events", [{**row, "occurred_at": T0} for row in events[-50:]], T0)
    assert log_of(store) == (decisions, events)
    gone = store.retire_month("2025-02", datetime(2025, 7, 1, tzinfo=UTC))
    assert gone == LogMonth("2025-02", 28, 56)
    kept = log_of(store)
    store.close()
    migrate(empty_database, "0005")
    assert rows_in(empty_database, "SELECT count(*) FROM decisions") == N_DAYS - 28
    assert rows_in(empty_database, "SELECT count(*) FROM events") == 3 * N_DAYS - 56
    assert "event_ids" not in tables_of(empty_database)
    migrate(empty_database)
    store = SqlStore(empty_database)
    assert log_of(store) == kept
    store.close()


def rows_in(database_url: str, query: str) -> int:
    database = open_database(database_url)
    with database.reader.connect() as connection:
        found: int = connection.execute(sa.text(query)).scalar_one()
    database.dispose()
    return found


def test_the_program_knows_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(serving.storage.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_every_contract_column_is_stored() -> None:
    for table in TABLES:
        if table is DECISION_ITEMS:
            assert "items" in CONTRACT["decisions"].c
            continue
        own = {"decisions": ["items", "log_month"], "events": ["log_month"]}.get(table.name, [])
        columns = CONTRACT[table.name].columns
        assert [column.name for column in columns] == [*table.column_names, *own]
        assert [column.nullable for column in columns][: len(table.columns)] == [
            column.is_nullable for column in table.columns
        ]


def test_two_who_migrate_at_once_do_it_once(empty_database: str) -> None:
    # processes, as Alembic keeps what it works on in its modules
    work = [sys.executable, "-c", f"from serving.storage.migrate import migrate; migrate({empty_database!r})"]
    at_once = [subprocess.Popen(work) for _ in range(3)]
    assert [each.wait(60) for each in at_once] == [0, 0, 0]
    store = SqlStore(empty_database)
    assert store.is_ready()
    store.close()


@pytest.mark.parametrize(
    ("revision", "cure"),
    [
        ("0008", "run the release that it belongs to"),
        ("0006", "stop the servers, run `recsys-serve migrate`"),
    ],
)
def test_another_schema_is_told_with_both_numbers_and_the_cure(
    empty_database: str, revision: str, cure: str
) -> None:
    migrate(empty_database)
    store = SqlStore(empty_database)
    assert store.schema_fault() is None
    set_revision(empty_database, revision)
    needed = f"the database has another schema: {revision}, this program needs {SCHEMA_REVISION}"
    assert store.schema_fault() == f"{needed}: {cure}"
    assert not store.is_ready()
    settings = Settings(database_url=empty_database)
    if not store.is_embedded:
        with pytest.raises(StoreUnavailableError, match=needed):
            make_ready(store, settings)
    store.close()


def set_revision(database_url: str, revision: str) -> None:
    database = open_database(database_url)
    with database.writer.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :found"), {"found": revision})
    database.dispose()


def test_a_database_without_tables_says_what_to_run(empty_database: str) -> None:
    store = SqlStore(empty_database)
    assert not store.is_ready()
    with pytest.raises(StoreUnavailableError, match="recsys-serve migrate"):
        store.keys()
    with pytest.raises(StoreUnavailableError, match="recsys-serve migrate"):
        store.client_state("acme")  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailableError, match="recsys-serve migrate"):
        store.put_documents({"a": "b"})
    with pytest.raises(StoreUnavailableError, match="recsys-serve migrate"):
        list(store.read_rows("offers"))
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:secret-word@127.0.0.1:1/nothing",
        "sqlite:////no/such/folder/recsys.db",
    ],
)
def test_an_unreachable_database_is_one_sentence_without_the_password(url: str) -> None:
    store = SqlStore(url)
    assert not store.is_ready()
    with pytest.raises(StoreUnavailableError) as caught:
        store.commit([])
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "did not answer" in str(caught.value)
    with pytest.raises(StoreUnavailableError):
        migrate(url)
    store.close()


def test_a_wrong_password_is_not_repeated(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        connection.execute("ALTER ROLE locked NOLOGIN")
    store = SqlStore(postgresql_url.replace("postgres:@", "locked:wrong-word@"))
    with pytest.raises(StoreUnavailableError, match="did not answer") as caught:
        store.keys()
    assert "wrong-word" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("url", ["", "oracle://a:secret-word@b/c", "sqlite://", "sqlite:///:memory:", "?"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SqlStore(url)
    assert "secret-word" not in str(caught.value)
    assert "sqlite:///FILE" in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    store = SqlStore(f"sqlite:///{path}")
    assert not store.is_ready()
    with pytest.raises(StoreUnavailableError, match="not a database"):
        store.keys()
    store.close()


def test_a_newer_database_is_refused(empty_database: str) -> None:
    migrate(empty_database)
    set_revision(empty_database, "9999")
    with pytest.raises(StoreUnavailableError, match="newer program"):
        migrate(empty_database)
