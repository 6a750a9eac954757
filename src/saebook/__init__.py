"""saebook: three papers on sparse autoencoders, replicated live.

    import saebook

    subject = saebook.load_subject("prose-4l128")
    site = subject.site("resid_post", layer=1)

The names below are the public ones. Each is imported when it is first used, so `import saebook` costs nothing.

Letters of dimensions, the same everywhere: B tokens in a batch, N rows of text, T positions of a row (the context),
D width of the activations (d_in), M latents (d_sae), K active latents, S members of a stack, V vocabulary.
"""

from typing import TYPE_CHECKING

__all__ = [
    "ActivationBuffer",
    "Data",
    "Member",
    "Method",
    "Objective",
    "RowBuffer",
    "SAEStack",
    "Site",
    "Store",
    "Subject",
    "SweepResult",
    "TrainConfig",
    "TrainState",
    "UserError",
    "__version__",
    "build_sae",
    "evaluate",
    "load_corpus",
    "load_sae",
    "load_subject",
    "load_tokens",
    "open_chapter",
    "register",
    "sweep",
    "train",
]

# Public name -> module and what it is called there. Strings, so that reading this file leads to no other module.
_WHERE = {
    "ActivationBuffer": "saebook.training.buffers:ActivationBuffer",
    "Data": "saebook.training.config:Data",
    "Member": "saebook.sae.base:Member",
    "Method": "saebook.training.config:Method",
    "Objective": "saebook.training.config:Objective",
    "RowBuffer": "saebook.training.objectives:RowBuffer",
    "SAEStack": "saebook.sae.base:SAEStack",
    "Site": "saebook.subject.model:Site",
    "Store": "saebook.training.store:Store",
    "Subject": "saebook.subject.model:Subject",
    "SweepResult": "saebook.training.sweep:SweepResult",
    "TrainConfig": "saebook.training.config:TrainConfig",
    "TrainState": "saebook.training.loop:TrainState",
    "UserError": "saebook.common.errors:UserError",
    "build_sae": "saebook.sae.registry:build",
    "evaluate": "saebook.evaluation.metrics:measure",
    "load_corpus": "saebook.text.sources:corpus",
    "load_sae": "saebook.training.store:load_sae",
    "load_subject": "saebook.subject.model:Subject.load",
    "load_tokens": "saebook.text.tokens:tokens",
    "open_chapter": "saebook.book.chapter:open",
    "register": "saebook.sae.registry:register",
    "sweep": "saebook.training.sweep:sweep",
    "train": "saebook.training.loop:train",
}

if TYPE_CHECKING:
    from saebook.book.chapter import open as open_chapter
    from saebook.common.errors import UserError
    from saebook.evaluation.metrics import measure as evaluate
    from saebook.sae.base import Member, SAEStack
    from saebook.sae.registry import build as build_sae
    from saebook.sae.registry import register
    from saebook.subject.model import Site, Subject
    from saebook.text.sources import corpus as load_corpus
    from saebook.text.tokens import tokens as load_tokens
    from saebook.training.buffers import ActivationBuffer
    from saebook.training.config import Data, Method, Objective, TrainConfig
    from saebook.training.loop import TrainState, train
    from saebook.training.objectives import RowBuffer
    from saebook.training.store import Store, load_sae
    from saebook.training.sweep import SweepResult, sweep

    __version__: str
    load_subject = Subject.load
else:

    def __getattr__(name):
        """Import a public name when it is first used."""
        import importlib

        if name == "__version__":
            from importlib.metadata import version

            value = version("saebook")  # pyproject.toml is the one place that says it
        elif name in _WHERE:
            module, _, path = _WHERE[name].partition(":")
            value = importlib.import_module(module)
            for part in path.split("."):
                value = getattr(value, part)
        else:
            raise AttributeError(f"module 'saebook' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
