"""Sparse autoencoders, one file per architecture; `build` makes a stack of them by name."""

from saebook.common.errors import UserError
from saebook.sae.base import Losses, Member, SAEStack
from saebook.sae.gated import Gated
from saebook.sae.gated_variants import RigidGated, UnfrozenGated, UntiedGated
from saebook.sae.normalised_relu import NormalisedReLU
from saebook.sae.prolu import ProLUReLU, ProLUSTE
from saebook.sae.relu import ReLU
from saebook.sae.topk import TopK

ARCHITECTURES: dict[str, type[SAEStack]] = {
    "relu": ReLU, "gated": Gated, "topk": TopK, "prolu_relu": ProLUReLU, "prolu_ste": ProLUSTE,
    "normalised_relu": NormalisedReLU, "gated_unfrozen": UnfrozenGated, "gated_no_r_mag": RigidGated,
    "gated_untied": UntiedGated,
}  # fmt: skip

__all__ = [
    "ARCHITECTURES",
    "Gated",
    "Losses",
    "Member",
    "NormalisedReLU",
    "ProLUReLU",
    "ProLUSTE",
    "ReLU",
    "RigidGated",
    "SAEStack",
    "TopK",
    "UnfrozenGated",
    "UntiedGated",
    "build",
]


def build(architecture: str, d_in: int, d_sae: int, members: tuple[Member, ...], **options) -> SAEStack:
    """A stack of the named architecture. Raises `UserError` for a name that is none."""
    if architecture not in ARCHITECTURES:
        raise UserError(f"architecture '{architecture}' is not known: use one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](d_in, d_sae, members, **options)
