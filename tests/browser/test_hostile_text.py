"""A store full of markup, in a real browser: no element, no link and no request comes of it."""

from collections import Counter

import pytest
from hostile_store import HOST, hostile_store
from settled import SETTLED

from cwac.ui.navigation import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
# What of the markup in `EVIL` would have become if it were read.
BORN = f"a[href*='{HOST}'], img[src*='{HOST}'], [src*='{HOST}'], [href*='{HOST}']"
# Reference sets the methods' own formulas in TeX; that of `EVIL` is x^2 alone.
TYPESET = """() => [...document.querySelectorAll('.katex annotation')]
    .map(e => e.textContent.trim()).filter(tex => tex === 'x^2')"""
LETTERS = """() => [...document.querySelectorAll('strong, b, tspan')]
    .filter(e => ['b', 't'].includes(e.textContent.trim())
        && (e.tagName !== 'tspan' || e.style.fontWeight === 'bold'))
    .map(e => e.outerHTML)"""


def test_markup_in_a_store_makes_no_element_and_no_request(serve, page, tmp_path) -> None:
    # The tab's own fixture fails the test when a request leaves the machine.
    store = hostile_store(tmp_path / "hostile")
    ids = [run.record.experiment_id for run in store.list_runs() if run.record is not None]
    # The fuller of two: the other has its arms under another attacker.
    ((link, _), _) = Counter(ids).most_common()
    with serve(store.write_root) as address:
        # First tabs and attackers; the others are read without a browser (test_text_is_text.py).
        links = [f"{name}?experiment={link}" for name in PAGES]
        links.append(f"results?experiment={link}&tab=attacks")
        for name in links:
            page.goto(f"{address}/{name}&seed={'9' * 5000}")
            page.get_by_role("heading", level=1).first.wait_for()
            page.wait_for_function(SETTLED)
            assert page.get_by_test_id("stException").count() == 0, name
            assert page.locator(BORN).count() == 0, name
            assert page.evaluate(TYPESET) == [], name
            assert page.evaluate(LETTERS) == [], name
