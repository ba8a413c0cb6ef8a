#!/usr/bin/env python3
"""Makes results.csv, results.md and results.svg of what the benchmark wrote into a folder: results.json and, where
there are such, baseline.json (a build without -march=native) and includer.json (what an includer pays)."""

import collections
import csv
import json
import pathlib
import statistics
import sys

import bars

LAYOUTS = ("NCHW", "NHWC")
DIRECTIONS = ("forward", "backward", "forward+backward")


class Case:
    """One line of results.json."""

    def __init__(self, line):
        name = line["name"].split("/iterations:")[0]
        self.pool, self.direction, self.layout, self.scalar, self.shape, threads = name.split("/")
        self.threads = int(threads.removeprefix("threads:"))
        self.error = line.get("error_message", "")
        self.us = line.get("us")
        self.gigabytes = line.get("GB/s")
        self.roof = line.get("roof")
        self.roof_us = line.get("roof_us")
        self.denormal = line.get("denormal")
        rivals = [(key, value) for key, value in line.items() if key.startswith("us of ")]
        self.rivals = {key.removeprefix("us of "): value for key, value in rivals}

    @property
    def key(self):
        return self.pool, self.direction, self.layout, self.scalar, self.shape, self.threads

    @property
    def bytes(self):
        size = 2 if self.scalar == "bfloat16" else 4
        for extent in self.shape.split("x"):
            size *= int(extent)
        return size

    def best_rival(self, library=""):
        """(name, microseconds) of the fastest form, None where there is none."""
        forms = [item for item in self.rivals.items() if item[0].startswith(library)]
        return min(forms, key=lambda item: item[1], default=None)

    def speed_up(self, library=""):
        best = self.best_rival(library)
        return best[1] / self.us if best else None


class Results:
    def __init__(self, folder):
        self.context, self.cases = read(folder / "results.json")
        self.baseline = {case.key: case for case in read(folder / "baseline.json")[1]}
        self.includer = json.loads(text(folder / "includer.json") or "{}")
        self.by_key = {case.key: case for case in self.cases}
        sizes = [cache["size"] for cache in self.context["caches"] if cache["level"] == 2]
        self.level_2 = sizes[0] if sizes else 0

    def allowance(self, bar, case):
        """Of the roofline, twice the figure where what a thread reads fits its second-level cache."""
        doubled = bar.figure == "roof" and case.bytes / case.threads <= self.level_2
        return 2 * bar.limit if doubled else bar.limit

    def figure(self, bar, case):
        if bar.figure == "roof":
            return case.roof
        if bar.figure == "speed-up":
            return case.speed_up(bar.library)
        if bar.figure == "denormal":
            return case.denormal
        other, scalar = (self.baseline, "float") if bar.figure == "baseline" else (self.by_key, "bfloat16")
        found = other.get((case.pool, case.direction, case.layout, scalar, case.shape, case.threads))
        return found.us / case.us if found and found.us and found is not case else None

    def measured(self, bar, layout, threads):
        """[(figure, allowance, case)] of every case that the bar is about."""
        out = []
        for case in self.cases:
            right = case.scalar == ("float-denormal" if bar.figure == "denormal" else "float")
            right = right and case.us and case.layout == layout and case.threads == threads
            right = right and layout in bar.layouts and case.direction in bar.directions
            right = right and (not bar.pools or case.pool in bar.pools)
            right = right and (case.bytes >= bars.MEGABYTE) == bar.large and bar.shape in ("", case.shape)
            value = self.figure(bar, case) if right else None
            if value is not None:
                out.append((value, self.allowance(bar, case), case))
        return out


def text(path):
    return path.read_text() if path.exists() else ""


def read(path):
    content = text(path)
    if not content:
        return {"caches": []}, []
    data = json.loads(content)
    return data["context"], [Case(line) for line in data["benchmarks"]]


def holds(bar, value, allowance):
    if bar.at_most:
        return value <= allowance
    return value > allowance if bar.strict else value >= allowance


def bar_cell(bar, measured):
    """The case furthest from its bar, and how many hold it."""
    if not measured:
        return "-", []
    worst = (max if bar.at_most else min)(measured, key=lambda one: one[0] / one[1])
    value, allowance, case = worst
    verdicts = [holds(bar, one[0], one[1]) for one in measured]
    doubled = f" of {allowance:.2f}" if allowance != bar.limit else ""
    where = case.shape if len(bar.pools) == 1 else f"{case.pool}, {case.shape}"
    if len(bar.directions) > 1:
        where += ", " + case.direction
    cell = f"{value:.2f}{doubled} ({where}); {sum(verdicts)}/{len(verdicts)}"
    return (cell if all(verdicts) else f"**{cell}**"), verdicts


def count(number, what):
    return f"{number} {what}{'s' if number != 1 else ''}"


def table_row(cells):
    return f"| {' | '.join(cells)} |"


def table_head(titles):
    return [table_row(titles), "|" + "---|" * len(titles)]


def bars_table(results):
    columns = [(layout, threads) for threads in (1, 2) for layout in LAYOUTS]
    titles = [f"{layout}, {count(threads, 'thread')}" for layout, threads in columns]
    lines = table_head(["pool", "direction", "bar", *titles, ""])
    met = missed = 0
    for bar in bars.BARS:
        sign = "<=" if bar.at_most else ">" if bar.strict else ">="
        cells, verdicts = [], []
        for layout, threads in columns:
            cell, some = bar_cell(bar, results.measured(bar, layout, threads))
            cells.append(cell)
            verdicts += some
        verdict = "not measured" if not verdicts else "met" if all(verdicts) else "missed"
        met += verdict == "met"
        missed += verdict == "missed"
        limit = f"{bar.figure} {sign} {bar.limit:g}"
        lines.append(table_row([bar.label, ", ".join(bar.directions), limit, *cells, verdict]))
    cost = results.includer
    if cost:
        extra = cost["umbrella_seconds"] - cost["eigen_seconds"]
        good = extra <= bars.MOST_EXTRA_COMPILE_SECONDS
        met += good
        missed += not good
        value = f"{extra:.2f} s ({cost['umbrella_seconds']:.2f} and {cost['eigen_seconds']:.2f} s)"
        value = value if good else f"**{value}**"
        limit = f"<= {bars.MOST_EXTRA_COMPILE_SECONDS} s more"
        verdict = "met" if good else "missed"
        lines.append(table_row(["umbrella over Eigen's Tensor header", "compile", limit, value, "", "", "", verdict]))
    return lines, met, missed


def median_and_extreme(values, extreme):
    values = [value for value in values if value is not None]
    return f"{statistics.median(values):.2f} ({extreme(values):.2f})" if values else "-"


def most_common(names):
    counted = collections.Counter(name for name in names if name)
    return counted.most_common(1)[0][0] if counted else "-"


def large_floats(results, pool, layout, direction, threads):
    return [
        case
        for case in results.cases
        if (case.pool, case.layout, case.direction, case.threads) == (pool, layout, direction, threads)
        and case.scalar == "float" and case.us and case.bytes >= bars.MEGABYTE
    ]


def pools_table(results, threads):
    titles = [f"{direction}: {figure}" for figure in ("time / roofline", "speed-up") for direction in DIRECTIONS]
    lines = table_head(["pool", "layout", *titles, "best rival forward; backward"])
    for pool in dict.fromkeys(case.pool for case in results.cases):
        for layout in LAYOUTS:
            cases = [large_floats(results, pool, layout, direction, threads) for direction in DIRECTIONS]
            if not any(cases):
                continue
            roofs = [median_and_extreme([case.roof for case in some], max) for some in cases]
            speed = [median_and_extreme([case.speed_up() for case in some], min) for some in cases]
            rivals = [most_common((case.best_rival() or ("",))[0] for case in some) for some in cases[:2]]
            lines.append(table_row([pool, layout, *roofs, *speed, "; ".join(rivals)]))
    return lines


def machine():
    info = text(pathlib.Path("/proc/cpuinfo"))
    models = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    vectors = "AVX-512" if " avx512f" in info else "AVX2" if " avx2" in info else "no AVX2"
    return f"{len(models)} cores of {models[0]} ({vectors})" if models else "unknown processor"


def crowded(context):
    """A warning where the machine was busy before the benchmark began."""
    load = context.get("load_avg", [0])[0]
    if load < 0.5:
        return []
    return [f"**Other programs were running (load {load:.1f}): at two threads, OpenMP's rivals wait for a core.**", ""]


def markdown(results):
    context, cost = results.context, results.includer
    versions = ", ".join(f"{name} {context[name]}" for name in ("Eigen", "libtorch", "oneDNN") if name in context)
    table, met, missed = bars_table(results)
    wrong = [case for case in results.cases if case.error]
    lines = [
        "# poolhead's benchmark", "",
        f"{machine()}, {results.level_2 // 1024} KiB of second-level cache; {context['date']}.",
        f"{context['compiler']}, -O3 -march=native; {versions}.",
        f"{count(len(results.cases), 'case')}, {len(wrong)} of them wrong. Medians of one run.", "",
        *crowded(context),
        *[f"- WRONG: {'/'.join(map(str, case.key))}: {case.error}" for case in wrong],
        f"## Bars: {met} met, {missed} missed", "",
        "Each cell: the case furthest from the bar, then how many of the cases hold it. 'of' gives the figure that",
        "holds where it is twice the bar's, because what a thread reads fits its second-level cache. bench/missed.md",
        "says what holds up those that are missed.", "",
        *table, "",
    ]
    if cost:
        size, empty = cost["stripped_bytes"] / 1024, cost["empty_bytes"] / 1024
        lines.append(f"A stripped program with one GAP call has {size:.0f} KiB, one with an empty main {empty:.0f}.")
        lines.append("")
    for threads in (1, 2):
        lines += [
            f"## Float, {count(threads, 'thread')}, shapes of 1 MB and more", "",
            "Medians over the shapes, the worst in brackets. Speed-up: the best form of the best rival over ours.", "",
            *pools_table(results, threads), "",
        ]
    return "\n".join(lines)


def write_csv(results, path):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow("pool direction layout scalar shape threads us GB/s roof_us roof speed-up".split()
                     + ["best rival", "rivals (us)", "error"])
        for case in results.cases:
            rounded = [f"{value:.4g}" if value else "" for value in
                       (case.us, case.gigabytes, case.roof_us, case.roof, case.us and case.speed_up())]
            fastest_first = sorted(case.rivals.items(), key=lambda one: one[1])
            rivals = "; ".join(f"{name}: {us:.4g}" for name, us in fastest_first)
            out.writerow([*case.key, *rounded, (case.best_rival() or ("",))[0], rivals, case.error])


def main(folder):
    results = Results(folder)
    report = markdown(results)
    (folder / "results.md").write_text(report)
    write_csv(results, folder / "results.csv")
    print(report)
    try:
        import picture
    except ImportError:
        print("No picture: matplotlib is missing (python3-matplotlib).")
    else:
        picture.draw(results, large_floats, folder / "results.svg")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
