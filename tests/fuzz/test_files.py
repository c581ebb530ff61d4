from pathlib import Path

import pytest
from fuzz import files


@pytest.mark.parametrize("name", files.READERS)
def test_the_corpus_itself_can_be_read(name, tmp_path):
    reader, takes_folder = files.READERS[name]
    for path in [files.CORPUS / name] if takes_folder else sorted((files.CORPUS / name).iterdir()):
        copy = files.copied(path, tmp_path)
        assert files.child(reader, copy, (), Path(tmp_path, "log")) == ("result", "")


def test_damaged_files_give_a_result_or_an_error_that_names_them():
    counts, defects = files.run(156, seed=1)
    assert defects == []
    assert {outcome for _, outcome in counts} == {"result", "error"}
