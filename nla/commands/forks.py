"""Python commands as forks of one process that has imported everything: milliseconds to start, in place of seconds.

`forks.py NUMBER` is the server, on an open socket; it imports at the first request. `forks.py ADDRESS (FILE | -m NAME |
-c CODE) ...` is its client: what it runs has the client's folder, environment and files, its signals, status and end.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path


def python():
    """The interpreter for what is started: one that forks where `served` is in force."""
    return os.path.join(os.environ["NLA_FORKS"], "python") if "NLA_FORKS" in os.environ else sys.executable


def kill(process):
    """SIGKILL for a command started by `python()`; returns when it has ended."""
    process.send_signal(signal.SIGUSR1 if "NLA_FORKS" in os.environ else signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def served(environment=None):
    """A server, in `environment`, whose forks are `python()` and, by the kernel's specification, all kernels."""
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        command, kernel = f"{folder}/python", f"{folder}/kernels/python3/kernel.json"
        with open(command, "w", opener=lambda path, flags: os.open(path, flags, 0o700)) as file:
            file.write(f"#!/bin/sh\nexec '{sys.executable}' -S '{__file__}' '{folder}/socket' \"$@\"\n")
        os.makedirs(os.path.dirname(kernel))
        argv = [command, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--IPKernelApp.parent_handle=1"]
        Path(kernel).write_text(json.dumps({"argv": argv, "language": "python", "display_name": "Python 3"}))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/socket")
            listener.listen(64)
            number, own = (
                listener.fileno(),
                {"start_new_session": True, "stdin": subprocess.DEVNULL, "env": environment},
            )
            process = subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number], **own)
        os.environ |= {"NLA_FORKS": folder, "JUPYTER_PATH": folder}
        try:
            yield
        finally:
            del os.environ["NLA_FORKS"], os.environ["JUPYTER_PATH"]
            process.terminate()
            process.wait()


def serve(listener):
    """Answer clients until the process that started this one has ended."""
    parent, ready = os.getppid(), False
    listener.settimeout(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.getppid() == parent:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        ready = ready or load()
        if os.fork() == 0:
            listener.close()
            return watch(client)
        client.close()


def load():
    """Import what nearly every command imports."""
    sys.path[0] = str(Path(__file__).parents[2])
    for name in ("ipykernel.kernelapp", "matplotlib.pyplot", "nbconvert", "papermill", "pyarrow.parquet", "seaborn"):
        importlib.import_module(name)
    from transformers import AutoModelForCausalLM, GPTNeoXForCausalLM, LlamaForCausalLM  # noqa: F401

    import nla

    for name in dir(nla):
        getattr(nla, name)
    gc.freeze()
    return True


def watch(client):
    """Fork a client's command; it gets the signals that the client gets, and ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    client.settimeout(None)
    message, files, *_ = socket.recv_fds(client, 1, 3)
    while not message.endswith(b"\n"):
        message += client.recv(1 << 20) or os._exit(1)
    process = os.fork()
    if process == 0:
        client.close()
        return become(files, *json.loads(message))

    def listen():
        with contextlib.suppress(ProcessLookupError):
            while number := client.recv(1):
                os.kill(process, number[0])
            os.kill(process, signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        client.sendall(status.to_bytes(2, "big", signed=True))
    os._exit(0)


def become(files, arguments, folder, environment):
    """Go on as the command."""
    import matplotlib
    from huggingface_hub import constants

    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(constants)
    inline = "module://matplotlib_inline.backend_inline" if "ipykernel_launcher" in arguments else "agg"
    matplotlib.rcParams["backend"] = environment.get("MPLBACKEND", inline)
    sys.executable = python()
    try:
        status = run(folder, *arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        traceback.print_exc()
        status = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # without taking down all that was imported


def run(folder, first, *rest):
    """What Python does with such a command line."""
    if first == "-m":
        sys.argv, sys.path[0] = [*rest], folder
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], folder
        exec(rest[0], {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")
    return 0


def ask(address, arguments):
    """Have the server run a command, and end as it ends."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-m", "-c")):
        os.execv(sys.executable, [sys.executable, *arguments])
    parent, server = os.getppid(), socket.socket(socket.AF_UNIX)
    server.connect(address)
    message = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode() + b"\n"
    socket.send_fds(server, [message[:1]], [0, 1, 2])
    server.sendall(message[1:])
    signals = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGUSR1: signal.SIGKILL}
    for number in signals:
        signal.signal(number, lambda received, _: server.send(bytes([signals[received]])))
    server.settimeout(1)
    status = None
    while status is None and ("JPY_PARENT_PID" not in os.environ or os.getppid() == parent):
        with contextlib.suppress(TimeoutError):
            status = int.from_bytes(server.recv(2) or b"\0\1", "big", signed=True)
    if (status or 0) >= 0:
        sys.exit(status)
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1]))) if sys.argv[1].isdigit() else ask(sys.argv[1], sys.argv[2:])
