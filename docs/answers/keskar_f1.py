"""Print the table of docs/answers/keskar_f1.md from the committed members: `python docs/answers/keskar_f1.py`."""

from pathlib import Path

import pandas as pd

PUBLISHED = {
    "test accuracy, %": ("98.03 +- 0.07", "97.81 +- 0.07"),
    "train accuracy, %": ("99.66 +- 0.05", "99.92 +- 0.01"),
    "Metric 2.1, eps 1e-3, full space": ("1.23 +- 0.83", "205.14 +- 69.52"),
    "Metric 2.1, eps 5e-4, full space": ("0.61 +- 0.27", "42.90 +- 17.14"),
    "Metric 2.1, eps 1e-3, subspace": ("0.11 +- 0.00", "9.22 +- 0.56"),
    "Metric 2.1, eps 5e-4, subspace": ("0.05 +- 0.00", "9.17 +- 0.14"),
}


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
        for arm, published in zip(("small_batch", "large_batch"), PUBLISHED.get(name, ("", "")), strict=True):
            own = values[members["arm"] == arm]
            cells += [f"{own.mean():.4g} +- {own.std():.2g}", published]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
