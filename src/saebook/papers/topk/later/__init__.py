"""Architectures that came after the Top-k paper: BatchTopK and trained JumpReLU."""
