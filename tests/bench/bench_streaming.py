"""Download and measuring at once: a Hub on loopback, throttled so that either alone takes equally long."""

import os
import subprocess
import sys

from tests.bench import synthetic

SERVER = """
import os, sys, time
from tests.hub_server import HubServer
folder, rate = sys.argv[1], int(sys.argv[2])
names = sorted(os.listdir(folder), key=lambda n: int(n[4:]))
with HubServer() as hub:
    hub.add("acme/bench", {n: f"{folder}/{n}" for n in names} | {"main": f"{folder}/{names[-1]}"})
    hub.fault("throttle", "GET /lfs/", times=10**9, bytes=rate)
    print(hub.endpoint, flush=True)
    sys.stdin.read()
"""
CLIENT = """
import sys, time
import nla
from nla import models
from nla.models import cache
from nla.numerics import threads
model, what, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
def load(matrix):
    for _ in range(repeats):
        s = nla.numerics.spectra.singular_values(nla.numerics.spectra.gram(matrix.weight))
    return {"top": s[0]}
with threads.one_thread_each(1):
    nla.Matrix("query", 0, 0, __import__("torch").eye(8)).singular_values
ladder = models.checkpoints(model)
start = time.perf_counter()
if what == "fetch":
    for checkpoint in ladder:
        checkpoint.fetch()
        cache.evict(ladder, keep=())
else:
    nla.scan(model, load, progress=False)
print(time.perf_counter() - start)
"""


def client(model, what, repeats, endpoint=""):
    home = synthetic.place("hub", "home").parent
    subprocess.run(["rm", "-rf", home], check=True)
    environment = os.environ | synthetic.fresh() | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0" if endpoint else "1"}
    environment |= {"HF_ENDPOINT": endpoint} if endpoint else {}
    environment |= {"PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", CLIENT, str(model), what, str(repeats)]
    return float(subprocess.run(command, env=environment, check=True, stdout=-1, text=True).stdout.splitlines()[-1])


def rows(size):
    name, count, layers = {"tiny": ("tiny", 4, None), "small": ("14m", 10, None), "full": ("160m", 12, None)}[size]
    folder = synthetic.ladder(name, count, layers)
    one = client(folder, "scan", 1)
    repeats = max(1, round(1.5 * count / one)) if size != "full" else 1  # so that a small one takes seconds as well
    measured = client(folder, "scan", repeats) if repeats > 1 else one
    rate = int(count * (folder / "step0" / "model.safetensors").stat().st_size / measured)
    command = [sys.executable, "-c", SERVER, str(folder), str(rate)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as server:
        endpoint = server.stdout.readline().strip()
        fetched = client("acme/bench", "fetch", repeats, endpoint)
        both = client("acme/bench", "scan", repeats, endpoint)
        server.stdin.close()
    note = f"{count} checkpoints: measuring alone {measured:.3g} s, fetching alone {fetched:.3g} s; "
    note += f"the first comes alone, which by itself makes {1 + 1 / count:.3g}"
    longer = max(fetched, measured)
    return [
        dict(
            name="stream | the longer of the two",
            ours=both,
            theirs=longer,
            ratio=both / longer,
            target="<= 1.15",
            note=note,
        )
    ]
