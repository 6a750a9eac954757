"""The same SAE after several blocks of one language model: more parameters at one width (beside Figure 4 of the Top-k paper).

A family of models that get wider cannot tell size from width. What leaves a later block of one model has the same width, and
has passed through more parameters.
"""

from dataclasses import replace

import pandas as pd
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from saebook.papers.topk.scaling.budgets import SubjectSizes
from saebook.subject import random_weights
from saebook.subject.model import Site, Subject
from saebook.training.config import Data, Method
from saebook.training.store import Store
from saebook.training.sweep import SweepResult, sweep


def parameters_until(subject: Subject, layer: int) -> int:
    """How many parameters a language model would have if nothing came after block `layer` but the last norm and unembedding.

    Counted on a model without weights of the same configuration, shared parameters once.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(subject.bridge.original_model.config)
    (blocks,) = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == subject.n_layers)
    after = sum(p.numel() for block in list(blocks)[layer + 1 :] for p in block.parameters())
    return sum(p.numel() for p in model.parameters()) - after


def places(budget: SubjectSizes, control: bool = False) -> list[tuple[Subject, Site]]:
    """The residual stream after each of the budget's blocks; with `control`, or where `subject` is one, weights are random.

    Raises `UserError` for a block that does not exist.
    """
    random = control or random_weights.is_control(budget.subject)
    name = random_weights.trained(budget.deeper.subject) + (random_weights.SUFFIX if random else "")
    subject = Subject.load(name)
    return [(subject, subject.site("resid_post", layer)) for layer in budget.deeper.layers]


def sweep_blocks(
    budget: SubjectSizes, method: Method, data: Data, control: bool = False, store: Store | None = None
) -> SweepResult:
    """`method` after each of the blocks: one table with the further columns subject, layer and parameters.

    Text, row length and positions left out are those of `budget.deeper`; all else is as `data` says.
    """
    deeper = budget.deeper
    data = replace(data, source=deeper.source, context=deeper.context, skip=deeper.skip)
    parts, trained = [], 0
    for subject, site in places(budget, control):
        result = sweep(subject, site, [method], list(budget.seeds), data, store)
        about = {"subject": subject.name, "layer": site.layer, "parameters": parameters_until(subject, site.layer)}
        parts.append(result.table.assign(**about))
        trained += result.trained
    return SweepResult(pd.concat(parts, ignore_index=True), trained)
