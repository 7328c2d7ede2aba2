"""`rankfold plan --search`: what it refuses before any work."""

import pytest

from common.command_line import refuse


@pytest.mark.parametrize(
    "content", ['{"_type": "mine", "values": [1, 2]}', "import os\n\nprint(os.name)\n", "one line\n"]
)
def test_a_search_refuses_a_file_that_is_no_study_before_any_work(tmp_path, capsys, content):
    file = tmp_path / "file"
    file.write_text(content)
    command = (
        "plan",
        "resnet8",
        "--data",
        tmp_path / "none",
        "--max-cycles",
        "50%",
        "--search",
        "nsga2",
        "--study",
        file,
    )
    assert "is not a study" in refuse(capsys, *command)
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]
