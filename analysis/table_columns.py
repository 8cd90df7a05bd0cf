"""What the columns of the tables are: descriptions for the metadata of their Parquet files."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

SUFFIXES = {
    "_std": "standard deviation over seeds of",
    "_low": "lower end of the 95 % interval of",
    "_high": "upper end of the 95 % interval of",
}
ARMS = {
    "role": "baseline, reference, copied, scaled, placebo, compute_matched or arm",
    "num_splits": "splits of the data with confirmed members",
    "n": "members that the row is a mean of",
    "n_diverged": "of these, members that diverged and count at chance error",
    "n_failed": "members without a result (failed, out_of_memory, stopped), which count nowhere",
    "test_error": "error on the test set, fraction; mean over seeds, where a row is about several splits then over these",
    "test_error_seed": "test_error over confirm seeds alone (Student t): given these configurations and these splits",
    "between_split_std": "standard deviation between splits of the mean test error, fraction",
    "difference": "test error minus that of the reference, fraction, negative is better; interval: two-level bootstrap",
    "difference_covers": "what the interval of difference is over",
    "difference_between_split_std": "tau of DerSimonian and Laird: spread of the true difference between splits",
    "difference_seed": "difference over confirm seeds alone: given these configurations and these splits, fraction",
    "difference_seed_test": "paired t where seeds are shared, else Welch t",
    "p_seed": "two-sided p-value of difference_seed, exploratory",
    "p_sign_flip": "two-sided sign-flip test over paired confirm seeds, exploratory",
    "p": "two-sided bootstrap p-value of difference",
    "p_holm": "p adjusted by Holm over the arms that are tested",
    "noise_floor": "absolute difference of the placebo, fraction",
    "claim": "p_holm < 0.05 and the difference is above the noise floor; null for arms that are not tested",
    "claim_reason": "why nothing is claimed",
    "large_batch_drop": "test error minus that of the baseline, fraction; interval: two-level bootstrap",
    "drop_train_error": "the part of large_batch_drop lost on the train set, fraction",
    "drop_generalization_gap": "the part of large_batch_drop lost in generalization, fraction",
    "under_trained": "train error above 0.005, or train loss above 3 times the baseline's",
    "gap_closed": "1 - large_batch_drop / that of the reference, share of 1; interval: Fieller",
    "gap_closed_reason": "why gap_closed is null",
    "matched_by": "the reference that spends as many gradient evaluations",
    "matched_difference": "test error minus that of matched_by, fraction, exploratory; interval: two-level bootstrap",
    "two_way": "difference from the reference over seeds and test examples, fraction, exploratory",
    "mcnemar_p": "exact McNemar test of the majority votes against the reference's, exploratory",
    "disagreement": "share of test examples classed differently than by the reference's member with that seed",
    "num_trials": "configurations searched, over all splits",
    "search_gain": "test error gained by the last doubling of trials, fraction",
    "search_gain_se": "standard error of a trial's mean test error in the search, fraction",
    "search_converged": "search_gain is at most search_gain_se",
    "median_trial_test_error": "test error of the median trial, fraction",
    "share_beating_reference": "share of trials with a lower test error than the tuned reference's",
    "stage": "last stage that the configuration reached: search, rescreen or confirm",
    "is_selected": "whether it is the arm's configuration in its split",
    "n_search": "members of the search stage",
    "n_rescreen": "members of the rescreen stage",
    "n_confirm": "members of the confirm stage",
    "selection_validation_error": "validation error over search and rescreen members, fraction: what selects",
}


def describe(name: str, members: Mapping[str, str]) -> str:
    """One line on a column: of the tables here, of the members table, or of what a suffix makes of one of these."""
    if name in ARMS or name in members:
        return ARMS.get(name) or members[name]
    if name.startswith("total_") and (of := describe(name.removeprefix("total_"), members)):
        return f"sum over all stages and seeds of: {of}"
    for suffix, text in SUFFIXES.items():
        if name.endswith(suffix) and (of := describe(name.removesuffix(suffix), members)):
            return f"{text}: {of}"
    return ""


def described(table: pd.DataFrame, members: Mapping[str, str], name: str) -> pa.Table:
    """The frame as an arrow table with a description in the metadata of every column."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    fields = [field.with_metadata({b"description": describe(field.name, members).encode()}) for field in arrow.schema]
    metadata = {**(arrow.schema.metadata or {}), b"tune_lb.table": name.encode()}
    return arrow.cast(pa.schema(fields, metadata=metadata))
