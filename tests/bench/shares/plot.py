# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# A plot of the matrix, where matplotlib is there.
import cells

MARKS = ("o", "s", "^", "D", "v", "P")


def write(path, rows):
    """False, with a word, where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed")
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    patterns = list(dict.fromkeys(row.cell.load.pattern for row in rows))
    lengths = sorted({row.cell.load.length_ns for row in rows})
    figure, panels = pyplot.subplots(1, len(patterns), figsize=(4.2 * len(patterns), 4.4),
                                     sharey=True, squeeze=False)
    for pattern, panel in zip(patterns, panels[0]):
        panel.plot([0, 100], [0, 100], color="0.7", linewidth=1, zorder=0)
        for i, length in enumerate(lengths):
            chosen = [row for row in rows if row.cell.load == cells.Load(pattern, length)]
            draw(panel, chosen, cells.length_text(length), MARKS[i % len(MARKS)],
                 1.2 * (i - (len(lengths) - 1) / 2))
        panel.set(title=pattern, xlabel="share, %", xlim=(0, 100), ylim=(0, 100))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("use of the GPU, %: median,\nlowest and highest window of 1 s")
    panels[0][-1].legend(title="length", loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
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
