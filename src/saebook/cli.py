"""The command `saebook`: run a notebook, build the book, train or look at a subject, tune."""

import argparse
import sys
from pathlib import Path

from saebook.common.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Bad input ends in one line on standard error and status 2, a failed run in status 1."""
    options = _parser().parse_args(arguments)
    try:
        return options.act(options)
    except UserError as error:
        print(f"saebook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("saebook: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="saebook", description="Three papers on sparse autoencoders, replicated live."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute one notebook")
    run.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    run.add_argument("--tier", default="smoke", help="smoke, cpu, gpu or paper (default: smoke)")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("-f", "--file", type=Path, help="parameters from a YAML or JSON file")
    run.add_argument("-o", "--out", type=Path, help="where to put the executed notebook")
    run.set_defaults(act=_run)

    params = commands.add_parser("params", help="list what a notebook can be run with")
    params.add_argument("name")
    params.set_defaults(act=_params)

    build = commands.add_parser("book", help="run the notebooks of a tier and render the book")
    build.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    build.add_argument("--tier", default="cpu")
    build.add_argument("--at-once", type=int, help="notebooks at a time (default: what processors and memory allow)")
    build.set_defaults(act=_book)

    estimate = commands.add_parser("estimate", help="time, memory, disk and download of a tier, before anything runs")
    estimate.add_argument("names", nargs="*", help="only these notebooks, as PAPER/NAME (default: all)")
    estimate.add_argument("--tier", default="cpu")
    estimate.set_defaults(act=_estimate)

    status = commands.add_parser("status", help="how every notebook stands: fresh, stale, failed or never run, and why")
    status.add_argument("--tier", default="cpu")
    status.set_defaults(act=_status)

    tune = commands.add_parser(
        "tune", help="choose learning rates (or where latents die) on the tuning seeds and record the grid"
    )
    tune.add_argument("notebook", help="dotted, such as gated.fig05_pareto")
    tune.add_argument("--tier", default="cpu")
    tune.set_defaults(act=_tune)

    subject = commands.add_parser("subject", help="train an embedded subject model, or measure one")
    doing = subject.add_subparsers(required=True, metavar="ACTION")
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
    return parser


def _run(options) -> int:
    from saebook.book import runner

    given = runner.read_parameters_file(options.file) if options.file else {}
    given |= dict(options.parameter)
    kept = runner.run(options.name, options.tier, given, options.out)
    where = options.out or runner.executed(options.name, options.tier)
    if kept.status != "ok":
        print(f"saebook: {options.name} {kept.status}: {kept.error} (see {where})", file=sys.stderr)
        return 1
    print(f"{options.name}: ok in {kept.seconds:.0f} s, {where}")
    return 0


def _params(options) -> int:
    from saebook.book import runner

    print("\n".join(runner.describe(options.name)))
    return 0


def _book(options) -> int:
    from saebook.book import build

    if options.at_once is not None and options.at_once < 1:
        raise UserError(f"--at-once takes a number of notebooks from 1, not {options.at_once}")
    return build.build(options.tier, options.names or None, options.at_once)


def _estimate(options) -> int:
    import torch

    from saebook.book import budgets, estimate, parallel, runner

    budgets.load(options.tier)
    names = [runner.source(name).relative_to(runner.home()).with_suffix("").as_posix() for name in options.names]
    at_once, threads = parallel.share()
    torch.set_num_threads(threads)  # what a notebook of the book would have
    found = list(estimate.estimate(options.tier, names or None))
    print("\n".join(estimate.table(found, options.tier, at_once)))
    return 0


def _status(options) -> int:
    from saebook.book import status

    for s in status.states(options.tier):
        seconds = "" if s.seconds is None else f"{s.seconds:.0f} s"
        print(f"{s.name:32s} {s.tier:6s} {s.word:10s} {seconds:>7s}  {s.why}".rstrip())
    return 0


def _tune(options) -> int:
    from saebook.papers import plans
    from saebook.training import tuning, tuning_by_site

    if options.notebook == "topk.fig15_dead_latents":
        found = tuning.tune_dead(options.tier)
    elif options.notebook == tuning_by_site.NOTEBOOK:
        found = tuning_by_site.tune(options.tier)
    elif options.notebook in plans.PLANS:
        found = tuning.tune(options.notebook, options.tier)
    else:
        raise UserError(f"nothing to tune for '{options.notebook}': use one of {', '.join(plans.PLANS)}")
    print(found.to_string(index=False))
    return 0


def _subject_train(options) -> int:
    from dataclasses import fields

    from saebook.common import paths
    from saebook.subject.pretrain import Recipe, pretrain

    kinds = {f.name: f.type for f in fields(Recipe)}
    chosen = {}
    for name, value in options.set:
        if name not in kinds:
            raise UserError(f"a recipe has no field '{name}': it has {', '.join(kinds)}")
        try:
            chosen[name] = kinds[name](value)
        except ValueError:
            raise UserError(f"recipe field {name} takes {kinds[name].__name__}, not '{value}'") from None
    done = pretrain(Recipe(**chosen), paths.data() / "subjects" / options.name, options.device)
    print(f"{options.name}: held-out loss {done['held_out_loss']:.3f} nats per token in {done['seconds']} s")
    return 0


def _subject_evidence(options) -> int:
    from saebook.subject.validation import evidence

    for name, value in evidence(options.name).items():
        if isinstance(value, float):
            print(f"{name}: {value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
