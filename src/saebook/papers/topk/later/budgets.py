"""What the comparison with later architectures is told beside the budget of Figure 2. Nothing here needs PyTorch."""

from saebook.common.limits import Budget, Count, Positive, Rate, Several


class LaterArchitectures(Budget):
    """BatchTopK at the k of TopK, and JumpReLU with its L0 penalties and the width of its kernel, each at its own rate.

    How latents are shared out among tokens is read on `allocation_rows` validation rows.
    """

    batch_topk_lr: Rate
    jump_relu_sparsities: Several[Positive]
    jump_relu_lr: Rate
    jump_relu_bandwidth: Positive
    allocation_rows: Count
