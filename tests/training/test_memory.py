from __future__ import annotations

import pytest

from nyff.errors import InputError
from nyff.training.memory import SHARE, available_bytes, format_bytes, memory_limit, parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4e9), ("4 gb", 4e9), ("512MiB", 2**29), ("1.5G", 1.5e9), ("1000", 1000), (2048, 2048), ("2e9", 2e9)],
)
def test_sizes_are_read_as_people_write_them(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["lots", "4 XB", "", "-1GB", "GB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(InputError, match="cannot read the memory limit|must be positive"):
        parse_bytes(text)


def test_the_default_is_a_share_of_what_is_free():
    free = available_bytes()
    assert 0 < free < 2**50
    assert memory_limit(None) == pytest.approx(SHARE * free, rel=0.2)
    assert memory_limit("1GB") == 10**9


@pytest.mark.parametrize(("size", "text"), [(10, "10 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_sizes_are_printed(size, text):
    assert format_bytes(size) == text
