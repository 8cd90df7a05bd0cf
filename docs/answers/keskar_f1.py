"""Print the table of docs/answers/keskar_f1.md from the committed members: `python docs/answers/keskar_f1.py`."""

from pathlib import Path

import pandas as pd

from analysis.published import published

QUANTITIES = {
    "test accuracy, %": "test_accuracy",
    "train accuracy, %": "train_accuracy",
    "Metric 2.1, eps 1e-3, full space": "keskar.full_1e-3",
    "Metric 2.1, eps 5e-4, full space": "keskar.full_5e-4",
    "Metric 2.1, eps 1e-3, subspace": "keskar.subspace_1e-3",
    "Metric 2.1, eps 5e-4, subspace": "keskar.subspace_5e-4",
}
ARMS = ("small_batch", "large_batch")


def printed(name: str) -> tuple[str, str]:
    """Return what the paper has in a row of the table, small batch and large."""
    known = published()
    of = known[(known["network"] == "F1") & known["row"].isin([f"keskar: table {i}" for i in (2, 3, 4)])]
    of = of[of["quantity"] == QUANTITIES.get(name)].set_index("arm")
    return tuple(f"{of.value[arm]:.2f} +- {of.spread[arm]:.2f}" if arm in of.index else "" for arm in ARMS)


def measured(members: pd.DataFrame) -> dict[str, pd.Series]:
    """Return each row of the table, member by member."""
    return {
        "test accuracy, %": 100 - 100 * members["test_error"],
        "train accuracy, %": 100 - 100 * members["train_error"],
        "Metric 2.1, eps 1e-3, full space": members["keskar.full_1e-3"],
        "Metric 2.1, eps 5e-4, full space": members["keskar.full_5e-4"],
        "Metric 2.1, eps 1e-3, subspace": members["keskar.subspace_1e-3"],
        "Metric 2.1, eps 5e-4, subspace": members["keskar.subspace_5e-4"],
        "the same at the corner x + eps (abs x + 1) sign g, 1e-3": members["keskar.corner_1e-3"],
        "the same, 5e-4": members["keskar.corner_5e-4"],
        "lambda_max": members["lambda_max"],
        "train loss, nats": members["train_loss"],
        "epochs until the loss ceases to improve": members["epochs"],
        "updates": members["updates"],
    }


def main() -> None:
    """Print the table as Markdown."""
    run = Path(__file__).parents[1] / "results" / "keskar_f1" / "results"
    members = pd.read_parquet(run)
    print("| | small batch: here | published | large batch: here | published |\n|---|---|---|---|---|")
    for name, values in measured(members).items():
        cells = []
        for arm, known in zip(ARMS, printed(name), strict=True):
            own = values[members["arm"] == arm]
            cells += [f"{own.mean():.4g} +- {own.std():.2g}", known]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
