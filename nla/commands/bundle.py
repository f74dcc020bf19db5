"""MODEL -> build/MODEL/bundle/: its tables and spectra as parquet, which is a MODEL itself, without the weights."""

import json
import os
import platform
import shutil
from importlib.metadata import version

import numpy as np
import pandas as pd

from nla import measures, models, studies
from nla.matrices import kept
from nla.models import bundles, paths
from nla.nulls import recipes
from nla.scanning import fingerprint
from nla.scanning.scan import scan
from nla.studies import runs

LONG = 512  # entries of a curve; of longer ones those of the first and last checkpoint are kept
PACKAGES = ("nla", "torch", "numpy", "scipy", "pandas")


def every():
    """The measures of the common pass."""
    return [getattr(measures, name) for name in measures.__all__] + studies.declared("COMMON_PASS")


def write(model, steps="all", folder=None):
    """Write the bundle of a MODEL and return its folder; what is missing is measured first.

    Singular values are rounded to float32, norms of rows and columns to 12 bits of their fraction; of the curves of
    measures that are longer than `LONG` the first and last checkpoint's are kept, to 16 bits. All other numbers are
    those of the tables.

    Parameters
    ----------
    model, steps : str
        As for `nla.scan`.
    folder : pathlib.Path, optional
        By default build/MODEL/bundle.
    """
    folder = folder or paths.build(models.slug(models.absolute(model))) / "bundle"
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    (partial / "tables").mkdir(parents=True, exist_ok=True)
    try:
        done = set(scan(model, every(), steps).revision)
        ladder = [c for c in models.choose(models.checkpoints(model), steps) if c.revision in done]
        said = {}
        for measure in every():
            table = scan(model, measure, steps, progress=False).drop(columns=["model", "duplicate_of"])
            at = [c.revision for c in models.choose(ladder, getattr(measure, "steps", "all"))]
            name = fingerprint.name_of(measure)
            said[name] = {"revisions": at, "fingerprint": fingerprint.fingerprint(measure)}
            _write(partial / "tables" / f"{name}.parquet", _short(table, {ladder[0].revision, ladder[-1].revision}))
        for run, some in studies.declared("RUNS"):
            found = {c.revision: table for c in models.choose(ladder, some) if (table := runs.made(run, c)) is not None}
            if found:
                name = runs.name_of(run)
                said[name] = {"revisions": list(found), "fingerprint": fingerprint.fingerprint(run)}
                rows = [table.assign(revision=revision) for revision, table in found.items()]
                _write(partial / "tables" / f"{name}.parquet", pd.concat(rows))
        _describe(partial, model, ladder, said)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _short(table, ends):
    """Without the long curves of checkpoints between the ends."""
    between = ~table.revision.isin(ends)
    for column in [c for c in table if table[c].map(np.ndim).max()]:
        long = table[column].map(np.size) > LONG
        table[column] = table[column].where(~(long & between), None)
        floats = [i for i in table.index[long & ~between] if table.at[i, column].dtype.kind == "f"]
        for i in floats:
            table.at[i, column] = _cut(table.at[i, column], 16)
    return table


def _write(path, table):
    table.reset_index(drop=True).to_parquet(path, index=False, compression="zstd")


def _describe(folder, model, ladder, tables):
    """The spectra, the manifest, and what stands beside the weights."""
    configs, checkpoints, rows = [], [], []
    for checkpoint in ladder:
        found = kept.read(checkpoint)
        if found.notes["config"] not in configs:
            configs.append(found.notes["config"])
        own = {"revision": checkpoint.revision, "step": checkpoint.step, "stage": checkpoint.stage}
        told = {name: found.notes[name] for name in ("identity", "content", "heads", "layers", "unmeasured")}
        checkpoints.append(own | told | {"config": configs.index(found.notes["config"])})
        for kind, layer in found.notes["index"]:
            matrix = dict(found.matrices[kind, layer])
            size = dict(zip(("rows", "cols"), matrix.pop("shape"), strict=True))
            curves = {c: _rounded(matrix.pop(c), c) if c in matrix else None for c in kept.CURVES}
            rows.append({"revision": checkpoint.revision, "kind": kind, "layer": layer} | size | matrix | curves)
    _write(folder / kept.SPECTRA, pd.DataFrame(rows))
    made = {"machine": platform.machine(), "python": platform.python_version()} | {p: version(p) for p in PACKAGES}
    manifest = {"format": bundles.FORMAT, "model": str(model), "made_with": made, "checkpoints": checkpoints}
    text = json.dumps(manifest | {"configs": configs, "tables": tables}, indent=0)
    (folder / bundles.MANIFEST).write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(configs[-1], indent=2), encoding="utf-8")
    if found := recipes.history(model):
        (folder / "history.json").write_text(json.dumps(found), encoding="utf-8")


def _rounded(curve, name):
    """float32; of norms with 12 bits of fraction."""
    curve = np.asarray(curve, np.float32)
    return curve if name == "singular_values" else _cut(curve, 12)


def _cut(curve, bits):
    """float32 rounded to so many bits of fraction, which packs better."""
    codes = np.ascontiguousarray(curve, np.float32).view(np.uint32)
    half = np.uint32(1 << (22 - bits))
    return ((codes + half) & ~(2 * half - np.uint32(1))).view(np.float32)


def lacks(model):
    """What a bundle does not hold of the measures of this version, and what it has of another: two lists of names."""
    tables = bundles.manifest(models.checkpoints(model)[0].folder)["tables"]
    now = {fingerprint.name_of(measure): fingerprint.fingerprint(measure) for measure in every()}
    other = [name for name in now if name in tables and tables[name]["fingerprint"] != now[name]]
    return [name for name in now if name not in tables], other
