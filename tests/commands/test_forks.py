"""What is forked behaves as what Python starts: status, output, folder, environment, signals, end."""

import os
import signal
import subprocess
import time

import pytest

from nla.commands import forks

pytestmark = pytest.mark.skipif("NLA_FORKS" not in os.environ, reason="no forks on this system")


def run(*arguments, **options):
    return subprocess.run([forks.python(), *arguments], capture_output=True, text=True, **options)


def test_status_output_folder_and_environment(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['COLOUR'], *sys.argv[1:]); sys.exit(7)"
    done = run("-c", code, "x y", cwd=tmp_path, env=os.environ | {"COLOUR": "grey"})
    assert (done.returncode, done.stdout, done.stderr) == (7, f"{tmp_path} grey x y\n", "")
    assert run("-c", "raise SystemExit('no such model')").stderr == "no such model\n"
    failed = run("-c", "1 / 0")
    assert failed.returncode == 1 and failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    (tmp_path / "script.py").write_text("import beside\nprint(__name__, beside.VALUE)")
    (tmp_path / "beside.py").write_text("VALUE = 3")
    assert run(tmp_path / "script.py").stdout == "__main__ 3\n"


def test_the_hub_that_the_environment_names_is_asked():
    code = "from huggingface_hub import constants; print(constants.ENDPOINT, constants.HF_HUB_OFFLINE)"
    own = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    assert run("-c", code, env=os.environ | own).stdout == "http://127.0.0.1:9 False\n"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_client(tmp_path, end):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    process, deadline = subprocess.Popen([forks.python(), "-c", code]), time.time() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(end)
    assert process.wait() == -end
    while os.path.exists(f"/proc/{(tmp_path / 'pid').read_text()}") and time.time() < deadline:
        time.sleep(0.01)
    assert time.time() < deadline


def test_a_killed_command_is_dead_when_kill_returns(tmp_path):
    process = subprocess.Popen([forks.python(), "-c", "print('begun', flush=True); 1\nwhile 1: pass"], stdout=-1)
    assert process.stdout.readline() == b"begun\n"
    forks.kill(process)
    assert process.returncode == -signal.SIGKILL
    process.stdout.close()
