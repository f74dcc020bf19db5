"""Run notebooks as Google Colab would: python tests/colab_check.py FOLDER [--floors] [NN ...].

FOLDER gets an environment with what Colab has (colab-requirements.txt) and nothing else of ours; with --floors, the
oldest versions that pyproject.toml admits instead. Each notebook, or those whose names begin with NN, is put alone into
an empty folder, and its own Colab cell installs the package: from the last commit of this checkout in place of its
address. No package that was there may be replaced by that.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = Path(__file__).with_name("colab-requirements.txt")


def floors():
    """The oldest versions of all dependencies that pyproject.toml admits, and what runs a notebook."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    kernel = [line for line in PINS.read_text().splitlines() if line.startswith(("ipy", "nb"))]
    return [name.replace(">=", "==") for name in asked] + kernel


def environment(folder, pins):
    """Path of the python of the environment, made if it is not there."""
    python = folder / "env" / "bin" / "python"
    if not (folder / "made").is_file():
        venv.create(folder / "env", clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
        colab = next((folder / "env" / "lib").glob("python*")) / "site-packages" / "google" / "colab"
        colab.mkdir(parents=True)
        (colab / "__init__.py").touch()
        startup = folder / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True, exist_ok=True)
        (startup / "00_colab.py").write_text("import google.colab\n")
        (folder / "made").touch()
    return python


def packages(python):
    """{name: version} of what is installed."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    return {entry["name"].lower(): entry["version"] for entry in json.loads(listed.stdout)}


def main(folder, *numbers):
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lowest = "--floors" in numbers
    numbers = tuple(n for n in numbers if n != "--floors")
    python = environment(folder, floors() if lowest else ["-r", PINS])
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "nla"], check=True)
    before, failed = packages(python), []
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    place = {"IPYTHONDIR": str(folder / "ipython"), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "NLA_BUILD", "NLA_FIGURES")
    }
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        if numbers and not path.name.startswith(numbers):
            continue
        alone = folder / "alone"
        shutil.rmtree(alone, ignore_errors=True)
        alone.mkdir()
        shutil.copy(path, alone)
        start = time.monotonic()
        run = [python.parent / "jupyter-execute", "--inplace", path.name]
        done = subprocess.run(run, cwd=alone, env=inherited | place | instead, capture_output=True, text=True)
        after = packages(python)
        replaced = [f"{n} {v} by {after.get(n)}" for n, v in before.items() if after.get(n) != v]
        installed = "nla" in after
        ok = done.returncode == 0 and not replaced and installed
        print(f"{'ok  ' if ok else 'FAIL'} {path.stem} {time.monotonic() - start:.0f} s", flush=True)
        if not ok:
            failed.append(path.stem)
            print(*done.stderr.strip().splitlines()[-12:], *replaced, sep="\n  ")
    return f"{len(failed)} notebooks fail: {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:  # pip has said why
        sys.exit(f"could not set up the environment: {' '.join(map(str, error.cmd[1:5]))} … failed")
