"""Multi-TopK SAEs: TopK trained at two numbers of latents together (Top-k paper, section 5.2).

Both terms are TopK's own, of the same parameters: k latents a token, and four times as many.
"""

import copy
from dataclasses import replace

from torch import Tensor

from saebook.sae.kernels.active import Source
from saebook.sae.losses import Losses, MemberGradients
from saebook.sae.registry import register
from saebook.sae.topk import TopK

WIDER, SHARE = 4, 1 / 8  # the loss is L(k) + L(4k) / 8


@register("multi_topk", label="Multi-TopK", colour="#CC79A7")
class MultiTopK(TopK):
    """The function of `TopK`, trained by L(k) + L(4k)/8 + aux_weight * L_aux, L(k) being TopK's reconstruction term.

    The paper states the first two terms alone. As in TopK, a latent is active, and lives, by being among the k strongest of a
    token, and L_aux is taken of the error that those leave. Where 4k is more than d_sae, all latents are the 4k strongest.
    """

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        """TopK's loss with the further term "wider": ||x - xhat_4k||^2 / variance / 8, xhat_4k being of the 4k strongest latents."""
        own, wider = super().loss(x, dead), TopK.loss(self._wider(), x)
        terms = own.terms | {"wider": SHARE * wider.terms["reconstruction"]}
        return replace(own, total=own.total + terms["wider"], terms=terms)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own, wider = super().member_gradients(i, x, dead), TopK.member_gradients(self._wider(), i, x)
        terms = own.terms | {"wider": SHARE * wider.terms["reconstruction"]}
        matrices: dict[str, Tensor | list[Source]] = {
            name: _both(rows, wider.matrices[name]) for name, rows in own.matrices.items()
        }
        vectors = {name: vector + SHARE * wider.vectors[name] for name, vector in own.vectors.items()}
        return MemberGradients(terms, own.counts, matrices, vectors)

    def _wider(self) -> TopK:
        """This stack with four times the latents a token: a shallow copy, whose parameters are these very ones."""
        wider = copy.copy(self)
        wider.members = tuple(replace(m, sparsity=min(WIDER * m.sparsity, self.d_sae)) for m in self.members)
        return wider


def _both(own: Tensor | list[Source], wider: Tensor | list[Source]) -> list[Source]:
    """The gradient of a matrix: `own` plus `SHARE` times `wider`."""
    assert isinstance(own, list) and isinstance(wider, list)
    return [*own, *(Source(active, SHARE * values, table) for active, values, table in wider)]
