"""Are the checkpoints of a model what their names say? From hashes of files, before anything is fetched."""

import glob
import warnings
from dataclasses import replace

import pandas as pd

from nla import models
from nla.matrices.layout import Layout
from nla.matrices.tensors import ShardByShard, Tensors
from nla.models import CheckpointError, hub_listing, paths, published, sources
from nla.models.errors import Unavailable
from nla.models.folder import FORMATS, read_config
from nla.scanning import store

BIN = FORMATS[1:]
REPORTED = (  # faults of published ladders, in issues of https://github.com/EleutherAI/pythia
    {"model": "all of Pythia", "revisions": "step1", "fault": "equal to step0", "issue": 83},
    {"model": "pythia-2.8b", "revisions": "86 of 154", "fault": "weights of the end of training", "issue": 205},
    {"model": "pythia-12b", "revisions": "step50000, step58000", "fault": "first shard of the last one", "issue": 206},
    {"model": "pythia-410m-seed9", "revisions": "step40000", "fault": "missing", "issue": 202},
)


def audit(model):
    """What each revision of MODEL really holds.

    From the hashes that the Hub announces, or those of the files in a folder; and where a scan has read a checkpoint,
    from the entries of its matrices, since two files may differ in what is no weight.

    Returns
    -------
    pandas.DataFrame
        One row per revision: ``step, revision, stage``; ``status``: ``ok``; ``stale``, the weights of the last
        checkpoint or of main; ``duplicate``, those of an earlier one; ``mixed``, some of its files belong to another;
        ``missing``, no weights, or no such revision where one was published. ``of``: which other one. ``bin``: the
        same for the .bin files, where safetensors are there and are what is read. ``bytes`` of the weights. Where a
        stage counts its steps anew also ``shifted_by``, by how much. ``attrs["not_followed"]`` names in one line the
        revisions that look like steps and are no part of the ladder; ``attrs["notes"]``, lines, what of the files no
        matrix is read from, where their names are known unfetched.
    """
    ladder, not_followed = models.ladder.followed(model)
    if not_followed:
        warnings.warn(not_followed, stacklevel=2)
    for error in sources.list_all(ladder).values():
        if isinstance(error, Unavailable):
            raise error
    main = _main(ladder)
    found = _classify(ladder, main, FORMATS, _entries(model, ladder))
    other = _classify(ladder, main, BIN, {})
    rows = []
    for c in ladder:
        status, of, files = found[c]
        both = other[c][0] != "missing" and not {f.name for f in files} & {f.name for f in other[c][2]}
        size = sum(f.size for f in files)
        rows.append((c.step, c.revision, c.stage, status, of, other[c][0] if both else None, size))
    rows += [(step, f"step{step}", "pretraining", "missing", None, None, 0) for step in _absent(ladder)]
    table = pd.DataFrame(rows, columns=["step", "revision", "stage", "status", "of", "bin", "bytes"])
    if any(c.shift for c in ladder):
        table.insert(1, "shifted_by", table.revision.map({c.revision: c.shift for c in ladder}))
    table = table.sort_values("step", kind="stable", ignore_index=True)
    table.attrs["not_followed"] = not_followed
    table.attrs["notes"] = _unmeasured([c for c in ladder if found[c][0] != "missing"])
    return table


def _absent(ladder):
    """Steps that the model's authors published but the Hub does not list; known for Pythia alone."""
    name, listed = (ladder[0].repo or "").removeprefix("EleutherAI/"), {c.step for c in ladder}
    theirs = name in published.SHORT and name.startswith("pythia")
    return [step for step in published.PYTHIA_STEPS if step not in listed] if theirs else []


def _main(ladder):
    """The branch main of a ladder made of the branches of one repository, else nothing."""
    repos = {c.repo for c in ladder}
    if len(repos) > 1 or repos == {None} or any(c.revision == "main" for c in ladder):
        return []
    repo = ladder[0].repo
    hub = hub_listing.HUB
    commit = hub.revisions(repo).get("main")
    main = commit and replace(ladder[0], revision="main", commit=commit, folder=hub.folder(repo, commit))
    return [main] if main and main.source.has_weights() else []


def _entries(model, ladder):
    """{checkpoint: hash of the entries of its matrices} of those that were scanned."""
    known = {}
    for c in ladder:
        try:
            key, folder = models.slug(c.revision), paths.build(models.slug(models.absolute(model))) / "tables"
            stored = sorted(folder.glob(f"*/{glob.escape(key)}.parquet"))
            notes = [t.notes for path in stored if (t := store.read(path, c.source.identity(), columns=[]))]
        except CheckpointError:
            continue
        known[c] = next((n["entries"] for n in notes if "entries" in n), None)
    return known


def _unmeasured(there):
    """Lines on what of these checkpoints is not measured; of those on the Hub the last alone, if it has an index."""
    remote = [c for c in there[-1:] if c.source.remote and {f.name for f in c.source.files()} & {i for _, i in FORMATS}]
    lines = {}
    for c in [c for c in there if not c.source.remote] + remote:
        try:
            with c.source.held(".json") as folder:
                tensors = ShardByShard(folder, c.source) if c.source.remote else Tensors(folder, c.source.name)
                with tensors:
                    lines |= dict.fromkeys(Layout(read_config(folder), tensors).unmeasured)
        except CheckpointError as error:
            lines[str(error)] = None
    return list(lines)


def _classify(ladder, main, formats, entries):
    """{checkpoint: (status, of, files)}."""
    files = {}
    for c in [*ladder, *main]:
        try:
            files[c] = c.source.weight_files(formats)
        except Unavailable:
            raise
        except CheckpointError:
            files[c] = []
    whole = {c: {tuple(f.digest for f in files[c]), entries.get(c)} - {(), None} for c in files}
    there = [c for c in ladder if files[c]]
    last = [*there[-1:], *main]
    found = {}
    for place, c in enumerate(ladder):
        final = next((o for o in last if whole[o] & whole[c]), None)
        earlier = next((o for o in ladder[:place] if whole[o] & whole[c]), None)
        others = [o for o in [*last, *there] if not whole[o] & whole[c]]
        part = next((o for o in others if {f.digest for f in files[o]} & {f.digest for f in files[c]}), None)
        if not files[c]:
            found[c] = ("missing", None, [])
        elif final and c not in last:
            found[c] = ("stale", final.revision, files[c])
        elif earlier and c not in last:
            found[c] = ("duplicate", earlier.revision, files[c])
        elif part and c not in last:
            found[c] = ("mixed", part.revision, files[c])
        else:
            found[c] = ("ok", None, files[c])
    return found
