"""What several test modules share of hub."""

import os
import subprocess
import textwrap

from nla.commands import forks

SCAN = """
import sys, time, nla
def slow(matrix):
    time.sleep(0.02)
    with open(sys.argv[2], "a") as log:
        log.write(f"{matrix.step} {matrix.kind} {matrix.layer}\\n")
    return {"x": float(matrix.step) + (matrix.previous is not None)}
table = nla.scan(sys.argv[1], slow, workers=1, progress=False)
print(len(table), table.x.sum(), table.attrs["summary"]["failed"])
"""


def start(server, tmp_path, model="acme/tiny"):
    """A scan in another process, with the same cache and the same tables."""
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SCAN))
    env = os.environ | {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [forks.python(), script, model, tmp_path / "log"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
