"""Round trips through the libraries themselves: what saebook writes, they open, and what they write, saebook reads.

    make interop                          # all of them; each gets an environment of its own on the first run
    python interop/run.py sparsify        # some

Environments and files go to _build/interop. Ends with status 1 when any SAE computes something else than it should.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.formats import conversion, portable
from saebook.formats.portable import Origin
from saebook.formats.stated import NOTHING
from saebook.sae import registry
from saebook.sae.base import Member, SAEStack

HERE = Path(__file__).parent
D, M, K = 16, 48, 6
ORIGIN = Origin("gpt2", "blocks.6.hook_resid_pre")
FILES = ("openai",)  # formats of one file instead of a folder
TOLERANCE = 2e-5  # relative to the largest reconstruction: single precision, and the 1e-5 of a token's spread


def main(arguments: list[str] | None = None) -> int:
    """Run the round trips of the libraries that were asked for."""
    pins = yaml.safe_load((HERE / "libraries.yml").read_text("utf-8"))
    parser = argparse.ArgumentParser(description="Round trips through other libraries.")
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"{', '.join(pins)} (default: all)")
    names = parser.parse_args(arguments).libraries or list(pins)
    for unknown in set(names) - set(pins):
        parser.error(f"'{unknown}' is not known")
    failed = 0
    for name in names:
        if name == "openai" and "OPENAI_SPARSE_AUTOENCODER" not in os.environ:
            print(f"{name}: left out, it is in no package index: set OPENAI_SPARSE_AUTOENCODER to a checkout of it")
            continue
        for words, holds in _round_trips(name, pins[name]):
            failed += not holds
            print(f"{name}: {words}", flush=True)
    print("all agree" if not failed else f"{failed} do not agree")
    return 1 if failed else 0


def _round_trips(name: str, pins: dict[str, list[str]]) -> Iterator[tuple[str, bool]]:
    """Each SAE that went one way: what to say of it, and whether it computes the same on both sides."""
    folder = paths.root() / "_build" / "interop" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "ours").mkdir(parents=True)
    x = 1 + torch.randn(64, D, generator=torch.Generator().manual_seed(1))
    torch.save(x, folder / "x.pt")
    ours = dict(_written(name, folder / "ours"))
    interpreter = _python(name, pins["install"])
    command = [str(interpreter), str(HERE / "partner.py"), name, str(folder), *pins.get("stubs", [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"did not run: {done.stderr.strip().splitlines()[-1]}", False
        return
    yield f"version {json.loads(done.stdout.splitlines()[-1])['version']}", True
    for file, stack in ours.items():
        yield _compared("opens", file, stack, folder / "answers" / "ours", x)
    for answer in sorted((folder / "answers" / "theirs").iterdir()):
        file = answer.stem
        try:
            needed = portable.architecture(conversion.module(name).parse(folder / "theirs" / file, NOTHING)[0])
            if needed not in registry.names():
                yield f"wrote {file}: left out, there is no architecture '{needed}' yet", True
                continue
            stack = conversion.read(folder / "theirs" / file, source=name)
        except UserError as error:
            yield f"refused {file}: {error}", False
            continue
        yield _compared("wrote", file, stack, answer.parent, x)


def _written(name: str, folder: Path) -> Iterator[tuple[str, SAEStack]]:
    """Write an SAE of every architecture, with and without normalised tokens, that the format can hold."""
    for architecture in registry.names():
        for per_token in (False, True):
            stack = registry.build(architecture, D, M, (Member(0, K),), per_token=per_token)
            for seed, parameter in enumerate(stack.parameters()):
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            stack.constrain_weights()
            if "threshold" in dict(stack.named_buffers()):
                stack.get_buffer("threshold").fill_(0.7)
            file = f"{architecture}{'_per_token' if per_token else ''}{'.pt' if name in FILES else ''}"
            try:
                conversion.module(name).write(stack, folder / file, origin=ORIGIN)
            except UserError:  # the format has no place for it
                continue
            yield file, stack


@torch.no_grad()
def _compared(did: str, file: str, stack: SAEStack, answers: Path, x: torch.Tensor) -> tuple[str, bool]:
    answer = torch.load(answers / f"{file}.pt", weights_only=True)
    if "error" in answer:
        return f"{did} {file}: {' '.join(answer['error'].split())[:300]}", False
    z, mean, spread = stack.prepare(x)
    f, theirs = stack.encode(z)[0], answer["reconstructions"]
    apart = float((stack.reconstruct(z)[0] * spread + mean - theirs).abs().max() / theirs.abs().max())
    same = torch.equal(f > 0, answer["latents"] > 0)
    words = f"{did} {file}: {apart:.1e} apart, {'the same' if same else 'other'} latents, {(f > 0).float().sum(1).mean():.1f} a token"
    return words, same and apart < TOLERANCE and bool((f > 0).any())


def _python(name: str, install: list[str]) -> Path:
    """The interpreter of the library's own environment, made where it is missing or its pins changed.

    It sees the packages of this environment too, behind its own, so that PyTorch is not installed again.
    """
    folder = paths.root() / "_build" / "interop" / "environments" / name
    interpreter, stamp = folder / "bin" / "python", folder / "pins"
    mark = hashlib.sha256(json.dumps(install).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text("utf-8") == mark:
        return interpreter
    print(f"{name}: making its environment (once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    if install:
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, *install], check=True)
    stamp.write_text(mark, "utf-8")
    return interpreter


if __name__ == "__main__":
    sys.exit(main())
