"""The report of a run: the answer, the tables behind it, and how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.asked import OUTSIDE_ROLES, Asked
from analysis.chart_of_configurations import configurations_chart
from analysis.costs import cost_table, provenance_table
from analysis.document import Document, Part, Table, bullets, filled, section, table
from analysis.fronts import front_tables
from analysis.notation import count, counted, known, listed, percent, points, significant, with_interval
from analysis.old_design.report import old_document
from analysis.old_design.results import OldResults
from analysis.paper_sections import paper_sections
from analysis.pooled import PooledResults
from analysis.pooled_report import by_itself, opening
from analysis.published import published_section
from analysis.report_tables import adequacy_table, decided, measured_tables
from analysis.results import Results
from analysis.sections import at_equal_loss, pictures, problems, scaling, with_others

METHODS = """
Errors are in percent, differences in points; a negative difference is better. `n` counts confirm members, whose blocks no
  selection has seen. A diverged member counts at chance error. A block is a cut of the data (or, where nothing can be cut, none)
  and its seeds, the same for all arms; differences are taken within blocks, and intervals (95 %) are Student's t over them.
* *difference*: test error minus that of the reference, with the interval of the whole procedure: to the spread over blocks is added
  how much the error of what is selected moves when the decision is repeated with noise, of the arm and of the reference. The
  intervals of the arms that are tested hold all at once (Bonferroni); those of references hold one by one.
* *these recipes*: the same difference with the values that the search found, and no others. It is no claim about a remedy.
* A remedy is claimed where Holm's adjusted p of the procedure is below 0.05 and its difference is above the placebo's. That is the
  only test; all else is exploratory. References (baseline, copied, scaled, trained longer) and the placebo are not tested.
* *large-batch drop*: test error minus that of the baseline, interval of the whole procedure. *gap closed*: 1 - drop / drop of the
  reference, with Fieller's interval on paired blocks; it is given only where the drop's interval lies above zero and the drop is at
  least two standard errors of the test set. *gap*: test error minus train error of a member, another thing than the drop.
* The procedure, its formulae and how well its intervals cover: docs/inference.md.
""".strip().split("\n* ")


def report(results: Results | OldResults, shown: Mapping[str, Any], figures: Iterable[str]) -> Document:
    """The report. shown: what `summary` gave; figures: names of those that were drawn."""
    if isinstance(results, OldResults):
        return old_document(results, shown, figures)
    drawn = list(figures)
    arms = filled("arms", [row["cells"] for row in shown["rows"]])
    chart = configurations_chart(results, results.configurations)
    pooled = results if isinstance(results, PooledResults) else None
    return Document(
        results.asked.name,
        results.asked.question,
        with_others(
            drawn,
            (
                *(opening(pooled) if pooled else ()),
                *section("Answer", [bullets(shown["sentences"]), *pictures(drawn, "test_error")]),
                *section("Arms", [arms]),
                *section("What may be claimed", [_claims(results)], "Claims"),
                *(by_itself(pooled) if pooled else ()),
                *section(
                    "Where the drop comes from" if results.asked.baseline else "Train and test",
                    [_decomposition(results), *pictures(drawn, "history")],
                    "Decomposition",
                ),
                *section(
                    "Was the search large enough?",
                    [adequacy_table(results), *pictures(drawn, "search", "tuning_curves")],
                    "Search",
                ),
                *section("Sharpness", _sharpness(results, drawn)),
                *published_section(results),
                *scaling(results.configurations),
                *paper_sections(results, drawn),
                *section(
                    "Decided configurations",
                    [*decided(results), *chart] if results.asked.searches else [],
                    "Configurations",
                ),
                *section("What no other configuration beats", front_tables(results), "Front"),
                *section("Cost", [cost_table(results, results.arms)]),
                *section(
                    "How to read this",
                    [bullets(METHODS, marked=True), None if pooled else _protocol(results)],
                    "Protocol",
                ),
                *section("Provenance", [provenance_table(results)]),
                *problems(shown["problems"]),
            ),
        ),
    )


def _claims(results: Results) -> Table:
    rows = [
        {
            "arm": str(row["arm"]),
            "difference on other test examples": with_interval(
                points(row["difference"]), row["difference_new_low"], row["difference_new_high"]
            ),
            "Holm p": significant(row["p_holm"]) if row["role"] not in OUTSIDE_ROLES else "not tested",
            "claimed": _claimed(row),
            "blocks for 0.5 points": _blocks(row["blocks_for_half_a_point"]),
            "classed differently %": percent(row["disagreement"]),
            "against the one trained longer": _matched(row),
        }
        for row in results.printed
        if known(row["difference"])
    ]
    return filled("claims", rows)


def _claimed(row: Mapping[Any, Any]) -> str:
    if row["role"] in OUTSIDE_ROLES:
        return ""
    return "yes" if row["claim"] is True else str(row["claim_reason"]).partition(" (")[0]


def _blocks(value: float) -> str:
    return "no number" if value == float("inf") else count(value)


def _matched(row: Mapping[Any, Any]) -> str:
    if not row["matched_by"]:
        return ""
    ends = (row["matched_difference_low"], row["matched_difference_high"])
    return f"{with_interval(points(row['matched_difference']), *ends)} against {row['matched_by']}"


def _decomposition(results: Results) -> Table:
    def part(row: Mapping[Any, Any], name: str) -> str:
        return with_interval(points(row[name]), row[f"{name}_low"], row[f"{name}_high"])

    rows = [
        {
            "arm": str(row["arm"]),
            "test error %": percent(row["test_error"]),
            "large-batch drop": points(row["large_batch_drop"]),
            "= on the train set": part(row, "drop_train_error"),
            "+ in generalization": part(row, "drop_generalization_gap"),
            "train error %": percent(row["train_error"]),
            "train loss": significant(row["train_loss"]),
            "updates": count(row["updates"]),
            "with running BN statistics %": percent(row.get("test_error_running", float("nan"))),
            "": "under-trained" if row["under_trained"] is True else "",
        }
        for row in results.printed
        if row["n"]
    ]
    return filled("decomposition", rows)


def _sharpness(results: Results, drawn: list[str]) -> list[Part]:
    if not results.sharpness_values:
        return []
    figures = pictures(drawn, "sharpness_and_gap", "sharpness_and_loss")
    return [*measured_tables(results), *figures, *at_equal_loss(results)]


def _stopped(asked: Asked) -> str:
    """How a search stopped configurations early."""
    shares = listed([f"{100 * share:.3g} %" for share in asked.looks])
    return f"; the worse ones stopped early, after {shares} of the training" if asked.looks else ""


def _protocol(results: Results) -> Table:
    asked, design = results.asked, results.asked.design
    sizes = f"{asked.num_train} training, {asked.num_validation} validation, {asked.num_test} test examples"
    cut = "a test part of its own" if asked.own_test_split else "cut by split_seed"
    rows = {"data": f"{asked.data}: {sizes} ({cut})"}
    if design is not None:
        known_when = (
            f", until no interval reaches further than {design.half_width:g} points" if design.half_width else ""
        )
        rows |= {
            "search": f"{design.num_samples} points ({asked.sampler}), one member each, in one block{_stopped(asked)}"
            if asked.searches
            else "nothing is searched",
            "decide": f"{design.candidates} candidates in {counted(design.decide_blocks, 'block')}"
            if design.candidates > 1 and asked.searches
            else "no decide stage",
            "confirm": f"{'at most ' if design.half_width else ''}{counted(design.confirm_blocks, 'block')} of "
            f"{counted(design.block_seeds, 'seed')}{known_when}",
            "blocks": "cuts of the data and seeds" if design.fresh_splits else "seeds",
            "selected by": {
                "loss": "validation loss",
                "error": "validation error",
            }.get(asked.select_by, "validation loss; between candidates by loss and soft error"),
            "metrics": f"on the first {design.measured_blocks} confirm blocks",
        }
    return table("protocol", [{"protocol": name, "": text} for name, text in rows.items()])
