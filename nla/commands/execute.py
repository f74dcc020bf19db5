"""A notebook and MODEL -> the executed notebook in build/MODEL/, and what it and its cells took in times.csv."""

import os
import re
import sys

import pandas as pd
from filelock import FileLock

from nla.models import slug
from nla.models.paths import build


def execute(path, model, steps="all"):
    """Run the notebook at `path` on `model` by papermill; returns whether it ran to its end.

    The result is build/MODEL/NAME.ipynb. A notebook that stops leaves NAME.partial.ipynb with its traceback, and three
    lines on stderr: which cell of which notebook, its failing line, and the error.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    out = build(slug(model))
    target, partial = out / path.name, out / f"{path.stem}.partial.ipynb"
    out.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # that of an earlier run would pass for this one
    how = {"cwd": str(path.parent), "kernel_name": "python3", "progress_bar": False, "start_timeout": 300}
    try:
        ran = papermill.execute_notebook(str(path), str(partial), {"MODEL": model, "STEPS": steps}, **how)
    except papermill.PapermillExecutionError as error:
        why = (_failing_line(error), f"{error.ename}: {error.evalue}".splitlines()[0])
        return _stopped(f"{path.stem} stopped in cell [{error.exec_count}]; see {partial}", *why)
    except (DeadKernelError, RuntimeError) as error:
        why = "most often the memory ran out: fewer notebooks side by side (make all -j1) need less"
        return _stopped(f"{path.stem} stopped; see {partial}", str(error).splitlines()[0], why)
    _write_times(out, path.stem, ran)
    os.replace(partial, target)
    return True


def _failing_line(error):
    """The line of the notebook's own cell at which it stopped, of a papermill error."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    marked = re.search(r"^-+> *\d+ (.*)$", text, re.M)  # IPython's arrow; the outermost frame comes first
    return (marked[1] if marked else error.source.strip().splitlines()[-1]).strip()


def _stopped(first, *others):
    print(f"nla: {first}", *(f"     {line}" for line in others), sep="\n", file=sys.stderr, flush=True)
    return False


def _write_times(out, stem, ran):
    """Put the seconds of a notebook, in the row "all", and of each of its cells into build/MODEL/times.csv."""
    rows = [{"notebook": stem, "cell": "all", "seconds": ran.metadata.papermill["duration"]}]
    code = (c for c in ran.cells if c.cell_type == "code" and c.execution_count)
    rows += [{"notebook": stem, "cell": c.execution_count, "seconds": c.metadata.papermill["duration"]} for c in code]
    path = out / "times.csv"
    with FileLock(out / ".times.lock", timeout=60):
        before = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["notebook"])
        table = pd.concat([t for t in (before[before.notebook != stem], pd.DataFrame(rows)) if len(t)])
        partial = path.with_suffix(".partial")
        table.sort_values("notebook", kind="stable").round(2).to_csv(partial, index=False)
        os.replace(partial, path)
