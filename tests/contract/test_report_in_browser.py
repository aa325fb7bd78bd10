"""The report of three real runs as a browser shows it."""

import html
import json
import os
import re

import pytest

from analysis import compare, figures, load, write_report
from benchmarks.docs.browser import REHEARSAL, browse, chromium

# continuous integration installs it, and must not pass without
pytestmark = pytest.mark.skipif(chromium() is None and "CI" not in os.environ, reason="Chromium is not installed")
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_MEASURE = """<script>
const box = element => { const {width, height} = element.getBoundingClientRect(); return [width, height] }
const boxes = selector => [...document.querySelectorAll(selector)].map(box)
document.title = JSON.stringify({
  figures: boxes("figure svg"), captions: boxes("figcaption"), tables: boxes("table"),
  page: document.documentElement.scrollWidth, window: innerWidth,
  text: getComputedStyle(document.querySelector("figure svg")).color,
  ground: getComputedStyle(document.body).backgroundColor})
</script>"""
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"


@pytest.fixture(scope="module")
def comparison():
    return compare(load(REHEARSAL.iterdir()))


@pytest.fixture(scope="module")
def page(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(comparison, path)
    return path


def console(page):
    return [line for line in browse(page, "--dump-dom").stderr.splitlines() if "CONSOLE" in line]


def measured(page, *options, **window):
    """What a script says that is added to a copy of the page, in which scripts may run."""
    text, count = _POLICY.subn("", page.read_text(encoding="utf-8"))
    assert count == 1
    copy = page.with_name("copy.html")
    copy.write_text(text.replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8")
    shown = browse(copy, "--dump-dom", *options, **window).stdout
    return json.loads(html.unescape(re.search("<title>(.*?)</title>", shown)[1]))


def test_nothing_is_wrong_with_the_page(page):
    assert console(page) == []


def test_what_is_wrong_would_be_seen(page):
    """The page's policy stops scripts, and the browser says so."""
    copy = page.with_name("script.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", "<script>1</script></body>"), encoding="utf-8")
    assert any("Content Security Policy" in line for line in console(copy))


@pytest.mark.parametrize("width", [1100, 500])
def test_every_figure_and_table_is_visible(comparison, page, width):
    found = measured(page, LIGHT, width=width)
    assert len(found["figures"]) == len(found["captions"]) == len(figures(comparison, drawn=False))
    for place in found["figures"]:
        assert place[0] > 400 and place[1] > 100
    for place in [*found["captions"], *found["tables"]]:
        assert min(place) > 15
    assert found["page"] == found["window"], "the page is wider than its window"


@pytest.mark.parametrize(("scheme", "dark"), [(LIGHT, False), (DARK, True)])
def test_it_is_light_and_dark(page, scheme, dark):
    found = measured(page, scheme)
    text, ground = (sum(map(int, re.findall(r"\d+", found[name])[:3])) for name in ("text", "ground"))
    assert (text > ground) is dark and abs(text - ground) > 400
