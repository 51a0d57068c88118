from __future__ import annotations

import stat

import pytest

from nyff.errors import InputError
from nyff.files import atomic_write, new_folder


def test_content_appears_whole(tmp_path):
    path = tmp_path / "a.json"
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_failure_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_that_is_not_there(tmp_path):
    text = "cannot write .*gone.a: No such file or directory"
    with pytest.raises(InputError, match=text), atomic_write(tmp_path / "gone" / "a"):
        pass


def test_new_folder(tmp_path):
    assert new_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "empty").mkdir()
    assert new_folder(tmp_path / "empty") == tmp_path / "empty"
    (tmp_path / "a" / "b" / "x").write_text("")
    with pytest.raises(InputError, match=r"run folder .*a/b exists already and is never overwritten; choose another"):
        new_folder(tmp_path / "a" / "b")
    with pytest.raises(InputError, match=r"report folder .* exists already"):
        new_folder(tmp_path / "a" / "b" / "x", "report folder")
    with pytest.raises(
        InputError, match=r"cannot create run folder .*: Not a directory; choose a place you can write to"
    ):
        new_folder(tmp_path / "a" / "b" / "x" / "y")
