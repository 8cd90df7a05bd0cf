"""What a report of several runs says first: how their spaces differ, and what is compared with what."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.caveats import Caveat, Lead
from analysis.document import Section, Table, Text, section, table
from analysis.notation import MISSING, count, counted, known, listed, named, points, with_interval
from analysis.pooled import PooledResults
from analysis.sentences import sentences
from analysis.several_runs import settings_that_differ


def pooled_sentences(results: PooledResults) -> list[str]:
    """What the runs have in common, then the findings: of all arms together, or run by run where blocks are not paired."""
    said = list(_in_common(results))
    if not results.not_paired:
        return [*said, *sentences(results)]
    for name, run in results.runs.items():
        own = sentences(run)
        said += [Lead(f"In {name}: {line}") for line in own if isinstance(line, Lead)]
        said += [Caveat(line.kind, f"In {name}: {line}") for line in own if isinstance(line, Caveat)]
    return said


def _in_common(results: PooledResults) -> Iterator[str]:
    names = list(results.runs)
    num = len(settings_that_differ(results.runs))
    differ = f"differ in {counted(num, 'setting')} (the first table)" if num else "are the same"
    yield f"The spaces of {listed(names)} {differ}."
    together = shared_arms(results)
    if together:
        of = named(together, more="")
        yield (
            f"The same in more than one run, and so put together: {of}; {counted(results.shared, 'member')} that were trained "
            "in more than one count once."
        )
    if results.not_paired:
        yield Caveat(
            "not paired",
            f"No difference is given between arms of different runs: {'; '.join(results.not_paired)}. Each arm stands with the "
            "difference from the reference of its own run.",
        )
    elif results.asked.reference is not None:
        others = any(_reference(results, name) != results.asked.reference for name in names)
        of_first = f", the reference of {names[0]}" if others else ""
        more = len(results.comparison.family) > max(len(run.comparison.family) for run in results.runs.values())
        one = (
            "; the arms of all runs are one family, so that intervals are wider than in a run by itself" if more else ""
        )
        yield (
            f"Data, cuts and seeds of the blocks are the same, so every arm is compared with {results.asked.reference}{of_first}"
            f"{one}."
        )
    if results.other_protocol:
        metrics = listed(list(results.other_protocol))
        yield Caveat(
            "measured otherwise",
            f"Not measured in the same way, and shown of the first run that has them alone: {metrics}.",
        )


def shared_arms(results: PooledResults) -> list[str]:
    """The arms that are the same in more than one run."""
    everywhere = [arm for called in results.called.values() for arm in called.values()]
    return [arm for arm in dict.fromkeys(everywhere) if everywhere.count(arm) > 1]


def _reference(results: PooledResults, name: str) -> str | None:
    return results.called[name].get(str(results.runs[name].asked.reference))


def opening(results: PooledResults) -> list[Section]:
    """The first section of the report: the runs, and every setting that is not the same in all of them."""
    rows = settings_that_differ(results.runs)
    return section(
        "What differs between the runs",
        [_runs(results), table("settings", rows) if rows else Text("No setting of their spaces differs.")],
        "Runs",
    )


def _runs(results: PooledResults) -> Table:
    rows = []
    for name, run in results.runs.items():
        asked, design = run.asked, run.asked.design
        rows.append(
            {
                "run": name,
                "question": asked.question,
                "arms": str(len(asked.arms)),
                "members": count(len(run.members)),
                "search": f"{counted(design.num_samples, 'point')} ({asked.sampler})"
                if design and asked.searches
                else "nothing",
                "decide": f"{design.candidates} in {counted(design.decide_blocks, 'block')}"
                if design and design.candidates > 1 and asked.searches
                else MISSING,
                "confirm": f"{counted(design.confirm_blocks, 'block')} of {counted(design.block_seeds, 'seed')}"
                if design
                else MISSING,
                "written": str(run.space.get("written_at") or MISSING)[:16].replace("T", " "),
            }
        )
    return table("runs", rows)


def by_itself(results: PooledResults) -> list[Section]:
    """What each run says of its arms by itself: against its own reference, in its own family."""
    rows = [
        {
            "arm": results.called[name][str(row["arm"])],
            "in": name,
            "against": str(run.asked.reference),
            "difference, points": with_interval(
                points(row["difference"]), row["difference_low"], row["difference_high"]
            ),
            "claimed": ""
            if row["claim"] is not True and row["claim"] is not False
            else "yes"
            if row["claim"]
            else "no",
        }
        for name, run in results.runs.items()
        for row in run.printed
        if known(row["difference"])
    ]
    return section("Each run by itself", [table("by_itself", rows)], "By itself")
