"""A training step as the authors' code takes it, and what it costs beside ours (e2e paper, appendix, Table 6).

Nothing is kept from batch to batch. The language model runs twice, once as it is and once with the SAE in place, and both
times from its first block; all logits of both passes exist, and autograd goes through the whole of the second. A local
run stops after the block of its site. This is the plain twin of `training.objectives`: at the same weights and tokens both
have the same loss and gradients. Letters: B rows, T positions, D d_in, V vocabulary.
"""

import importlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject
from saebook.training.config import Method, Objective
from saebook.training.loop import TrainState
from saebook.training.objectives import Reference, later_sites, typical
from saebook.training.run import ON_CUDA

HERE, THEIRS = "here", "the authors' path"
AGAIN = "local again"  # the control: the same steps under another name


def loss(sae: SAEStack, subject: Subject, tokens: Tensor, site: Site, objective: Objective) -> Tensor:
    """`objective` plus lambda/D ||f||_1 on `tokens` [B, T], for a stack of one SAE; differentiable by autograd.

    Raises `UserError` for an objective with a downstream term where no later position exists.
    """
    later = [] if objective.local else later_sites(subject, site)
    if objective.downstream and not later:
        raise UserError(f"no residual position lies after {site.hook_name}: choose an earlier layer")
    with torch.no_grad(), _noted(subject, [site, *later]) as clean:
        stop = site.layer + 1 if objective.local else None
        old_logits = subject.bridge(tokens, return_type="logits", stop_at_layer=stop)
    x = clean[site.hook_name].flatten(0, 1)
    f = sae.encode(x)
    xhat = sae.decode(f)[0]
    total = f.new_tensor(sae.sparsity[0]) / sae.d_in * f[0].sum(-1).mean()
    if objective.reconstruction:
        total = total + objective.reconstruction * F.mse_loss(xhat, x)
    if objective.local:
        return total

    def replace(value: Tensor, hook) -> Tensor:
        return xhat.view_as(value)

    with _noted(subject, later, [(site.hook_name, replace)]) as moved:
        new_logits = subject.bridge(tokens, return_type="logits")
    if objective.kl:
        new, old = (logits.flatten(0, 1).log_softmax(-1) for logits in (new_logits, old_logits))
        total = total + objective.kl * F.kl_div(new, old, log_target=True, reduction="batchmean")
    for place in later if objective.downstream else []:
        new, old = (acts[place.hook_name].flatten(0, 1) for acts in (moved, clean))
        error, kept = (new - old).square().mean(-1), typical(old, objective.massive)
        mean = error.mean() if kept is None else (error * kept).sum() / kept.sum()
        total = total + objective.downstream / len(later) * mean
    return total


@contextmanager
def _noted(subject: Subject, sites: Sequence[Site], hooks: Sequence = ()) -> Iterator[dict[str, Tensor]]:
    """Activations [B, T, D] of a pass of the bridge at `sites`, by hook name; `hooks` run before they are noted."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable:
        def write(value: Tensor, hook) -> None:
            seen[name] = value

        return write

    noting = [(site.hook_name, note(site.hook_name)) for site in sites]
    with subject.bridge.hooks(fwd_hooks=[*hooks, *noting]):
        yield seen


def gradients(sae: SAEStack, subject: Subject, tokens: Tensor, site: Site, objective: Objective) -> tuple[float, dict]:
    """The `loss` and its gradients by the name of the parameter."""
    names, parameters = zip(*sae.named_parameters(), strict=True)
    with torch.enable_grad():
        total = loss(sae, subject, tokens, site, objective)
        return float(total.detach()), dict(zip(names, torch.autograd.grad(total, parameters), strict=True))


def difference(sae: SAEStack, subject: Subject, tokens: Tensor, site: Site, objective: Objective) -> float:
    """The largest difference between the gradients of both paths on `tokens` [B, T], over the largest gradient of its parameter.

    The loss itself is compared with them, as one more number.
    """
    ours = sae.member(0)
    terms = Reference(subject, tokens, site).step_gradients(ours, objective)
    total, theirs = gradients(sae.member(0), subject, tokens, site, objective)
    apart = [abs(float(terms.total[0]) - total) / abs(total)]
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        apart.append(float((parameter.grad - theirs[name]).abs().max() / theirs[name].abs().max().clamp_min(1e-12)))
    return max(apart)


def timed(
    saes: dict[str, SAEStack], methods: dict[str, Method], subject: Subject, site: Site, batches: Sequence[Tensor],
    rounds: int,
) -> pd.DataFrame:  # fmt: skip
    """Seconds per thousand tokens of training steps on `batches` [B, T], in turn for every path and objective, `rounds` times.

    Of the steps of a turn the median counts, so that an interruption of a single step does not.
    `saes` are trained stacks of one by the name of their method, and are copied. One line per path, method and round. Local
    training is timed twice, the second time as AGAIN. A first round warms up and is not kept; every round begins one place
    later than the one before, so that none is always first.
    """
    named = {**{name: name for name in methods}, AGAIN: "local"}
    runs: dict[tuple[str, str], Callable[[Tensor], None]] = {}
    for name, of in named.items():
        runs[HERE, name] = _here(saes[of], methods[of], subject, site)
        runs[THEIRS, name] = _theirs(saes[of], methods[of], subject, site)
    order, lines = list(runs), []
    for number in range(rounds + 1):
        for path, name in order[number % len(order) :] + order[: number % len(order)]:
            seconds = statistics.median(_seconds(runs[path, name], batch) for batch in batches)
            lines.append({"path": path, "method": name, "round": number, "seconds": seconds})
    table = pd.DataFrame(lines)
    return table[table["round"] > 0].reset_index(drop=True)


def _seconds(step: Callable[[Tensor], None], batch: Tensor) -> float:
    """The time of one step on a batch, per thousand tokens."""
    begun = time.perf_counter()
    step(batch)
    if batch.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / batch.numel() * 1000


def _here(sae: SAEStack, method: Method, subject: Subject, site: Site) -> Callable[[Tensor], None]:
    cuda = subject.device.type == "cuda"
    kind = importlib.import_module(ON_CUDA).GraphedState if cuda else TrainState
    state, numbers = kind(sae.member(0), method.training, method.objective), itertools.count(method.training.steps // 2)
    return lambda batch: state.step(Reference(subject, batch, site), next(numbers))


def _theirs(sae: SAEStack, method: Method, subject: Subject, site: Site) -> Callable[[Tensor], None]:
    stack, objective, training = sae.member(0), method.objective, method.training
    assert objective is not None
    adam = torch.optim.Adam(stack.parameters(), lr=training.lr, betas=(training.beta1, training.beta2))

    def step(batch: Tensor) -> None:
        with torch.enable_grad():
            loss(stack, subject, batch, site, objective).backward()
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(stack.parameters(), training.clip_norm)
        adam.step()
        adam.zero_grad()

    return step


def ratios(table: pd.DataFrame, path: str, one: str, other: str = "local") -> list[float]:
    """Time of one method over another's on a path of `timed`, one value for each round."""
    wide = table[table.path == path].pivot(index="round", columns="method", values="seconds")
    return (wide[one] / wide[other]).tolist()
