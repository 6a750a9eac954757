"""Objectives that judge a reconstruction at the site, by the model's predictions, or at the positions in between.

`training.run` imports this module by name, so its source is in the keys of runs with an objective and in no others.

The e2e paper's three objectives (sections 2.2 and 2.3, Eq. 1), with the means of its code: mean squared errors run over the
width, the KL divergence is that of the original predictions from the new ones, per token. Penalties belong to the SAE, and
every architecture works with every objective (`SAEStack.pulled`). Letters: S SAEs, N = B*T tokens, D d_model, V vocabulary.
"""

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.sae.base import SAEStack
from saebook.sae.kernels import precision
from saebook.sae.losses import Losses
from saebook.subject.blocks import Stopped, WrittenOut
from saebook.subject.model import Intervention, Site, Subject
from saebook.subject.unembedding import Unembedding
from saebook.training.config import Objective

_TOKENS = {"cpu": 4096, "cuda": 131_072}  # tokens that go through the upper blocks at one time
_WIDE = 256  # width of a language model from which rounding its products is worth it: a narrower one gains a fifth


def later_sites(subject: Subject, site: Site) -> list[Site]:
    """The residual stream before every later block (`hook_resid_pre` of l+1 to L-1, Eq. 1), never the site itself."""
    first = site.layer + (2 if site.kind == "resid_post" else 1)  # what leaves a block is what enters the next
    return [subject.site("resid_pre", layer) for layer in range(first, subject.n_layers)]


def rounded(subject: Subject) -> WrittenOut | None:
    """The subject's blocks with products in bfloat16, for training alone; None where training keeps single precision too.

    They follow the precision of training (`sae.kernels.precision`) in a wide model on a CPU. Norms, softmax, the residual
    stream and the unembedding stay in single precision: a KL divergence between rounded logits is mostly rounding.
    """
    forward = subject.forward
    if subject.d_model < _WIDE or subject.device.type != "cpu" or not isinstance(forward, WrittenOut):
        return None
    if forward.model.embedding.dtype != torch.float32 or precision.current() == "fp32":
        return None
    return WrittenOut(forward.model.to(torch.bfloat16))


class Reference:
    """One batch of text as the subject itself processes it: activations at the site, and what becomes of them.

    `x` [N, D] are the activations; the rest is computed when first asked for, once for all SAEs. Both the original pass and
    those with reconstructions go through `blocks`, by default the subject's own.
    """

    def __init__(self, subject: Subject, tokens: Tensor, site: Site, blocks: WrittenOut | None = None):
        self.subject, self.tokens, self.site = subject, tokens, site
        self.intervene: Intervention | Stopped
        if blocks is None:
            self.intervene = subject.intervene(tokens, site)
            reached = self.intervene.activations
        else:
            with torch.inference_mode():
                self.intervene = blocks.stopped_at(tokens.to(subject.device), site)
            reached = self.intervene.activations.float()
        # Out of inference mode: autograd keeps what enters a product.
        self.activations = reached.clone()
        self.x = self.activations.flatten(0, 1)
        self.later_sites = later_sites(subject, site)
        self._clean: tuple | None = None

    def clean(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Of the unchanged pass: final hidden states [N, D], log partition [N], mean unembedding [N, D], later activations [N, D]."""
        if self._clean is None:
            with torch.no_grad():
                hidden, later = self.intervene.onwards(self.activations, self.later_sites)
                hidden = hidden.flatten(0, 1)
                partition = self.subject.unembedding.log_partition(hidden)
                self._clean = (hidden, *partition, [one.flatten(0, 1) for one in later])
        return self._clean

    def step_gradients(self, stack: SAEStack, objective: Objective, dead: Tensor | None = None) -> Losses:
        """Gradients of `objective` plus the stack's own penalties, for every member, into `.grad`.

        The total is O(xhat) + c P (`SAEStack.pulled`): L1 is lambda/D ||f||_1 as in the e2e paper, Gated adds its auxiliary
        term over D, TopK its AuxK of the `dead` latents at variance/D. Raises `UserError` where no later position exists.
        """
        at_once = members_at_once(objective, len(self.x), self.x.device.type)
        return stack.pulled(self.x, lambda xhat: pull(xhat, self, objective), at_once, dead)


def members_at_once(objective: Objective, tokens: int, device: str) -> int:
    """The number of SAEs that go through the upper blocks together, at `tokens` a batch."""
    return 1 if objective.local else max(1, _TOKENS[device] // tokens)


@torch.enable_grad()
def pull(xhat: Tensor, reference: Reference, objective: Objective) -> tuple[dict[str, Tensor], Tensor]:
    """The weighted terms [S] of reconstructions `xhat` [S, N, D], and the gradient [S, N, D] of their sum."""
    if objective.downstream and not reference.later_sites:
        raise UserError(f"no residual position lies after {reference.site.hook_name}: choose an earlier layer")
    new, terms = xhat.detach().requires_grad_(), {}
    if objective.reconstruction:
        terms["reconstruction"] = objective.reconstruction * _mse(new, reference.x)
    if not objective.local:
        shape = (len(new) * len(reference.tokens), -1, new.shape[-1])
        hidden, later = reference.intervene.onwards(new.reshape(shape), reference.later_sites)
        clean_hidden, lse, mean, clean_later = reference.clean()
        if objective.kl:
            hidden = hidden.reshape(len(new), len(reference.x), -1)
            terms["kl"] = objective.kl * kl(hidden, clean_hidden, lse, mean, reference.subject.unembedding)
        if objective.downstream:
            errors = [
                _mse(a.reshape(len(new), *b.shape), b, typical(b, objective.massive))
                for a, b in zip(later, clean_later, strict=True)
            ]
            terms["downstream"] = objective.downstream * sum(errors) / len(errors)
    (gradient,) = torch.autograd.grad(functools.reduce(torch.add, terms.values()).sum(), new)
    return {name: term.detach() for name, term in terms.items()}, gradient


def typical(x: Tensor, massive: float | None) -> Tensor | None:
    """Which of the activations `x` [N, D] are at most `massive` times as long as their median, as 0 and 1 [N]; None for all.

    In a deep model a few positions carry activations a hundred times as long as the rest (Sun et al. 2024). A mean squared
    error over all positions is about those few alone.
    """
    if massive is None:
        return None
    norms = torch.linalg.vector_norm(x, dim=-1)
    return (norms <= massive * norms.median()).to(x.dtype)


def _mse(new: Tensor, old: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean squared errors [S] of `new` [S, N, D], over all positions or those that are 1 in `kept` [N]."""
    if kept is None:
        return (new - old).square().mean((1, 2))
    return ((new - old).square().mean(2) * kept).sum(1) / kept.sum()


class _KL(torch.autograd.Function):
    """KL(p || q) = (h_p - h_q) . E_p[W_U] + lse_q - lse_p: of p only two vectors a token are needed, the bias cancels.

    Its gradient in h_q is E_q[W_U] - E_p[W_U].
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, clean: Tensor, lse: Tensor, mean: Tensor, unembedding: Unembedding) -> Tensor:
        new_lse, new_mean = unembedding.log_partition(hidden.flatten(0, 1))
        ctx.save_for_backward(new_mean.view_as(hidden) - mean)
        return ((clean - hidden) * mean).sum(-1).add_(new_lse.view(hidden.shape[:2]) - lse).mean(1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (difference,) = ctx.saved_tensors
        return difference * (grad[:, None, None] / difference.shape[1]), None, None, None, None


def kl(hidden: Tensor, clean: Tensor, lse: Tensor, mean: Tensor, unembedding: Unembedding) -> Tensor:
    """KL of the predictions of `clean` [N, D] from those of `hidden` [S, N, D], in nats per token, one mean [S] per SAE.

    `lse` and `mean` are the `log_partition` of `clean`; differentiable with respect to `hidden`.
    """
    return _KL.apply(hidden, clean, lse, mean, unembedding)


class RowBuffer:
    """Batches of whole rows, `batch` tokens in all; every pass over the text has its own order. A batch is a `Reference`.

    Raises `UserError` when `batch` is not a whole number of rows, or more than there are.
    """

    scale = 1.0  # activations as they are: the weights of an objective are in their units

    def __init__(self, subject: Subject, site: Site, rows: np.ndarray, batch: int, seed: int = 0):
        self.subject, self.site, self.rows, self.batch, self.seed = subject, site, rows, batch, seed
        self.count, self.blocks = batch // rows.shape[1], rounded(subject)
        if batch % rows.shape[1] or not 0 < self.count <= len(rows):
            raise UserError(
                f"a batch of {batch} tokens must be a whole number of rows of {rows.shape[1]} tokens, at most {len(rows)} rows"
            )

    def sample(self, count: int) -> Tensor:
        """At least `count` activations [n, D] of the first batches, as far as there are, for initialisation."""
        batches = min(math.ceil(count / self.batch), len(self.rows) // self.count)
        parts = [Reference(self.subject, self._tokens(step), self.site, self.blocks).x for step in range(batches)]
        return torch.cat(parts).clone()

    def batches(self, start: int, steps: int) -> Iterator[Reference]:
        """Batches with the numbers from `start` up to `steps`, that one left out."""
        for step in range(start, steps):
            yield Reference(self.subject, self._tokens(step), self.site, self.blocks)

    def _tokens(self, step: int) -> Tensor:
        per_pass = len(self.rows) // self.count
        order = np.random.default_rng([self.seed, step // per_pass]).permutation(len(self.rows))
        chosen = order[step % per_pass * self.count :][: self.count]
        return torch.from_numpy(self.rows[np.sort(chosen)].astype(np.int64)).to(self.subject.device)
