"""Readers of what others wrote: whatever stands in a file, it is read or refused by an error of the one tree.

Each file is harmed as transport, editors and people who know the format harm it: cut off, bits turned, parts
swapped or written twice, other bytes put in between, another file in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.bundle import MANIFEST, Manifest, load_bundle, newest_bundle
from recsys.data.arrays import array_from_bytes, array_to_bytes
from recsys.data.dataset import DatasetMeta
from recsys.data.documents import POLICY_DOCUMENTS
from recsys.data.read import examine, open_folder, read_dataset
from recsys.decision.policy.read import read_documents, read_policy
from recsys.errors import BundleError, CorruptBundleError, RecsysError
from recsys.experiments.experiment import read_experiment
from recsys.models.expert import read_weights

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "datasets" / "demo"
MOST_MEMORY = 3 * 2**30
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TABLES = {
    "clients": "client_id,valid_from,recorded_at,size,industry,region,tags\n"
    "c-1,2024-01-01,2024-01-01T00:00:00Z,small,G,77,a=1;b=2\nc-2,2024-01-01,2024-01-02T00:00:00Z,,,,\n",
    "offers": "offer_id,kind,recorded_at,title_ru,title_en\n"
    'pbx,own,2024-01-01T00:00:00Z,АТС,"PBX, ""the one"""\nbank,partner,2024-01-01T00:00:00Z,Банк,Bank\n',
    "holdings": "holding_id,client_id,offer_id,connected_at,recorded_at,quantity\n"
    "h-1,c-1,pbx,2024-02-01T09:00:00Z,2024-02-01T10:00:00Z,2\n",
}
META = 'name = "small"\ncurrency = "RUB"\ntime_zone = "Europe/Moscow"\n'
EXPERIMENT = """experiment_id: short-titles
title: Short titles
hypothesis: Less to read is more to take
owner: anna
arms: [{name: control, weight: 0.5}, {name: short, weight: 0.5, texts: {pbx: {ru: АТС, en: PBX}}}]
primary: {name: taken, measure: activations}
minimum_effect: 0.1
targeting: {size: [small, micro]}
"""


@st.composite
def harmed(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes after one to four harms."""
    content = draw(contents)
    for _ in range(draw(st.integers(1, 4))):
        one, two = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        harm = draw(st.sampled_from(("cut", "flip", "swap", "twice", "insert", "other")))
        if harm == "cut":
            content = content[:one] + (content[two:] if draw(st.booleans()) else b"")
        elif harm == "flip" and one < len(content):
            mask = draw(st.integers(1, 255))
            content = content[:one] + bytes([content[one] ^ mask]) + content[one + 1 :]
        elif harm == "swap":
            content = content[two:] + content[one:two] + content[:one]
        elif harm == "twice":
            content = content[:two] + content[one:two] * draw(st.integers(1, 50)) + content[two:]
        elif harm == "insert":
            content = content[:one] + draw(st.binary(max_size=40)) + content[one:]
        elif harm == "other":
            content = draw(
                st.sampled_from((b"", b"\x00" * 4096, b"PAR1", b"PK\x03\x04", b"\x93NUMPY\x01\x00", content))
            )
    return content


def refuses_or_reads(read: Callable[[], object]) -> None:
    """Anything but an error of the tree gets out and fails the test."""
    with contextlib.suppress(RecsysError):
        read()


# Bundles


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Path:
    return newest_bundle(bundles)


def forge(path: Path, **changes: object) -> None:
    """Give the manifest the right digests, as somebody who knows the format would."""
    values = orjson.loads((path / MANIFEST).read_bytes())
    values.pop("digest")
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.iterdir())
        if file.name != MANIFEST
    }
    manifest = Manifest.model_validate({**values, "files": files, **changes})
    whole = {**manifest.model_dump(mode="json"), "digest": manifest.digest()}
    (path / MANIFEST).write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


DTYPES = ("<f8", "<f4", "<i8", "<i1", "<u4", "|b1", "<U3", "<U0", "|S2", "<M8[s]", "<c16")
SHAPES = st.lists(st.integers(0, 6), max_size=3).map(tuple)


@st.composite
def foreign_arrays(draw: st.DrawFn) -> bytes:
    """A whole file of another type, shape or content than any model expects."""
    array = np.zeros(draw(SHAPES), dtype=draw(st.sampled_from(DTYPES)))
    if array.dtype.kind == "f" and array.size:
        array.flat[0] = draw(st.sampled_from((np.nan, np.inf, -1e30, 2.0)))
    if array.dtype.kind in "iu" and array.size:
        array.flat[0] = draw(st.sampled_from((np.iinfo(array.dtype).max, np.iinfo(array.dtype).min, 1)))
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


@quick
@given(data=st.data())
def test_a_forged_bundle_is_read_or_refused(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    copy = tmp_path / bundle.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    names = sorted(path.name for path in copy.glob("*.npy"))
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(data.draw(st.one_of(foreign_arrays(), harmed(st.just(whole)))))
    forge(copy)
    with contextlib.suppress(BundleError):
        load_bundle(copy)


@quick
@given(data=st.data())
def test_a_harmed_manifest_is_read_or_refused(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    copy = tmp_path / bundle.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    (copy / MANIFEST).write_bytes(data.draw(harmed(st.just((bundle / MANIFEST).read_bytes()))))
    for read in (load_bundle, newest_bundle):
        with contextlib.suppress(BundleError):
            read(copy if read is load_bundle else tmp_path)


PARAMS = st.dictionaries(
    st.sampled_from(("l2", "n_neighbours", "half_life_days", "members", "text", "more")),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        st.lists(st.integers(-9, 9), max_size=2),
    ),
    max_size=3,
)


@quick
@given(
    name=st.sampled_from(
        ("ease", "popularity", "expert", "neighbours", "als", "blend", "boosted", "profile", "")
    ),
    params=PARAMS,
    offer_ids=st.lists(st.text(max_size=4), max_size=7),
)
def test_a_manifest_of_another_model_is_refused_or_read(
    bundle: Path, tmp_path: Path, name: str, params: dict[str, object], offer_ids: list[str]
) -> None:
    copy = tmp_path / bundle.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    forge(copy, main={"name": name, "params": params}, offer_ids=offer_ids or ["pbx"])
    with pytest.raises(BundleError):
        load_bundle(copy)


def header_of(text: str, body: bytes = b"") -> bytes:
    """A file with a header of one's own making."""
    line = text.encode("latin1")
    line += b" " * (-(len(line) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + body


HEADERS = {
    "a pickle": header_of(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nmkdir\n(S'bomb'\ntR."
    ),
    "terabytes": header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "more than there are": header_of(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**40},)}}"),
    "less than nothing": header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8)}", b"\0" * 64),
    "endless nothing": header_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0)}"),
    "endless empty texts": header_of("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "nested": header_of("(" * 900 + ")" * 900),
    "signs": header_of("-" * 9000 + "1"),
    "names of a record": header_of(
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", b"\0" * 8
    ),
    "a call": header_of("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': ()}"),
    "no dimension": header_of("{'descr': '<f8', 'fortran_order': False, 'shape': ('a',)}"),
    "another version": b"\x93NUMPY\x03\x00" + b"\0" * 60,
    "an archive": b"PK\x03\x04" + b"\0" * 200,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused(
    bundle: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"\w"):
        array_from_bytes(HEADERS[name])
    copy = Path(shutil.copytree(bundle, tmp_path / bundle.name))
    (copy / "main.weights.npy").write_bytes(HEADERS[name])
    forge(copy)
    with pytest.raises(CorruptBundleError):
        load_bundle(copy)
    assert [path.name for path in tmp_path.iterdir()] == [bundle.name], "nothing ran"


@quick
@given(content=harmed(st.sampled_from([array_to_bytes(np.eye(3)), array_to_bytes(np.array(["a", "bc"]))])))
def test_a_harmed_array_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert array_from_bytes(content).nbytes <= len(content)


def test_an_archive_in_a_bundle_is_refused_unopened(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / bundle.name))
    with zipfile.ZipFile(copy / "main.weights.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../outside.npy", b"\0" * 10_000_000)
    with pytest.raises(CorruptBundleError, match="does not belong"):
        load_bundle(copy)
    (copy / "main.weights.npz").replace(copy / "main.weights.npy")
    forge(copy)
    with pytest.raises(CorruptBundleError, match="no plain array"):
        load_bundle(copy)
    assert not (tmp_path / "outside.npy").exists()


# Tables


def write_tables(folder: Path, contents: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def read_all(folder: Path) -> None:
    refuses_or_reads(lambda: examine(open_folder(folder)))
    refuses_or_reads(lambda: read_dataset(folder))
    refuses_or_reads(lambda: read_dataset(folder, skip_bad_rows=True))


@quick
@given(data=st.data())
def test_a_harmed_csv_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    contents = {f"{name}.csv": text.encode() for name, text in TABLES.items()}
    name = data.draw(st.sampled_from(sorted(contents)))
    contents[name] = data.draw(harmed(st.just(contents[name])))
    folder = tmp_path / "data"
    write_tables(folder, contents)
    read_all(folder)


CELLS = st.text(st.characters(codec="utf-8") | st.sampled_from('",;\n\r\0=\ufeff'), max_size=12)
CELLS_OF_NUMBERS = st.sampled_from(
    ("1e400", "-0", "nan", "9" * 40, "0x10", "１", "2024-02-30", "true", "∞", "1,5")
)


@quick
@given(data=st.data())
def test_cells_of_any_text_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    contents = {f"{name}.csv": text.encode() for name, text in TABLES.items()}
    name = data.draw(st.sampled_from(sorted(TABLES)))
    rows = [line.split(",") for line in TABLES[name].splitlines()]
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(rows[row]) - 1))
    rows[row][column] = data.draw(CELLS | CELLS_OF_NUMBERS)
    contents[f"{name}.csv"] = "\n".join(",".join(cells) for cells in rows).encode()
    folder = tmp_path / "data"
    write_tables(folder, contents)
    read_all(folder)


def parquet_of(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def frame_of(name: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(TABLES[name]), infer_schema=False)


COLUMNS = st.sampled_from(
    [
        pl.Series([1, 2]),
        pl.Series([1.5, float("nan")]),
        pl.Series([None, None]),
        pl.Series([[1], [2, 3]]),
        pl.Series([["a"], None]),
        pl.Series([{"a": 1}, {"a": 2}]),
        pl.Series([b"\xff", b""]),
        pl.Series([True, None]),
        pl.Series(["a", "b"], dtype=pl.Categorical),
        pl.Series([1, 2], dtype=pl.Duration("ns")),
        pl.Series([2**62, -(2**62)], dtype=pl.Datetime("ns")),
        pl.Series([2**62, -(2**62)], dtype=pl.Datetime("ms")),
        pl.Series([2**31 - 1, -(2**31)], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2**63, 2**64 - 1], dtype=pl.UInt64),
        pl.Series(["1.25", "1e3"]).cast(pl.Decimal(10, 2), strict=False),
    ]
)


@quick
@given(data=st.data())
def test_columns_of_any_type_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(("clients", "offers")))
    frame = frame_of(name)
    column = data.draw(st.sampled_from([*frame.columns, "unknown"]))
    frame = frame.with_columns(data.draw(COLUMNS).alias(column))
    contents = {f"{other}.parquet": parquet_of(frame_of(other)) for other in TABLES if other != name}
    folder = tmp_path / "data"
    write_tables(folder, {**contents, f"{name}.parquet": parquet_of(frame)})
    read_all(folder)


@quick
@given(content=harmed(st.sampled_from([parquet_of(frame_of("clients"))])))
def test_a_harmed_parquet_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    contents = {f"{name}.parquet": parquet_of(frame_of(name)) for name in ("offers", "holdings")}
    folder = tmp_path / "data"
    write_tables(folder, {**contents, "clients.parquet": content})
    read_all(folder)


BAD_NAMES = ("clients.csv", "dataset.toml", "placements.yaml", "expert.yaml")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_folder_or_a_dead_link_in_a_files_place_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    contents = {f"{table}.csv": text.encode() for table, text in TABLES.items() if f"{table}.csv" != name}
    write_tables(folder, contents)
    (folder / name).mkdir()
    with pytest.raises(RecsysError, match=name):
        read_dataset(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to(folder / "nowhere")
    refuses_or_reads(lambda: read_dataset(folder))


# Documents


@quick
@given(content=harmed(st.just(META.encode())))
def test_a_harmed_dataset_toml_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.toml").write_bytes(content)
    refuses_or_reads(lambda: DatasetMeta.load(tmp_path / "dataset.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5_000 + "]" * 5_000,
        "a = " + "{b = " * 5_000 + "1" + "}" * 5_000,
        "a." * 5_000 + "b = 1",
        "name = " + "9" * 10_000,
        'name = "\\ud800"',
        "currency = 1979-05-27T07:32:00Z",
    ],
    ids=["nested lists", "nested tables", "dotted", "digits", "half a character", "a moment"],
)
def test_a_hostile_dataset_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(RecsysError, match=r"dataset\.toml"):
        DatasetMeta.load(tmp_path / "dataset.toml")


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return read_documents(DEMO)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_harmed_policy_is_read_or_refused(documents: dict[str, str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(documents) & set(POLICY_DOCUMENTS))))
    # A part of a document is parsed a hundred times sooner than the whole, and has the same grammar.
    lines = documents[name].splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    part = "".join(lines[at : at + 40]).encode()
    text = data.draw(harmed(st.just(part))).decode(errors="replace")
    refuses_or_reads(lambda: read_policy({name: text}))


@settings(max_examples=120, deadline=None)
@given(content=harmed(st.just(EXPERIMENT.encode())))
def test_a_harmed_experiment_is_read_or_refused(content: bytes) -> None:
    refuses_or_reads(lambda: read_experiment(content.decode(errors="replace"), "short.yaml"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    (
        "arms",
        "primary",
        "targeting",
        "layer_range",
        "forced",
        "planned_end_at",
        "minimum_effect",
        "stratify_by",
        "title",
    )
)


@settings(max_examples=120, deadline=None)
@given(name=FIELDS, value=JSON)
def test_an_experiment_with_any_value_is_read_or_refused(name: str, value: object) -> None:
    document = {"experiment_id": "a", "title": "a", "hypothesis": "a", "owner": "a", "minimum_effect": 0.1}
    document["arms"] = [{"name": "one", "weight": 0.5}, {"name": "two", "weight": 0.5}]  # type: ignore[assignment]
    document["primary"] = {"name": "taken", "measure": "activations"}  # type: ignore[assignment]
    text = orjson.dumps({**document, name: value}, option=orjson.OPT_NON_STR_KEYS).decode()
    refuses_or_reads(lambda: read_experiment(text, "any.yaml"))


@settings(max_examples=120, deadline=None)
@given(
    content=harmed(
        st.just(b"offers:\n  pbx: {base: 1, size: {micro: 2}}\ncategories: {telephony: {base: 0.5}}\n")
    )
)
def test_harmed_expert_weights_are_read_or_refused(content: bytes) -> None:
    known = {"offers": {"pbx": 1}, "categories": {"telephony": 1}, "need_groups": {}}
    refuses_or_reads(lambda: list(read_weights(content.decode(errors="replace"), known)))


BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
    "brackets": "[" * 100_000,
    "braces": "{a: " * 20_000,
    "indents": "".join(" " * n + "a:\n" for n in range(2_000)),
    "dashes": "- " * 20_000,
    "a megabyte": "a: " + "x" * 2_000_000,
    "many values": "a: [" + "1," * 300_000 + "]",
    "digits": "minimum_effect: " + "9" * 100_000,
}
READERS = {
    "policy": "read_policy({'engagement.yaml': text})",
    "experiment": "read_experiment(text, 'bomb.yaml')",
}


@pytest.mark.parametrize("reader", READERS)
def test_bombs_in_documents_take_little_time_and_memory(reader: str, tmp_path: Path) -> None:
    for name, text in BOMBS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    program = f"""
import sys
from pathlib import Path
from recsys.decision.policy.read import read_policy
from recsys.errors import RecsysError
from recsys.experiments.experiment import read_experiment

for path in sorted(Path({str(tmp_path)!r}).glob("*.yaml")):
    text = path.read_text()
    try:
        {READERS[reader]}
    except RecsysError as error:
        print(path.stem, "refused", len(str(error)) < 2_000)
"""
    done = run_bounded(program)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"{name} refused True" for name in BOMBS)


def run_bounded(program: str) -> subprocess.CompletedProcess[str]:
    """In a process that gets no more than some memory and processor time."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=bound,
    )
