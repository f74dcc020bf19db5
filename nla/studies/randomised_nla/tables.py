"""The committed results of training with projected gradients, and of sketches at Pythia's geometries, as tables."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
RUNS, GEOMETRIES = HERE / "galore_runs.json", HERE / "sketch_geometries.json"
TIMES, ESTIMATORS = HERE / "galore_times.json", HERE / "sketch_estimators.json"
LOW_RANK = HERE.with_name("low_rank_training") / "runs.json"  # of notebook 11: same start, same batches, same steps
MATRICES = {"attention.query_key_value": "query, key, value", "attention.dense": "dense"}


@cache
def _stored(path=RUNS):
    return json.loads(path.read_text(encoding="utf-8"))


def how(path=RUNS):
    """How the stored results were made: command, recipe, versions."""
    return _stored(path)["how"]


def label(configuration):
    """One line for a configuration: AdamW; GaLore exact 48/50 (rank / refresh interval); low-rank weights 48."""
    if "projector" in configuration:
        return "GaLore {projector} {rank}/{refresh}".format(**configuration)
    return " ".join(str(configuration[k]) for k in ("name", "factors") if k in configuration)


def runs():
    """One row per committed run, of those `nla.studies.randomised_nla.runs` is to train, and evaluated step.

    Columns: label, name, projector, rank, refresh, seed, step, tokens, held_out_loss, parameters, state_bytes.
    """
    rows, tokens = [], how()["recipe"]["tokens_per_step"]
    for run in _stored()["runs"]:
        chosen = run["configuration"]
        same = {k: chosen.get(k) for k in ("name", "projector", "rank", "refresh")} | {"label": label(chosen)}
        same |= {k: run[k] for k in ("seed", "parameters", "state_bytes")}
        rows += [same | dict(step=s, tokens=s * tokens, held_out_loss=loss) for s, loss in run["held_out"]]
    return pd.DataFrame(rows)


def excess():
    """Held-out loss at the last step over AdamW's with the same seed, DataFrame (seeds, labels)."""
    table = runs()
    last = table[table.step == table.step.max()].pivot(index="seed", columns="label", values="held_out_loss")
    return last[table.label.unique()].sub(last["AdamW"], axis=0)


def gradients():
    """One row per look at a gradient under AdamW: seed, step, layer, matrix, stable_rank, top_16, top_48.

    The latter two are shares of the gradient's energy in its 16 and 48 leading directions.
    """
    rows = []
    for run in _stored()["runs"]:
        for step, name, *numbers in run["gradients"]:
            layer, _, matrix = name.partition(".")
            kind = MATRICES.get(matrix, matrix.removeprefix("mlp."))
            rows.append([run["seed"], step, int(layer), kind, *numbers])
    return pd.DataFrame(rows, columns=["seed", "step", "layer", "matrix", "stable_rank", "top_16", "top_48"])


def captured():
    """Share of the gradients' energy that the projector keeps: label, seed, step, before and after its renewal."""
    rows = [[label(run["configuration"]), run["seed"], *look] for run in _stored()["runs"] for look in run["captured"]]
    return pd.DataFrame(rows, columns=["label", "seed", "step", "stale", "fresh"])


def final_spectra():
    """One row per run and matrix at the last step: label, seed, kind, layer, and the measures of the series."""
    parts = [
        pd.DataFrame(r["spectra"]).assign(label=label(r["configuration"]), seed=r["seed"]) for r in _stored()["runs"]
    ]
    return pd.concat(parts, ignore_index=True)


def summary():
    """One row per label: excess of loss over AdamW with the same seed (mean over `seeds` seeds, and half their range),
    MB of state, times, and medians over matrices, averaged over seeds, of the series' measures: ranks of W and W - W_0,
    mp_departure, alpha."""
    table, beyond = runs(), excess()
    last = table[table.step == table.step.max()].groupby("label", sort=False)
    found = pd.DataFrame({"seeds": last.seed.nunique(), "excess": beyond.mean()})
    found["half range"] = ((beyond.max() - beyond.min()) / 2).where(found.seeds > 1)
    found["state [MB]"] = last.state_bytes.first() / 1e6
    times = pd.DataFrame([row | {"label": label(row["configuration"])} for row in _stored(TIMES)["rows"]])
    times = times.set_index("label")[["step_seconds", "projector_seconds"]] * 1e3
    found[["step [ms]", "projector [ms]"]] = times.reindex(found.index)
    inner = final_spectra().query("layer >= 0").replace([np.inf, -np.inf], np.nan)
    columns = ["stable_rank", "change_stable_rank", "effective_rank_relative", "mp_departure", "alpha"]
    found = found.join(inner.groupby(["label", "seed"])[columns].median().groupby("label").mean())
    return found.reindex(table.label.unique())


def geometries():
    """One row per geometry: size, kind, rows, cols, spiked, seconds and megabytes of both ways, errors over errors."""
    rows = []
    for row in _stored(GEOMETRIES)["rows"]:
        exact, sketched = row["exact"], row["sketched"]
        flat = {k: row[k] for k in ("size", "kind", "rows", "cols", "spiked")}
        flat |= {f"{way}_{k}": row[way][k] for way in ("exact", "sketched") for k in ("seconds", "megabytes")}
        for name in ("stable_rank", "effective_rank", "participation_ratio", "mp_rank"):
            flat[name], flat[f"{name}_error"] = exact[name], sketched[f"{name}_error"]
            flat[f"{name}_off"] = sketched[name] - exact[name]
        rows.append(flat)
    return pd.DataFrame(rows)


def estimators():
    """One row per geometry and quantity: what `tests.bench.estimators` stored, with ``off`` and ``stated``.

    These are true and stated error over the exact value; over the shorter side if the quantity is a count.
    """
    table = pd.DataFrame(_stored(ESTIMATORS)["rows"])
    scale = table.exact.where(~table.quantity.str.contains("the edge"), table[["rows", "cols"]].min(axis=1))
    return table.assign(off=(table.estimate - table.exact).abs() / scale, stated=table.error / scale)


def crossover(table):
    """Least shorter side from which on the sketch is the faster at every larger geometry of `table`; None if none."""
    ratio = (table.exact_seconds / table.seconds).groupby(table.cols).min().sort_index()
    faster = (ratio > 1)[::-1].cummin()[::-1]
    return int(faster.idxmax()) if faster.any() else None


def low_rank():
    """Of notebook 11's runs with the same peak, steps and seeds: loss over that of whole layers with the same seed.

    One row per experiment: seeds, excess (mean over them), parameters, MB of AdamW's state, by excess; None where the
    runs are not there, or not from the same start.
    """
    if not LOW_RANK.is_file():
        return None
    stored, ours = _stored(LOW_RANK), how()["recipe"]
    if (stored["how"]["steps"], stored["how"]["tokens_per_step"]) != (ours["steps"], ours["tokens_per_step"]):
        return None
    rows = pd.DataFrame([r | {"loss": r["curve"][-1][1]} for r in stored["runs"] if r["peak"] == ours["peak"]])
    whole = rows[rows.experiment == "whole"].set_index("seed").loss
    rows["excess"] = rows.loss - rows.seed.map(whole)
    rows["state [MB]"] = 8 * rows.parameters / 1e6  # two moments of four bytes
    kept = {"seed": "nunique", "excess": "mean", "parameters": "first", "state [MB]": "first"}
    found = rows.groupby("experiment").agg(kept)
    return found.rename(columns={"seed": "seeds"}).sort_values("excess")
