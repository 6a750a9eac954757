"""How well token patterns explain the latents of a sweep's SAEs (Top-k paper, section 4.3, Figures 6 and 24).

Letters: N rows, T positions, D d_in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from saebook.common.progress import bar
from saebook.evaluation.explanations import sampled_rows
from saebook.evaluation.explanations.explaining import explain, read
from saebook.evaluation.explanations.pruning import Settings
from saebook.evaluation.explanations.scoring import score
from saebook.evaluation.pareto import matched_ratio
from saebook.sae.base import SAEStack
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.training.config import Data, Member, Method

RECALL, PRECISION, F1 = "recall", "precision", "f1"
_DRAW = 43  # a stream of random numbers apart from those of training


@dataclass(frozen=True)
class Text:
    """`rows` [N, T] of text with their activations `x` [N, T, D] at the site that is explained, and which positions count."""

    subject: Subject
    site: Site
    rows: Tensor
    x: Tensor
    skip: int

    @classmethod
    def read(cls, subject: Subject, site: Site, rows: Tensor, skip: int) -> "Text":
        return cls(subject, site, rows, read(subject, site, rows), skip)

    @classmethod
    def of_training(cls, subject: Subject, site: Site, data: Data, count: int) -> "Text":
        """Up to `count` rows of the training text, drawn at random; always the same ones."""
        length = data.row_length(subject.context)
        rows = sampled_rows.training_rows(subject, data.source, length, count, _DRAW)
        return cls.read(subject, site, rows, data.skip)

    def shuffled(self, seed: int) -> "Text":
        """The tokens of each row in a random order: no token has its context any more."""
        return Text.read(self.subject, self.site, sampled_rows.shuffled(self.rows, seed), self.skip)


def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], seen: Text, other: Text, settings: Settings, count: int,
    above: Sequence[float] = (0.0,), shift: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Scores on the text `other` of `count` latents of each SAE, drawn at random, explained by where they fire in the text `seen`.

    `saes` are stacks of one, the runs of a sweep's `table` line by line; `shift` and each of `above` as `scoring.score` takes
    them. One row per SAE, latent and `above`: method, d_sae, seed, sparsity, l0, the columns of `score`, and `unexplained`, the
    share of an SAE's places that gave no pattern.
    """
    runs, parts = table[["method", "d_sae", "seed", "sparsity", "l0"]].to_dict("records"), []
    with bar(len(saes), "explaining", "SAE") as progress:
        for run, sae in zip(runs, saes, strict=True):
            rng = np.random.default_rng([_DRAW, int(run["seed"])])
            latents = np.sort(rng.permutation(sae.d_sae)[:count]).tolist()
            at = (seen.subject, seen.site, sae)
            made = explain(*at, latents, seen.rows, settings, seen.skip, int(run["seed"]), seen.x)
            columns = {str(name): value for name, value in run.items()} | {"unexplained": made.share_unexplained}
            for least in above:
                scores = score(made, *at, other.rows, other.skip, least, shift, other.x)
                parts.append(scores.assign(above=least, **columns))
            progress.update()
    return pd.concat(parts, ignore_index=True)


def untrained(methods: Sequence[Method], seeds: Sequence[int], seen: Text) -> tuple[pd.DataFrame, list[SAEStack]]:
    """SAEs of `methods` as training would begin with them, and a table of them as a sweep has it."""
    table, saes = [], []
    flat = seen.x[:, seen.skip :].flatten(0, 1)
    for method in methods:
        for seed in seeds:
            for sparsity in method.sparsities:
                member, options = Member(seed, sparsity), dict(method.options)
                sae = build(method.architecture, seen.site.d_in, method.d_sae, (member,), device=flat.device, **options)
                sae.init_bias(sae.prepare(flat)[0])
                run = {"method": method.architecture, "d_sae": method.d_sae, "seed": seed, "sparsity": sparsity}
                table.append(run | {"l0": sparsity})
                saes.append(sae)
    return pd.DataFrame(table), saes


# What the chapter reads off -----------------------------------------------------------------------------------------------


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over latents: one row per SAE.

    A latent counts in recall if it fires on the text, in precision if it is predicted to, and in F1 if either is so.
    """
    by = ["method", "d_sae", "seed", "sparsity", "l0"]
    columns = [RECALL, PRECISION, F1, "density", "unexplained"]
    return scores.groupby(by, sort=False)[columns].mean().reset_index()


def pooled(scores: pd.DataFrame) -> pd.DataFrame:
    """The same rates with the tokens of all latents of an SAE counted together, so that a dense latent weighs more."""
    by = ["method", "d_sae", "seed", "sparsity", "l0"]
    sums = scores.groupby(by, sort=False)[["active", "predicted", "both"]].sum().reset_index()
    both = 2 * sums.both / (sums.active + sums.predicted)
    return sums.assign(**{RECALL: sums.both / sums.active, PRECISION: sums.both / sums.predicted, F1: both})


def best_middle_worst(scores: pd.DataFrame, run: pd.DataFrame) -> pd.DataFrame:
    """Of the `scores` of the SAE that is the only line of `run` three latents: by their F1 the best, the middle and the worst."""
    by = ["method", "d_sae", "seed", "sparsity"]
    mine = scores.merge(run[by], on=by).dropna(subset=F1).sort_values(F1, kind="stable")
    return mine.iloc[[-1, len(mine) // 2, 0]]


def ratios(of_saes: pd.DataFrame, column: str, method: str = "topk", other: str = "relu") -> list[float]:
    """`column` of `method` over that of `other` at equal L0 and at the width that both have: one geometric mean per seed."""
    widths = set(of_saes[of_saes.method == method].d_sae) & set(of_saes[of_saes.method == other].d_sae)
    wide = of_saes[of_saes.d_sae.isin(widths)]
    return [
        matched_ratio(group[group.method == method], group[group.method == other], column)
        for _, group in wide.groupby("seed")
    ]


def slopes(of_saes: pd.DataFrame, by: str, column: str = F1, method: str = "topk") -> list[float]:
    """Change of `column`, averaged over what else varies, per e-fold of `by` (d_sae or sparsity): least squares, one per seed."""
    mine = of_saes[of_saes.method == method]
    wide = mine.groupby(["seed", by])[column].mean().unstack()
    return np.polyfit(np.log(wide.columns.to_numpy(float)), wide.to_numpy().T, 1)[0].tolist()
