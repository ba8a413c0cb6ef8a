#!/usr/bin/env python3
"""Table and picture of the documents' experiment: python3 examples/reproduction.py RUNS PICTURE.svg

RUNS holds the folders MODEL-SEED that the classifier's train wrote, each with its metrics.csv."""

import csv
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

COLOURS = ("#1f6fb4", "#d95f0e", "#4d9221", "#7b3294")


def read(folder):
    """{model: [rows of one run]}"""
    runs = {}
    for path in sorted(pathlib.Path(folder).glob("*/metrics.csv")):
        with open(path, newline="") as file:
            runs.setdefault(path.parent.name.rpartition("-")[0], []).append(list(csv.DictReader(file)))
    return runs


def accuracies(run):
    return [100 * float(row["validation_accuracy"]) for row in run]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    runs = read(sys.argv[1])
    if not runs:
        sys.exit(f"{sys.argv[1]}: there is no folder with a metrics.csv in it")
    print("| model | seeds | epochs | accuracy after the last epoch | best epoch | s/epoch |\n|---|---|---|---|---|---|")
    pyplot.rcParams.update({"font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "poolhead"})
    figure, axes = pyplot.subplots(figsize=(8, 4))
    for (model, of_model), colour in zip(runs.items(), COLOURS):
        curves = [accuracies(run) for run in of_model]
        last = [curve[-1] for curve in curves]
        best = [max(curve) for curve in curves]
        seconds = statistics.median(float(row["seconds"]) for run in of_model for row in run)
        print(f"| `{model}` | {len(curves)} | {min(map(len, curves))} | {statistics.mean(last):.2f} % "
              f"({min(last):.2f} to {max(last):.2f}) | {statistics.mean(best):.2f} % | {seconds:.1f} |")
        epochs = range(1, 1 + min(map(len, curves)))
        each = list(zip(*curves))
        axes.fill_between(epochs, [min(e) for e in each], [max(e) for e in each], color=colour, alpha=0.25, lw=0)
        axes.plot(epochs, [statistics.mean(e) for e in each], color=colour, label=model)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy, %")
    axes.set_ylim(top=max(max(accuracies(run)) for of_model in runs.values() for run in of_model) + 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
