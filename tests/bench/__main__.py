"""python -m tests.bench [item ...]: run the modules bench_*.py of this folder, print a table, write build/bench.json.

BENCH=small (default) or full in the environment chooses the size; tiny only shows that the items run. README.md in this
folder says what an item is.
"""

import importlib
import json
import os
import platform
import sys
import time
import traceback
from pathlib import Path

from tests.bench import synthetic

COLUMNS = ("name", "ours", "theirs", "ratio", "target", "")


def main(only, size):
    """Run the items `only`, or all; 1 if one could not be run. A ratio that falls short is shown, and is no error."""
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = [name for name in only if name not in known]
    if unknown or size not in ("tiny", "small", "full"):
        print(f"bench: no {unknown or size}; items are {', '.join(known)}, BENCH is small or full", file=sys.stderr)
        return 2
    record = synthetic.BUILD / "bench.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    results, broken = {}, {}
    for name in only or known:
        start, busy = time.perf_counter(), os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        try:
            rows = importlib.import_module(f"tests.bench.bench_{name}").rows(size)
            for row in rows:
                row["passed"] = passed(row)
            text = table(rows)
        except (Exception, SystemExit) as error:  # the others are still worth having
            traceback.print_exc()
            broken[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        seconds = time.perf_counter() - start
        results[name] = {"size": size, "seconds": seconds, "load_before": busy, "machine": machine(), "rows": rows}
        noise = f", {busy:.1f} other threads busy when it began" if busy is not None and busy > 0.5 else ""
        print(f"\n{name} ({seconds:.0f} s{noise})\n{text}", flush=True)
        before = json.loads(record.read_text()) if record.is_file() else {}
        record.write_text(json.dumps(before | results, indent=1))
    short = [f"{name}: {row['name']}" for name, i in results.items() for row in i["rows"] if row["passed"] is False]
    print(f"\n{record}: {len(short)} short of the target" + "".join(f"\n  {name}" for name in short))
    print("".join(f"could not be run: {name} ({why})\n" for name, why in broken.items()), end="")
    return 1 if broken else 0


def passed(row):
    """Whether the ratio is what the target asks for; None where nothing is asked."""
    if not row.get("target"):
        return None
    relation, number = row["target"].split()
    return row["ratio"] >= float(number) if relation == ">=" else row["ratio"] <= float(number)


def table(rows):
    """The rows as aligned text, notes below the row they belong to."""
    lines = [COLUMNS]
    for row in rows:
        verdict = {True: "pass", False: "SHORT", None: ""}[row["passed"]]
        unit = row.get("unit", "s")
        numbers = (f"{figure(row.get(k))} {unit}" if row.get(k) is not None else "" for k in ("ours", "theirs"))
        lines.append((row["name"], *numbers, figure(row.get("ratio")), row.get("target") or "", verdict))
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    text = []
    for line, row in zip(lines, [{}, *rows], strict=True):
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        text.append("  ".join([first, *rest]).rstrip())
        text += [f"    {row['note']}"] if row.get("note") else []
    return "\n".join(text)


def figure(value):
    """Three significant figures."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def machine():
    """What the ratios depend on beside the code."""
    import numpy
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {"python": platform.python_version(), "numpy": numpy.__version__, "torch": torch.__version__}
    return {"cores": cores, "processor": platform.processor() or platform.machine(), **versions}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.get("BENCH", "small")))
