"""The command line: stable; nothing here imports torch or Ray, so that --help answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tune_lb import __version__
from tune_lb.errors import PROGRAM
from tune_lb.samplers.names import NAMES
from tune_lb.space.old_fields import successor
from tune_lb.space.papers import PAPERS, SCALES

EXIT_CODES = """exit codes: 0 done, 1 failed, 2 the request was wrong (nothing was started), 3 finished but some members failed,
130 interrupted and resumable (the same command goes on)"""
START = f"start: {PROGRAM} search quickstart     (tune-lb is the same program)"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; on a wrong command line, print how it is meant and exit with code 2.

    argparse takes the words of a list from one place only; those that stand after an option are put back here.
    """
    top = parser()
    given, left = top.parse_known_args(argv)
    if "overrides" in given:
        given.overrides += [word for word in left if "=" in word and word[0] != "-"]
        left = [word for word in left if "=" not in word or word[0] == "-"]
    if given.command == "best" and given.arm is None and left and left[0][0] != "-":
        given.arm = left.pop(0)
    if left:
        meant = "".join(successor(word.partition("=")[0].lstrip("-").replace("-", "_")) for word in left)
        top.error(f"{given.command}: not understood: {' '.join(left)}{meant} (see {top.prog} {given.command} --help)")
    return given


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="A fair hyperparameter search for large-batch training.",
        epilog=f"{START}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"tune_lb {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _search(_command(commands, "search", "run the search of a space, or go on with it, and show the answer"))
    _new(_command(commands, "new", "write a search space to begin with, for a network and data of yours"))
    _spaces(_command(commands, "spaces", "list the search spaces, those of the papers with their rows"))
    _command(commands, "remedies", "list the remedies: what is searched in each, its cost, its source")
    _space(_command(commands, "show", "show a space: its arms, what is searched in each, what it trains"))
    status = _command(commands, "status", "show how far a run is")
    _run(status)
    status.add_argument("--watch", action="store_true", help="go on showing it until its search ends")
    _run(_command(commands, "retry", "train again the members of a run that failed, and no others"))
    listed = _command(
        commands, "list", "list the runs in a storage: how many members, what size, who searches, the answer"
    )
    _storage(listed)
    _run(
        _command(commands, "stop", "end the search of a run, from another terminal or machine: it can be gone on with")
    )
    remove = _command(commands, "remove", "delete a run with all that it holds")
    _run(remove)
    remove.add_argument("--yes", action="store_true", help="do it; without it only what would be deleted is said")
    _run(_command(commands, "check", "check that the files of a run are whole, and say what to do where they are not"))
    report = _command(commands, "report", "write tables, figures and the report of a run, and show the answer")
    several = "of several: what differs between them, and the arms of all in one report"
    report.add_argument("names", nargs="+", metavar="NAME", help=f"name of a run in the storage; {several}")
    _storage(report)
    report.add_argument("--open", action="store_true", help="open the page in a browser")
    report.add_argument("--out", metavar="FOLDER", help="write there in place of report/ in the run's folder")
    report.add_argument(
        "--latex", action="store_true", help="write arms, configurations, published values as LaTeX too"
    )
    report.add_argument("--csv", action="store_true", help="write them as CSV too, with all columns")
    export = _command(commands, "export", "write the members of a run for another program")
    _run(export)
    export.add_argument("--to", required=True, metavar="T", help="optuna, csv, tensorboard, mlflow or wandb")
    export.add_argument("--out", metavar="FOLDER", help="write there in place of export/ in the run's folder")
    best = _command(commands, "best", "print the best configuration of each arm as plain PyTorch code")
    _run(best)
    best.add_argument("arm", nargs="?", metavar="ARM", help="only this arm: the output is then a Python file")
    _train(_command(commands, "train", "train one member of an arm in this process, without Ray or files"))
    _measure(_command(commands, "measure", "measure metrics on the confirmed members of a run, without training again"))
    data = _command(commands, "data", "list the data sets: which are there, and how to get the others")
    data.add_argument(
        "name", nargs="?", metavar="NAME", help="only this one (or a path of your own, or a space): read whole"
    )
    data.add_argument("--download", action="store_true", help="get the data set NAME; what an earlier call got is kept")
    _landscape(_command(commands, "landscape", "measure and draw the loss between two members of a run, or around one"))
    doctor = _command(commands, "doctor", "check this machine; or the networks and data of a space, arm by arm")
    doctor.add_argument("space", nargs="?", metavar="SPACE", help="check this space in place of the machine")
    _overrides(doctor)
    _scale(doctor)
    _storage(doctor)
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EXIT_CODES)
    command.add_argument("--json", action="store_true", help="print one JSON object to stdout, all else to stderr")
    return command


def _spaces(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--paper", metavar="PAPER", help=f"only those that repeat rows of one paper: {', '.join(PAPERS)}")
    add("--row", metavar="ROW", help="only those that repeat this row, as in 'keskar: table 2'")
    add("--names", action="store_true", help="print the names alone, one a line")


def _space(command: argparse.ArgumentParser) -> None:
    command.add_argument("space", metavar="SPACE", help="a name (see `spaces`) or a path to a .py file")
    _overrides(command)
    _scale(command)


def _scale(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scale", choices=SCALES, help=f"of an experiment of a paper: as published, or reduced (default: {SCALES[0]})"
    )


def _overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="change a field of the space (num_samples=6), of every arm (epochs=5) or of one (sam.batch_size=200); "
        "none where a field may be none (crossings=none)",
    )


def _storage(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--storage", metavar="URI", default="runs", help="folder or URI that holds runs (default: %(default)s)"
    )


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="name of a run in the storage")
    _storage(command)


def _search(command: argparse.ArgumentParser) -> None:
    _space(command)
    add = command.add_argument
    add("--name", metavar="NAME", help="name of the run (default: that of the space)")
    add("--num-samples", type=int, metavar="N", help="configurations searched in each arm, one member each")
    add("--candidates", type=int, metavar="Q", help="best of them that are decided between")
    add("--decide-blocks", type=int, metavar="R", help="fresh blocks (cut of the data and seed) to decide in")
    add(
        "--confirm-blocks",
        type=int,
        metavar="S",
        help="fresh blocks of the one configuration; more extend a finished run",
    )
    add(
        "--confirm-until",
        type=float,
        metavar="W",
        help="add confirm blocks until all half-widths are W points of test error, at most 60 (Until)",
    )
    add(
        "--members-per-arm",
        type=int,
        metavar="N",
        help="what an arm can have: divided between search, decision and confirmation",
    )
    add(
        "--time-budget",
        metavar="T",
        help="as many members an arm as are expected to take so long (90s, 30m, 2h), divided likewise",
    )
    add("--block-seeds", type=int, metavar="M", help="members of each confirm block; more extend a finished run")
    add("--measured-blocks", type=int, metavar="K", help="confirm blocks, the first, of which a member is measured")
    add("--sampler", metavar="S", help=f"how configurations are proposed: {', '.join(NAMES)}")
    _storage(command)
    add("--address", metavar="A", help="address of a Ray cluster, auto for the one that this machine is part of")
    add("--dry-run", action="store_true", help="show the plan, its cost and the first configurations, and stop")
    add(
        "--spread-from",
        metavar="RUN",
        help="with --dry-run: what differences scatter by is taken from this run (default: the last one of the space)",
    )
    add(
        "--smoke",
        action="store_true",
        help="try the whole path first: two updates an arm on few examples, in a run of its own",
    )
    add("--fresh", action="store_true", help="delete what the run holds and begin anew")
    add(
        "--accept-code-change",
        action="store_true",
        help="train anew the arms whose code changed; old rows stay, marked",
    )
    add(
        "--gpus-per-trial",
        type=_gpus,
        metavar="G",
        help="share of a GPU for each training process; auto: what the largest member needs, measured",
    )
    add("--cpus-per-trial", type=float, metavar="C", help="CPUs for each training process")
    add(
        "--silence-limit",
        metavar="T",
        help="end a worker that gives no sign of life for so long (default: 20 times what its members take, at least 5m)",
    )
    add(
        "--log-to",
        action="append",
        metavar="T",
        choices=("tensorboard", "mlflow", "wandb"),
        help="write members there as they come: tensorboard, mlflow or wandb; may be given several times (see also `export`)",
    )
    add("--max-concurrent", type=int, metavar="N", help="training processes at a time")


def _gpus(text: str) -> float | str:
    """Return what --gpus-per-trial says: a number, or auto."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _new(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="of the space: NAME.py is written")
    add = command.add_argument
    add("--model", metavar="FILE:FUNCTION", help="a function of (shape of one input, number of classes), or a class")
    add(
        "--data", metavar="PATH", required=True, help="an .npz file, a folder of images, FILE:CLASS, or a name (`data`)"
    )
    add("--batch-size", type=int, nargs=2, metavar="N", default=(32, 1024), help="small and large (default: 32 1024)")
    add(
        "--batch-sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="an arm for each, rates tuned at every one: how large a batch may be",
    )


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument("space", metavar="SPACE", help="a name (see `spaces`) or a path to a .py file")
    command.add_argument("arm", metavar="ARM", help="an arm of the space (see `show`)")
    _overrides(command)
    _scale(command)
    command.add_argument(
        "--seed", type=int, default=0, help="seed of initial weights and data order (default: %(default)s)"
    )


def _landscape(command: argparse.ArgumentParser) -> None:
    _run(command)
    add = command.add_argument
    add("a", metavar="A", help="an arm (its first confirmed member) or a member, TRIAL_ID.SEED")
    add("b", nargs="?", metavar="B", help="another member: straight and curved paths from A (0) to B (1), -1 to 2")
    add(
        "--plane", action="store_true", help="without B: a plane of two random directions in place of a slice along one"
    )
    add(
        "--points",
        type=int,
        metavar="N",
        help="points of a path or slice, or along a side of the plane (default: 25; 13)",
    )
    modes = ("recalibrate", "interpolate", "batch")
    add("--batch-norm", choices=modes, default="recalibrate", help="statistics at each point (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the random directions (default: %(default)s)")
    add("--no-figure", action="store_true", help="write the table alone")


def _measure(command: argparse.ArgumentParser) -> None:
    _run(command)
    add = command.add_argument
    add(
        "--metric",
        action="append",
        metavar="M",
        help="a metric by name, as in trace or 'keskar(mode=\"strong\")'; may be given several times (default: lambda_max)",
    )
    add("--arm", action="append", metavar="ARM", help="only the members of this arm; may be given several times")
    add(
        "--split",
        choices=("train", "validation", "test"),
        default="train",
        help="data to measure on (default: %(default)s)",
    )
    add("--out", metavar="FOLDER", help="store there what is found, and leave the run as it is")
    add("--again", action="store_true", help="measure also what is measured already, in place of what is there")
