"""What every architecture shares: a stack of S SAEs of one shape, trained as one module.

Letters: S members, B tokens in a batch, D d_in, M d_sae. A single SAE is a stack of one. Every parameter has a leading
axis S, and a member depends on its own seed and sparsity alone, so that member i of any stack is the SAE it would have
been by itself.

Each architecture says its loss twice: `loss`, the paper's equation for autograd, and `step_gradients`, the same
gradients by hand with the fewest matrix products and passes over [B, M]. The tests hold the two together in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from saebook.common.errors import UserError

SAELENS_VERSION = "6.54.12"  # without a version >= 6.0.0 SAELens reads a file by its old rules and drops `metadata`


@dataclass(frozen=True)
class Member:
    """One SAE of a stack. `sparsity` is lambda of the L1 kinds (Gated paper, Eq. 4 and 8: sums over D) or k of TopK."""

    seed: int
    sparsity: float


@dataclass
class Losses:
    """Batch means per member: `total` [S], its `terms` [S] each, `l0` [S], and which latents `fired` [S, M]."""

    total: Tensor
    terms: dict[str, Tensor]
    l0: Tensor
    fired: Tensor


@dataclass
class _Space:
    """Scratch tensors by name, made once: on a CPU a fresh [B, M] costs more in page faults than in arithmetic."""

    kept: dict = field(default_factory=dict)

    def __call__(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        found = self.kept.get(name)
        if found is None or found.shape != shape or found.dtype != like.dtype or found.device != like.device:
            found = self.kept[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return found


class SAEStack(nn.Module):
    """S SAEs: `W_enc` [S, D, M], `W_dec` [S, M, D] with unit rows, `b_dec` [S, D], and one [S, M] tensor per name in `per_latent`."""

    saelens_name: ClassVar[str]
    per_latent: ClassVar[tuple[str, ...]]
    inner_biases: ClassVar[tuple[str, ...]]  # those of `per_latent` that are measured in units of activations
    subtracts_b_dec: ClassVar[bool] = True  # whether the encoder sees x - b_dec

    def __init__(
        self,
        d_in: int,
        d_sae: int,
        members: tuple[Member, ...],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        per_token: bool = False,
        transposed: bool = True,
    ):
        super().__init__()
        if not members or d_sae < 1:
            raise UserError("a stack needs at least one member and one latent")
        self.d_in, self.d_sae, self.members = d_in, d_sae, tuple(members)
        self.per_token, self.transposed = per_token, transposed
        directions = torch.stack([self._directions(m.seed) for m in members]).to(device, dtype)
        # Encoder = decoder transposed at the start, for every kind alike, so that no kind gains by its initialisation.
        # What else it could be is asked by the Top-k paper's Figure 15: directions of its own, of the same norm.
        towards = (
            directions if transposed else torch.stack([self._directions(-1 - m.seed) for m in members]).to(directions)
        )
        self.W_enc = nn.Parameter(towards.transpose(1, 2).contiguous())
        self.W_dec = nn.Parameter(directions.clone())
        self.b_dec = nn.Parameter(directions.new_zeros(len(members), d_in))
        for name in self.per_latent:
            self.register_parameter(name, nn.Parameter(directions.new_zeros(len(members), d_sae)))
        self._space = _Space()

    def _directions(self, seed: int) -> Tensor:
        rows = torch.randn(self.d_sae, self.d_in, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return rows / rows.norm(dim=1, keepdim=True)

    @property
    def sparsity(self) -> list[float]:
        return [m.sparsity for m in self.members]

    # What an architecture says ------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Latents [S, B, M] of `x` [B, D]."""
        raise NotImplementedError

    def loss(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """The paper's loss of `x` [B, D], differentiable. `dead` lists each member's latents [n] that have long been silent."""
        raise NotImplementedError

    def _member_gradients(self, i: int, x: Tensor, dead: Tensor | None) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Write member i's gradients into `.grad`; return its loss terms, its L0, and which latents fired [M]. `dead` [n]."""
        raise NotImplementedError

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(z, mean, spread)` of activations `x` [B, D]: z is what the SAE takes, and z * spread + mean leads back.

        With `per_token` the mean over D is removed and each token brought to the same norm (Top-k paper, section 2.1).
        The paper says unit norm, its released code unit spread: the latter here, so that rates fit the other kinds.
        """
        if not self.per_token:
            return x, x.new_zeros(()), x.new_ones(())
        mean, spread = x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1e-5
        return (x - mean) / spread, mean, spread

    # What all share -----------------------------------------------------------------------------------------------

    def decode(self, f: Tensor) -> Tensor:
        """Reconstructions [S, B, D] of latents `f` [S, B, M]."""
        return torch.baddbmm(self.b_dec[:, None], f, self.W_dec)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstructions [S, B, D] of `x` [B, D]."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def step_gradients(self, x: Tensor, dead: Sequence[Tensor] | None = None) -> Losses:
        """Gradients of the sum of all members' losses into `.grad`, by hand. Equal to `loss(x).total.sum().backward()`.

        Members go one after the other: a member's [B, M] stays in the processor's cache, and is large enough for a GPU.
        """
        for parameter in self.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        found = [self._member_gradients(i, x, None if dead is None else dead[i]) for i in range(len(self.members))]
        terms = {name: torch.stack([f[0][name] for f in found]) for name in found[0][0]}
        total = torch.stack(list(terms.values())).sum(0)
        return Losses(total, terms, torch.stack([f[1] for f in found]), torch.stack([f[2] for f in found]))

    @torch.no_grad()
    def constrain_gradient(self) -> None:
        """Remove from the decoder's gradient what would only change the rows' norms (Bricken et al. 2023)."""
        along = torch.einsum("smd,smd->sm", self.W_dec.grad, self.W_dec)
        self.W_dec.grad.addcmul_(along[..., None], self.W_dec, value=-1.0)

    @torch.no_grad()
    def constrain_weights(self) -> None:
        """Decoder rows back to unit norm, after the step: Adam leaves the sphere even along it."""
        self.W_dec.div_(torch.linalg.vector_norm(self.W_dec, dim=-1, keepdim=True))

    @torch.no_grad()
    def init_bias(self, x: Tensor, median: Tensor | None = None) -> None:
        """`b_dec` = the geometric median of `x` [n, D], given where it is known (Top-k paper, appendix A.1)."""
        self.b_dec.copy_((geometric_median(x) if median is None else median).expand_as(self.b_dec))

    @torch.no_grad()
    def resample(self, member: int, latents: Tensor, inputs: Tensor) -> None:
        """Point dead `latents` [n] of one member at `inputs` [n, D] (Gated paper, appendix D, after Bricken et al.).

        Decoder row: the input less `b_dec`, which is what latents add up to, at unit norm. Encoder column: the same
        direction at 0.2 times the mean norm of the other columns. Everything per latent: zero.
        """
        towards = inputs - self.b_dec[member]
        towards = towards / towards.norm(dim=1, keepdim=True).clamp_min(1e-8)
        others = torch.ones(self.d_sae, dtype=torch.bool, device=latents.device).index_fill_(0, latents, False)
        norm = self.W_enc[member][:, others].norm(dim=0).mean() if bool(others.any()) else 1.0
        self.W_dec[member, latents] = towards
        self.W_enc[member][:, latents] = 0.2 * norm * towards.T
        for name in self.per_latent:
            getattr(self, name)[member, latents] = 0.0

    def latent_slices(self) -> dict[str, int]:
        """Which axis of each parameter runs over latents: what an optimiser must forget of a reborn one."""
        return {"W_enc": 2, "W_dec": 1} | dict.fromkeys(self.per_latent, 1)

    @torch.no_grad()
    def fold_scale(self, s: float) -> None:
        """Turn SAEs trained on s*x into SAEs of x. Every kind is homogeneous: only the biases have units."""
        for name in ("b_dec", *self.inner_biases):
            getattr(self, name).div_(s)

    def member(self, i: int) -> Self:
        """Member i as a stack of its own, on copied tensors."""
        device, dtype = self.W_enc.device, self.W_enc.dtype
        single = type(self)(self.d_in, self.d_sae, (self.members[i],), device, dtype, **self.options())
        single.load_state_dict({n: t[i : i + 1] if t.ndim else t for n, t in self.state_dict().items()})
        return single

    def options(self) -> dict:
        """Arguments of the constructor beyond the shared ones, as far as they are not the default."""
        given = {"per_token": (self.per_token, False), "transposed": (self.transposed, True)}
        return {name: value for name, (value, default) in given.items() if value != default}

    def to_saelens(self, i: int) -> tuple[dict, dict[str, Tensor]]:
        """`(cfg, tensors)` of member i in SAELens' layout (6.x)."""
        cfg = {
            "architecture": self.saelens_name, "d_in": self.d_in, "d_sae": self.d_sae, "device": "cpu",
            "dtype": str(self.W_enc.dtype).removeprefix("torch."), "apply_b_dec_to_input": self.subtracts_b_dec,
            "normalize_activations": "layer_norm" if self.per_token else "none", "reshape_activations": "none",
            "metadata": {"sae_lens_version": SAELENS_VERSION, **vars(self.members[i]), "options": self.options()},
        }  # fmt: skip
        names = ("W_enc", "W_dec", "b_dec", *self.per_latent)
        return cfg, {name: getattr(self, name)[i].detach().clone() for name in names}

    @classmethod
    def from_saelens(cls, cfg: dict, tensors: dict[str, Tensor]) -> Self:
        """A stack of one from SAELens' layout. Raises `UserError` for files whose conventions differ from ours."""
        if cfg["architecture"] != cls.saelens_name or cfg.get("apply_b_dec_to_input", True) != cls.subtracts_b_dec:
            does = "subtracts" if cls.subtracts_b_dec else "does not subtract"
            raise UserError(f"cfg.json describes no {cls.saelens_name} SAE that {does} b_dec from its input")
        metadata = cfg.get("metadata", {})
        sparsity = cfg.get("k", metadata.get("sparsity", 0.0))
        member = Member(metadata.get("seed", 0), sparsity)
        single = cls(cfg["d_in"], cfg["d_sae"], (member,), dtype=tensors["W_enc"].dtype, **metadata.get("options", {}))
        for name in ("W_enc", "W_dec", "b_dec", *cls.per_latent):
            if tensors[name].shape != getattr(single, name).shape[1:]:
                raise UserError(
                    f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(getattr(single, name).shape[1:])}"
                )
            getattr(single, name).data[0] = tensors[name]
        return single


@torch.no_grad()
def geometric_median(x: Tensor, steps: int = 100, tolerance: float = 1e-6) -> Tensor:
    """The point [D] with the least summed distance to the rows of `x` [n, D] (Weiszfeld's iteration)."""
    # A distance by |x|^2 - 2 x.m + |m|^2 reads x and copies nothing, but rounds badly far from zero: begin in the middle.
    middle = x[:4096].median(0).values
    x = x - middle
    squares, median = x.square().sum(1), torch.zeros_like(middle)
    for _ in range(steps):
        weights = (squares - 2 * (x @ median) + median @ median).clamp_min(1e-12).rsqrt()
        moved = (weights @ x) / weights.sum()
        step, median = torch.linalg.vector_norm(moved - median), moved
        if step <= tolerance * torch.linalg.vector_norm(middle + median).clamp_min(1e-12):
            break
    return middle + median
