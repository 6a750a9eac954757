"""Finding a subject's files and opening them with TransformerLens, with one clear line for all that can be wrong."""

import hashlib
import threading
import urllib.error
import urllib.request
from pathlib import Path

import torch

from saebook.common import notices, paths
from saebook.common.errors import UserError
from saebook.subject import packaged, random_weights

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PATIENCE = 5.0  # seconds to wait for the hub's first answer


def boot(name: str, device: str, dtype: torch.dtype):
    """The TransformerLens bridge of a subject named by embedded or packaged name, folder or hub name.

    With ``:random`` behind its name, it is the subject's control (`subject.random_weights`).
    Raises `UserError` when the model does not exist, its files are damaged or incomplete, or the hub is out of reach.
    """
    name, control = random_weights.trained(name), random_weights.is_control(name)
    folder = _folder(name)
    if folder and not any((folder / file).is_file() for file in _TOKENIZERS):
        raise UserError(f"subject folder {folder} has no tokenizer: put the model's tokenizer.json beside config.json")
    if folder is None and not _cached_by_hub(name):
        _require_hub(name)
    with notices.silenced():
        bridge = _opened(name, folder, device, dtype, control)
    if getattr(bridge.tokenizer, "backend_tokenizer", None) is None:
        raise UserError(f"subject '{name}' has no fast tokenizer: choose a model with a tokenizer.json")
    entries, vocabulary = len(bridge.tokenizer), bridge.cfg.d_vocab
    if entries > vocabulary:
        raise UserError(f"subject '{name}': a tokenizer of {entries} entries does not fit a vocabulary of {vocabulary}")
    return bridge


def weights_hash(bridge) -> str:
    """A hash of the weights themselves, the same for a folder, a hub name and a shard layout."""
    digest = hashlib.sha256()
    for key, value in sorted(bridge.original_model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _folder(name: str) -> Path | None:
    """The folder of a subject, None for a hub name. Raises `UserError` for a folder without a model."""
    if not name.strip():
        raise UserError(f"a subject needs a name: an embedded one ({_embedded()}), a folder or a hub name")
    if fetched := packaged.folder(name):
        return fetched
    path = Path(name).expanduser()
    for folder in (paths.data() / "subjects" / name, path):
        if (folder / "config.json").is_file():
            return folder
    if path.is_dir():
        raise UserError(f"subject folder {path} has no config.json: name the folder of a Hugging Face model")
    if path.is_absolute() or name.startswith(("~", ".")):
        raise UserError(f"no subject folder '{path}': name a folder, an embedded subject ({_embedded()}) or a hub name")
    return None


def _embedded() -> str:
    """The names of embedded and packaged subjects, for a message."""
    embedded = sorted(p.parent.name for p in (paths.data() / "subjects").glob("*/config.json"))
    return ", ".join([*embedded, *packaged.PACKAGED])


def _cached_by_hub(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        raise UserError(f"'{name}' is not a name of the model hub: use NAME or OWNER/NAME, or a folder") from None


def _require_hub(name: str) -> None:
    """Raise `UserError` at once when the hub does not answer: its own client tries again for most of a minute."""
    from huggingface_hub import constants

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    if reason:
        raise UserError(
            f"subject '{name}' is not an embedded subject ({_embedded()}) or a folder, and the model hub cannot be reached "
            f"({reason}): check the name, or the network"
        )


def silence(address: str) -> str:
    """Why `address` gives no answer; empty when it gives any, a refusal included."""
    reasons = [f"no answer in {_PATIENCE:g} s"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE).close()
            reasons[0] = ""
        except urllib.error.HTTPError:
            reasons[0] = ""
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            reasons[0] = "" if "certificate" in str(why).lower() else str(why)[:120] or type(why).__name__

    # A name that does not resolve can block for longer than any timeout: the thread is left behind then.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE + 1)
    return reasons[0]


def _opened(name: str, folder: Path | None, device: str, dtype: torch.dtype, control: bool):
    from transformer_lens.model_bridge import TransformerBridge

    source = str(folder or name)
    try:
        made = random_weights.model(source, dtype).to(device) if control else None  # pyright: ignore[reportArgumentType]
        # The bridge reads the tokenizer's name_or_path, which one made in memory lacks: let it open the folder itself.
        # transformers 5 loads a checkpoint in its stored dtype unless told.
        return TransformerBridge.boot_transformers(source, device=device, dtype=dtype, hf_model=made)
    except Exception as error:  # safetensors and huggingface_hub raise classes of their own
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(_advice(name, folder, str(error), first)) from None


def _advice(name: str, folder: Path | None, whole: str, first: str) -> str:
    if "trust_remote_code" in whole:
        return f"subject '{name}' runs code of its own, which saebook does not: choose a model that transformers knows"
    if "weights_only" in whole or "torch.load" in whole:
        return f"subject '{name}' has pickled weights, which can run code: save them as safetensors first"
    if folder is None:
        return (
            f"subject '{name}' cannot be loaded from the hub ({first}): check the name, or use a folder ({_embedded()})"
        )
    if name in packaged.PACKAGED:
        return f"subject folder {folder} is damaged ({first}): delete it and run `saebook subject fetch {name}`"
    if folder.parent == paths.data() / "subjects":
        return f"subject folder {folder} is damaged ({first}): restore it with `git checkout -- data/subjects/{name}`"
    return f"subject folder {folder} cannot be opened ({first}): copy the model there again"
