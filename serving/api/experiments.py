"""Experiments over HTTP: plan, start, watch, end; the hold-out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from recsys.errors import InvalidRequestError
from recsys.experiments.experiment import HOLDOUT_ID, Experiment, Holdout
from serving.api.experiment_answers import (
    EndQuestion,
    ExperimentAnswer,
    ExperimentsAnswer,
    HoldoutAnswer,
    HoldoutQuestion,
    OrderedAnswer,
    RampQuestion,
    StartQuestion,
    UnreadableAnswer,
    VerdictQuestion,
    experiment_answer,
    experiments_answer,
    holdout_answer,
    ordered_answer,
)
from serving.api.failure_answers import failure_answers
from serving.api.operations import Author
from serving.api.questions import Id
from serving.services import experiments
from serving.services.experiments import Voice
from serving.services.services import Services
from serving.web.authentication import Right, needs
from serving.web.direct import GuardedRoute

ExperimentPath = Annotated[Id, Path(description="the experiment")]

_READS = [Depends(needs(Right.READ_EXPERIMENTS))]
_STOPS = [Depends(needs(Right.STOP_EXPERIMENTS))]
_RUNS = [Depends(needs(Right.RUN_EXPERIMENTS))]
_ORDER_FAILURES = (400, 403, 404, 409, 413, 422, 503)


def experiments_router(services: Services) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1", tags=["experiments"], route_class=GuardedRoute)
    _add_documents(router, services)
    _add_orders(router, services)
    _add_reads(router, services)
    _add_holdout(router, services)
    return router


def _add_documents(router: APIRouter, services: Services) -> None:
    @router.post("/experiments", dependencies=_RUNS, responses=failure_answers(400, 403, 409, 413, 422, 503))
    def create_experiment(body: Experiment, author: Author) -> OrderedAnswer | UnreadableAnswer:
        """Store a draft; what would keep it from starting is said in `warnings`."""
        voice = Voice(author, services.clock.now())
        return ordered_answer(
            experiments.create_experiment(services.store, body, voice, services.bundles_dir)
        )

    @router.put(
        "/experiments/{experiment_id}", dependencies=_RUNS, responses=failure_answers(*_ORDER_FAILURES)
    )
    def edit_experiment(
        experiment_id: ExperimentPath, body: Experiment, author: Author
    ) -> OrderedAnswer | UnreadableAnswer:
        """Replace a draft; an experiment that was started is what it is: 409."""
        if body.experiment_id != experiment_id:
            raise InvalidRequestError(
                "experiment_id", f"is {body.experiment_id!r} in the body and {experiment_id!r} in the address"
            )
        voice = Voice(author, services.clock.now())
        return ordered_answer(experiments.edit_experiment(services.store, body, voice, services.bundles_dir))

    @router.post("/experiments/plan", dependencies=_READS, responses=failure_answers(400, 403, 413, 422, 503))
    def plan_experiment(
        body: Experiment,
        share_triggered: Annotated[
            float,
            Query(gt=0, le=1, description="share of the units that come whose lists differ between the arms"),
        ] = 1.0,
    ) -> dict[str, object]:
        """What an experiment would find among the clients there are: power, least effect, weeks, in words."""
        return services.analysis.plan(services.store, body, share_triggered, services.clock.now())


def _add_orders(router: APIRouter, services: Services) -> None:
    def voice(author: str, reason: str) -> Voice:
        return Voice(author, services.clock.now(), reason)

    failures = failure_answers(*_ORDER_FAILURES)

    @router.post("/experiments/{experiment_id}/start", dependencies=_RUNS, responses=failures)
    def start_experiment(
        experiment_id: ExperimentPath, body: StartQuestion, author: Author
    ) -> OrderedAnswer | UnreadableAnswer:
        """Start a draft; every worker follows within a second."""
        said = voice(author, body.reason)
        return ordered_answer(
            experiments.start_experiment(services.store, experiment_id, said, services.bundles_dir)
        )

    @router.post("/experiments/{experiment_id}/ramp", dependencies=_RUNS, responses=failures)
    def ramp_experiment(
        experiment_id: ExperimentPath, body: RampQuestion, author: Author
    ) -> OrderedAnswer | UnreadableAnswer:
        """Let a larger share of the units in; nobody who is in changes the arm."""
        said = voice(author, body.reason)
        return ordered_answer(experiments.ramp_experiment(services.store, experiment_id, body.coverage, said))

    @router.post("/experiments/{experiment_id}/stop", dependencies=_STOPS, responses=failures)
    def stop_experiment(
        experiment_id: ExperimentPath, body: EndQuestion, author: Author
    ) -> OrderedAnswer | UnreadableAnswer:
        """End an experiment: everybody sees what is in force, and outcomes are still waited for."""
        said = voice(author, body.reason)
        return ordered_answer(experiments.stop_experiment(services.store, experiment_id, said))

    @router.post("/experiments/{experiment_id}/decide", dependencies=_RUNS, responses=failures)
    def decide_experiment(
        experiment_id: ExperimentPath, body: VerdictQuestion, author: Author
    ) -> OrderedAnswer | UnreadableAnswer:
        """Write down what came of a stopped experiment; nothing is published by that."""
        said = voice(author, body.reason)
        return ordered_answer(
            experiments.decide_experiment(
                services.store,
                experiment_id,
                body.winner,
                said,
                lambda: _open_windows(services, experiment_id, said),
            )
        )


def _open_windows(services: Services, experiment_id: str, said: Voice) -> int:
    """Clients whose windows are open, of all arms."""
    found = services.analysis.results(services.store, experiment_id, said.at)
    return sum(arm["counts"]["n_open"] for arm in found["arms"])


def _add_reads(router: APIRouter, services: Services) -> None:
    @router.get("/experiments", dependencies=_READS, responses=failure_answers(403, 503))
    def list_experiments() -> ExperimentsAnswer:
        """Every experiment and how it stands."""
        return experiments_answer(experiments.all_experiments(services.store))

    @router.get("/experiments/{experiment_id}", dependencies=_READS, responses=failure_answers(403, 404, 503))
    def show_experiment(experiment_id: ExperimentPath) -> ExperimentAnswer | UnreadableAnswer:
        """An experiment in full, with everything that was said of it."""
        return experiment_answer(experiments.look_up(services.store, experiment_id))

    @router.get(
        "/experiments/{experiment_id}/results",
        dependencies=_READS,
        responses=failure_answers(403, 404, 409, 422, 503),
    )
    def show_results(experiment_id: ExperimentPath) -> dict[str, object]:
        """What came of it so far: verdicts, effects with intervals, guardrails, sample ratio.

        A number that cannot be told is null beside its cause. `always_valid` figures may be looked at daily.
        """
        return services.analysis.results(services.store, experiment_id, services.clock.now())


def _add_holdout(router: APIRouter, services: Services) -> None:
    @router.get("/holdout", dependencies=_READS, responses=failure_answers(403, 503))
    def show_holdout() -> HoldoutAnswer:
        """Who sees business as usual."""
        return holdout_answer(experiments.holdout_in_force(services.store))

    @router.get("/holdout/results", dependencies=_READS, responses=failure_answers(403, 409, 422, 503))
    def show_holdout_results() -> dict[str, object]:
        """What everything personal brings so far: those who see it against those who are held out."""
        return services.analysis.results(services.store, HOLDOUT_ID, services.clock.now())

    @router.put("/holdout", dependencies=_RUNS, responses=failure_answers(400, 403, 409, 413, 422, 503))
    def store_holdout(body: HoldoutQuestion, author: Author) -> HoldoutAnswer:
        """Set the hold-out; every worker follows within a second."""
        voice = Voice(author, services.clock.now(), body.reason)
        holdout = Holdout(share=body.share, salt=body.salt, unit=body.unit)
        return holdout_answer(experiments.order_holdout(services.store, holdout, voice))
