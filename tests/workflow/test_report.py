"""The report of a finished run, in a browser without network access."""

import json
import re
import shutil

import pytest
from snakemake_runs import snakemake

# in one process, since making the report takes longer than all tests of it
pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("report")]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


#: the result that the report shows, an image or a page
SHOWN = "document.querySelector('iframe, img[src^=\"data:image/png\"]')"


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = snakemake(finished, "--report", path)
    assert done.returncode == 0, done.stdout
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; it is in the extra `test`"
    )
    if not (program := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, report):
    """The opened report; afterwards checks that the browser had no errors and made no network requests."""
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 900})
    page, wrong, asked = context.new_page(), [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    yield page
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_it_holds_every_table_and_figure_of_the_run(report, finished):
    held = re.search(r"var results = (\{.*?\});\n", report.read_text("utf-8"), re.DOTALL)
    results = finished / "results" / "digits"
    made = [*results.glob("tables/*.html"), *results.glob("figures/*.png")]
    # job times are measured when a run has ended; the report has Snakemake's own statistics
    expected = {str(path.relative_to(finished)) for path in made if path.stem != "job_times"}
    assert set(json.loads(held[1])) == expected
    assert len(expected) > 15


def test_every_result_has_a_caption_and_a_label(report):
    held = json.loads(re.search(r"var results = (\{.*?\});\n", report.read_text("utf-8"), re.DOTALL)[1])
    for path, result in held.items():
        assert "Look for" in result["caption"] or path.endswith("figure1.png"), path
        assert "{{" not in result["caption"] and "system-message" not in result["caption"]
        assert set(result["labels"]) == {"result"}


@pytest.mark.system
def test_the_opening_page_states_what_was_run(page):
    page.wait_for_selector("text=reproduced by the run")
    text = page.inner_text("#app")
    for part in ("digits", "Seeds", "Machine", "Versions", "snakemake", "SHA-256", "jobs of"):
        assert part in text


@pytest.mark.system
def test_every_result_opens_in_the_paper_s_order(page):
    page.wait_for_selector("text=Supplements")
    sections = [line for line in page.inner_text("#app").splitlines() if re.match(r"\d\. ", line)]
    assert sections == sorted(sections)
    assert len(sections) == 6
    shown = [""]
    for section in sections:
        page.get_by_text(section, exact=True).first.click()
        page.wait_for_selector("th:has-text('result')")
        eyes = page.locator("a[iconname=eye]")
        for place in range(eyes.count()):
            eyes.nth(place).click()
            page.wait_for_function(f"before => {SHOWN} && {SHOWN}.src !== before", arg=shown[-1])
            shown.append(page.evaluate(f"{SHOWN}.src"))
            if shown[-1].startswith("data:image"):
                assert page.evaluate(f"{SHOWN}.decode().then(() => {SHOWN}.naturalWidth)") > 300
            else:
                page.frame_locator("iframe").locator("tbody tr").first.wait_for()
        page.reload()
        page.wait_for_selector("text=6. Supplements")
    assert sorted(shown[1:]) == sorted(page.evaluate("Object.values(results).map(result => result.data_uri)"))


@pytest.mark.system
def test_a_table_sorts_by_its_numbers_and_prints_on_a_page(browser, finished):
    page = browser.new_page()
    page.goto((finished / "results/digits/tables/table1.html").as_uri())
    column = "[...document.querySelectorAll('tbody tr')].map(row => parseFloat(row.cells[1].textContent))"
    before = page.evaluate(column)
    page.get_by_text("Error (%) ↓").click()
    assert page.evaluate(column) == sorted(before)
    page.get_by_text("Error (%) ↓").click()
    assert page.evaluate(column) == sorted(before, reverse=True)
    page.emulate_media(media="print")
    width = page.evaluate("document.querySelector('table').scrollWidth")
    assert width < (297 - 2 * 12) / 25.4 * 96  # pixels between the margins of A4, at 96 an inch
    assert page.pdf(landscape=True, format="A4").count(b"/Type /Page\n") == 1
