"""Tasks as a reader sees them: in a table, on a row of text, and beside each other."""

import numpy as np
import pandas as pd

from saebook.papers.topk.probes.measuring import Part, Split

_OPEN, _SHUT = "\u27e6", "\u27e7"  # around a labelled token


def described(split: Split, least: float, most: float) -> pd.DataFrame:
    """Every task as a reader sees it: rule, positives and shares in both parts, whether it counts, and a marked example."""
    rows = []
    for i, task in enumerate(split.tasks):
        parts = (split.choosing, split.judging)
        counts = [int(part.y[:, i].sum()) for part in parts]
        shares = [count / len(part.y) for count, part in zip(counts, parts, strict=True)]
        counted = all(least <= share <= most for share in shares)
        rows.append((task.name, task.rule, *counts, shares[1], "yes" if counted else "no", _example(split.judging, i)))
    columns = [
        "task",
        "a token is positive if it ...",
        "positives, choosing",
        "positives, judging",
        "share",
        "counts",
        "example",
    ]
    return pd.DataFrame(rows, columns=columns)


def _example(part: Part, task: int) -> str:
    positive = part.y[:, task].nonzero().flatten()
    if not len(positive):
        return ""
    row, position = part.at[int(positive[len(positive) // 2])]
    left, own, right = (one.replace("\n\n", " \u00b6 ") for one in part.text.mark((row, position)))
    return f"{left}{_OPEN}{own}{_SHUT}{right}"


def marked(part: Part, task: int, tokens: int = 60) -> str:
    """The first `tokens` tokens of the row that has most positives of a task among them, with these marked."""
    y = part.y[:, task].view(len(part.text.ids), -1)[:, :tokens]
    row = int(y.sum(1).argmax())
    places = part.at.reshape(len(y), -1, 2)[row, :tokens]
    pieces = [part.text.mark((row, int(position)), 0, 0)[1] for _, position in places]
    return "".join(
        f"{_OPEN}{piece}{_SHUT}" if positive else piece for piece, positive in zip(pieces, y[row], strict=True)
    )


def most_alike(split: Split, pairs: int) -> pd.DataFrame:
    """The pairs of tasks whose labels on the scored tokens correlate most, in either direction."""
    correlations = np.corrcoef(split.judging.y.double().cpu().numpy().T)
    one, other = np.triu_indices(len(split.tasks), 1)
    values = correlations[one, other]
    order = np.argsort(-np.abs(values))[:pairs]
    names = [task.name for task in split.tasks]
    columns = {
        "task": [names[i] for i in one[order]],
        "and": [names[i] for i in other[order]],
        "correlation": values[order],
    }
    return pd.DataFrame(columns).set_index("task")
