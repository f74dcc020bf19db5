"""A cell that needs weights which are not there is a line; what follows from it too; other errors stay errors."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from nla.figures.cells import LeftOut

ASK = "from nla.models.errors import NoWeights\n"


@pytest.fixture
def shell():
    """A notebook's shell, of its own, that leaves out what needs weights."""
    shell = InteractiveShell()
    LeftOut(shell)
    return shell


def test_what_needs_the_weights_is_left_out_and_the_rest_goes_on(shell, capsys):
    assert shell.run_cell(ASK + "before = 1\nraise NoWeights('MODEL is a bundle')\ntable = 2").success
    assert capsys.readouterr().out == "left out: MODEL is a bundle\n"
    assert shell.run_cell("table.mean()").success
    assert capsys.readouterr().out == "left out: it needs table, which is left out above\n"
    assert shell.run_cell("more = table + 1").success and shell.run_cell("print(more)").success
    assert "it needs more" in capsys.readouterr().out
    assert shell.run_cell("print(before)").success and capsys.readouterr().out == "1\n"


@pytest.mark.parametrize("cell", ["nothing", "1 / 0", "raise ValueError('table')", "{}['table']"])
def test_other_errors_stay_errors(shell, capsys, cell):
    shell.run_cell(ASK + "raise NoWeights('MODEL is a bundle')\ntable = 2")
    assert not shell.run_cell(cell).success
    assert "left out: it needs" not in capsys.readouterr().out
