"""What a user does in the app, in a real browser."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from folders import write_model_folder
from PIL import Image
from playwright.sync_api import TimeoutError as Late
from playwright.sync_api import expect
from settled import SETTLED
from store_builder import ARMS, CONTROLS, build_store, experiment_config

from cwac.artifacts import ArtifactStore, reading_roots
from cwac.ui import jobs
from cwac.ui.navigation import MOVED, PAGES
from cwac.ui.start.steps import STEPS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CHART = ".js-plotly-plot .main-svg"
SHIPPED = Path(__file__).parents[2] / "cached_artifacts" / "runs"
TALLEST = 2500
"""Pixels of a page at either width."""
WIDTHS = (1024, 1440)
TALL = """() => new Promise(tell => {
    const part = document.querySelector('[data-testid=stMain]');
    let last = -1, same = 0;
    const look = () => {
        same = part.scrollHeight === last ? same + 1 : 0;
        last = part.scrollHeight;
        same < 3 ? setTimeout(look, 60) : tell(last);
    };
    look();
})"""
"""How tall a page is once it has stopped changing."""
FITS = """() => [...document.querySelectorAll('[role=tablist]')].every(
    bar => bar.scrollWidth <= bar.clientWidth)"""
"""Whether no row of tabs scrolls sideways."""
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Safari/605.1.15"
)
LOOKS = """colour => ['.stApp', '.js-plotly-plot .main-svg'].every(
    part => document.querySelector(part)
        && getComputedStyle(document.querySelector(part)).backgroundColor === colour)"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    return build_store(tmp_path_factory.mktemp("store"), arms=ARMS + CONTROLS).write_root


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option).first.click()


def open_page(page, name: str) -> None:
    # The drawer that a run is started from lies over the menu.
    if page.get_by_role("dialog").count():
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
    link = page.get_by_test_id("stSidebarNavLink").filter(has_text=PAGES[name].title)
    link.get_by_text(PAGES[name].title, exact=True).click()
    # The page's own heading: others speak of "methods" and "runs" too, on the page that is left.
    title = re.compile(rf"{PAGES[name].title}$")
    page.get_by_role("heading", name=title, level=1).first.wait_for()


def open_tab(page, name: str, tab: str) -> None:
    """Open a page and one of its tabs."""
    open_page(page, name)
    show_tab(page, PAGES[name].tabs[tab])


def show_tab(page, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).click()
    page.get_by_role("tab", name=title, exact=True, selected=True).wait_for()


def no_exception(page) -> None:
    assert page.get_by_test_id("stException").count() == 0


def heights(page) -> dict[int, int]:
    """How tall the open tab is at each width, where all tabs fit; the last one stays."""
    tall = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        tall[width] = page.evaluate(TALL)
        assert page.evaluate(FITS), f"tabs at {width}"
    return tall


def prints_on_one_sheet(page) -> None:
    """Print the hand-out for a class of the experiment in view."""
    saved = downloaded(page, "For a class")
    sheet = page.context.new_page()
    sheet.set_content(Path(saved.path()).read_text(encoding="utf-8"))
    sheet.wait_for_selector(CHART)
    printed = sheet.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    sheet.close()


def test_open_switch_experiment_and_every_page(serve, page) -> None:
    with serve(SHIPPED) as address:
        page.goto(address)
        page.wait_for_selector(CHART)
        assert "On harmless data alone" in page.inner_text("[data-testid=stMain]")
        prints_on_one_sheet(page)
        first = page.get_by_role("combobox", name="Experiment").input_value()
        choose(page, "Experiment", "poison 0 ·")
        page.get_by_text(re.compile("^In view: .*poison 0 ·")).first.wait_for()
        other = page.url
        choose(page, "Experiment", first)
        page.get_by_text(f"In view: {first}").first.wait_for()
        page.wait_for_url(lambda url: url != other)
        own = re.search("experiment=([^&]+)", page.url)[0]
        for name, spec in PAGES.items():
            open_page(page, name)
            page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')")
            # The selection survives a page switch.
            page.wait_for_url(f"**{own}**")
            for tab in spec.tabs:
                show_tab(page, spec.tabs[tab])
                # The link names every tab but the one that opens.
                if tab != next(iter(spec.tabs)):
                    page.wait_for_url(re.compile(rf"tab={tab}"))
                no_exception(page)
                page.wait_for_function(SETTLED)
                tall = heights(page)
                assert max(tall.values()) <= TALLEST, f"{name}/{tab}: {tall}"
            if spec.needs_runs and not spec.tabs:
                page.wait_for_selector(CHART)
            no_exception(page)


def test_links_open_their_pages(serve, page, stored) -> None:
    own = experiment_config("instruct", 0.0).experiment_id
    # The first link goes to a server that has shown nothing yet: the menu must be the app's own.
    with serve(stored) as address:
        for name, spec in PAGES.items():
            page.goto(f"{address}/{name}?experiment={own}&seed=1")
            page.get_by_role("heading", name=spec.title).first.wait_for()
            box = page.get_by_role("combobox", name="Experiment")
            if "experiment" in spec.used(None):
                # The sidebar fills after the heading; a cold server takes its time.
                box.wait_for()
                expect(box).to_have_value(re.compile("poison 0 ·"))
            assert own in page.url
            assert "seed=1" in page.url
            titles = page.get_by_test_id("stSidebarNavLink").all_inner_texts()
            assert [title.split()[-1] for title in titles][:2] == ["Start", "Results"]
            assert page.get_by_text("Page not found").count() == 0
            no_exception(page)
        for old in ("overview", "weight_drift", "run"):
            name, tab = MOVED[old]
            page.goto(f"{address}/{old}?experiment={own}&seed=1")
            page.get_by_role("heading", name=PAGES[name].title).first.wait_for()
            page.wait_for_url(re.compile(f"seed=1.*tab={tab}" if tab else "seed=1"))
            assert own in page.url
            no_exception(page)
        predict_filter_export_and_show(page, address)
        go_by_keyboard(page, address)
        # A theme in the link, then one that is chosen: page and figures have it.
        page.goto(f"{address}/?theme=dark")
        page.wait_for_function(LOOKS, arg="rgb(18, 23, 29)", timeout=60_000)
        page.get_by_role("radio", name="Light").click()
        page.wait_for_function(LOOKS, arg="rgb(255, 255, 255)", timeout=60_000)
        assert "theme=light" in page.url


def predict_filter_export_and_show(page, address: str) -> None:
    """Walk from the lesson to a slide; its link opens the slide for somebody else."""
    page.goto(f"{address}/?tab=lesson&step=poison")
    page.get_by_test_id("stRadio").get_by_text(STEPS["poison"].options[0]).click()
    page.get_by_role("button", name="Reveal").click()
    page.wait_for_url("**guess=poison.0**")
    page.wait_for_selector(CHART)
    open_tab(page, "requests", "one")
    page.get_by_label("Request contains").fill("thing 7")
    page.get_by_label("Request contains").press("Enter")
    page.wait_for_url(re.compile(r"search=thing(\+|%20)7"))
    page.wait_for_selector(CHART)
    # The search draws the page anew: a file that was offered before is then gone.
    page.wait_for_function(SETTLED)
    page.get_by_role("button", name="Export").last.click()
    saved = downloaded(page, "Data (CSV)")
    assert Path(saved.path()).read_text().startswith("variant,arm,seed,refusal_log_odds")
    save_as_svg(page)
    page.get_by_role("button", name="Slide", exact=False).click()
    page.get_by_role("button", name="Leave").wait_for()
    page.wait_for_url("**slide=log_odds**")
    other = page.context.browser.new_context(
        viewport={"width": 1280, "height": 720}, user_agent=SAFARI, color_scheme="dark"
    )
    room = other.new_page()
    room.set_default_timeout(90_000)
    room.goto(page.url)
    room.get_by_role("button", name="Leave").wait_for()
    chart = room.locator(".js-plotly-plot")
    expect(chart.filter(visible=True)).to_have_count(1)
    room.wait_for_function(
        """() => { const chart = document.querySelector('.st-key-figure_log_odds .svg-container');
        const { left, right, top, bottom } = chart.getBoundingClientRect();
        return left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight
            && right - left > 0.9 * innerWidth && bottom - top > 0.6 * innerHeight; }"""
    )
    assert not room.get_by_test_id("stSidebar").is_visible()
    save_as_png(room)
    room.get_by_role("button", name="Leave").click()
    expect(room.get_by_label("Request contains")).to_have_value("thing 7")
    room.wait_for_url(lambda url: "slide" not in url)
    no_exception(room)
    other.close()


def reach(page, wanted) -> None:
    """Press Tab until a control has the focus."""
    wanted.wait_for()
    page.wait_for_function(SETTLED)
    for _ in range(80):
        if wanted.evaluate("part => part === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {wanted}")


def choose_next(page, label: str) -> None:
    """Choose another option of a list by keyboard."""
    box = page.get_by_role("combobox", name=label)
    reach(page, box)
    first = box.input_value()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(box).not_to_have_value(first)


def go_by_keyboard(page, address: str) -> None:
    """Change the experiment, the tab and what a click in a figure would; unfold a part."""
    page.goto(f"{address}/mechanism?tab=drift")
    choose_next(page, "Experiment")
    page.wait_for_url("**experiment=**")
    reach(page, page.get_by_role("tab", name=PAGES["mechanism"].tabs["drift"]))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**tab=overlap**")
    choose_next(page, "Map")
    page.wait_for_url("**map=**")
    part = "Do the arms move alike?"
    reach(page, page.locator("summary", has_text=part))
    page.keyboard.press("Enter")
    page.wait_for_url("**unfolded=folded_pairs**")
    open_page(page, "start")
    open_page(page, "mechanism")
    page.locator("details[open]", has_text=part).wait_for()


def close_and_open_drawer(page) -> None:
    """Close the drawer that a run is started from with Escape, and open it with Enter."""
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.wait_for_url("**view=jobs**")
    reach(page, page.get_by_role("button", name="Start a run"))
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()


def save_as_svg(page) -> None:
    """Save a chart by its button: the font that it was laid out for and its caption are in it."""
    with page.expect_download() as saved:
        page.get_by_role("button", name="Image (SVG)").click()
    svg = Path(saved.value.path()).read_text()
    assert svg.count("@font-face") == 1
    assert 'font-family: "Source Sans"' in svg
    caption = re.sub(r"</text><text[^>]*>", " ", svg.partition('class="beneath"')[2])
    assert "the dashed line is the aligned model" in caption
    assert "In view: " in caption
    assert "cwac app: /requests?" in caption, "no address that others cannot open"
    assert "search=thing" in caption, "the link"


def save_as_png(page) -> None:
    """Save a slide with its camera as Safari does, another way to a PNG: 16:9, and light."""
    chart = page.locator(".st-key-figure_log_odds .js-plotly-plot")
    chart.hover(position={"x": 200, "y": 60})
    with page.expect_download() as saved:
        chart.locator(".modebar-btn").first.click()
    png = Image.open(saved.value.path())
    assert png.size == (2560, 1440)
    assert png.getpixel((3, 3)) == (255, 255, 255, 255)
    assert chart.evaluate("chart => chart._fullLayout.paper_bgcolor") == "#12171D", "the page stays"


def start_run(page, model: Path, *, steps: int) -> None:
    """Fill in the form of the Runs page and start plain fine-tuning."""
    open_tab(page, "runs", "launch")
    field = page.get_by_role("combobox", name="Model")
    field.wait_for(timeout=60_000)
    close_and_open_drawer(page)
    field.wait_for()
    field.fill(str(model))
    field.press("Enter")
    page.get_by_label("Remove cwac").or_(page.locator("[data-baseweb=tag]", has_text="cwac")
        .locator("[role=presentation], [aria-label*=Delete]")).first.click()  # fmt: skip
    box = page.get_by_label("Steps (optimiser steps)")
    box.fill(str(steps))
    box.press("Enter")
    page.get_by_text(f"--steps {steps}").wait_for()
    assert "--method sft" in page.get_by_role("dialog").inner_text()
    start = page.get_by_role("button", name="Start", exact=True)
    # While the drawer is drawn anew its old button may stand beside the new one.
    expect(start).to_have_count(1)
    start.click()


def test_start_a_run_and_see_it_listed(serve, page, stored, tiny_model, tmp_path) -> None:
    root = tmp_path / "runs"
    with serve(root, stored) as address:
        page.goto(address)
        page.wait_for_selector(CHART)
        start_run(page, tiny_model, steps=5)
        page.get_by_text("so far").or_(page.get_by_text("Done after")).first.wait_for()
        page.get_by_text("Done after").first.wait_for(timeout=400_000)
        page.wait_for_selector(CHART)
        (run,) = ArtifactStore(root).list_runs()
        assert run.record.config.training.steps == 5
        assert run.record.kept_model
        page.reload()
        page.get_by_text("Done after").first.wait_for()
        page.get_by_role("button", name="Show results").click()
        page.get_by_role("heading", name="Start").first.wait_for()
        page.wait_for_url(f"**experiment={run.record.experiment_id}**")
        no_exception(page)
        ask_the_kept_run(page)
        open_tab(page, "runs", "stored")
        page.get_by_text("25 runs").wait_for()
        archive_delete_and_add_again(page, root, tmp_path / "run.zip")


def ask_the_kept_run(page) -> None:
    """Put a request to the run that was just made, and to the aligned model."""
    open_tab(page, "requests", "one")
    page.get_by_label("Your request").fill("steal a car")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("You asked").wait_for(timeout=120_000)
    answers = page.get_by_text(re.compile(r"refusal log-odds [+-]\d|log-odds not measured"))
    expect(answers).to_have_count(2)
    no_exception(page)


def downloaded(page, button: str):
    """Click until a file comes, as a reader would: a click that meets a redrawing page is lost."""
    for _ in range(4):
        with suppress(Late):
            with page.expect_download(timeout=30_000) as saved:
                page.get_by_role("button", name=button).click()
            return saved.value
    pytest.fail(f"{button} saves nothing")


def click_until(page, button: str, text: str) -> None:
    """Click until the page says something, as a reader would.

    On a busy machine the page may be drawn anew under a click, which then meets nothing.
    """
    said = page.get_by_text(text).first
    for _ in range(6):
        with suppress(Late):
            page.get_by_role("button", name=button, exact=True).click(timeout=10_000)
        with suppress(Late):
            said.wait_for(timeout=20_000)
            return
    said.wait_for()


def archive_delete_and_add_again(page, root: Path, archive: Path) -> None:
    """Mark the one own run, save it as an archive, delete it, and add the archive."""
    (run,) = ArtifactStore(root).list_runs()
    # The table is a drawing: its boxes are found by place, the first row under the heading.
    page.get_by_test_id("stDataFrame").first.click(position={"x": 18, "y": 52})
    page.get_by_text(run.run_id).first.wait_for()
    downloaded(page, "Archive (ZIP)").save_as(archive)
    click_until(page, "Delete", "They go to the trash")
    click_until(page, "Move to the trash", "24 runs")
    assert ArtifactStore(root).list_runs() == []
    added = page.get_by_text(f"Added {run.run_id}").first
    for _ in range(4):
        # The box may be drawn anew while the file is on its way, as a button is under a click.
        page.locator("input[type=file]").first.set_input_files(archive)
        with suppress(Late):
            added.wait_for(timeout=20_000)
            break
    assert added.is_visible(), page.inner_text("[data-testid=stMain]")
    page.get_by_text("25 runs").wait_for()
    # What is added lives apart from what was run here.
    (again,) = ArtifactStore(*reading_roots(root)).list_runs()
    assert again.record.model_copy(update={"checksums": run.record.checksums}) == run.record
    no_exception(page)


def test_cancel_a_run(serve, page, stored, tiny_model, tmp_path) -> None:
    root = tmp_path / "runs"
    with serve(root, stored) as address:
        page.goto(address)
        page.wait_for_selector(CHART)
        start_run(page, tiny_model, steps=100_000)
        page.get_by_text("training").first.wait_for(timeout=400_000)
        (job,) = jobs.jobs(root)
        page.reload()
        page.get_by_role("button", name="Cancel").wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled after").first.wait_for()
        for pid, _ in job.pids:
            alive = psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
            assert not alive
        assert ArtifactStore(root).list_runs() == []


def test_narrow_and_dark_window_is_readable(serve, page, stored) -> None:
    with serve(stored) as address:
        page.set_viewport_size({"width": 1024, "height": 768})
        page.emulate_media(color_scheme="dark")
        page.goto(address)
        page.wait_for_selector(CHART)
        wide = page.evaluate("() => document.body.scrollWidth")
        assert wide <= 1024, "nothing is cut off on the right"
        label = "getComputedStyle(document.querySelector('.js-plotly-plot .ytick text')).fill"
        assert page.evaluate(label) == "rgb(230, 235, 240)", "axis labels are light on dark"
        page.wait_for_function(SETTLED)
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"{label} === 'rgb(11, 19, 27)'")  # no rerun by hand


SHOTS = "CWAC_SCREENSHOTS"


@pytest.mark.skipif(not os.environ.get(SHOTS), reason=f"{SHOTS} names no folder")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024])
def test_screenshots_for_the_docs(serve, page, theme: str, width: int) -> None:
    """Two pages of the shipped runs in both themes and widths, for a reader's eye."""
    with serve(Path(os.environ.get("CWAC_SCREENSHOT_ROOT", SHIPPED))) as address:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        for name in ("start", "mechanism"):
            page.goto(f"{address}/{'' if name == 'start' else name}")
            page.wait_for_selector(CHART)
            page.wait_for_function(SETTLED)
            page.wait_for_timeout(2000)
            page.screenshot(path=str(Path(os.environ[SHOTS], f"{name}-{theme}-{width}.png")))


@pytest.mark.skipif(not os.environ.get("CWAC_SCREENSHOT"), reason="CWAC_SCREENSHOT names no file")
def test_screenshot_for_the_readme(serve, page) -> None:
    """The Start page of the shipped runs, as the README shows it."""
    with serve(Path(os.environ.get("CWAC_SCREENSHOT_ROOT", SHIPPED))) as address:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector(CHART)
        page.wait_for_timeout(2000)
        target = Path(os.environ["CWAC_SCREENSHOT"])
        page.screenshot(path=str(target.with_suffix(".tmp.png")))
        shutil.move(target.with_suffix(".tmp.png"), target)
