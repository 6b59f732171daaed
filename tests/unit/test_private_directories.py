"""A directory for secrets is its owner's alone, or is refused with what to do about it."""

from __future__ import annotations

import pytest

from isthmus.adapters import private_files
from isthmus.errors import ConfigError


def test_it_is_made_with_those_above_it_for_the_owner_only(tmp_path):
    directory = tmp_path / "a" / "b"
    for _ in range(2):
        private_files.make_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_one_that_is_open_is_refused(tmp_path):
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        private_files.make_directory(tmp_path)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_its_way_is_named(tmp_path, below):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file"):
        private_files.make_directory(tmp_path / "file" / below)
