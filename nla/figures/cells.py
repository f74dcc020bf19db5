"""In a notebook, on a bundle: a cell that needs the weights says so in a line, and those after it go on."""

import ast
import sys

from nla.models.errors import NoWeights


class LeftOut:
    """What cells would have defined that needed weights which are not there."""

    def __init__(self, shell):
        self.shell, self.names = shell, set()
        shell.set_custom_exc((NoWeights, NameError), self.said)
        shell.events.register("post_run_cell", self.went_on)

    def expected(self, error):
        """Whether this is such an error, or one that follows from it."""
        return isinstance(error, NoWeights) or (isinstance(error, NameError) and error.name in self.names)

    def said(self, shell, kind, error, traceback, tb_offset=None):
        """Print one line, or the traceback of what is another error."""
        if not self.expected(error):
            return shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        needs = f"it needs {error.name}, which is left out above" if isinstance(error, NameError) else error
        print(f"left out: {needs}")

    def went_on(self, result):
        """After each cell: one that was left out is no error."""
        if self.expected(result.error_in_exec):
            tree = ast.walk(ast.parse(self.shell.transform_cell(result.info.raw_cell)))
            made = {n.id for n in tree if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            self.names |= made - set(self.shell.user_ns)
            result.error_in_exec = None


def tolerate():
    """Let the notebook in which this runs, if it is one, leave out what needs weights that are not there."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is not None and not hasattr(shell, "_nla_left_out"):
        shell._nla_left_out = LeftOut(shell)
