"""What the Makefile calls: python -m nla check | audit | scan | execute | report … MODEL. Errors are one line."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from nla.commands import targets

FORMAT = warnings.formatwarning


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"nla: {message}; {self.prog} --help says what can be asked\n")


def check(options):
    """Say in one line what MODEL is, and what in it is not followed; fails if it, or the steps asked, do not exist."""
    from nla.models import choose, ladder

    found, left = ladder.followed(options.model)
    chosen, left = choose(found, options.steps), f"; {left}" if left else ""
    print(f"{options.model}: {len(chosen)} checkpoints, steps {chosen[0].step} to {chosen[-1].step}{left}")
    if found[0].bundled:
        from nla.commands.bundle import lacks

        missing, other = (", ".join(names) or "nothing" for names in lacks(options.model))
        print(f"a bundle without weights; it lacks {missing}; of another version of nla: {other}")


def audit(options):
    """List which revisions of MODEL are missing, stale, duplicate or mixed, before anything is fetched."""
    from nla.commands.audit import audit

    warnings.filterwarnings("ignore", "not followed in ")  # said below
    table = audit(options.model)
    counts = ", ".join(f"{count} {status}" for status, count in table.status.value_counts().items())
    print(f"{options.model}: {len(table)} revisions, {counts}", *table.attrs["notes"], sep="\n")
    odd = table[table.status != "ok"]
    if len(odd):
        print(odd.drop(columns="stage").fillna("").to_string(index=False))
    if table.attrs["not_followed"]:
        print(table.attrs["not_followed"])


def scan(options):
    """Measure MODEL with everything in this package, so that the notebooks find every table ready."""
    from nla import models, studies
    from nla.commands.bundle import every
    from nla.scanning.scan import scan
    from nla.studies import runs

    measures, declared = every(), studies.declared("RUNS")
    ladder = models.choose(models.checkpoints(options.model), options.steps)
    ran = {c.step for _, some in declared for c in models.choose(ladder, some)}
    line = f"{len(measures)} measures for all notebooks; the model runs at {len(ran)} of {len(ladder)} checkpoints"
    print(f"{options.model}: {line}; tables and spectra stay in {models.paths.build('')}", file=sys.stderr)
    visit = runs.visitor(options.model, options.steps, declared)
    how = {"scheduler": options.scheduler or options.workers, "visit": visit}
    summary = scan(options.model, measures, options.steps, **how).attrs["summary"]
    counts = {k: v if isinstance(v, int) else len(v) for k, v in summary.items() if k != "notes" or v}
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    targets.scanned(options.model, options.steps, whole=not summary["failed"])
    return 3 if summary["failed"] else 0


def tables(options):
    """Write all scalars of MODEL as CSV and parquet, with a dictionary of the columns."""
    from nla.commands.tables import write

    print(write(options.model, options.steps))


def bundle(options):
    """Write the tables and spectra of MODEL as a bundle, which every command and notebook takes as a MODEL."""
    from nla.commands.bundle import write

    folder = write(options.model, options.steps)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.3g} MB")


def report(options):
    """Write the executed notebooks of MODEL as HTML with an index page."""
    from nla.commands.report import report

    print(report(options.model))


def execute(options):
    """Run one notebook on MODEL."""
    from nla.commands.execute import execute

    return 0 if execute(options.notebook.absolute(), options.model, options.steps) else 1


def series(options):
    """Run all notebooks on MODEL that are not up to date, side by side; if one stops, report on the others."""
    import signal

    from nla.commands.series import series
    from nla.models.paths import build, slug

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an interrupt: what runs is ended
    stopped = series(options.model, options.steps, options.jobs)
    if not os.environ.get("NLA_PDF"):
        (build(slug(options.model)) / ".pdf").unlink(missing_ok=True)
    if not stopped:
        return (build(slug(options.model)) / ".executed").touch()
    report(options)
    return f"nla: stopped: {' '.join(stopped)}; run again, and the others are not run anew"


def new(options):
    """Begin a notebook: new 15_spectral_gap "How large is the gap?"."""
    import tomllib

    from nla.commands import notebook
    from nla.models import paths

    text = (paths.root() / "pyproject.toml").read_text(encoding="utf-8")
    print(notebook.new(options.slug, options.question, tomllib.loads(text)["project"]["urls"]["Repository"]))


def relink(_):
    """Make every notebook end with links to the one before and the one after it, under their titles."""
    from nla.commands import notebook

    notebook.relink()


def _warning(message, category, filename, lineno, line=None):
    """A warning of ours about MODEL as one plain line, others as they are."""
    ours = str(message).startswith("not followed in ")
    return f"nla: {message}\n" if ours else FORMAT(message, category, filename, lineno, line)


def main():
    warnings.formatwarning = _warning
    parser = Parser(prog="python -m nla", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (check, audit, scan, series, execute, tables, bundle, report):
        sub = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        sub.add_argument("model")
        sub.add_argument("--steps", default="all", help="all, log, k for every k-th, or a,b,c")
        if command is scan:
            where = sub.add_mutually_exclusive_group()
            where.add_argument("--scheduler", help="address of a Dask scheduler, such as tcp://host:8786")
            where.add_argument("--workers", type=int, help="so many processes on this machine instead of one")
        if command is execute:
            sub.add_argument("notebook", type=Path)
        if command is series:
            sub.add_argument("--jobs", type=int, help="so many at once; by default as cores and memory allow")
        sub.set_defaults(run=command)
    sub = commands.add_parser("new", help=new.__doc__, description=new.__doc__)
    sub.add_argument("slug")
    sub.add_argument("question")
    sub.set_defaults(run=new)
    commands.add_parser("relink", help=relink.__doc__, description=relink.__doc__).set_defaults(run=relink)
    options = parser.parse_args()
    if "model" in options:
        options.model = targets.absolute(options.model)
    try:
        return options.run(options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return f"nla: {error}"
