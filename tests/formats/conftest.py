"""The JumpReLU architecture, or a small one in its place where it is not there yet."""

import pytest
from formats.twins import StandInJumpReLU

from saebook.sae import registry


@pytest.fixture
def jump_relu(monkeypatch):
    """The architecture "jump_relu", registered for one test where it is not."""
    if "jump_relu" not in registry.names():
        monkeypatch.setattr(StandInJumpReLU, "architecture", "jump_relu")
        entry = registry.Architecture("jump_relu", StandInJumpReLU, "JumpReLU", "#E69F00")
        monkeypatch.setitem(registry._registered, "jump_relu", entry)
    return registry.get("jump_relu")


@pytest.fixture
def no_jump_relu(monkeypatch):
    """A registry without the architectures that read thresholds."""
    for name in {"jump_relu", "batch_topk"} & set(registry.names()):
        monkeypatch.delitem(registry._registered, name)
