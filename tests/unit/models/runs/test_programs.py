"""The frame around every program: its argument, its exit status, and what it prints."""

from analysis.errors import UserError
from models.runs.programs import run_program


def test_the_result_is_described(tmp_path, capsys):
    assert run_program("a.b", [str(tmp_path / "x" / ".." / "run")], lambda run_dir: run_dir, str) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'run'}\n", "")


def test_an_expected_error_is_one_line_and_status_1(tmp_path, capsys):
    def fail(run_dir):
        raise UserError("Too hot.")

    assert run_program("a.b", [str(tmp_path)], fail, str) == 1
    assert capsys.readouterr() == ("", "Too hot.\n")


def test_wrong_arguments_say_how_it_is_used(capsys):
    assert run_program("a.b", ["x", "y"], lambda run_dir: run_dir, str) == 2
    assert capsys.readouterr() == ("", "usage: python -m a.b RUN_DIR\n")
