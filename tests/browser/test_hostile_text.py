"""A store full of markup, in a real browser: no element, no link and no request comes of it."""

import pytest
from hostile_store import HOST, hostile_store

from cwac.ui.navigation import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
# What of the markup in `EVIL` would have become if it were read.
BORN = f"a[href*='{HOST}'], img[src*='{HOST}'], .katex, [src*='{HOST}'], [href*='{HOST}']"
LETTERS = """() => [...document.querySelectorAll('strong, b, tspan')]
    .filter(e => ['b', 't'].includes(e.textContent.trim())
        && (e.tagName !== 'tspan' || e.style.fontWeight === 'bold'))
    .map(e => e.outerHTML)"""


def test_markup_in_a_store_makes_no_element_and_no_request(serve, page, tmp_path) -> None:
    # The tab's own fixture fails the test when a request leaves the machine.
    store = hostile_store(tmp_path / "hostile")
    (link,) = {run.record.experiment_id for run in store.list_runs() if run.record is not None}
    with serve(store.write_root) as address:
        # First tabs; the others are read without a browser (tests/ui/test_text_is_text.py).
        for name in PAGES:
            page.goto(f"{address}/{name}?experiment={link}&seed={'9' * 5000}")
            page.get_by_role("heading", level=1).first.wait_for()
            page.get_by_test_id("stStatusWidget").wait_for(state="detached")
            assert page.get_by_test_id("stException").count() == 0, name
            assert page.locator(BORN).count() == 0, name
            assert page.evaluate(LETTERS) == [], name
