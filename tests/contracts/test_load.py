from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.data.read import read_dataset
from recsys.data.snapshot import take_snapshot
from recsys.decision.policy.policy import version_of
from recsys.domain import ClientId, OfferId, Profile
from recsys.errors import ConfigError, DataError, SchemaError
from serving.orders import PolicyVersion
from serving.ports import PutClient, Store
from serving.services.export import export
from serving.services.load import LoadOptions, load

T0 = datetime(2025, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)
NOW = T0 + timedelta(days=30)

FILES = {
    "dataset.toml": 'name = "shop"\ncurrency = "RUB"\ntime_zone = "Europe/Moscow"\n',
    "placements.yaml": "placements: [{id: top, k: 3, max_k: 9, kinds: [partner]}, {id: side}]\n",
    "clients.csv": """client_id,valid_from,valid_to,recorded_at,name,size,tags,is_vip,client_since_on
a,2025-01-01,2025-02-01,2025-01-01,Альфа,micro,crm=none;erp=own,true,2020-02-29
a,2025-02-01,,2025-02-01,Альфа,small,,true,2020-02-29
b,2025-01-01,,2025-01-01,Бета,,,,
c,2025-01-01,,2025-01-01,,,,,
d,2025-01-01,,2025-01-01,Дельта,,,,
""",
    "client_months.csv": """client_id,month_on,known_at,spend_minor,overage_share
a,2025-01-01,2025-02-03,1200,0.1
""",
    "members.csv": "member_id,client_id,role,recorded_at\nm1,a,administrator,2025-01-01\n",
    "offers.csv": """offer_id,kind,recorded_at,title_ru,title_en,regions,is_stopped
mail,own,2025-01-01,Почта,Mail,,
site,own,2025-01-01,Сайт,Site,77;78,false
bank,partner,2025-01-01,Банк А,Bank A,,
""",
    "offer_relations.csv": """offer_id,relation,other_offer_id,alternative,recorded_at
site,requires,mail,0,2025-01-01
bank,excludes,mail,0,2025-01-01
""",
    "offer_prices.csv": """offer_id,region,size,period,amount_minor,recorded_at
mail,,,month,10000,2025-01-01
mail,77,,month,9000,2025-01-01
""",
    "holdings.csv": """holding_id,client_id,offer_id,connected_at,disconnected_at,recorded_at,quantity
h1,a,mail,2025-01-05,,2025-01-05,2
h2,a,site,2025-01-06,,2025-01-06,
h2,a,site,2025-01-06,2025-02-20,2025-02-20,
h3,b,mail,2025-01-07,2025-01-07,2025-01-07,
h4,c,bank,2025-01-08,,2025-01-08,
""",
    "decisions.csv": """decision_id,client_id,placement_id,occurred_at,recorded_at,seed,candidates
x,a,top,2025-02-01,2025-02-01,7,"{""offer_id"": [""bank""]}"
y,stranger,top,2025-02-01,2025-02-01,8,
""",
    "decision_items.csv": """decision_id,slot,offer_id,change,logging_probability,reasons
x,1,bank,new,0.75,stage;size
x,2,site,new,0.5,
y,1,mail,new,0.25,
""",
    "events.csv": """event_id,event_type,client_id,occurred_at,recorded_at,offer_id,decision_id,slot,reason
e1,impression,a,2025-02-01,2025-02-01,bank,x,1,
e2,dismissal,a,2025-02-02,2025-02-02,bank,x,1,have_elsewhere
""",
}


def write(folder: Path, **changes: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **{name.replace("__", "."): text for name, text in changes.items()}}.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def without_line(name: str, beginning: str) -> str:
    return "\n".join(line for line in FILES[name].splitlines() if not line.startswith(beginning)) + "\n"


def test_load_export_and_read_again(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "in")
    seen: list[tuple[str, int, int]] = []
    summary = load(store, source, NOW, progress=lambda *step: seen.append(step))
    assert summary.n_rows["holdings"] == 5
    assert (summary.n_changed_states, summary.is_new_policy) == (4, True)
    assert ("events", 2, 2) in seen
    assert export(store, tmp_path / "out", NOW) == dict(summary.n_rows)
    before, after = read_dataset(source), read_dataset(tmp_path / "out")
    assert after.meta == before.meta
    assert dict(after.documents) == dict(before.documents)
    assert after.tables.keys() == before.tables.keys()
    for name, frame in before.tables.items():
        assert_frame_equal(after.tables[name], frame)
    assert after.digest == before.digest


def test_states_are_those_that_training_sees(store: Store, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", events__csv=None)
    load(store, folder, NOW)
    for state in take_snapshot(read_dataset(folder), NOW).states:
        stored = store.client_state(state.client_id)
        assert stored is not None
        assert stored.version == 1
        assert stored.profile == state.profile
        assert stored.holdings == state.holdings
        assert set(stored.past_offer_ids) == set(state.past_offer_ids)


def test_content_is_served_as_loaded(store: Store, tmp_path: Path) -> None:
    load(store, write(tmp_path / "in"), NOW)
    policy = store.policy_in_force(NOW)
    assert policy is not None
    assert dict(policy.documents) == {"placements.yaml": FILES["placements.yaml"]}
    assert (policy.author, policy.effective_at) == ("command line", NOW)
    site = next(offer for offer in store.catalogue(NOW).offers if offer.offer_id == "site")
    assert site.requires == ((OfferId("mail"),),)
    assert site.regions == ("77", "78")
    assert {age.source for age in store.source_ages()} >= {"clients", "offers", "holdings"}
    state = store.client_state(ClientId("a"))
    assert state is not None
    assert [item.offer_id for item in state.dismissals] == ["bank"]


def test_loading_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    load(store, folder, NOW)
    version = store.catalogue(NOW).version
    assert load(store, folder, NOW).n_changed_states == 0
    assert store.catalogue(NOW).version == version
    assert len(store.policies()) == 1
    assert export(store, tmp_path / "out", NOW)["holdings"] == 5


def test_a_feed_does_not_bring_back_a_policy_that_another_one_followed(store: Store, tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    first = load(store, folder, NOW)
    documents = {"vip.yaml": "min_mean_spend_minor: 7\n"}
    version = version_of(documents)
    store.put_policy(PolicyVersion(version, documents, NOW + timedelta(hours=1), NOW, "marketer"))
    later = NOW + timedelta(days=1)
    again = load(store, folder, later)
    assert (again.policy_version, again.is_new_policy) == (first.policy_version, False)
    in_force = store.policy_in_force(later)
    assert in_force is not None
    assert in_force.version == version


def test_a_policy_that_differs_is_published(store: Store, tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    first = load(store, folder, NOW)
    later = NOW + timedelta(hours=1)
    changed = load(store, write(folder, vip__yaml="min_mean_spend_minor: 5\n"), later)
    assert changed.is_new_policy
    assert changed.policy_version != first.policy_version
    again = load(store, folder, later + timedelta(hours=1))
    assert (again.policy_version, again.is_new_policy) == (changed.policy_version, False)
    (folder / "vip.yaml").unlink()
    (folder / "placements.yaml").unlink()
    without = load(store, folder, later + timedelta(hours=2))
    assert (without.policy_version, without.is_new_policy) == (None, False)
    assert [each.version for each in store.policies()] == [first.policy_version, changed.policy_version]


def test_the_log_may_be_left_out(store: Store, tmp_path: Path) -> None:
    summary = load(store, write(tmp_path / "in"), NOW, LoadOptions(is_log_loaded=False))
    assert "events" not in summary.n_rows
    assert list(store.read_rows("decisions")) == list(store.read_rows("events")) == []


def test_relations_and_prices_that_are_gone_are_forgotten(store: Store, tmp_path: Path) -> None:
    load(store, write(tmp_path / "in"), NOW)
    changes = {
        "offer_relations__csv": without_line("offer_relations.csv", "site,requires"),
        "offer_prices__csv": None,
    }
    load(store, write(tmp_path / "in", **changes), NOW)
    assert [row["offer_id"] for row in store.read_rows("offer_relations")] == ["bank"]
    assert list(store.read_rows("offer_prices")) == []


MORE = {
    "clients": {"valid_from": T0},
    "offers": {"kind": "own"},
    "holdings": {"client_id": "a", "offer_id": "mail", "connected_at": T0},
}


@pytest.mark.parametrize(
    ("table", "key"), [("clients", "client_id"), ("offers", "offer_id"), ("holdings", "holding_id")]
)
def test_a_shrunk_feed_is_refused(store: Store, tmp_path: Path, table: str, key: str) -> None:
    folder = write(tmp_path / "in")
    load(store, folder, NOW)
    more = [{**MORE[table], key: f"more-{n}", "recorded_at": T0} for n in range(2)]
    store.upsert_rows(table, more[:1], NOW)
    if table != "offers":  # one of four offers is already more than a fifth
        load(store, folder, NOW)
    store.upsert_rows(table, more, NOW)
    fresh = folder / "clients.csv"
    fresh.write_text(fresh.read_text(encoding="utf-8").replace("Бета", "Гамма"), encoding="utf-8")
    with pytest.raises(DataError, match="allow-shrink"):
        load(store, folder, NOW)
    assert store.find_clients("гамма", 1) == []
    load(store, folder, NOW, LoadOptions(is_shrinking_allowed=True))
    assert len(store.find_clients("гамма", 1)) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"holdings__csv": FILES["holdings.csv"] + "h9,nobody,mail,2025-01-01,,2025-01-01,1\n"}, SchemaError),
        ({"placements__yaml": "placements: [{id: top, k: 0}]\n"}, ConfigError),
        ({"vip__yaml": "min_mean_spend: 5\n"}, ConfigError),
        ({"arbitration__yaml": "levers: {offers: {mial: 10}}\n"}, ConfigError),
        ({"dataset__toml": "time_zone = 5\n"}, ConfigError),
        ({"offers__csv": None}, DataError),
    ],
)
def test_nothing_is_loaded_from_data_with_faults(
    store: Store, tmp_path: Path, changes: dict[str, str | None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        load(store, write(tmp_path / "in", **changes), NOW)
    assert store.count_keys("clients") == store.count_keys("offers") == 0
    assert store.source_ages() == []


def test_states_keep_growing_versions(store: Store, tmp_path: Path) -> None:
    folder = write(tmp_path / "in")
    load(store, folder, NOW)
    store.commit([PutClient(ClientId("b"), Profile(name="Новая"), NOW)])
    assert load(store, folder, NOW + timedelta(days=1)).n_changed_states == 0
    text = FILES["holdings.csv"] + "h5,b,bank,2025-03-01,,2025-03-01,\n"
    load(store, write(folder, holdings__csv=text), NOW + timedelta(days=1))
    state = store.client_state(ClientId("b"))
    assert state is not None
    assert state.version == 3
    assert state.profile == Profile(name="Новая")
    assert [held.holding_id for held in state.holdings] == ["h5"]


def test_the_ends_of_the_calendar_come_out_as_they_went_in(store: Store, tmp_path: Path) -> None:
    clients = FILES["clients.csv"].replace("Бета,,,,", "Бета,,,,0001-01-01")
    holdings = """holding_id,client_id,offer_id,connected_at,recorded_at,term_ends_on
h1,a,mail,2025-01-05,2025-01-05,9999-12-31
h2,b,mail,2025-01-05,2025-01-05,2026-01-05
"""
    load(store, write(tmp_path / "in", clients__csv=clients, holdings__csv=holdings), NOW)
    export(store, tmp_path / "out", NOW)
    out = read_dataset(tmp_path / "out")
    assert date(1, 1, 1) in out.table("clients")["client_since_on"].to_list()
    assert out.table("holdings")["term_ends_on"].to_list() == [date(9999, 12, 31), date(2026, 1, 5)]


def test_an_empty_store_is_not_exported(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="recsys-serve load"):
        export(store, tmp_path / "out", NOW)
    assert not (tmp_path / "out").exists()


def test_an_export_holds_what_was_done_online(new_store: Callable[[str], Store], tmp_path: Path) -> None:
    store = new_store("sqlite")
    load(store, write(tmp_path / "in"), NOW)
    store.commit([PutClient(ClientId("new"), Profile(name="Новая", tags=("a=b",)), NOW)])
    export(store, tmp_path / "out", NOW)
    clients = read_dataset(tmp_path / "out").table("clients").filter(pl.col("client_id") == "new")
    assert clients.select("name", "tags", "valid_to").rows() == [("Новая", ["a=b"], None)]
