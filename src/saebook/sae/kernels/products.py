"""Products of all members together, for a step that never waits for the host: bfloat16 with fp32 sums, and constants made once.

An architecture's `loss` is written in PyTorch's own terms. While `Products` is entered, its `bmm` and `baddbmm` are computed
here, forward and backward, so that every architecture trains in bfloat16 with single-precision weights and gradients. Autocast
would round gradients to bfloat16 as well, and lay out that of `W_enc` [S, D, M] token-major, to be copied in every step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saebook.sae.kernels.precision import Precision


class Products(TorchFunctionMode):
    """While entered, batched products in `precision`. Tensors in double precision stay so."""

    def __init__(self, precision: Precision):
        super().__init__()
        self.precision = precision
        self._constants: dict[tuple, Tensor] = {}

    def bmm(self, a: Tensor, b: Tensor) -> Tensor:
        """a @ b for [S, n, m] and [S, m, p], differentiable."""
        product = _Product.apply(a, b, self.precision == "bf16" and a.dtype == torch.float32)
        assert isinstance(product, Tensor)
        return product

    def constant(self, data: Sequence[float], like: Tensor) -> Tensor:
        """`data` [n] as a tensor like `like`, made at the first call: copying it to a GPU waits for the device."""
        key = (tuple(data), like.dtype, like.device)
        if key not in self._constants:
            with torch._C.DisableTorchFunction():
                self._constants[key] = torch.tensor(data, dtype=like.dtype, device=like.device)
        return self._constants[key]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if not kwargs:
            if func in (torch.bmm, Tensor.bmm):
                return self.bmm(*args)
            if func in (torch.baddbmm, Tensor.baddbmm):
                bias, a, b = args
                return self.bmm(a, b).add_(bias)
            if func is Tensor.new_tensor and isinstance(args[1], list | tuple):
                return self.constant(args[1], args[0])
        return func(*args, **(kwargs or {}))


class _Product(torch.autograd.Function):
    """a @ b. The gradient of b is laid out in memory as b is."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, rounded: bool) -> Tensor:
        a, b = (t.bfloat16() if rounded else t for t in (a, b))
        ctx.save_for_backward(a, b)
        return _bmm(a, b)

    @staticmethod
    def backward(ctx, g: Tensor):
        a, b = ctx.saved_tensors
        g = g.to(a.dtype)
        d_a = _bmm(g, b.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        d_b = None
        if ctx.needs_input_grad[1]:
            turned = b.stride(1) == 1 and b.stride(2) != 1
            d_b = _bmm(g.transpose(1, 2), a).transpose(1, 2) if turned else _bmm(a.transpose(1, 2), g)
        return d_a, d_b, None


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, summed and returned in single precision where both are bfloat16."""
    if a.dtype != torch.bfloat16:
        return torch.bmm(a, b)
    if a.device.type == "cuda":
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.bmm(a.float(), b.float())  # the same numbers, where no such product exists
