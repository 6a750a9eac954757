"""The command line's options about files of other projects. Nothing here imports PyTorch: a wrong argument is answered at once."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saebook.formats.stated import Stated

NAMES = ("saelens", "dictionary_learning", "sparsify", "openai", "e2e_sae")  # of `conversion.FORMATS`


def add_source(command: argparse.ArgumentParser) -> None:
    """Add the file to read, its format, and the conventions that it may leave open."""
    command.add_argument("path", help="a folder or a .pt file, by saebook or another library")
    command.add_argument(
        "--from", dest="source", metavar="FORMAT", help=f"{', '.join(NAMES)} (default: the one that it is seen to be)"
    )
    command.add_argument("--architecture", help="as its library calls it, such as topk, BatchTopKSAE or ReLU")
    command.add_argument("--k", type=int, help="how many latents of a token are active")
    command.add_argument("--apply-b-dec-to-input", choices=("yes", "no"), help="whether the encoder sees x - b_dec")
    command.add_argument("--normalize-activations", choices=("none", "layer_norm"), help="of each token")
    command.add_argument("--input-scale", type=float, help="what activations were multiplied by in training")
    command.add_argument("--hook-name", help="which SAE of a file that holds several; kept with the SAE")
    command.add_argument("--model-name", help="the language model that it is for; kept with the SAE")


def add_target(command: argparse.ArgumentParser) -> None:
    """Add what to write, and where to."""
    command.add_argument("out", help="the folder or file to write")
    command.add_argument("--to", required=True, metavar="FORMAT", help=f"the format to write: {', '.join(NAMES)}")
    command.add_argument("--overwrite", action="store_true", help="replace OUT, if it is an SAE")


def stated(options: argparse.Namespace) -> "Stated":
    """The conventions of a command line. Raises `UserError` for values that cannot be."""
    from saebook.formats.stated import Stated

    subtracted = options.apply_b_dec_to_input
    return Stated(
        options.architecture, options.k, None if subtracted is None else subtracted == "yes",
        options.normalize_activations, options.input_scale, options.hook_name, options.model_name,
    )  # fmt: skip
