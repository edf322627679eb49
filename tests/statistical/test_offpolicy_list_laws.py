"""Off-policy evaluation of lists, long and short ones, where the truth is known: gate and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest

from recsys.evaluation.offpolicy import Slates, bootstrap, cross_fitted, folds_of, plain
from recsys.evaluation.offpolicy.estimators import usual_hit
from recsys.models.base import FloatArray
from training.pipelines.offpolicy.families import HEADLINES, Belief, Family, Rows, cascade, independent
from training.pipelines.offpolicy.odds import Odds

N_TYPES, N_OFFERS, N_FOLDS, K = 8, 6, 5, 3
RATES = (0.02, 0.1)
LISTS = np.array(list(permutations(range(N_OFFERS), K)))
NUMBERS = np.arange(len(LISTS))
# Of what stands above each slot of each list: lists_by_slots_by_offers.
ABOVE = np.stack([np.isin(np.arange(N_OFFERS), above[:slot]) for above in LISTS for slot in range(K)])
ABOVE = ABOVE.reshape(len(LISTS), K, N_OFFERS)


class Law:
    """Lists drawn slot by slot in proportion to worths, by kind of client; every chance by enumeration."""

    def __init__(self, worths: FloatArray) -> None:
        left = np.where(ABOVE, 0.0, worths[:, None, None, :])
        self.next = left / left.sum(axis=3, keepdims=True)  # types_by_lists_by_slots_by_offers
        self.given = np.take_along_axis(self.next, LISTS[None, :, :, None], axis=3)[..., 0]
        self.down_to = self.given.cumprod(axis=2)
        whole = self.down_to[:, :, -1]
        self.overall = np.stack(
            [[np.bincount(LISTS[:, slot], each, N_OFFERS) for slot in range(K)] for each in whole]
        )  # types_by_slots_by_offers
        self.lists = whole


@dataclass(frozen=True, slots=True)
class Heard:
    """One belief about one log.

    Attributes:
        effective: True effective number of decisions at the slot that has fewest.
        unsupported: True share of the policy's choices that the log never shows.
        says: Whether the gate lets it through.
        covers: Whether intervals hold the truth: new, new − live.
    """

    effective: float
    unsupported: float
    says: bool
    covers: tuple[bool, bool]


def worths_of(sharpness: float, rng: np.random.Generator) -> FloatArray:
    found: FloatArray = np.exp(rng.normal(0.0, sharpness, (N_TYPES, N_OFFERS)))
    return found


def try_out(rate: float, rng: np.random.Generator, *, is_cut: bool = False) -> dict[Belief, Heard]:
    """Lists of 1–3 slots, by kind of client; a cut log never shows some offers to those with short lists."""
    lengths = rng.permutation(np.r_[np.ones(3, int), 2, 2, 3, 3, 3])
    worths = worths_of(0.7, rng)
    policy = Law(worths**0.5 * worths_of(float(rng.uniform(0.1, 1.0)), rng))
    is_dead = np.zeros((N_TYPES, N_OFFERS), dtype=bool)
    if is_cut:
        is_dead[lengths < K] = rng.permuted(np.arange(N_OFFERS) < 3, axis=None)
    log = Law(np.where(is_dead, 0.0, worths))
    means = np.minimum(rate * np.exp(0.7 * rng.standard_normal((N_TYPES, K, N_OFFERS))), 0.6)
    n_clients, n_each = int(rng.choice([300, 1000, 2500])), int(rng.choice([1, 3]))
    types = np.repeat(rng.integers(0, N_TYPES, n_clients), n_each)
    drawn = (log.lists.cumsum(axis=1)[types] < rng.random((len(types), 1))).sum(axis=1).clip(max=NUMBERS[-1])
    rows, odds = observe((log, policy), means, (types, drawn, lengths), n_each, is_dead, rng)
    has_slot = lengths[:, None] > np.arange(K)
    truths = [float((law.overall * means).sum(axis=2)[has_slot].sum()) / N_TYPES for law in (policy, log)]
    families = cascade(rows, odds), independent(rows, odds)
    assert families[1] is not None
    sizes = effective_sizes(log, policy, types, has_slot)
    lost = {
        Belief.CASCADE: kept_to(policy, is_dead, lengths),
        Belief.INDEPENDENT: unseen(policy, is_dead, has_slot),
    }
    return {
        family.belief: Heard(
            sizes[family.belief], lost[family.belief], family.gate.says, covers(family, rows, truths, rng)
        )
        for family in families
        if family is not None
    }


def observe(
    laws: tuple[Law, Law],
    means: FloatArray,
    decisions: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_each: int,
    is_dead: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Rows, Odds]:
    """What a log tells of its lists, and what a policy would have done."""
    (log, policy), (types, drawn, lengths) = laws, decisions
    lists, slots = np.nonzero(lengths[types][:, None] > np.arange(K))
    kind, number = types[lists], drawn[lists]
    offers, clients = LISTS[number, slots], np.arange(len(types)) // n_each
    appetite = rng.gamma(2.0, 0.5, len(types))[clients][lists]
    taken = rng.random(len(lists)) < np.minimum(means[kind, slots, offers] * appetite, 1.0)
    rewards = taken.astype(np.float64)
    folds = folds_of(clients, N_FOLDS, rng)[lists]
    q_hat = cross_fitted(offers, slots, rewards, folds, (N_OFFERS, K))
    of_next, of_all = policy.next[kind, number, slots], policy.overall[kind, slots]
    q_rows = q_hat[folds, :, slots]
    odds = Odds(
        given=policy.given[kind, number, slots],
        overall=of_all[np.arange(len(lists)), offers],
        logged_overall=log.overall[kind, slots, offers],
        expected_given=(of_next * q_rows).sum(axis=1)[:, None],
        expected=(of_all * q_rows).sum(axis=1)[:, None],
        filled_given=np.ones(len(lists)),
        lost_given=(of_next * is_dead[kind]).sum(axis=1),
        lost=(of_all * is_dead[kind]).sum(axis=1),
        filled=np.ones(len(lists)),
    )
    shown = q_rows[np.arange(len(lists)), offers][:, None]
    logging = log.given[kind, number, slots]
    return Rows(Slates(lists, slots, len(types)), clients, rewards[:, None], logging, shown), odds


def covers(family: Family, rows: Rows, truths: list[float], rng: np.random.Generator) -> tuple[bool, bool]:
    rewards, slates = rows.rewards[:, 0], rows.slates
    live = plain(rewards, usual_hit(rewards, np.ones(len(rewards)))).by_decision(slates.lists, slates.n_lists)
    estimates = {"new": family.parts[0][HEADLINES[family.belief]], "live": live}
    resampled = bootstrap(estimates, rows.clients, rng, n_resamples=400)
    new, difference = resampled.interval("new"), resampled.difference("new", "live")
    return new.low <= truths[0] <= new.high, difference.low <= truths[0] - truths[1] <= difference.high


def effective_sizes(log: Law, policy: Law, types: np.ndarray, has_slot: np.ndarray) -> Mapping[Belief, float]:
    """n (E w)² / E w² of every slot, over the kinds of client that have it; the least."""
    found: dict[Belief, list[float]] = {belief: [] for belief in Belief}
    for slot in range(K):
        of_slot = types[has_slot[types, slot]]
        shares = np.bincount(of_slot, minlength=N_TYPES) / len(of_slot)
        # Of each way to fill the slots down to this one there are equally many lists.
        n_alike = len(LISTS) / np.prod(N_OFFERS - np.arange(slot + 1))
        for belief, new, old in (
            (Belief.CASCADE, policy.down_to[:, :, slot] / n_alike, log.down_to[:, :, slot] / n_alike),
            (Belief.INDEPENDENT, policy.overall[:, slot], log.overall[:, slot]),
        ):
            is_shown = old > 0
            squares = np.divide(new**2, old, out=np.zeros_like(new), where=is_shown).sum(axis=1)
            mean = float(shares @ np.where(is_shown, new, 0.0).sum(axis=1))
            found[belief].append(len(of_slot) * mean**2 / float(shares @ squares))
    return {belief: min(sizes) for belief, sizes in found.items()}


def kept_to(policy: Law, is_dead: np.ndarray, lengths: np.ndarray) -> float:
    """P(a list of the policy has what the log never shows), over lists of every length."""
    has_dead = is_dead[:, LISTS] & (np.arange(K) < lengths[:, None, None])
    return float((policy.lists * has_dead.any(axis=2)).sum(axis=1).mean())


def unseen(policy: Law, is_dead: np.ndarray, has_slot: np.ndarray) -> float:
    """The share of choices without support in the slot that has most of them."""
    by_kind = (policy.overall * is_dead[:, None, :]).sum(axis=2)
    return max(float(by_kind[has_slot[:, slot], slot].mean()) for slot in range(K))


def check_gate(n_trials: int, seed: int) -> None:
    """The gate's promises for lists, with a tolerance of three Monte-Carlo errors."""
    rng = np.random.default_rng(seed)
    for rate in RATES:
        trials = [try_out(rate, rng) for _ in range(n_trials)]
        for belief in Belief:
            large = [trial[belief].says for trial in trials if trial[belief].effective >= 200]
            assert np.mean(large) >= 0.8 - 3 * (0.8 * 0.2 / len(large)) ** 0.5, (rate, belief)
            heard = np.array([trial[belief].covers for trial in trials if trial[belief].says])
            error = (0.95 * 0.05 / len(heard)) ** 0.5
            assert (heard.mean(axis=0) >= 0.95 - 3 * error).all(), (rate, belief, heard.mean(axis=0))
    cut = [try_out(0.1, rng, is_cut=True) for _ in range(n_trials)]
    for belief in Belief:
        refused = [not trial[belief].says for trial in cut if trial[belief].unsupported > 0.1]
        assert np.mean(refused) >= 0.95, belief


def test_lists_with_support_are_let_through_and_their_intervals_cover() -> None:
    check_gate(60, seed=21)


@pytest.mark.soak
def test_lists_with_support_are_let_through_and_their_intervals_cover_in_many_logs() -> None:
    check_gate(1500, seed=22)


def test_what_short_lists_lack_long_ones_do_not_hide() -> None:
    """Nearly all lists have one slot, half of it without support; the few with two slots are fine."""
    n_lists, n_long = 5000, 300
    lists = np.sort(np.r_[np.arange(n_lists), np.arange(n_long)])
    slots = np.r_[False, np.diff(lists) == 0].astype(np.int64)
    is_short, rng = lists >= n_long, np.random.default_rng(5)
    half, ones, nothing = np.full(len(lists), 0.5), np.ones(len(lists)), np.zeros((len(lists), 1))
    given, lost = np.where(is_short, 0.25, 0.5), np.where(is_short, 0.5, 0.0)
    odds = Odds(given, given, half, nothing, nothing, ones, lost, lost, ones)
    rewards = (rng.random((len(lists), 1)) < 0.05).astype(np.float64)
    rows = Rows(Slates(lists, slots, n_lists), np.arange(n_lists), rewards, half, nothing)
    for family in (cascade(rows, odds), independent(rows, odds)):
        assert family is not None
        assert not family.gate.says
        assert family.gate.support == pytest.approx(1 - 0.5 * (n_lists - n_long) / n_lists)
        assert family.gate.slots["weights_off"] == (1,)
        assert 1 in family.gate.slots["no_support"]
        assert family.worst_slot == 1
