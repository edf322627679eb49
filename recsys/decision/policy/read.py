"""Reads a policy from its documents; what is wrong is refused, one line per fault with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple, TypeVar

from recsys.config import RunConfig, nearest_name
from recsys.data.documents import MAX_BYTES, POLICY_DOCUMENTS, YamlDocument, YamlPath
from recsys.data.placements import placements_from_yaml
from recsys.decision.policy.arbitration import ArbitrationSpec
from recsys.decision.policy.contact import ContactSpec
from recsys.decision.policy.engagement import EngagementSpec
from recsys.decision.policy.examples import ExamplesFile
from recsys.decision.policy.policy import BY_PROBABILITY, Policy, version_of
from recsys.decision.policy.vip import VipSpec
from recsys.decision.policy.walk import Unfolded, conditions_in, segments_named, unfolded
from recsys.decision.refusals import BUILT_IN_RULES
from recsys.errors import ConfigError
from recsys.placement import Placement

Shape = TypeVar("Shape", bound=RunConfig)
_HOUR_SECONDS = 3600
_EXAMPLES = "examples.yaml"
_MOST_COMPARISONS = 500
_MOST_LEVELS = 100
_MOST_FAULTS = 100
_MOST_OF_CIRCLE = 10
_NEIGHBOURS = ("catalogue.yaml", "expert.yaml")
"""Files that may stand beside a policy's documents."""


class PolicyFault(NamedTuple):
    """Something that is wrong with a policy.

    Attributes:
        document: Name of the document.
        path: Where in it: keys and 0-based indices from the top.
        message: What is wrong, and the cure.
        is_warning: Whether the policy can be used all the same.
    """

    document: str
    path: YamlPath
    message: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """A policy and the documents it was read from.

    Attributes:
        policy: What they say.
        examples: The examples, where there are any.
        parsed: The documents by name.
    """

    policy: Policy
    examples: ExamplesFile | None
    parsed: Mapping[str, YamlDocument]

    def line(self, fault: PolicyFault) -> str:
        """A fault as one line: ``file:line: what is wrong; cure``."""
        document = self.parsed.get(fault.document)
        return fault.message if document is None else str(document.error(fault.path, fault.message))


def policy_from_documents(documents: Mapping[str, str], place: str = "") -> Policy:
    """Read a policy for use; its examples decide nothing and are not looked at (see `read_policy`).

    Args:
        documents: Name of a document (``engagement.yaml``) → its text; other names are passed over, and what
            is absent has its defaults.
        place: Folder that stands before the names in errors.

    Raises:
        ConfigError: Something is wrong; one line per fault.

    Example:
        >>> policy_from_documents({"vip.yaml": "min_mean_spend_minor: 3000000"}).vip.months
        3
    """
    texts = _texts(documents)
    used = {name: text for name, text in texts.items() if name != _EXAMPLES}
    return replace(read_policy(used, place).policy, version=version_of(texts))


def read_policy(documents: Mapping[str, str], place: str = "") -> PolicyFiles:
    """Read a policy with its examples, and keep where everything stands; see `policy_from_documents`."""
    texts = _texts(documents)
    reader = _Reader(texts, place)
    engagement = reader.read("engagement.yaml", EngagementSpec) or EngagementSpec()
    contact = reader.read("contact.yaml", ContactSpec) or ContactSpec()
    arbitration = reader.read("arbitration.yaml", ArbitrationSpec) or BY_PROBABILITY
    vip = reader.read("vip.yaml", VipSpec)
    examples = reader.read(_EXAMPLES, ExamplesFile)
    placements = reader.placements()
    reader.refuse_faults()
    policy = Policy(
        engagement=engagement,
        contact=contact,
        arbitration=arbitration,
        placements=placements,
        vip=vip,
        window_seconds=arbitration.window_hours * _HOUR_SECONDS,
        min_cohort=arbitration.reasons.min_cohort,
        max_reasons=arbitration.reasons.at_most,
        version=version_of(texts),
    )
    files = PolicyFiles(policy, examples, reader.parsed)
    faults = [files.line(fault) for fault in first_faults(_faults(policy, examples))]
    if faults:
        raise ConfigError("\n".join(faults))
    return files


def first_faults(found: Iterable[PolicyFault]) -> Iterator[PolicyFault]:
    """Every warning, and as many faults as anybody mends at once: to guess what was meant takes a while."""
    n_faults = 0
    for fault in found:
        n_faults += not fault.is_warning
        if n_faults > _MOST_FAULTS:
            message = f"here and below are more faults; correct the first {_MOST_FAULTS} and check again"
            yield fault._replace(message=message)
            return
        yield fault


def _texts(documents: Mapping[str, str]) -> dict[str, str]:
    return {name: documents[name] for name in POLICY_DOCUMENTS if name in documents}


def read_documents(folder: Path) -> dict[str, str]:
    """The texts of a policy's folder, by name of the document.

    Raises:
        ConfigError: There is no such folder or no document in it, one cannot be read or is too large, or
            another YAML file stands there, which is likely a document with a mistyped name.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; name one with a policy")
    if strange := [_strange(path) for path in sorted(folder.iterdir()) if _is_strange(path)]:
        raise ConfigError("\n".join(strange))
    found = {name: folder / name for name in POLICY_DOCUMENTS if (folder / name).is_file()}
    if not found:
        raise ConfigError(f"{folder}: has none of {', '.join(POLICY_DOCUMENTS)}; name a folder with a policy")
    return {name: _text(path) for name, path in found.items()}


def _is_strange(path: Path) -> bool:
    is_yaml = path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith(".")
    return is_yaml and path.is_file() and path.name not in (*POLICY_DOCUMENTS, *_NEIGHBOURS)


def _strange(path: Path) -> str:
    stems = {Path(name).stem: name for name in (*POLICY_DOCUMENTS, *_NEIGHBOURS)}
    nearest = nearest_name(path.stem.lower(), stems)
    cure = f"did you mean {stems[nearest]!r}?" if nearest else "move it out of the folder"
    return f"{path}: is no document of a policy ({', '.join(POLICY_DOCUMENTS)}); {cure}"


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:  # told by the size alone: a huge file is not even read
            raise ConfigError(
                f"{path}: has {size:,} bytes, and {MAX_BYTES:,} are the most; remove what is not needed"
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; save it as UTF-8") from error


class _Reader:
    """Reads one document after the other and gathers what is wrong with any of them."""

    def __init__(self, texts: Mapping[str, str], place: str) -> None:
        self._texts, self._place = texts, place
        self._faults: list[str] = []
        self.parsed: dict[str, YamlDocument] = {}

    def read(self, name: str, shape: type[Shape]) -> Shape | None:
        """A document in its shape; None where it is absent or wrong."""
        return self._try(name, lambda: self._parse(name).read(shape))

    def placements(self) -> tuple[Placement, ...]:
        """The placements, which are read together with their own laws."""
        name = "placements.yaml"

        def parse() -> tuple[Placement, ...]:
            self._parse(name)
            return placements_from_yaml(self._texts[name], self._place_of(name))

        return self._try(name, parse) or ()

    def refuse_faults(self) -> None:
        """Raise what was gathered."""
        if self._faults:
            raise ConfigError("\n".join(self._faults))

    def _try(self, name: str, work: Callable[[], _Result]) -> _Result | None:
        if name not in self._texts:
            return None
        try:
            return work()
        except ConfigError as error:
            self._faults.append(str(error))
            return None

    def _parse(self, name: str) -> YamlDocument:
        self.parsed[name] = document = YamlDocument(self._texts[name], self._place_of(name))
        return document

    def _place_of(self, name: str) -> str:
        return str(Path(self._place) / name) if self._place else name


_Result = TypeVar("_Result")


def _faults(policy: Policy, examples: ExamplesFile | None) -> Iterator[PolicyFault]:
    yield from _repeated_ids(policy)
    yield from _segment_faults(policy)
    if examples is not None:
        yield from _example_faults(examples)


def _repeated_ids(policy: Policy) -> Iterator[PolicyFault]:
    """Refusals name rules and caps alike, so no two of them may have one id."""
    built_in = [rule_id for rule_ids in BUILT_IN_RULES.values() for rule_id in rule_ids]
    seen = dict.fromkeys(built_in, "is a built-in rule")
    groups: Sequence[tuple[str, str, Sequence[str]]] = (
        ("engagement.yaml", "rules", [rule.id for rule in policy.engagement.rules]),
        ("engagement.yaml", "volume_caps", [cap.id for cap in policy.engagement.volume_caps]),
        ("contact.yaml", "caps", [cap.id for cap in policy.contact.caps]),
    )
    for document, key, ids in groups:
        for index, name in enumerate(ids):
            if name in seen:
                yield PolicyFault(
                    document, (key, index, "id"), f"id {name!r} {seen[name]}; choose another one"
                )
            seen.setdefault(name, f"stands already among {key} of {document}")
    weights: set[str] = set()
    for index, weight in enumerate(policy.arbitration.context_weights):
        if weight.id in weights:
            path = ("context_weights", index, "id")
            yield PolicyFault("arbitration.yaml", path, f"id {weight.id!r} stands twice; choose another one")
        weights.add(weight.id)


def _segment_faults(policy: Policy) -> Iterator[PolicyFault]:
    segments = policy.engagement.segments
    is_known = True
    for place in conditions_in(policy):
        for path, name in segments_named(place.condition):
            if name not in segments:
                is_known = False
                nearest = nearest_name(name, segments)
                cure = f"did you mean {nearest!r}?" if nearest else "declare it under segments"
                message = f"there is no segment {name!r}; {cure}"
                yield PolicyFault(place.document, (*place.path, *path, "segment"), message)
    if not is_known:
        return
    uses = {name: [other for _, other in segments_named(condition)] for name, condition in segments.items()}
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        names = error.args[1][:-1]
        places = {name: place for place, name in enumerate(segments)}
        first = min(range(len(names)), key=lambda place: places[names[place]])
        circle = [*names[first:], *names[:first], names[first]]
        is_long = len(circle) > _MOST_OF_CIRCLE
        way = " → ".join([*circle[: _MOST_OF_CIRCLE - 2], "…", circle[-1]] if is_long else circle)
        message = f"segments refer to each other in a circle ({way}); take one reference out"
        yield PolicyFault("engagement.yaml", ("segments", circle[0]), message)
        return
    yield from _unfolded_faults(policy, list(TopologicalSorter(uses).static_order()))


def _unfolded_faults(policy: Policy, in_order: Sequence[str]) -> Iterator[PolicyFault]:
    """Conditions that unfold to more than anybody could follow; a few short lines can do that.

    Args:
        policy: The policy; every segment that it names is known.
        in_order: Its segments, each after those that it names.
    """
    sizes: dict[str, Unfolded] = {}
    for name in in_order:
        sizes[name] = unfolded(policy.engagement.segments[name], sizes)
        if problem := _too_large(sizes[name]):
            yield PolicyFault("engagement.yaml", ("segments", name), f"segment {name!r} {problem}")
            return  # those that name it are no better, for the same reason
    for place in conditions_in(policy):
        if problem := _too_large(unfolded(place.condition, sizes)):
            yield PolicyFault(place.document, place.path, f"this condition {problem}")


def _too_large(size: Unfolded) -> str:
    """What is wrong with a condition of that size; nothing = it can be followed."""
    if size.n_comparisons > _MOST_COMPARISONS:
        told = f"{size.n_comparisons:,} comparisons, and {_MOST_COMPARISONS:,} are the most"
    elif size.n_levels > _MOST_LEVELS:
        told = f"{size.n_levels} conditions within each other, and {_MOST_LEVELS} are the most"
    else:
        return ""
    return f"unfolds to {told}; ask for less, or name fewer segments"


def _example_faults(examples: ExamplesFile) -> Iterator[PolicyFault]:
    seen: set[str] = set()
    for index, example in enumerate(examples.examples):
        path = ("examples", index)
        if example.id in seen:
            message = f"example {example.id!r} stands twice; rename one"
            yield PolicyFault(_EXAMPLES, (*path, "id"), message)
        seen.add(example.id)
        if example.client not in examples.clients:
            nearest = nearest_name(example.client, examples.clients)
            cure = f"did you mean {nearest!r}?" if nearest else "declare it under clients"
            message = f"there is no client {example.client!r}; {cure}"
            yield PolicyFault(_EXAMPLES, (*path, "client"), message)
