"""How much of a subject's sense of agreement is left with an SAE in place, or with a few of its features (Figure 24, Table 7).

Letters: n items, T positions, D d_in, M d_sae.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from saebook.common.progress import bar
from saebook.papers.e2e.agreement.sentences import Items
from saebook.sae.base import SAEStack
from saebook.subject.model import Intervention, Site, Subject

_ITEMS = 64  # items a pass
TOP, RANDOM = "largest effect", "drawn at random"


@dataclass(frozen=True)
class Task:
    """The `items` of one template as a subject processes them at a site: activations [n, T, D], and logit differences [n].

    `clean` are the differences, right verb minus wrong, of the subject itself; `ablated` those with every activation
    replaced by the mean of its position over the items. `mean` [T, D] holds these means.
    """

    subject: Subject
    site: Site
    items: Items
    x: Tensor
    mean: Tensor
    clean: Tensor
    ablated: Tensor

    @property
    def accuracy(self) -> float:
        """The share of items for which the right verb is likelier than the wrong one."""
        return float((self.clean > 0).double().mean())

    def faithfulness(self, differences: Tensor) -> float:
        """(m(new) - m(0)) / (m(M) - m(0)) of logit differences [n], m being their mean, with 0 for `ablated`."""
        zero = self.ablated.double().mean()
        return float((differences.double().mean() - zero) / (self.clean.double().mean() - zero))


@torch.no_grad()
def task(subject: Subject, site: Site, items: Items) -> Task:
    """A template's items at the site, with all that does not depend on an SAE."""
    x = torch.cat([subject.activations(part, site) for part in items.tokens.split(_ITEMS)])
    mean = position_means(x, items)
    clean = differences(subject, site, items, x)
    return Task(subject, site, items, x, mean, clean, differences(subject, site, items, mean.expand_as(x)))


def position_means(values: Tensor, items: Items) -> Tensor:
    """Means [T, ...] over items of `values` [n, T, ...] at each position, without padding."""
    counted = items.counted.to(values).unsqueeze(-1)
    return (values * counted).sum(0) / counted.sum(0).clamp_min(1)


def differences(subject: Subject, site: Site, items: Items, new: Tensor) -> Tensor:
    """Logits of the right verb minus those of the wrong one [n], with `new` [n, T, D] at the site; differentiable in `new`."""
    parts = []
    for first in range(0, len(items), _ITEMS):
        part = slice(first, first + _ITEMS)
        intervention: Intervention = subject.intervene(items.tokens[part], site)
        hidden = intervention.onwards(new[part])[0]
        last, right, wrong = (one[part].to(hidden.device) for one in (items.last, items.right, items.wrong))
        final = hidden[torch.arange(len(last), device=hidden.device), last]
        unembedding = subject.unembedding
        parts.append((final * (unembedding.W_U.T[right] - unembedding.W_U.T[wrong])).sum(-1))
        if unembedding.b_U is not None:
            parts[-1] = parts[-1] + unembedding.b_U[right] - unembedding.b_U[wrong]
    return torch.cat(parts)


def effects(sae: SAEStack, of: Task) -> Tensor:
    """The indirect effect [M] of each latent to first order: how far the mean difference falls when it is mean-ablated.

    gradient . (f - mean f), summed over positions: attribution in place of one pass for every latent.
    """
    f, mean = _codes(sae, of)
    with torch.enable_grad():
        moving = f.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_with(sae, of, moving).mean(), moving)
    return (gradient * (f - mean) * of.items.counted.to(f)[..., None]).sum((0, 1))


@torch.no_grad()
def ablated_alone(sae: SAEStack, of: Task, latent: int) -> float:
    """The exact indirect effect of one latent, by a pass with it at the mean of its position."""
    f, mean = _codes(sae, of)
    fewer = f.clone()
    fewer[..., latent] = mean[..., latent]
    return float((_with(sae, of, f) - _with(sae, of, fewer)).mean())


@torch.no_grad()
def measured(
    table: pd.DataFrame, saes: Sequence[SAEStack], tasks: dict[str, Task], numbers: Sequence[int], seed: int = 0
) -> pd.DataFrame:  # fmt: skip
    """Faithfulness of every SAE on every task, whole and with so many latents kept as `numbers` says.

    `saes` are stacks of one, line by line those of `table`. Kept are the latents of the largest effect in size (TOP), or as
    many of those that fire, drawn at random (RANDOM); the others have the mean of their position. One line per SAE, task,
    way and number: method, seed, task, by, kept, faithfulness; `kept` is 0 for the whole SAE.
    """
    lines, generator = [], torch.Generator().manual_seed(seed)
    with bar(len(saes) * len(tasks), "agreement", "task") as progress:
        for row, sae in zip(table.itertuples(), saes, strict=True):
            for name, of in tasks.items():
                f, mean = _codes(sae, of)
                own = {"method": row.method, "seed": row.seed, "task": name}
                whole = of.faithfulness(_with(sae, of, f))
                lines.append(own | {"by": TOP, "kept": 0, "faithfulness": whole})
                fires = ((f > 0) & of.items.counted.to(f.device)[..., None]).any(0).any(0).nonzero().flatten()
                sized = effects(sae, of).abs()
                orders = {
                    TOP: fires[sized[fires].argsort(descending=True)],
                    RANDOM: fires[torch.randperm(len(fires), generator=generator).to(fires.device)],
                }
                for by, order in orders.items():
                    for number in numbers:
                        few = mean.expand_as(f).clone()
                        few[..., order[:number]] = f[..., order[:number]]
                        value = of.faithfulness(_with(sae, of, few))
                        lines.append(own | {"by": by, "kept": number, "faithfulness": value})
                progress.update()
    return pd.DataFrame(lines)


def _codes(sae: SAEStack, of: Task) -> tuple[Tensor, Tensor]:
    """Latents [n, T, M] of the items, and their means [T, M] over items."""
    with torch.no_grad():
        f = sae.encode(of.x.flatten(0, 1))[0].view(*of.x.shape[:2], -1)
    return f, position_means(f, of.items)


def _with(sae: SAEStack, of: Task, f: Tensor) -> Tensor:
    """Logit differences [n] with the reconstruction of the latents `f` [n, T, M] in place."""
    return differences(of.subject, of.site, of.items, sae.decode(f.flatten(0, 1)[None])[0].view_as(of.x))


def able(tasks: dict[str, Task], least_accuracy: float) -> dict[str, Task]:
    """The tasks that the subject can do: at an accuracy of at least `least_accuracy`, and better than with nothing in place."""
    return {
        name: one
        for name, one in tasks.items()
        if one.accuracy >= least_accuracy and one.clean.mean() > one.ablated.mean()
    }


def per_seed(table: pd.DataFrame, by: str = TOP, whole: bool = True) -> pd.DataFrame:
    """Mean faithfulness [seed, method] over tasks: of whole SAEs, or over all numbers of latents kept."""
    if table.empty:
        return pd.DataFrame()
    chosen = table[(table.by == by) & ((table.kept == 0) == whole)]
    return chosen.groupby(["seed", "method"]).faithfulness.mean().unstack()


def published(paper: pd.DataFrame, templates: Sequence[str]) -> pd.DataFrame:
    """The paper's Table 7 (a: similar loss, b: similar L0) as shares: table, layer, type, and a column for each template."""
    rows = paper[paper.table.isin(["7a", "7b"])].reset_index(drop=True)
    shares = rows.value.str.split("|", expand=True).astype(float) / 100
    return rows[["table", "layer", "type"]].join(shares.set_axis(list(templates), axis=1))
