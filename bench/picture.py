"""The picture of the results: time over the roofline and speed-up over the best rival, per pool and layout."""

import statistics

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullFormatter

MARKERS = {"NCHW": "o", "NHWC": "s"}
COLOURS = {"forward": "#1f6fb4", "backward": "#d95f0e"}


def medians(results, select, pools, layout, direction, figure):
    """[(row, median over the shapes)] of the pools that have any."""
    out = []
    for row, pool in enumerate(pools):
        values = [figure(case) for case in select(results, pool, layout, direction, 1)]
        values = [value for value in values if value is not None]
        if values:
            out.append((row, statistics.median(values)))
    return out


def draw(results, select, path):
    pools = [pool for pool in dict.fromkeys(case.pool for case in results.cases)
             if any(select(results, pool, layout, "forward", 1) for layout in MARKERS)]
    if not pools:
        return
    pyplot.rcParams.update({"font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "poolhead"})
    height = 1.6 + 0.3 * len(pools)
    figure, panels = pyplot.subplots(1, 2, sharey=True, figsize=(10, height))
    titles = ("time / roofline (1: as fast as memory)", "speed-up over the best rival")
    for panel, title, of in zip(panels, titles, (lambda case: case.roof, lambda case: case.speed_up())):
        for direction, colour in COLOURS.items():
            for layout, marker in MARKERS.items():
                points = medians(results, select, pools, layout, direction, of)
                # A little apart, so that none hides another.
                shift = (0.12 if direction == "backward" else -0.12) + (0.06 if layout == "NHWC" else -0.06)
                filling = colour if layout == "NCHW" else "white"
                panel.plot([value for _, value in points], [row + shift for row, _ in points], marker,
                           color=colour, markersize=6, markerfacecolor=filling, markeredgewidth=1.5,
                           label=f"{direction}, {layout}")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.axvline(1, color="black", linewidth=1)
        panel.set_title(title, fontsize=11)
        panel.grid(axis="x", color="#dddddd")
        panel.set_axisbelow(True)
        for row in range(0, len(pools), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="#f4f4f4", zorder=0)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(pools)), pools)
    panels[0].set_ylim(len(pools) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False)
    figure.suptitle("float, 1 thread, median over the shapes of 1 MB and more", fontsize=10)
    figure.subplots_adjust(left=0.17, right=0.98, wspace=0.06, top=1 - 0.8 / height, bottom=0.75 / height)
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    pyplot.close(figure)
