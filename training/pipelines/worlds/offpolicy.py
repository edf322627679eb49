"""Off-policy estimates of policies held against their truth, in a made-up world."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from recsys.data.dataset import Dataset, DatasetMeta
from recsys.data.write import write_dataset
from recsys.decision.catalogue import CompiledCatalogue
from recsys.decision.engine import Engine
from recsys.evaluation.intervals import Estimate
from recsys.simulation.catalogue import Catalogue
from recsys.simulation.record import record_world
from recsys.simulation.rollout import Policy, Request, Rollout, Rollouts
from recsys.simulation.timeline import make_timeline, to_datetime
from recsys.simulation.world import World
from training.pipelines.fit import fit
from training.pipelines.offpolicy.evaluate import Options, evaluate_off_policy
from training.pipelines.offpolicy.log import Question, read_log
from training.pipelines.offpolicy.odds import Means, Rebuilt
from training.pipelines.offpolicy.result import ACTIVATIONS, OffPolicyResult
from training.pipelines.policies.sources import open_policy
from training.pipelines.scoring.estimates import Estimates, open_bundle
from training.pipelines.worlds.logged_truth import LoggedTruth, live_with_truth, rollout_policy
from training.pipelines.worlds.simulate import read_documents
from training.prepare.sources import open_dataset

PLACEMENT = "home"
EXPLORATIONS: Mapping[str, str] = {
    "every slot at random": "{kind: epsilon, share: 1.0}",
    "softmax in every slot": "{kind: softmax, share: 1.0, temperature: 1.0}",
    "best first, a tenth at random": "{kind: epsilon, share: 0.1}",
}
_DAYS, _N_LISTS = 30, 4
_OF_FIRST = re.compile(r"(\n    exploration: )\{.*\}")


_OPTIONS = Options(placements=(PLACEMENT,), days=_DAYS)


@dataclass(frozen=True, slots=True)
class Held:
    """An estimate held against the truth; activations per decision.

    Attributes:
        result: What the log says.
        truth: The policy's true value over the logged contexts.
        live_truth: That of the policies of the log.
        lived: What it brings per decision when it is lived under; nan where that was not asked.
        lived_live: What the policies of the log bring in the same months.
    """

    result: OffPolicyResult
    truth: float
    live_truth: float
    lived: float
    lived_live: float

    def as_dict(self) -> dict[str, object]:
        """The figures; those of estimators with their intervals."""
        found = self.result.measures[ACTIVATIONS]
        return {
            "says": self.result.says,
            "belief": self.result.belief,
            "ess": {name: round(each.gate.ess, 1) for name, each in self.result.beliefs.items()},
            "causes": {name: list(each.gate.causes) for name, each in self.result.beliefs.items()},
            "n_decisions": self.result.n_decisions,
            "new": _rounded(found.new),
            "live": _rounded(found.live),
            "difference": _rounded(found.difference),
            "truth": round(self.truth, 5),
            "live_truth": round(self.live_truth, 5),
            "lived": round(self.lived, 5),
            "lived_live": round(self.lived_live, 5),
            "estimators": {
                f"{belief}.{name}": _rounded(estimate)
                for belief, estimates in found.estimators.items()
                for name, estimate in estimates.items()
            },
        }


def _rounded(estimate: Estimate | None) -> list[float] | None:
    if estimate is None:
        return None
    return [round(figure, 5) for figure in (estimate.value, estimate.low, estimate.high)]


class LoggedWorld:
    """A world with its log, the truth of every logged decision, and models fitted before the log.

    Args:
        world: The parameters; lists that propose anything but connections and upgrades have no exact truth.
        catalogue: What can be connected.
        documents: Folder of the policy's documents.
        folder: Folder to write into.
        from_month: 0-based month from which on the log counts; the models know what was recorded before.
    """

    def __init__(
        self, world: World, catalogue: Catalogue, documents: Path, folder: Path, from_month: int
    ) -> None:
        self.world, self.catalogue, self.from_month = world, catalogue, from_month
        self._documents, self._folder = read_documents(documents), folder
        meta = DatasetMeta(name=world.name, currency=world.currency, time_zone=world.time_zone)
        tables = record_world(world, catalogue, lambda _: None)
        write_dataset(Dataset(meta=meta, tables=tables, documents=self._documents), folder / "data")
        self.truth: LoggedTruth = live_with_truth(world, catalogue)
        timeline = make_timeline(world.starts_on, world.n_months, world.time_zone)
        self.since: datetime = to_datetime(int(timeline.bounds[from_month]))
        fit(str(folder / "data"), "popularity", self.since, folder / "bundles")

    def policy(self, exploration: str) -> Path:
        """A folder with the policy, its first placement exploring so; no change of what is held."""
        folder = self._folder / "policy"
        folder.mkdir(exist_ok=True)
        texts = {
            **self._documents,
            "engagement.yaml": self._documents["engagement.yaml"].partition("\nchanges:")[0] + "\n",
            "placements.yaml": _OF_FIRST.sub(
                rf"\g<1>{exploration}", self._documents["placements.yaml"], count=1
            ),
        }
        texts.pop("examples.yaml", None)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    def hold(self, exploration: str, n_lived: int = 0, options: Options = _OPTIONS) -> Held:
        """Estimate a policy's value from the log, and find its truth.

        Args:
            exploration: How its lists are drawn.
            n_lived: Months to live under it; 0 = none.
            options: How to estimate.
        """
        policy, bundle = self.policy(exploration), self._folder / "bundles"
        data = str(self._folder / "data")
        result = evaluate_off_policy(data, bundle, policy, self._folder / "run", options)
        truth, live_truth = self._truths(policy, bundle, options)
        lived = lived_live = float("nan")
        if n_lived:
            rollouts = Rollouts(self.world, self.catalogue, self.from_month)
            lived = _per_list(rollouts.run(self._lived(policy, bundle), n_lived), self.since)
            lived_live = _per_list(rollouts.run_logging(n_lived), self.since)
        return Held(result, truth, live_truth, lived, lived_live)

    def _truths(self, policy: Path, bundle: Path, options: Options) -> tuple[float, float]:
        """True values over the logged contexts: the policy's, over lists of its own, and the log's."""
        dataset = open_dataset(str(self._folder / "data"))
        question = Question((PLACEMENT,), self.since, _DAYS, options.months, options.n_slots)
        log = read_log(dataset, question)
        offer_ids = tuple(sorted(dataset.table("offers")["offer_id"].unique().to_list()))
        decisions = log.decisions.select("client_id", "occurred_at").rows()
        chances = self.truth.means(decisions, offer_ids)
        means = Means(chances[..., None], np.arange(len(decisions)), offer_ids)
        rebuilt = Rebuilt(dataset, open_policy(policy).policy, open_bundle(bundle), log, means)
        odds = rebuilt.odds(np.random.default_rng(options.seed), options.n_lists)
        slots = log.slots
        offers = [offer_ids.index(offer_id) for offer_id in slots["offer_id"].to_list()]
        shown = chances[slots["decision"].to_numpy(), offers, slots["slot"].to_numpy() - 1]
        return float(odds.expected[:, 0].sum()) / len(decisions), float(shown.sum()) / len(decisions)

    def _lived(self, policy: Path, bundle: Path) -> Policy:
        rules, models = open_policy(policy).policy, open_bundle(bundle)

        def make_engine(request: Request) -> tuple[Engine, Estimates]:
            catalogue = CompiledCatalogue(request.snapshot.offers)
            return Engine(catalogue, rules, ZoneInfo(self.world.time_zone)), Estimates(models, catalogue)

        return rollout_policy(make_engine, PLACEMENT)


def _per_list(rollout: Rollout, since: datetime) -> float:
    """True activations expected per list."""
    decisions = rollout.tables()["decisions"]
    return float(rollout.n_expected.sum()) / len(decisions.filter(pl.col("occurred_at") >= since))


def compare(
    world: World, catalogue: Catalogue, documents: Path, folder: Path, n_lived: int
) -> dict[str, dict[str, object]]:
    """Hold estimates of several policies against their truth, from the log of the last logging policy.

    Args:
        world: The parameters.
        catalogue: What can be connected.
        documents: Folder of the policy's documents.
        folder: Folder to write into.
        n_lived: Months to live under each policy, for what it brings in the long run.
    """
    logged = LoggedWorld(world, catalogue, documents, folder, world.logging[-1].from_month)
    options = replace(_OPTIONS, n_lists=_N_LISTS)
    return {name: logged.hold(text, n_lived, options).as_dict() for name, text in EXPLORATIONS.items()}
