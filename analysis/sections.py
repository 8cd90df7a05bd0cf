"""Parts of a report that do not depend on the design."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from analysis.document import Part, Picture, Section, Text, bullets, section, table
from analysis.eta_over_b_fit import scaling_fit
from analysis.notation import listed, significant
from analysis.run import Run
from analysis.sharpness import at_common_loss

CAPTIONS = {
    "test_error": "Test error of every confirmed member and of every arm, and the difference from the reference",
    "sharpness_and_gap": "Sharpness against the generalization gap",
    "sharpness_and_loss": "Sharpness against train loss: no sharpness is to be compared without it",
    "history": "Training of the confirmed members",
    "search": "What the best of k points reaches in the search",
    "batch_size": "Any columns against the batch size, and the batch size from which the first begins to rise",
    "time_to_target": "Updates, examples and seconds to a target error against the batch size, and perfect scaling",
    "tuning_curves": "What the best of k points reaches, with simultaneous bands",
    "importance": "How much each searched dimension matters",
    "pareto": "Error, cost and sharpness of the arms, and those that no other arm beats in all",
    "with_without": "With and without remedies at each batch size, and the share of the drop that each recovers",
    "heat_map": "Over learning rate and batch size, with lines of equal eta/B",
    "dimension": "Every configuration tried, against any dimension",
    "train_and_test": "Error and loss over training, on the train part and on the test part",
    "curves": "What was observed over training, two things on twin axes",
    "trajectory": "Sharpness against train loss along the training",
    "walk": "The walk: loss between iterates, cosine of successive gradients, distance from the start",
    "cosine": "Cosine of successive gradients by batch size and by learning rate",
    "distance": "Distance from the start over training",
    "paths": "Loss and error on the paths between members",
}


def pictures(drawn: Iterable[str], *names: str) -> Iterator[Picture]:
    """Those of the named figures that were drawn, with their captions."""
    there = set(drawn)
    yield from (Picture(name, CAPTIONS[name]) for name in names if name in there)


def with_others(drawn: Iterable[str], sections: Iterable[Section]) -> tuple[Section, ...]:
    """The sections, and at the end the figures that none of them shows, whoever draws them."""
    found = tuple(sections)
    shown = {part.name for section in found for part in section.parts if isinstance(part, Picture)}
    others = [Picture(name, CAPTIONS.get(name, name.replace("_", " "))) for name in drawn if name not in shown]
    return (*found, *section("More figures", others))


def at_equal_loss(results: Run) -> list[Part]:
    """Sharpness of the arms when the train loss first fell below the smallest level that every arm reached."""
    parts: list[Part] = []
    # an arm at the baseline's own rate is hardly trained: it would leave no common level
    copied = [arm.name for arm in results.asked.arms if arm.role == "copied"]
    common = at_common_loss(results.history, results.confirmed[~results.confirmed["arm"].isin(copied)])
    if len(common):
        level = significant(common["threshold"].iloc[0], 1)
        text = (
            f"lambda_max when the train loss first fell below {level}, the smallest level that every arm reached"
            f"{f' ({listed(copied)} aside)' if copied else ''}:"
        )
        parts.append(Text(text))
        cells = (
            common.set_index("arm").loc[results.asked.order(common["arm"].tolist())].reset_index().to_dict("records")
        )
        parts.append(
            table(
                "sharpness_at_equal_loss",
                [
                    {
                        "arm": c["arm"],
                        "lambda_max": significant(c["value"]),
                        "members": f"{c['n']} of {c['num_members']}",
                    }
                    for c in cells
                ],
            )
        )
    return parts


def scaling(configurations: pd.DataFrame) -> list[Section]:
    """Whether the error follows eta/B alone, where the batch size was searched."""
    fit = scaling_fit(configurations)
    if fit is None:
        return []
    text = (
        f"Leave-one-out R2 of log test error over {fit.num_trials} trials without a remedy at {fit.num_batch_sizes} "
        f"batch sizes: {fit.r2_eta_over_b:.2f} from eta/B alone, {fit.r2_with_batch_size:.2f} with B added, "
        f"{fit.r2_with_updates:.2f} with the number of updates added (exploratory)."
    )
    return [Section("Does the error follow eta/B alone?", (Text(text),), "eta/B")]


def problems(problems: list[str]) -> list[Section]:
    """Files that were left out."""
    if not problems:
        return []
    return section("Files left out", [Text(f"{len(problems)} could not be used and count nowhere:"), bullets(problems)])
