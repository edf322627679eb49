"""What a new policy would have earned per decision, from the log of others.

The estimand is the *value per decision over the logged contexts*: clients, moments and what was known of
them stay as they were logged, and only the list is another one. It is not the value in the long run, where
a policy changes what clients have, have seen and are tired of, and so the contexts of its own later
decisions.

A log speaks only of what it showed by chance. What was shown for sure (pins, modes without exploration) is no
support for anything else; `judge_support` says when a log says nothing of a policy.
"""

from recsys.evaluation.offpolicy.bootstrap import Resampled, bootstrap
from recsys.evaluation.offpolicy.estimators import (
    Logged,
    direct,
    doubly_robust,
    ips,
    optimistic_dr,
    self_normalised_dr,
    snips,
    sub_gaussian_dr,
    sub_gaussian_ips,
    switch_dr,
)
from recsys.evaluation.offpolicy.gate import (
    Diagnostics,
    Gate,
    Limits,
    diagnose,
    effective_size,
    judge_slots,
    judge_support,
)
from recsys.evaluation.offpolicy.parts import Parts, plain
from recsys.evaluation.offpolicy.plackett_luce import drawing_chances, slot_chances
from recsys.evaluation.offpolicy.promotion import Judgement, Promotion, judge_promotion, overridden
from recsys.evaluation.offpolicy.rewards import cross_fitted, folds_of, smoothed_means
from recsys.evaluation.offpolicy.slates import Slates, cascade_dr, slate_ips, slate_snips
from recsys.evaluation.offpolicy.weights import importance_weights, logger_factors, mixture_probabilities

__all__ = [
    "Diagnostics",
    "Gate",
    "Judgement",
    "Limits",
    "Logged",
    "Parts",
    "Promotion",
    "Resampled",
    "Slates",
    "bootstrap",
    "cascade_dr",
    "cross_fitted",
    "diagnose",
    "direct",
    "doubly_robust",
    "drawing_chances",
    "effective_size",
    "folds_of",
    "importance_weights",
    "ips",
    "judge_promotion",
    "judge_slots",
    "judge_support",
    "logger_factors",
    "mixture_probabilities",
    "optimistic_dr",
    "overridden",
    "plain",
    "self_normalised_dr",
    "slate_ips",
    "slate_snips",
    "slot_chances",
    "smoothed_means",
    "snips",
    "sub_gaussian_dr",
    "sub_gaussian_ips",
    "switch_dr",
]
