"""Probe losses of SAEs and of activations, and what the chapters read off them (Top-k paper, section 4.2).

Letters: B tokens, D d_in, K tasks, N rows, T positions.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.progress import bar
from saebook.evaluation import logistic
from saebook.papers.topk.probes import tasks
from saebook.papers.topk.probes.aligned import Aligned
from saebook.papers.topk.probes.tasks import TASKS, Task
from saebook.sae.base import Member, SAEStack
from saebook.sae.registry import build
from saebook.subject.model import Site, Subject
from saebook.text.held_out import CHOOSING, JUDGING, held_out
from saebook.training.config import Data, Method

# Columns. NONE: the loss of predicting the share of positives; OWN and OWN_NONE: both on the tokens that chose the probe.
LOSS, NONE, RATIO, OWN, OWN_NONE = "probe_loss", "entropy", "over_entropy", "own_loss", "own_entropy"
_ROWS = 16  # rows a pass of the subject
_CODES = {"cpu": 2**21, "cuda": 2**27}  # numbers in the codes [B, M] of one batch

Code = Callable[[Tensor], Tensor]  # activations [B, D] -> features [B, M]


@dataclass(frozen=True)
class Part:
    """Tokens of one part of the text: activations `x` [B, D] and labels `y` [B, K] (bool); `text` and `at` [B, 2] say which."""

    x: Tensor
    y: Tensor
    text: Aligned
    at: np.ndarray


@dataclass(frozen=True)
class Split:
    """Tasks, with the tokens that probes are chosen on and those that they are scored on."""

    tasks: tuple[Task, ...]
    choosing: Part
    judging: Part

    def within(self, least: float, most: float) -> "Split":
        """Only the tasks whose share of positives lies in this range in both parts. Raises `UserError` when none does."""
        fits = [((part.y.double().mean(0) >= least) & (part.y.double().mean(0) <= most)) for part in self._parts()]
        kept = (fits[0] & fits[1]).cpu()
        if not kept.any():
            raise UserError(
                f"no task has a share of positives between {least:g} and {most:g}: give the probes more rows"
            )
        chosen = tuple(task for task, keep in zip(self.tasks, kept.tolist(), strict=True) if keep)
        return Split(chosen, *(replace(part, y=part.y[:, kept.to(part.y.device)]) for part in self._parts()))

    def shuffled(self, seed: int) -> "Split":
        """The same labels, dealt to other tokens at random within each part: nothing is left to be probed for."""
        generator = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(len(part.y), generator=generator) for part in self._parts()]
        shuffled = (
            replace(part, y=part.y[order.to(part.y.device)]) for part, order in zip(self._parts(), orders, strict=True)
        )
        return Split(self.tasks, *shuffled)

    def _parts(self) -> tuple[Part, Part]:
        return self.choosing, self.judging


def read(subject: Subject, site: Site, data: Data, choice_rows: int, of: tuple[Task, ...] = TASKS) -> Split:
    """Labelled tokens at `site`: of `choice_rows` rows that judge nothing, and of the rows that SAEs are evaluated on.

    Positions below `data.skip` and the last one of each row, behind which nothing is known, are left out.
    """
    counts = {CHOOSING: choice_rows, JUDGING: data.eval_rows}
    context = data.row_length(subject.context)
    rows = {part: held_out(data.source, subject.tokenizer, context, count, part) for part, count in counts.items()}
    return Split(of, *(_part(subject, site, one, data.skip, of) for one in rows.values()))


def _part(subject: Subject, site: Site, rows: np.ndarray, skip: int, of: tuple[Task, ...]) -> Part:
    text, used = Aligned.read(rows, subject.tokenizer), slice(skip, rows.shape[1] - 1)
    y = torch.from_numpy(tasks.labels(text, of)[:, used].reshape(-1, len(of)))
    ids = torch.from_numpy(rows.astype(np.int64))
    x = torch.cat([subject.activations(part, site)[:, used].flatten(0, 1) for part in ids.split(_ROWS)])
    at = np.stack(np.meshgrid(np.arange(len(rows)), np.arange(rows.shape[1])[used], indexing="ij"), -1)
    return Part(x, y.to(x.device), text, at.reshape(-1, 2))


@torch.inference_mode()
def probed(split: Split, code: Code, width: int, candidates: int = logistic.CANDIDATES) -> pd.DataFrame:
    """The best probe of each task on the features of `code`: task, probe_loss and entropy on the judging tokens, in nats.

    `width` is the number of features. The feature, and both losses on the tokens that chose it, stand in the other columns.
    """
    device = split.choosing.x.device
    at_once = max(1, _CODES.get(device.type, _CODES["cpu"]) // width)

    def batches(part: Part) -> Iterator[Tensor]:
        return (code(x) for x in part.x.split(at_once))

    probe = logistic.best(lambda: batches(split.choosing), split.choosing.y, candidates)
    loss = logistic.scored(probe, lambda: batches(split.judging), split.judging.y)
    columns = {
        LOSS: loss, NONE: logistic.without_feature(split.choosing.y, split.judging.y), OWN: probe.loss,
        OWN_NONE: logistic.entropy(split.choosing.y.double().mean(0)), "feature": probe.feature,
    }  # fmt: skip
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    table.insert(0, "task", [task.name for task in split.tasks])
    return table.assign(**{RATIO: table[LOSS] / table[NONE]})


def of_saes(table: pd.DataFrame, saes: Sequence[SAEStack], split: Split) -> pd.DataFrame:
    """`probed` for SAEs that are stacks of one, the runs of a sweep's `table` line by line: one row per SAE and task."""
    runs, parts = table[["method", "d_sae", "seed", "sparsity", "l0"]].to_dict("records"), []
    with bar(len(saes), "probing", "SAE") as progress:
        for run, sae in zip(runs, saes, strict=True):
            parts.append(
                probed(split, code_of(sae), sae.d_sae).assign(**{str(name): value for name, value in run.items()})
            )
            progress.update()
    return pd.concat(parts, ignore_index=True)


def code_of(sae: SAEStack) -> Code:
    """Activations to the latents of a stack of one."""
    return lambda x: sae.encode(sae.prepare(x)[0])[0]


def of_activations(split: Split, like: SAEStack) -> pd.DataFrame:
    """`probed` on the dimensions of the activations themselves, as the SAE `like` takes them."""
    return probed(split, lambda x: like.prepare(x)[0], like.d_in)


def untrained(methods: Sequence[Method], seeds: Sequence[int], split: Split) -> pd.DataFrame:
    """`of_saes` for SAEs as training would begin with them: random directions, and the geometric median as `b_dec`."""
    table, saes = [], []
    for method in methods:
        for seed in seeds:
            for sparsity in method.sparsities:
                x = split.choosing.x
                sae = build(method.architecture, x.shape[1], method.d_sae, (Member(seed, sparsity),), device=x.device,
                            **dict(method.options))  # fmt: skip
                sae.init_bias(sae.prepare(x)[0])
                table.append(
                    {"method": "untrained", "d_sae": method.d_sae, "seed": seed, "sparsity": sparsity, "l0": sparsity}
                )
                saes.append(sae)
    return of_saes(pd.DataFrame(table), saes, split)


# What the chapters read off -----------------------------------------------------------------------------------------------


def means(losses: pd.DataFrame) -> pd.DataFrame:
    """Means over tasks: one row per SAE."""
    by = ["method", "d_sae", "seed", "sparsity", "l0"]
    return losses.groupby(by, sort=False)[[LOSS, NONE, RATIO, OWN, OWN_NONE]].mean().reset_index()


def slopes_with_width(means: pd.DataFrame, column: str = LOSS) -> list[float]:
    """Change of the loss, averaged over k, per e-fold of width, by least squares: one value per seed."""
    by_width = means.groupby(["seed", "d_sae"])[column].mean().unstack()
    return np.polyfit(np.log(by_width.columns.to_numpy(float)), by_width.to_numpy().T, 1)[0].tolist()


def rise_and_fall(means: pd.DataFrame, column: str = LOSS) -> tuple[list[float], list[float]]:
    """The loss at the smallest and at the largest k, each minus that at the best k, averaged over widths: one pair per seed.

    The best k for a seed is the one of the *other* seeds' mean: the least of a seed's own losses would lie below all others
    by luck alone. NaN with one seed.
    """
    by_k = means.groupby(["seed", "sparsity"])[column].mean().unstack()
    if len(by_k) < 2:
        return [float("nan")], [float("nan")]
    best = [by_k.drop(seed).mean().idxmin() for seed in by_k.index]
    least = np.array([by_k.loc[seed, k] for seed, k in zip(by_k.index, best, strict=True)])
    first, last = by_k.columns.min(), by_k.columns.max()
    return (by_k[first].to_numpy() - least).tolist(), (by_k[last].to_numpy() - least).tolist()


def difference_at_equal_l0(
    means: pd.DataFrame, method: str, other: str, column: str = LOSS, points: int = 20
) -> list[float]:
    """The loss of `method` minus that of `other` at equal L0: the mean over the range that both cover, one value per seed.

    Curves are interpolated linearly over log L0. NaN for a seed whose ranges do not meet.
    """
    differences = []
    for _, of_seed in means.groupby("seed"):
        curves = [of_seed[of_seed.method == name].sort_values("l0") for name in (method, other)]
        curves = [(np.log(curve.l0.to_numpy(float)), curve[column].to_numpy(float)) for curve in curves]
        low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        levels = np.linspace(low, high, points)
        one, two = (np.interp(levels, *curve) for curve in curves)
        differences.append(float((one - two).mean()) if low < high else float("nan"))
    return differences


def differences_by_task(losses: pd.DataFrame, method: str, other: str, column: str = LOSS) -> pd.Series:
    """`difference_at_equal_l0` of every task by itself, averaged over the seeds that have one."""
    differences = {
        task: difference_at_equal_l0(of_task, method, other, column) for task, of_task in losses.groupby("task")
    }
    return pd.DataFrame(differences).mean().rename_axis("task")


def between_seeds(means: pd.DataFrame, method: str, column: str = LOSS) -> list[float]:
    """The control: differences between SAEs of one method with equal sparsity, averaged over them; one per pair of seeds."""
    by_seed = means[means.method == method].groupby(["sparsity", "seed"])[column].mean().unstack()
    return [float((by_seed[one] - by_seed[two]).mean()) for one, two in itertools.combinations(by_seed.columns, 2)]


def by_task(losses: pd.DataFrame) -> pd.DataFrame:
    """Means over SAEs for each task, the one with the lowest loss over its entropy first."""
    return losses.groupby("task")[[LOSS, NONE, RATIO]].mean().sort_values(RATIO)
