"""The control of a subject: its architecture, configuration and tokenizer, with weights that nothing has trained.

``NAME:random`` names the control of any subject NAME: embedded, packaged, a folder or a hub name. What an SAE shows on a
control as well is no finding about what the model learned.

The rule is the one that our pretraining starts from, transformers' own. A matrix holds independent normal numbers with mean
0 and standard deviation ``initializer_range`` of the model's configuration. GPT-2's two matrices that write to the residual
stream (``c_proj``) have that divided by the root of twice the number of layers. A vector keeps what transformers gives it:
ones in a norm, zeros in a bias. The numbers are drawn in float64 by NumPy from the seed `SEED`, matrix by matrix in the
order of their names, so that they do not depend on the machine, and then rounded to the model's type.
"""

import math

SUFFIX = ":random"
SEED = 0


def is_control(name: str) -> bool:
    """Whether `name` names the control of a subject."""
    return name.endswith(SUFFIX)


def trained(name: str) -> str:
    """The name of the trained subject whose architecture `name` has; `name` itself unless it is a control's."""
    return name.removesuffix(SUFFIX)


def model(source: str, dtype):
    """The transformers model of a folder or hub name, on the CPU in `dtype`, every weight drawn; no trained one is read.

    Raises what transformers raises for a configuration that cannot be read.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(source)
    made = AutoModelForCausalLM.from_config(config, dtype=dtype)
    fill(made)
    return made


def fill(model) -> None:
    """Draw every matrix of a transformers model anew, in place; weights that are tied stay tied."""
    import numpy as np
    import torch

    config, draws = model.config, np.random.default_rng(SEED)
    deviation = getattr(config, "initializer_range", None) or 0.02
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.ndim < 2:
                continue
            scale = deviation
            if config.model_type == "gpt2" and name.endswith("c_proj.weight"):
                scale /= math.sqrt(2 * config.n_layer)
            weight.copy_(torch.from_numpy(draws.standard_normal(tuple(weight.shape)) * scale))
