"""The bundle: what training hands to serving, as a folder of plain arrays and one manifest.

Layout: ``manifest.json`` and, beside it, one ``.npy`` file for each array, ``<part>.<array>.npy``. The
manifest names every file with its SHA-256 and ends with a digest of itself. Nothing is ever pickled. The
digests reveal damage and careless edits; they are no signature.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from recsys.config import RunConfig
from recsys.data.arrays import array_from_bytes, array_to_bytes
from recsys.domain import Target
from recsys.errors import (
    BundleError,
    BundleNotFoundError,
    ConfigError,
    CorruptBundleError,
    IncompatibleBundleError,
)
from recsys.features.builder import spec_of
from recsys.features.population import Population
from recsys.features.spec import SPEC_VERSION
from recsys.models.base import Arrays, OfferIndex, Scorer
from recsys.models.calibration import Calibration
from recsys.models.popularity import Popularity, PopularityParams
from recsys.models.recommender import Recommender
from recsys.models.registry import make_scorer

FORMAT_VERSION = 6
MANIFEST = "manifest.json"
RECIPE_NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.npy")
_MOST_BYTES = 2**32
# What arrays that fit no model come to; the digests are right, so somebody made them so.
_UNFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_POPULATION = "population"
_PARTS = ("main", "fallback", "main_calibration", "fallback_calibration", _POPULATION)


class Provenance(RunConfig):
    """Where a bundle comes from.

    Attributes:
        name: Name of the recipe: lower-case letters, digits, ``-`` and ``_``.
        created_at: When it was fitted.
        as_of: Information cut-off of the data, in the data's time zone.
        horizon_days: Days within which the target must happen.
        seed: Root seed of every random draw.
        config_digest: SHA-256 of the recipe.
        data_digest: SHA-256 of the data.
        code_digest: SHA-256 of the library's source.
        metrics: What was measured while fitting, by name.
    """

    name: str = Field(pattern=RECIPE_NAME)
    created_at: AwareDatetime
    as_of: AwareDatetime
    horizon_days: int
    seed: int
    config_digest: str
    data_digest: str
    code_digest: str
    metrics: dict[str, float]


class ModelEntry(RunConfig):
    """One model of a bundle: its name in the registry and its parameters."""

    name: str
    params: dict[str, JsonValue]


class FeaturesEntry(RunConfig):
    """What a bundle's population was counted for.

    Attributes:
        version: Version of the features; see `recsys.features.spec.SPEC_VERSION`.
        spec_digest: Digest of their names, units and ranges.
    """

    version: int
    spec_digest: str


class Manifest(Provenance):
    """Everything a bundle says of itself.

    Attributes:
        format_version: Version of this layout.
        target: What the probabilities are probabilities of.
        main: The model for clients with holdings.
        fallback: Popularity, for the others.
        offer_ids: The offers, in the order of the arrays' columns.
        files: SHA-256 of every file but the manifest, by name.
        features: The features that the population is for; None in a bundle without one.
    """

    format_version: int
    target: Target
    main: ModelEntry
    fallback: ModelEntry
    offer_ids: tuple[str, ...]
    files: dict[str, str]
    features: FeaturesEntry | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a bundle without a population has the manifest that it always had
        values: dict[str, object] = serialize(self)
        if self.features is None:
            del values["features"]
        return values

    @property
    def version(self) -> str:
        """Name of the recipe, day of as_of and eight digits of the digest."""
        return f"{self.name}-{self.as_of:%Y-%m-%d}-{self.digest()[:8]}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        version: Its name, unique to its content.
        manifest: What it says of itself.
        recommender: What it does.
        population: Frozen figures of all clients, for features; None in a bundle without.
    """

    version: str
    manifest: Manifest
    recommender: Recommender
    population: Population | None = None


def save_bundle(
    recommender: Recommender, provenance: Provenance, out: Path, population: Population | None = None
) -> Path:
    """Write a bundle into a folder of bundles, all or nothing.

    The files are written beside their final place, flushed to the disk and renamed at once. The same
    content gives the same bytes and the same name; where it already stands, nothing is written.

    Args:
        recommender: The fitted models.
        provenance: Where they come from.
        out: The folder of bundles; made if missing.
        population: Frozen figures of the same offers, for features.

    Returns:
        The new bundle's folder.

    Raises:
        BundleError: A file cannot be written (the disk is full, the folder is not writable), or the
            bundle already stands there and is corrupt.
        ValueError: The population is of other offers.
    """
    if population is not None and population.offer_ids != recommender.offers.offer_ids:
        raise ValueError("the population and the models know different offers")
    contents = {name: array_to_bytes(array) for name, array in _arrays_of(recommender, population)}
    manifest = Manifest(
        **provenance.model_dump(),
        format_version=FORMAT_VERSION,
        target=recommender.target,
        main=_entry_of(recommender.main),
        fallback=_entry_of(recommender.fallback),
        offer_ids=recommender.offers.offer_ids,
        files={name: _sha256(content) for name, content in sorted(contents.items())},
        features=None if population is None else _features_of(population),
    )
    folder = out / manifest.version
    if folder.exists():
        load_bundle(folder)
        return folder
    _write_folder(folder, {**contents, MANIFEST: _manifest_bytes(manifest)})
    return folder


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleNotFoundError: There is no bundle at that place.
        IncompatibleBundleError: Another format version wrote it, or its population is for other features
            than this program builds: fit again.
        CorruptBundleError: It is truncated or edited, or holds files or types it must not hold.
    """
    manifest = _read_manifest(path)
    _check_files(path, manifest)
    arrays: dict[str, Arrays] = {part: {} for part in _PARTS}
    for name, digest in manifest.files.items():
        part, array, _ = name.split(".")
        if part not in arrays:
            raise CorruptBundleError(f"bundle {path}: file {name!r} belongs to no part of a bundle")
        arrays[part][array] = _read_array(path / name, digest)
    try:
        found = arrays[_POPULATION]
        population = Population.restore(manifest.offer_ids, found) if found else None
        recommender = _recommender_of(manifest, arrays)
    except (*_UNFIT, ConfigError) as error:
        raise CorruptBundleError(f"bundle {path}: its content does not fit together: {error}") from error
    _check_features(path, manifest.features, None if population is None else _features_of(population))
    return Bundle(manifest.version, manifest, recommender, population)


def newest_bundle(folder: Path) -> Path:
    """The bundle of a folder that was created last; of several, the last by name.

    Raises:
        BundleNotFoundError: The folder does not exist or holds no bundle.
        BundleError: A manifest in it cannot be read; serving an older bundle in silence would hide that.
    """
    if not folder.is_dir():
        raise BundleNotFoundError(f"there is no folder {folder}: fit a bundle into it first")
    found = [
        path for path in folder.iterdir() if not path.name.startswith(".") and (path / MANIFEST).is_file()
    ]
    if not found:
        raise BundleNotFoundError(f"the folder {folder} holds no bundle: fit one into it first")
    return max(found, key=lambda path: (_read_manifest(path).created_at, path.name))


def _arrays_of(
    recommender: Recommender, population: Population | None
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    calibrations = recommender.main_calibration, recommender.fallback_calibration
    found = recommender.main, recommender.fallback, *calibrations, population
    parts = {name: {} if part is None else part.to_arrays() for name, part in zip(_PARTS, found, strict=True)}
    for part, arrays in parts.items():
        for name, array in arrays.items():
            yield f"{part}.{name}.npy", array


def _recommender_of(manifest: Manifest, arrays: Mapping[str, Arrays]) -> Recommender:
    offers = OfferIndex(manifest.offer_ids)
    fallback_params = PopularityParams.parse(manifest.fallback.params, "fallback")
    return Recommender(
        main=make_scorer(manifest.main.name, manifest.main.params).restore(offers, arrays["main"]),
        fallback=Popularity(fallback_params).restore(offers, arrays["fallback"]),
        main_calibration=_calibration_of(arrays["main_calibration"]),
        fallback_calibration=_calibration_of(arrays["fallback_calibration"]),
        target=manifest.target,
    )


def _calibration_of(arrays: Arrays) -> Calibration | None:
    return Calibration.restore(arrays) if arrays else None


def _entry_of(scorer: Scorer) -> ModelEntry:
    return ModelEntry(name=scorer.name, params=scorer.params.model_dump(mode="json"))


def _manifest_bytes(manifest: Manifest) -> bytes:
    values = {**manifest.model_dump(mode="json"), "digest": manifest.digest()}
    return orjson.dumps(values, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _read_manifest(path: Path) -> Manifest:
    if not path.is_dir() or not (path / MANIFEST).is_file():
        raise BundleNotFoundError(f"there is no bundle at {path}")
    content = _read_file(path / MANIFEST)
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CorruptBundleError(f"bundle {path}: {MANIFEST} is no JSON: {error}") from error
    if not isinstance(values, dict) or "format_version" not in values:
        raise CorruptBundleError(f"bundle {path}: {MANIFEST} names no format version")
    if values["format_version"] != FORMAT_VERSION:
        raise IncompatibleBundleError(
            f"bundle {path} has format version {str(values['format_version'])[:20]},"
            f" this program reads {FORMAT_VERSION}: fit again"
        )
    values.pop("digest", None)
    try:
        manifest = Manifest.parse(values, MANIFEST)
    except ConfigError as error:
        raise CorruptBundleError(f"bundle {path}: {error}") from error
    # comparing bytes, not values: an edit that leaves the values alone is an edit too
    if _manifest_bytes(manifest) != content:
        raise CorruptBundleError(f"bundle {path}: {MANIFEST} was edited after it was written")
    return manifest


def _features_of(population: Population) -> FeaturesEntry:
    return FeaturesEntry(version=SPEC_VERSION, spec_digest=spec_of(population.need_groups).digest)


def _check_features(path: Path, fitted: FeaturesEntry | None, built: FeaturesEntry | None) -> None:
    """Refuse a bundle that was fitted for other features than this program builds."""
    if fitted == built:
        return
    if built is None:
        raise CorruptBundleError(f"bundle {path}: {MANIFEST} names features, but there is no population")
    names = ["features it does not name" if each is None else _name_of(each) for each in (fitted, built)]
    raise IncompatibleBundleError(
        f"bundle {path} was fitted for {names[0]}, this program builds {names[1]}: fit again,"
        " or use the program that fitted it"
    )


def _name_of(features: FeaturesEntry) -> str:
    return f"features of version {features.version} (digest {features.spec_digest[:8]})"


def _check_files(path: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if _FILE_NAME.fullmatch(name) is None:
            raise CorruptBundleError(f"bundle {path}: {name!r} is no name of a bundle's file")
    wanted = {*manifest.files, MANIFEST}
    with os.scandir(path) as entries:
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    for name in sorted(wanted - found.keys()):
        raise CorruptBundleError(f"bundle {path}: file {name!r} is missing")
    for name, is_file in sorted(found.items()):
        if name not in wanted or not is_file:
            raise CorruptBundleError(f"bundle {path}: {name!r} does not belong into a bundle")


def _read_file(path: Path) -> bytes:
    try:
        # a link could point at a file that changes after the check
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            n_bytes = os.fstat(descriptor).st_size
            if n_bytes > _MOST_BYTES:
                raise CorruptBundleError(f"bundle {path.parent}: file {path.name!r} has {n_bytes:,} bytes")
            return file.read()
    except OSError as error:
        raise CorruptBundleError(
            f"bundle {path.parent}: file {path.name!r} cannot be read: {error}"
        ) from error


def _read_array(path: Path, digest: str) -> NDArray[np.generic]:
    content = _read_file(path)
    if _sha256(content) != digest:
        raise CorruptBundleError(f"bundle {path.parent}: file {path.name!r} was edited or truncated")
    try:
        return array_from_bytes(content)
    except ValueError as error:
        raise CorruptBundleError(
            f"bundle {path.parent}: file {path.name!r} is no plain array: {error}"
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    # the leading dot hides an unfinished folder from `newest_bundle`
    unfinished = folder.parent / f".{folder.name}.{uuid4().hex}"
    try:
        unfinished.mkdir(parents=True)
        for name, content in contents.items():
            with (unfinished / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _flush_folder(unfinished)
        unfinished.rename(folder)
        _flush_folder(folder.parent)
    except OSError as error:
        raise BundleError(f"the bundle {folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
