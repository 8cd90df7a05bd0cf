"""What the columns of the tables are: descriptions for the metadata of their Parquet files."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

SUFFIXES = {
    "_std": "standard deviation over members of",
    "_low": "lower end of the 95 % interval of",
    "_high": "upper end of the 95 % interval of",
}
ARMS = {
    "role": "baseline, reference, copied, scaled, placebo, compute_matched or arm",
    "num_blocks": "confirm blocks with members",
    "n": "members that the row is a mean of",
    "n_diverged": "of these, members that diverged and count at chance error",
    "n_failed": "members without a result (failed, out_of_memory), which count nowhere",
    "n_stopped": "members of the search that were stopped early, which count nowhere; only where the search stops any",
    "test_error": "error on the test set, fraction; mean over blocks of means over seeds; interval: Student t over blocks",
    "difference": "test error minus that of the reference, fraction, negative is better, paired by block; interval: of the whole "
    "procedure, simultaneous over the arms that are tested, by itself for references",
    "difference_recipe": "difference of these recipes: paired Student t over blocks, fraction",
    "difference_new": "difference for other test examples of the same kind: interval of the whole procedure, fraction",
    "paired_blocks": "blocks that the difference is over",
    "selection_std": "square root of the variance of the selection, floor included, fraction",
    "examples_std": "standard error of the difference from drawing the test examples, fraction",
    "p_recipe": "two-sided p-value of difference_recipe, exploratory",
    "p": "two-sided p-value of difference for the whole procedure, not adjusted",
    "p_holm": "p adjusted by Holm over the arms that are tested",
    "noise_floor": "largest absolute difference of a placebo, fraction",
    "claim": "p_holm < 0.05 and the difference is above the noise floor; null for arms that are not tested",
    "claim_reason": "why nothing is claimed",
    "claim_new_data": "the same with the sampling error of the test examples in the interval",
    "blocks_for_half_a_point": "confirm blocks with which a difference of 0.5 points is claimed 4 times in 5; inf: no number",
    "disagreement": "share of test examples classed differently than by the reference's member of the same block and seed",
    "large_batch_drop": "test error minus that of the baseline, fraction, paired by block; interval: of the whole procedure",
    "large_batch_drop_recipe": "large_batch_drop of these recipes: paired Student t over blocks, fraction",
    "drop_train_error": "the part of large_batch_drop lost on the train set, fraction; interval: paired Student t over blocks",
    "drop_generalization_gap": "the part of large_batch_drop lost in generalization, fraction; interval likewise",
    "under_trained": "train error above 0.005, or train loss above 3 times the baseline's",
    "gap_closed": "1 - large_batch_drop / that of the reference, share of 1; interval: Fieller on paired blocks",
    "gap_closed_reason": "why gap_closed is null",
    "matched_by": "the reference that spends as many gradient evaluations",
    "matched_difference": "test error minus that of matched_by, fraction, exploratory; interval: of the whole procedure, by itself",
    "matched_difference_recipe": "matched_difference of these recipes, fraction",
    "num_points": "configurations searched",
    "search_gain": "by how much the last doubling of points lowers the expected validation loss of the best, share of it",
    "search_noise": "standard deviation of a member's log validation loss in the decide stage, blocks and candidates aside",
    "search_converged": "search_gain is at most search_noise",
    "median_test_error": "test error of the median point in the search, fraction",
    "share_beating_reference": "share of points whose member in the search has a lower test error than the tuned reference",
    "edges": "searched dimensions of which the selected value is the lowest or the highest that was tried",
    "configuration_id": "hash of the configuration, the same in all blocks",
    "stage": "last stage that the configuration reached: search, decide or confirm",
    "is_selected": "whether it is the arm's configuration",
    "n_search": "members of the search stage",
    "n_decide": "members of the decide stage",
    "n_confirm": "members of the confirm stage",
    "candidate": "place among the candidates of the decide stage by the search's validation loss; null for others",
    "search_rank": "place in the search, 1 is best",
    "search_validation_loss": "validation loss of its member in the search, nats",
    "decide_validation_loss": "geometric mean over the decide blocks of the validation loss, at most that of chance, nats",
    "decide_soft_error": "mean over the decide blocks of the soft validation error, mean of 1 - p(target), fraction",
}


def describe(name: str, members: Mapping[str, str], own: Mapping[str, str] = ARMS) -> str:
    """One line on a column: of the tables (own), of the members table, or of what a suffix makes of one of these."""
    if name in own or name in members:
        return own.get(name) or members[name]
    if name.startswith("total_") and (of := describe(name.removeprefix("total_"), members, own)):
        return f"sum over all stages and seeds of: {of}"
    for suffix, text in SUFFIXES.items():
        if name.endswith(suffix) and (of := describe(name.removesuffix(suffix), members, own)):
            return f"{text}: {of}"
    return ""


def described(table: pd.DataFrame, members: Mapping[str, str], name: str, own: Mapping[str, str] = ARMS) -> pa.Table:
    """The frame as an arrow table with a description in the metadata of every column."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    fields = [
        field.with_metadata({b"description": describe(field.name, members, own).encode()}) for field in arrow.schema
    ]
    metadata = {**(arrow.schema.metadata or {}), b"tune_lb.table": name.encode()}
    return arrow.cast(pa.schema(fields, metadata=metadata))
