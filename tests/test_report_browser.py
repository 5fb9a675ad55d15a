"""The report page in a real browser: used as a reader would, by mouse, keyboard and phone."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from synth.library import Library
from synth.report import render_report
from synth.report_data import report_data
from synth.report_entries import OtherChoice, ReportData
from tests.report_samples import full_library, hostile

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")

Page = playwright.Page
expect = playwright.expect
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """The page's data of a library with 6 layers of 9 heads, all but L0H1."""
    path = tmp_path_factory.mktemp("report") / "made.sqlite"
    full_library(path, 6, 9)
    with Library.open(path) as library:
        return report_data(library, None)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "playwright.Browser", made: ReportData, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from disk; afterwards no message, error or request may have been seen."""
    seen: list[str] = []

    def opened(data: ReportData = made, fragment: str = "", text: str = "", **context: object):
        file = tmp_path / "report.html"
        file.write_text(text or render_report(data), encoding="utf-8")
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        page.goto(file.as_uri() + fragment)
        return page

    yield opened
    told = [text for text in seen if not re.match(r"(file://.*report\.html|data:,)", text)]
    assert told == []


def panel_title(page: Page) -> str:
    return page.inner_text("#panel-title")


def ready(page: Page, name: str) -> None:
    """Waits until the head's matrices are unpacked."""
    page.wait_for_selector(f'html[data-matrices="{name}"]')


def test_a_deep_link_opens_the_head(open_page: Open) -> None:
    page = open_page(fragment="#L5H4")
    ready(page, "L5H4")
    assert panel_title(page) == "L5H4 layer 5, head 4"
    assert page.locator("#panel canvas").count() == 3
    assert page.get_attribute("[data-head=L5H4][role=gridcell]", "aria-selected") == "true"
    page.evaluate("location.hash = '#L99H0'")
    assert panel_title(page) == "L5H4 layer 5, head 4"


def test_a_click_opens_a_head_and_back_returns(open_page: Open) -> None:
    page = open_page()
    page.click("[data-head=L1H2][role=gridcell]")
    assert page.url.endswith("#L1H2")
    assert panel_title(page) == "L1H2 layer 1, head 2"
    page.click("[data-head=L0H1][role=gridcell]")
    assert "This head has no program." in page.inner_text("#panel")
    page.go_back()
    expect(page.locator("#panel-title")).to_contain_text("L1H2")


def test_the_panel_tells_all_of_a_head(open_page: Open, made: ReportData) -> None:
    page = open_page(fragment="#L1H4")
    ready(page, "L1H4")
    entry = next(e for e in made.entries if e.name == "L1H4")
    assert page.inner_text(".program code") == entry.program
    assert page.inner_text(".sentence") == entry.sentence
    scores = page.inner_text(".dots")
    low, high = entry.iou_ci
    assert f"{entry.iou:.2f}" in scores
    assert f"{low:.2f}–{high:.2f}" in scores
    assert "first (best trivial)" in scores
    said = page.inner_text("#panel")
    for part in ("key (column)", "query (row)", "Worst mistakes", "Size against fit"):
        assert part in said
    assert "3 first + 2 back(1)" in page.inner_text(".lineage")
    assert "syntax 1" in page.inner_text(".origin")
    assert page.locator(".relatives a").count() > 0
    page.locator(".relatives a").first.click()
    expect(page.locator("#panel-title")).not_to_contain_text("L1H4")


def test_pointing_at_a_cell_and_at_a_token_reads_them_out(
    open_page: Open, made: ReportData
) -> None:
    page = open_page(fragment="#L1H4")
    ready(page, "L1H4")
    canvas = page.locator(".maps canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    cell = box["width"] / 48
    page.mouse.move(box["x"] + 0.5 * cell, box["y"] + 4.5 * cell)
    entry = next(e for e in made.entries if e.name == "L1H4")
    example = entry.examples[0]
    real, predicted = example.real[4 * 48] / 255, example.predicted[4 * 48] / 255
    said = page.inner_text(".readout")
    assert said.startswith("query there → key Once")
    assert f"real {real:.2f}" in said
    assert f"predicted {predicted:.2f}" in said
    row = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 4, 48, 1).data]")
    pixel, later = row[:4], row[4 * 40 : 4 * 41]
    token = page.locator(".strip [data-at='0']").first
    colour = token.evaluate("node => getComputedStyle(node).backgroundColor")
    assert colour == f"rgb({pixel[0]}, {pixel[1]}, {pixel[2]})"
    page.locator(".strip [data-at='9']").first.hover()
    assert page.inner_text(".readout").startswith("query named")
    assert later == [0, 0, 0, 0]


def test_another_text_and_tokens_beside_the_maps(open_page: Open) -> None:
    page = open_page(fragment="#L1H4")
    ready(page, "L1H4")
    first = page.evaluate("document.querySelector('.maps canvas').toDataURL()")
    page.get_by_label("test document 2").check()
    assert page.evaluate("document.querySelector('.maps canvas').toDataURL()") != first
    assert not page.locator(".queries").first.is_visible()
    page.get_by_label("With tokens").check()
    assert page.locator(".queries").first.is_visible()
    assert page.locator(".queries").first.inner_text().split()[:3] == ["Once", "upon", "a"]


def test_a_mistake_leads_to_its_cell(open_page: Open) -> None:
    page = open_page(fragment="#L1H4")
    ready(page, "L1H4")
    row = page.locator(".mistakes tbody tr").nth(0)
    texts = [cell.strip() for cell in row.locator("td").all_inner_texts()]
    row.locator("button").click()
    assert page.locator(".attention input:checked + span").first.inner_text() == texts[-1]
    said = page.inner_text(".readout")
    assert f"real {texts[1]}" in said
    assert f"difference {texts[3].lstrip('+')}" in said


def test_the_keyboard_reaches_everything(open_page: Open) -> None:
    page = open_page(fragment="#L1H2")
    ready(page, "L1H2")
    page.focus("[data-head=L1H2][role=gridcell]")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.url.endswith("#L2H4")
    ready(page, "L2H4")
    page.keyboard.press("n")
    assert page.url.endswith("#L2H5")
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert page.url.endswith("#L2H3")
    page.keyboard.press("m")
    assert page.locator("#measures input").nth(1).is_checked()
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("np")
    assert page.input_value("#search") == "np"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    ready(page, "L2H3")
    page.focus(".maps")
    before = page.inner_text(".readout")
    page.keyboard.press("ArrowUp")
    assert page.inner_text(".readout") != before


def test_search_and_ranges_leave_what_matches(open_page: Open, made: ReportData) -> None:
    page = open_page()
    rows = page.locator("#table tbody tr:visible")
    page.fill("#search", "NEWLINE")
    assert rows.count() == sum("newline" in e.program for e in made.entries) > 0
    assert page.inner_text("#matches") == f"{rows.count()} of 53 programs match."
    assert page.locator("#grid td.dim").count() == 54 - rows.count()
    page.fill("#search", "L2 newline")
    assert rows.count() == sum("newline" in e.program and e.layer == 2 for e in made.entries)
    page.fill("#search", "L2H4")
    page.press("#search", "Enter")
    assert panel_title(page) == "L2H4 layer 2, head 4"
    page.fill("#search", 'first(word("the"), 2)')
    assert rows.count() == sum('first(word("the"), 2)' in e.program for e in made.entries)
    page.fill("#search", "")
    page.locator("#least").fill("0.8")
    assert rows.count() == sum(e.iou >= 0.8 for e in made.entries)
    page.locator("#most").fill("1")
    assert rows.count() == sum(e.iou >= 0.8 and e.terms == 1 for e in made.entries)


def test_the_grid_shows_other_scores_and_categories(open_page: Open, made: ReportData) -> None:
    entries = [replace(e, damage=0.01 * e.head) for e in made.entries]
    page = open_page(replace(made, entries=entries))
    assert page.locator("#measures label").all_inner_texts() == [
        *("IoU", "IoU without the first token", "Output error", "Damage", "Category")
    ]

    def told(head: str) -> str:
        return page.get_attribute(f"[data-head={head}][role=gridcell]", "aria-label") or ""

    page.locator("#measures").get_by_label("Output error").check()
    assert told("L0H3") == "L0H3, Output error: not scored"
    page.locator("#measures").get_by_label("Damage").check()
    assert told("L1H3") == "L1H3, Damage: 0.0300"
    assert page.inner_text("[data-head=L1H3][role=gridcell]") == "30"
    assert "thousandths of a nat" in page.inner_text("#legend")
    page.locator("#measures").get_by_label("Category").check()
    assert told("L1H4") == "L1H4, Category: sink"
    assert page.inner_text("[data-head=L1H4][role=gridcell]") == "si"
    page.click("#legend >> text=lexical")
    shown = page.locator("#table tbody tr:visible").count()
    assert shown == sum(e.category == "lexical" for e in entries) > 0
    assert page.get_attribute("#legend button[value=lexical]", "aria-pressed") == "true"
    page.click("#legend >> text=lexical")
    assert page.locator("#table tbody tr:visible").count() == 53


def test_a_column_sorts_the_table(open_page: Open, made: ReportData) -> None:
    page = open_page()
    page.click("[data-sort=iou]")
    names = page.locator("#table tbody th").all_inner_texts()
    scores = {e.name: e.iou for e in made.entries}
    assert [scores[n] for n in names] == sorted(scores.values(), reverse=True)
    page.click("[data-sort=output_error]")
    page.click("[data-sort=output_error]")
    assert page.locator("#table tbody th").all_inner_texts()[-1] == "L0H3"


def test_the_theme_follows_the_system_and_the_button(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark, light) == ("rgb(17, 21, 25)", "rgb(250, 250, 248)")


def test_a_head_without_proposals_baselines_and_matrices(open_page: Open, made: ReportData) -> None:
    other = OtherChoice("tuned", "2 first + 1 self", 2, 0.4, None, None, 0.0012)
    bare = [
        replace(e, proposed=None, baseline=None, trivial=[], candidates=[], examples=[])
        for e in made.entries
    ]
    page = open_page(
        replace(made, entries=[replace(e, others=[other]) for e in bare]), fragment="#L1H4"
    )
    said = page.inner_text("#panel")
    assert "headscript report --texts FILE" in said
    assert "not how they were found" in said
    assert "Size against fit" not in said
    assert not page.get_by_text("2 first + 1 self").first.is_visible()
    page.click("summary")
    assert "2 terms, IoU on select documents 0.40, damage 0.0012" in page.inner_text("details")
    assert page.inner_text("details code") == "2 first + 1 self"
    assert serious_faults(page) == []


def test_hostile_text_stays_text(open_page: Open, made: ReportData) -> None:
    page = open_page(hostile(made), "#L1H2")
    ready(page, "L1H2")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert "<img src=x onerror=alert(1)>" in page.inner_text(".program code")
    page.fill("#search", "<img")
    assert page.locator("#table tbody tr:visible").count() == 12


def test_the_content_policy_stops_any_other_script(
    browser: "playwright.Browser", made: ReportData, tmp_path: Path
) -> None:
    intruder = "<script>document.documentElement.dataset.intruder = 'here'</script></body>"
    file = tmp_path / "report.html"
    file.write_text(render_report(made).replace("</body>", intruder), encoding="utf-8")
    page = browser.new_context().new_page()
    page.goto(file.as_uri())
    assert page.get_attribute("html", "data-ready") == "yes"
    assert page.get_attribute("html", "data-intruder") is None


def test_without_a_script_the_programs_are_there(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    assert page.locator("#table tbody tr:visible").count() == 53
    assert "needs JavaScript" not in page.inner_text("footer")


PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def test_a_phone_shows_it_without_scrolling_sideways(open_page: Open) -> None:
    page = open_page(**PHONE)
    page.tap("[data-head=L1H4][role=gridcell]")
    ready(page, "L1H4")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("#panel-title").evaluate("n => n.getBoundingClientRect().top") < 200
    page.tap(".maps canvas >> nth=0", position={"x": 5, "y": 200})
    assert "real" in page.inner_text(".readout")
    page.tap(".back")


def serious_faults(page: Page) -> list[tuple[str, str]]:
    """What axe calls serious or critical: the rule and the first element that breaks it."""
    found = axe.Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], v["nodes"][0]["html"]) for v in serious]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("context", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(
    open_page: Open, scheme: str, context: dict[str, object]
) -> None:
    page = open_page(fragment="#L1H4", color_scheme=scheme, **context)
    ready(page, "L1H4")
    assert serious_faults(page) == []
    page.get_by_label("With tokens").check()
    page.locator("#measures").get_by_label("Category").check()
    assert serious_faults(page) == []
    page.click("#keys-open")
    assert serious_faults(page) == []


def test_a_page_of_a_thousand_heads_opens(open_page: Open, made: ReportData) -> None:
    places = [(layer, head) for layer in range(25) for head in range(40)]
    entries = [
        replace(made.entries[i % 53], layer=layer, head=head)
        for i, (layer, head) in enumerate(places)
    ]
    data = replace(made, layers=25, heads=40, entries=entries)
    page = open_page(data, "#L24H39", viewport={"width": 1280, "height": 900})
    ready(page, "L24H39")
    assert panel_title(page) == "L24H39 layer 24, head 39"
    page.fill("#search", "L7")
    assert page.locator("#table tbody tr:visible").count() == 40
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
