"""The page of options is up to date, and whatever it says to work has a test."""

from __future__ import annotations

from tests.compatibility import PAGE, page, tests_by_option
from twistvpn.config.options import OPTIONS, Treatment


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.compatibility --write"


def test_marks_name_options_that_there_are() -> None:
    assert sorted(tests_by_option().keys() - OPTIONS.keys()) == []


def test_every_option_that_works_is_shown_by_a_test() -> None:
    works = {option.name for option in OPTIONS.values() if option.treatment is Treatment.READ}
    assert sorted(works - tests_by_option().keys()) == []
