"""What several test modules share of make."""

import os
import subprocess
import sys
from pathlib import Path

from nla.commands import forks

ROOT = Path(__file__).parents[2]


def make(*arguments):
    """Run make with this interpreter in place of .venv."""
    bin = Path(sys.executable).parent
    command = ["make", "-C", ROOT, "--no-print-directory", *arguments, "SETUP=Makefile", f"PY={forks.python()}"]
    return subprocess.run([*command, f"BIN={bin}/"], capture_output=True, text=True, env=dict(os.environ))
