# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A plot of the matrix, where matplotlib is there.
import cells

MARKS = ("o", "s", "^", "D", "v", "P")


def load_pyplot():
    """None, with a word, where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot
    return pyplot


def save(pyplot, figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def write(path, rows):
    """False where there is no matplotlib."""
    pyplot = load_pyplot()
    if pyplot is None:
        return False
    patterns = list(dict.fromkeys(row.cell.load.pattern for row in rows))
    lengths = sorted({row.cell.load.length_ns for row in rows})
    figure, panels = pyplot.subplots(1, len(patterns), figsize=(4.2 * len(patterns), 4.4),
                                     sharey=True, squeeze=False)
    for pattern, panel in zip(patterns, panels[0]):
        panel.plot([0, 100], [0, 100], color="0.7", linewidth=1, zorder=0)
        for i, length in enumerate(lengths):
            chosen = [row for row in rows if row.cell.load.pattern == pattern and
                      row.cell.load.length_ns == length]
            draw(panel, chosen, cells.length_text(length), MARKS[i % len(MARKS)],
                 1.2 * (i - (len(lengths) - 1) / 2))
        panel.set(title=pattern, xlabel="share, %", xlim=(0, 100), ylim=(0, 100))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("use of the GPU, %: median,\nlowest and highest window of 1 s")
    panels[0][-1].legend(title="length", loc="lower right")
    save(pyplot, figure, path)
    return True


def draw(panel, rows, label, mark, shift):
    """shift: to the side, so that the bars of several lengths can be told apart."""
    if not rows:
        return
    uses = [row.figures["use"] for row in rows]
    below = [max(0, row.figures["use"] - row.figures["lowest"]) for row in rows]
    above = [max(0, row.figures["highest"] - row.figures["use"]) for row in rows]
    panel.errorbar([row.cell.share + shift for row in rows], uses, [below, above], fmt=mark,
                   markersize=4, capsize=2, linewidth=1, label=label)


def write_claims(path, found):
    """What was measured, of those claims that give a use of the GPU. False where nothing could be
    drawn."""
    chosen = [check for check in found if check.unit == "%"]
    pyplot = load_pyplot() if chosen else None
    if pyplot is None:
        return False
    figure, panel = pyplot.subplots(figsize=(9, 1 + 0.22 * len(chosen)))
    places = range(len(chosen))
    panel.barh(places, [check.measured for check in chosen], height=0.6,
               color=["tab:red" if check.is_missed else "tab:blue" for check in chosen])
    panel.set_yticks(places, [f"{check.suite}: {check.case}, {check.what}, {check.target}"
                              for check in chosen], fontsize=5)
    panel.invert_yaxis()
    panel.set(xlabel="% of the GPU's time", xlim=(0, 102))
    panel.grid(axis="x", alpha=0.3)
    save(pyplot, figure, path)
    return True
