"""One SAE in terms that all file formats share: what each of them is read into, and what each is written from.

Libraries differ in what they subtract, scale and fold. A format's module only has to say which of that its files mean; the
conversions stand here, once, and none of them changes what an SAE computes. Letters: B tokens, D d_in, M d_sae.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from saebook.common.errors import UserError
from saebook.formats import saelens
from saebook.sae import registry
from saebook.sae.base import SAEStack

Kind = Literal["relu", "gated", "topk", "jumprelu", "batchtopk"]
# Tensors beside W_enc [D, M], W_dec [M, D] and b_dec [D]: [M] each, but one threshold [1] for all latents of BatchTopK.
PER_LATENT: dict[Kind, tuple[str, ...]] = {
    "relu": ("b_enc",), "gated": ("b_gate", "b_mag", "r_mag"), "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"), "batchtopk": ("b_enc", "threshold"),
}  # fmt: skip
_BY_SAELENS: dict[str, Kind] = {
    "standard": "relu", "gated": "gated", "topk": "topk", "jumprelu": "jumprelu", "batch_topk": "batchtopk",
}  # fmt: skip
_IN_ACTIVATIONS = ("b_enc", "b_gate", "b_mag", "threshold")  # measured in units of activations
_ROUNDING = 1e-6  # of a row that was brought to norm one in single precision
_A_STEP = 1e-2  # rows that a step of Adam has moved from norm one: OpenAI's code normalises before it


@dataclass(frozen=True)
class Origin:
    """What a file says it was made for: the model's name, and the hook's or module's. None: it does not say."""

    model_name: str | None = None
    hook_name: str | None = None


NOWHERE = Origin()


@dataclass(frozen=True)
class PortableSAE:
    """f(x) = act(W_enc (s z - b_dec) + b_enc) with z = x or, `per_token`, x with its mean and spread removed.

    `act`, by `kind`: ReLU; the Gated paper's gate; the `k` largest of a token, then ReLU; or what exceeds `threshold`, then
    ReLU. `centred`: b_dec is subtracted as written above, else it is not. `input_scale` is s: reconstructions are of z too,
    hence divided by s. `chosen_by_norm`: the k largest are those of the products with the norms of the decoder's rows.
    """

    kind: Kind
    tensors: dict[str, Tensor]
    centred: bool
    per_token: bool = False
    k: int | None = None
    input_scale: float = 1.0
    chosen_by_norm: bool = False
    dtype: torch.dtype | None = None  # of the weights in the file; tensors here are at least in single precision

    @property
    def d_in(self) -> int:
        return self.tensors["W_enc"].shape[0]

    @property
    def d_sae(self) -> int:
        return self.tensors["W_enc"].shape[1]

    def norms(self) -> Tensor:
        """Norms [M] of the decoder's rows, in double precision."""
        return torch.linalg.vector_norm(self.tensors["W_dec"].double(), dim=1)

    def has_unit_rows(self, within: float = _ROUNDING) -> bool:
        return bool(((self.norms() - 1).abs() <= within).all())

    def unscaled(self) -> "PortableSAE":
        """The same SAE of x itself: latents and biases in units of x instead of s x."""
        return replace(
            self._changed({name: 1 / self.input_scale for name in ("b_dec", *_IN_ACTIVATIONS)}), input_scale=1.0
        )

    def with_unit_rows(self) -> "PortableSAE":
        """The same reconstructions with decoder rows of norm one: latents are multiplied by the norms that rows had.

        Where k latents are chosen and norms have no part in it, they have to stay, and nothing is changed. A row of zeros
        decodes to nothing: its latent becomes one that never fires, and its row any unit vector.
        """
        if self.has_unit_rows():
            return replace(self, chosen_by_norm=False)
        if self.kind == "topk" and not self.chosen_by_norm:
            return self
        norms = self.norms()
        sae = self.with_thresholds()._changed({name: norms for name in ("W_enc", *_IN_ACTIVATIONS)})
        rows = F.normalize(self.tensors["W_dec"].double(), dim=1)
        rows[norms == 0] = torch.eye(1, self.d_in, dtype=rows.dtype)
        return replace(sae, tensors=sae.tensors | {"W_dec": rows.to(self.tensors["W_dec"].dtype)}, chosen_by_norm=False)

    def centred_as(self, centred: bool) -> "PortableSAE":
        """The same SAE whose encoder subtracts b_dec, or does not: its biases take the difference over."""
        if centred == self.centred:
            return self
        shift = self.tensors["b_dec"].double() @ self.tensors["W_enc"].double() * (1 if centred else -1)
        shifts = {"b_enc": shift, "b_gate": shift}
        if self.kind == "gated":
            shifts["b_mag"] = shift * self.tensors["r_mag"].double().exp()
        moved = {n: (t.double() + shifts[n]).to(t.dtype) if n in shifts else t for n, t in self.tensors.items()}
        return replace(self, tensors=moved, centred=centred)

    def with_thresholds(self) -> "PortableSAE":
        """BatchTopK as the JumpReLU that it is once trained; any other SAE as it is."""
        if self.kind != "batchtopk":
            return self
        each = self.tensors["threshold"].expand(self.d_sae).clone()
        return replace(self, kind="jumprelu", tensors=self.tensors | {"threshold": each}, k=None)

    def _changed(self, factors: dict[str, float] | dict[str, Tensor]) -> "PortableSAE":
        tensors = {n: (t.double() * factors[n]).to(t.dtype) if n in factors else t for n, t in self.tensors.items()}
        return replace(self, tensors=tensors)


def checked(sae: PortableSAE, where: object) -> PortableSAE:
    """`sae` in single or double precision. Raises `UserError`, naming `where` it is from, for what is missing or cannot be."""
    needed = {"W_enc", "W_dec", "b_dec", *PER_LATENT[sae.kind]}
    refuse(needed - set(sae.tensors), where, f"lacks {', '.join(sorted(needed - set(sae.tensors)))}")
    W_enc = sae.tensors["W_enc"]
    refuse(W_enc.ndim != 2 or not W_enc.numel(), where, f"has encoder weights of shape {tuple(W_enc.shape)}")
    D, M = W_enc.shape
    shapes = {"W_enc": (D, M), "W_dec": (M, D), "b_dec": (D,), **dict.fromkeys(PER_LATENT[sae.kind], (M,))}
    if sae.kind == "batchtopk":
        shapes["threshold"] = (1,)
    for name, shape in shapes.items():
        tensor = sae.tensors[name]
        refuse(tuple(tensor.shape) != shape, where, f"has {name} of shape {tuple(tensor.shape)}, not {shape}")
        refuse(
            not tensor.is_floating_point(),
            where,
            f"has {name} of type {tensor.dtype}, which is no number with a fraction",
        )
        refuse(not tensor.isfinite().all(), where, f"has values in {name} that are not finite numbers")
    if sae.kind in ("topk", "batchtopk"):
        k = sae.k
        refuse(k is None or not 1 <= k <= M, where, f"has k = {k}, which is not from 1 to d_sae = {M}")
    unset = sae.kind == "batchtopk" and bool((sae.tensors["threshold"] < 0).any())
    refuse(
        unset,
        where,
        "is a BatchTopK SAE without a threshold, as before training: what it computes depends on the batch",
    )
    # Widening is exact, and half precision would round every fold.
    dtype = torch.float32
    for name in shapes:
        dtype = torch.promote_types(dtype, sae.tensors[name].dtype)
    return replace(sae, tensors={name: sae.tensors[name].to(dtype).contiguous() for name in shapes}, dtype=W_enc.dtype)


def architecture(sae: PortableSAE) -> str:
    """The architecture here that computes what `sae` does, whether or not it is registered."""
    if sae.kind == "topk" and not sae.chosen_by_norm and not sae.has_unit_rows(_A_STEP):
        return "topk_free_norm"
    if sae.kind == "batchtopk" and not sae.has_unit_rows():
        return "jump_relu"
    if sae.kind == "relu" and not sae.centred:
        return "normalised_relu"
    return {"jumprelu": "jump_relu", "batchtopk": "batch_topk"}.get(sae.kind, sae.kind)


def to_stack(sae: PortableSAE) -> SAEStack:
    """A stack of one that computes what `sae` does, with decoder rows of norm one as far as that is possible.

    Latents are then in units of activations, whatever norms the file's rows had. A TopK SAE whose choice depends on free
    norms becomes "topk_free_norm". Raises `UserError` for an architecture that is not here.
    """
    name = architecture(sae)
    if name not in registry.names():
        raise UserError(f"this SAE is of the architecture '{name}', which this version of saebook does not have")
    stack = registry.get(name)
    sae = sae.unscaled().with_unit_rows().centred_as(stack.subtracts_b_dec)
    cfg = {
        "architecture": stack.saelens_name or name, "d_in": sae.d_in, "d_sae": sae.d_sae,
        "apply_b_dec_to_input": sae.centred, "normalize_activations": "layer_norm" if sae.per_token else "none",
        "metadata": {
            "architecture": name, "options": {"per_token": True} if sae.per_token else {},
            "sae_lens_version": saelens.SAELENS_VERSION,
        },
    }  # fmt: skip
    return saelens.from_saelens(cfg | ({"k": sae.k} if sae.k else {}), sae.tensors)


def from_stack(stack: SAEStack, i: int = 0) -> PortableSAE:
    """Member i of `stack`. Raises `UserError` for an architecture that no other library has, and for no such member."""
    if not 0 <= i < len(stack.members):
        raise UserError(f"there is no member {i} in a stack of {len(stack.members)}")
    cfg, tensors = saelens.pack(stack, i)
    kind = _BY_SAELENS.get(cfg["architecture"])
    if kind is None:
        raise UserError(
            f"no other library has an architecture that computes '{stack.architecture}': keep it in saebook's store"
        )
    k = int(stack.members[i].sparsity) if kind in ("topk", "batchtopk") else None
    return checked(
        PortableSAE(kind, tensors, stack.subtracts_b_dec, stack.per_token, k), f"this '{stack.architecture}' SAE"
    )


def refuse(wrong: object, where: object, because: str) -> None:
    """Raise `UserError` in one line when something is `wrong`."""
    if wrong:
        raise UserError(f"{where} {because}")
