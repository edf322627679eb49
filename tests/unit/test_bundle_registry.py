"""What stands of the orders about bundles, whether one may go live, and how rankings disagree."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from recsys.bundle import FORMAT_VERSION, Manifest, ModelEntry
from recsys.domain import Target
from recsys.errors import ConflictError, UnknownBundleError
from serving.orders import BundleAction, BundleOrder, ShadowFigures
from serving.services.bundle_gate import TOLERATED, Unreadable, compare_figures, judge_bundle
from serving.services.bundle_registry import BundleStatus, registry_of
from serving.services.disagreement import LEAST_DECISIONS, rank_correlation, summary_of

T0 = datetime(2026, 3, 1, tzinfo=UTC)
A, B, C = "a-1", "b-1", "c-1"
LIVE, SHADOW, CANDIDATE, RETIRED = (
    BundleStatus.LIVE,
    BundleStatus.SHADOW,
    BundleStatus.CANDIDATE,
    BundleStatus.RETIRED,
)


def orders(*said: tuple[str, str]) -> list[BundleOrder]:
    return [
        BundleOrder(number, version, version, "f" * 64, BundleAction(action), "key", "", "", T0)
        for number, (action, version) in enumerate(said, start=1)
    ]


def statuses(*said: tuple[str, str]) -> dict[str, BundleStatus]:
    return {version: entry.status for version, entry in registry_of(orders(*said)).entries.items()}


class TestRegistry:
    published = (("publish", A), ("publish", B), ("publish", C))

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ((), {A: CANDIDATE, B: CANDIDATE, C: CANDIDATE}),
            ((("shadow", A),), {A: SHADOW, B: CANDIDATE, C: CANDIDATE}),
            ((("shadow", A), ("shadow", B)), {A: CANDIDATE, B: SHADOW, C: CANDIDATE}),
            ((("shadow", A), ("promote", A)), {A: LIVE, B: CANDIDATE, C: CANDIDATE}),
            ((("promote", A), ("promote", B)), {A: RETIRED, B: LIVE, C: CANDIDATE}),
            ((("promote", A), ("promote", B), ("shadow", A)), {A: SHADOW, B: LIVE, C: CANDIDATE}),
            ((("promote", A), ("promote", B), ("roll_back", A)), {A: LIVE, B: RETIRED, C: CANDIDATE}),
            ((("promote", A), ("promote", B), ("promote", A)), {A: LIVE, B: RETIRED, C: CANDIDATE}),
            ((("shadow", A), ("retire", A)), {A: RETIRED, B: CANDIDATE, C: CANDIDATE}),
            ((("retire", A), ("publish", A)), {A: CANDIDATE, B: CANDIDATE, C: CANDIDATE}),
            ((("promote", A), ("pin", A), ("unpin", A)), {A: LIVE, B: CANDIDATE, C: CANDIDATE}),
        ],
    )
    def test_how_each_stands(
        self, said: tuple[tuple[str, str], ...], expected: dict[str, BundleStatus]
    ) -> None:
        assert statuses(*self.published, *said) == expected

    def test_roll_backs_go_further_back_and_not_forth_again(self) -> None:
        said = [*self.published, ("promote", A), ("promote", B), ("promote", C)]
        for live, before in ((C, B), (B, A), (A, None)):
            registry = registry_of(orders(*said))
            assert registry.live is not None
            assert registry.live.version == live
            assert (registry.before.version if registry.before else None) == before
            said.append(("roll_back", before or ""))

    def test_a_pin_is_of_who_said_it_last(self) -> None:
        said = (*self.published, ("promote", A))
        assert registry_of(orders(*said)).pin is None
        pin = registry_of(orders(*said, ("pin", A))).pin
        assert pin is not None
        assert pin.number == 5
        assert registry_of(orders(*said, ("pin", A), ("unpin", A))).pin is None

    def test_a_bundle_published_anew_is_taken_from_its_new_folder(self) -> None:
        first, retired, second = orders(("publish", A), ("retire", A), ("publish", A))
        moved = BundleOrder(**{**{name: getattr(second, name) for name in second.__slots__}, "folder": "x"})
        assert registry_of([first, retired, moved]).entries[A].folder == "x"

    def test_shortened_versions_are_found_where_that_is_plain(self) -> None:
        registry = registry_of(orders(("publish", "default-1"), ("publish", "default-2")))
        assert registry.find("default-1").version == "default-1"
        with pytest.raises(UnknownBundleError, match="2 begin like that"):
            registry.find("default")
        with pytest.raises(UnknownBundleError, match="did you mean 'default-"):
            registry.find("defautl-1")
        with pytest.raises(UnknownBundleError, match="publish it first"):
            registry.find("")

    @given(st.lists(st.sampled_from([A, B, C]), max_size=12))
    def test_one_is_live_and_the_others_are_retired(self, promoted: list[str]) -> None:
        promoted = [version for at, version in enumerate(promoted) if at == 0 or version != promoted[at - 1]]
        found = statuses(*self.published, *(("promote", version) for version in promoted))
        counts = Counter(found.values())
        assert counts[LIVE] == bool(promoted)
        assert counts[RETIRED] == max(0, len(set(promoted)) - 1)
        if promoted:
            assert found[promoted[-1]] is LIVE


def manifest(metrics: dict[str, float], target: Target = Target.ADOPTION, name: str = "default") -> Manifest:
    return Manifest(
        name=name,
        created_at=T0,
        as_of=T0,
        horizon_days=30,
        seed=1,
        config_digest="0" * 64,
        data_digest="0" * 64,
        code_digest="0" * 64,
        metrics=metrics,
        format_version=FORMAT_VERSION,
        target=target,
        main=ModelEntry(name="ease", params={}),
        fallback=ModelEntry(name="popularity", params={}),
        offer_ids=("crm",),
        files={},
    )


class TestGate:
    @pytest.mark.parametrize(
        ("candidate", "live", "worse"),
        [
            ({"ndcg_at_10": 0.3 * (1 - TOLERATED) - 1e-6}, {"ndcg_at_10": 0.3}, ["ndcg_at_10"]),
            ({"ndcg_at_10": 0.3 * (1 - TOLERATED) + 1e-6}, {"ndcg_at_10": 0.3}, []),
            ({"log_loss_start": 0.06}, {"log_loss_start": 0.05}, ["log_loss"]),
            (
                {"log_loss_start": 0.06, "log_loss_trees": 0.05, "n_trees": 9.0},
                {"log_loss_start": 0.05},
                [],
            ),
            (
                {"log_loss_trees": 0.04, "log_loss_start": 0.06, "n_trees": 0},
                {"log_loss_start": 0.05},
                ["log_loss"],
            ),
            ({"observed_over_expected": 1.2}, {"observed_over_expected": 1.0}, []),
            ({"observed_over_expected": 0.5}, {"observed_over_expected": 1.3}, ["observed_over_expected"]),
            ({"observed_over_expected": 1.5}, {"observed_over_expected": 3.0}, []),
            ({"observed_over_expected": 0.0}, {"observed_over_expected": 3.0}, ["observed_over_expected"]),
            ({"ndcg_at_10": float("nan")}, {"ndcg_at_10": 0.3}, ["ndcg_at_10"]),
            ({"ndcg_at_10": float("inf")}, {"ndcg_at_10": 0.3}, ["ndcg_at_10"]),
            ({"ndcg_at_10": 0.3}, {"ndcg_at_10": float("nan")}, []),
            ({"ndcg_at_10": 0.3}, {"ndcg_at_10": 0.3, "log_loss_start": 0.05}, ["log_loss"]),
            (
                {"log_loss_start": 0.05, "n_trees": 9.0},
                {"log_loss_start": 0.05},
                ["log_loss"],
            ),
            ({}, {"observed_over_expected": 3.0}, ["observed_over_expected"]),
            ({"n_windows": 1.0}, {"n_windows": 9.0}, []),
        ],
    )
    def test_what_is_worse(
        self, candidate: dict[str, float], live: dict[str, float], worse: list[str]
    ) -> None:
        assert [each.name for each in compare_figures(candidate, live) if each.is_worse] == worse

    def test_an_override_needs_a_reason_and_names_its_author(self) -> None:
        worse, live = manifest({"ndcg_at_10": 0.1}), manifest({"ndcg_at_10": 0.3})
        with pytest.raises(ConflictError, match=r"ndcg_at_10 0\.1 against 0\.3"):
            judge_bundle(worse, live, "key-1", override="   ")
        judged = judge_bundle(worse, live, "key-1", override=" broken prices ")
        assert "overridden by key-1: broken prices" in judged.note
        assert len(judged.warnings) == 1

    def test_what_cannot_be_compared_is_a_warning(self) -> None:
        figures = {"ndcg_at_10": 0.3}
        one, other = manifest(figures), manifest(figures, Target.ACCEPTANCE)
        for candidate, live in ((one, other), (one, manifest({})), (one, Unreadable(None, "gone"))):
            assert judge_bundle(candidate, live, "key-1").warnings
        assert judge_bundle(one, None, "key-1").warnings == ()

    def test_what_is_not_known_of_the_candidate_speaks_against_it(self) -> None:
        with pytest.raises(ConflictError, match=r"ndcg_at_10 unknown against 0\.3"):
            judge_bundle(manifest({}), manifest({"ndcg_at_10": 0.3}), "key-1")

    def test_against_a_live_one_that_cannot_be_read_somebody_must_say_why(self) -> None:
        one, live = manifest({"ndcg_at_10": 0.3}), Unreadable(A, "a file is missing")
        with pytest.raises(ConflictError, match=rf"the live {A} cannot be read \(a file is missing\)"):
            judge_bundle(one, live, "key-1")
        judged = judge_bundle(one, live, "key-1", override="the disk is lost")
        assert judged.note.endswith("overridden by key-1: the disk is lost; not evaluated off-policy")
        assert len(judged.warnings) == 1


class TestDisagreement:
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
    def test_the_rank_correlation_is_spearmans(self, pairs: list[tuple[int, int]]) -> None:
        first, second = np.array(pairs, dtype=np.float64).T
        found = rank_correlation(first, second)
        if len(set(first)) == 1 or len(set(second)) == 1:
            assert found is None
        else:
            assert found == pytest.approx(spearmanr(first, second).statistic)

    def test_the_worst_segments_are_those_with_decisions_enough(self) -> None:
        def figures(placement: str, size: str | None, n: int, n_differing: int) -> ShadowFigures:
            return ShadowFigures(A, placement, size, n, n, n_differing, 0, 0.0, 0, 0.0)

        summary = summary_of(
            [
                figures("home", "micro", LEAST_DECISIONS, 3),
                figures("home", None, LEAST_DECISIONS - 1, LEAST_DECISIONS - 1),
                figures("banner", "micro", LEAST_DECISIONS, 30),
            ]
        )
        assert [segment.name for segment in summary.worst] == [
            "placement banner",
            "size micro",
            "placement home",
        ]
        assert summary.worst[0].mean_overlap == 0.0
        assert summary.overall.rank_correlation is None

    def test_nothing_was_tried(self) -> None:
        summary = summary_of([])
        assert summary.overall == ("", 0, None, None, None)
        assert (summary.against, summary.worst) == ((), ())


def test_every_action_has_a_word_for_the_terminal() -> None:
    from serving.commands.bundles import _told  # noqa: PLC0415

    def said(action: Any) -> str:
        return _told(BundleOrder(1, A, A, "f" * 64, action, "key", "", "", T0))

    assert len({said(action) for action in BundleAction}) == len(BundleAction)
