"""An environment of its own for packages that are only compared with: what this one has, and they besides."""

import subprocess
import sys
import sysconfig

from tests.bench import synthetic

PINNED = ("weightwatcher==0.7.7", "powerlaw==2.0.0")


def python():
    """The interpreter of that environment, made at the first call, with the same NumPy, SciPy and torch as here."""
    folder = synthetic.place("others", "env")
    if not (folder / "made").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        interpreter = folder / "bin" / "python"
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([interpreter, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
        with open(f"{site}/here.pth", "w") as pth:
            pth.write(sysconfig.get_path("purelib") + "\n")
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED]
        subprocess.run([interpreter, *install], check=True)
        (folder / "made").touch()
    return folder / "bin" / "python"


def run(code, *arguments):
    """What a program prints that runs there, the arguments being sys.argv[1:]; only the last line."""
    done = subprocess.run(
        [python(), "-c", code, *map(str, arguments)], check=True, stdout=subprocess.PIPE, timeout=3000
    )
    return done.stdout.decode().strip().splitlines()[-1]
