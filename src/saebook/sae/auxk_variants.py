"""TopK SAEs whose auxiliary loss is that of other libraries (Top-k paper, appendix A.2): each differs from `TopK` in that alone.

`TopK` has L_aux = ||e - ehat||^2 / ||e - mean e||^2, with e = x - xhat held fixed and ehat the strongest dead latents
decoded without b_dec. Where no latent is dead, all of these are `TopK`.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from saebook.sae.kernels.active import Source
from saebook.sae.losses import Losses, MemberGradients, sum_of_squares
from saebook.sae.registry import register
from saebook.sae.topk import TopK

_TINY = 1e-12  # as in `TopK`


@register("topk_aux_bias", label="TopK, AuxK with the bias twice", colour="#E69F00")
class BiasTwiceTopK(TopK):
    """ehat is decoded with b_dec, which e no longer holds: dead latents learn e - b_dec, and b_dec learns from L_aux.

    sparsify before its issue 132.
    """

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        a = _dense(self, x, dead)
        guess = torch.bmm(a.weak, self.W_dec) + self.b_dec[:, None]
        return a.with_term((guess - a.error.detach()).square().sum((1, 2)) / a.spread)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own = super().member_gradients(i, x, dead)
        if (a := _revived(self, i, own, len(x))) is None:
            return own
        scale = 2.0 * self.aux_weight / a.spread
        g, df = a.dead.active.compare(a.dead.values, self.W_dec[i], a.error - self.b_dec[i], scale)
        more = a.dead.active.sums(df) - a.dead.active.sums(a.encoder.values)
        terms = own.terms | {"auxiliary": sum_of_squares(g) / (2 * scale)}
        matrices = {
            "W_dec": [own.matrices["W_dec"][0], a.dead._replace(table=g)],
            "W_enc": [own.matrices["W_enc"][0], a.encoder._replace(values=df)],
        }
        return replace(own, terms=terms, matrices=matrices, vectors=_moved(self, i, own, more, g.sum(0)))


@register("topk_aux_decoder", label="TopK, AuxK for the decoder", colour="#CC79A7")
class DecoderOnlyTopK(TopK):
    """L_aux trains the decoder rows of dead latents and nothing else, as in sparsify, whose fused encoder drops the rest."""

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        a = _dense(self, x, dead)
        guess = torch.bmm(a.weak.detach(), self.W_dec)
        return a.with_term((guess - a.error.detach()).square().sum((1, 2)) / a.spread)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own = super().member_gradients(i, x, dead)
        a = _revived(self, i, own, len(x))
        return own if a is None else _weighed(self, i, own, a, decoder=1.0, encoder=0.0)


@register("topk_aux_share", label="TopK, AuxK by the dead share", colour="#56B4E9")
class DeadShareTopK(TopK):
    """L_aux times min(dead latents / k_aux, 1), as in sparsify and SAELens: weaker where few latents are dead."""

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        a = _dense(self, x, dead)
        share = (a.mask.sum(1) / self.k_aux).clamp_max(1.0)
        missed = (torch.bmm(a.weak, self.W_dec) - a.error.detach()).square().sum((1, 2))
        return a.with_term(share * missed / a.spread)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own = super().member_gradients(i, x, dead)
        if dead is None or (a := _revived(self, i, own, len(x))) is None:
            return own
        share = min(1.0, int(dead.sum()) / self.k_aux)
        return _weighed(self, i, own, a, decoder=share, encoder=share)


@register("topk_aux_attached", label="TopK, AuxK of a free error", colour="#D55E00")
class AttachedTopK(TopK):
    """e is not held fixed, so that L_aux also pulls the reconstruction: it leaves over what dead latents can predict.

    sparsify before its issue 57. ||e - mean e||^2 is a number, as what sparsify divides by.
    """

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        a = _dense(self, x, dead)
        return a.with_term((torch.bmm(a.weak, self.W_dec) - a.error).square().sum((1, 2)) / a.spread)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own = super().member_gradients(i, x, dead)
        if (a := _revived(self, i, own, len(x))) is None:
            return own
        decoder, encoder = own.matrices["W_dec"][0], own.matrices["W_enc"][0]
        assert isinstance(decoder, Source) and isinstance(encoder, Source)
        pulled = a.dead.table  # of L_aux by xhat: that by ehat, because only their sum matters
        df = decoder.active.dots(pulled, self.W_dec[i])
        matrices = {
            "W_dec": [decoder._replace(table=decoder.table + pulled), a.dead],
            "W_enc": [encoder._replace(values=encoder.values + df), a.encoder],
        }
        more = decoder.active.sums(df)
        return replace(own, matrices=matrices, vectors=_moved(self, i, own, more, pulled.sum(0)))


@register("topk_aux_plain", label="TopK, AuxK not normalised", colour="#0072B2")
class PlainErrorTopK(TopK):
    """L_aux = ||e - ehat||^2 / variance, in the unit of the reconstruction and not in that of its error.

    As in sparsify, and with `aux_weight` 1 in SAELens: the smaller the error becomes, the less L_aux weighs.
    """

    def loss(self, x: Tensor, dead: Tensor | None = None) -> Losses:
        a = _dense(self, x, dead)
        missed = (torch.bmm(a.weak, self.W_dec) - a.error.detach()).square().sum(-1).mean(-1)
        return a.with_term(missed / self.variance)

    def member_gradients(self, i: int, x: Tensor, dead: Tensor | None = None) -> MemberGradients:
        own = super().member_gradients(i, x, dead)
        if (a := _revived(self, i, own, len(x))) is None:
            return own
        factor = a.spread / (len(x) * float(self.variance))
        return _weighed(self, i, own, a, decoder=factor, encoder=factor)


# What the losses share: dense, for autograd ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dense:
    """The losses without L_aux, and what it is made of: `error` e [S, B, D], latents `weak` [S, B, M], `spread` [S], `mask` [S, M]."""

    own: Losses
    error: Tensor
    weak: Tensor
    spread: Tensor
    mask: Tensor
    aux_weight: float

    def with_term(self, auxiliary: Tensor) -> Losses:
        """The losses with `auxiliary` [S], of members that have a dead latent."""
        term = self.aux_weight * torch.where(self.mask.any(1), auxiliary, torch.zeros_like(auxiliary))
        return replace(self.own, total=self.own.total + term, terms=self.own.terms | {"auxiliary": term})


def _dense(stack: TopK, x: Tensor, dead: Tensor | None) -> _Dense:
    mask = torch.zeros_like(stack.b_enc, dtype=torch.bool) if dead is None else dead
    error = x - stack.decode(stack.encode(x))
    pre = torch.baddbmm(stack.b_enc[:, None], x - stack.b_dec[:, None], stack.W_enc)
    values, latents = pre.masked_fill(~mask[:, None], float("-inf")).topk(stack.k_aux)
    weak = torch.zeros_like(pre).scatter(2, latents, values.relu())
    held = error.detach()
    spread = (held - held.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(_TINY)
    return _Dense(TopK.loss(stack, x), error, weak, spread, mask, stack.aux_weight)


# What the gradients by hand share: they begin with TopK's -------------------------------------------------------------


@dataclass(frozen=True)
class _Revived:
    """L_aux in TopK's gradients: its sources in W_dec (`dead`) and in W_enc (`encoder`), e = `error` [B, D], and its `spread`."""

    dead: Source
    encoder: Source
    error: Tensor
    spread: float


def _revived(stack: TopK, i: int, own: MemberGradients, batch: int) -> _Revived | None:
    """Member i's L_aux as `TopK.member_gradients` left it in `own`; None where it did nothing."""
    decoder, encoder = own.matrices["W_dec"], own.matrices["W_enc"]
    assert isinstance(decoder, list) and isinstance(encoder, list)
    if len(decoder) < 2:
        return None
    error = decoder[0].table * (-batch * float(stack.variance) / 2.0)  # the source holds 2 (xhat - x) / (B variance)
    spread = sum_of_squares(error - error.mean(0)).clamp_min(_TINY)
    return _Revived(decoder[1], encoder[1], error, float(spread))


def _weighed(
    stack: TopK, i: int, own: MemberGradients, a: _Revived, decoder: float, encoder: float
) -> MemberGradients:  # fmt: skip
    """`own` with L_aux times `decoder` in its value and in W_dec, and times `encoder` in what reaches the encoder."""
    matrices = {
        "W_dec": [own.matrices["W_dec"][0], a.dead._replace(values=decoder * a.dead.values)],
        "W_enc": [own.matrices["W_enc"][0], a.encoder._replace(values=encoder * a.encoder.values)],
    }
    more = (encoder - 1.0) * a.dead.active.sums(a.encoder.values)
    terms = own.terms | {"auxiliary": decoder * own.terms["auxiliary"]}
    return replace(own, terms=terms, matrices=matrices, vectors=_moved(stack, i, own, more))


def _moved(
    stack: TopK, i: int, own: MemberGradients, more: Tensor, direct: Tensor | float = 0.0
) -> dict[str, Tensor]:  # fmt: skip
    """The gradients of the biases with `more` [M] in b_enc, what that is in b_dec, and `direct` [D] in b_dec."""
    b_enc, b_dec = own.vectors["b_enc"], own.vectors["b_dec"]
    return {"b_enc": b_enc + more, "b_dec": b_dec - stack.W_enc[i] @ more + direct}
