"""The page in headless Chromium: nothing on the console, sound plays, sorting and search work. Debian's browser."""

import base64
import json
import shutil
import time

import pytest

from tests.report.page.example import ROWS, make_page

pytestmark = pytest.mark.slow
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--autoplay-policy=no-user-gesture-required")  # fmt: skip
TRIES = 5
"""A busy machine may hear a recording to its end before the page looks where it is."""
PATIENCE_S = 600
"""A busy machine loads a page in minutes."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    remedy = "the browser is missing; as root: apt-get install -y chromium chromium-driver"
    assert program, remedy
    assert driver, remedy
    page, _ = make_page(tmp_path_factory.mktemp("page"))
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        window.command_executor.client_config.timeout = PATIENCE_S
        window.set_page_load_timeout(PATIENCE_S)
        window.set_script_timeout(PATIENCE_S)
        window.get(page.path.as_uri())
        yield window
    finally:
        window.quit()


def until(window, script):
    """Wait until a script returns what is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := window.execute_script(script):
            return found
        time.sleep(0.1)
    raise AssertionError(f"never true: {script}")


def press(window, key, name, text):
    for kind in ("keyDown", "keyUp"):
        window.execute_cdp_cmd("Input.dispatchKeyEvent", {
            "type": kind, "key": key, "code": name, "text": text, "windowsVirtualKeyCode": ord(text)})  # fmt: skip


def column(window, table, index):
    script = ("return [...document.querySelectorAll(`${arguments[0]} tbody tr:first-child`)]"
              ".map(row => Number(row.cells[arguments[1]].dataset.sort))")  # fmt: skip
    return window.execute_script(script, table, index)


def test_names_that_begin_with_digits_are_no_numbers(browser):
    read = "return arguments[0].map(text => sortValue({cells: [{dataset: {}, textContent: text}]}, 0))"
    names = ["1089-134686-0001", "2024-03-02_b", "12_a", "3.2.1", "a1"]
    assert browser.execute_script(read, names) == names
    numbers = ["12", "-3.5", "1.2e-05", "> 1.1", "46.7 (45\u201348)", "1.4\u00d7", "40 %"]
    assert browser.execute_script(read, numbers) == [12, -3.5, 1.2e-05, 1.1, 46.7, 1.4, 40]


def test_tables_are_sorted_by_keyboard(browser):
    head = "#recordings thead th:nth-child(4)"
    for key, name, text, direction in (("Enter", "Enter", "\r", "ascending"), (" ", "Space", " ", "descending")):
        browser.execute_script(f"document.querySelector('{head} button').focus()")
        press(browser, key, name, text)
        until(browser, f"return document.querySelector('{head}').ariaSort === '{direction}'")
        rates = column(browser, "#recordings", 3)
        assert len(rates) == ROWS
        assert rates == sorted(rates, reverse=direction == "descending")
    # Spectrograms went with their recordings.
    assert browser.execute_script(
        "return [...document.querySelectorAll('#recordings tbody')].every(body => body.rows.length === 2 && "
        "body.querySelector('audio').getAttribute('aria-label') === body.querySelector('th').dataset.sort)"
    )


def test_search_hides_and_counts(browser):
    def found(words):
        browser.execute_script(
            "const field = document.getElementById('search'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('input'))", words,
        )  # fmt: skip
        shown = browser.execute_script(
            "return [...document.querySelectorAll('#recordings tbody')].filter(body => body.offsetHeight > 0)"
            ".map(body => body.dataset.search)"
        )
        assert browser.execute_script("return document.getElementById('search-count').textContent") == (
            f"{len(shown)} of {ROWS} recordings"
        )
        return shown

    odd = found("ODD text")
    assert 0 < len(odd) < ROWS
    assert all("text odd" in text for text in odd)
    assert found("nobody says this") == []
    assert len(found("")) == ROWS


def test_sound_plays_whole_in_part_and_one_at_a_time(browser):
    browser.execute_script(
        "window.heard = []; document.addEventListener('play', event => heard.push(event.target.id), true);"
        "document.getElementById('r1').play()"
    )
    until(browser, "return document.getElementById('r1').currentTime > 0.05")
    assert browser.execute_script("return document.getElementById('r1').duration") == pytest.approx(1.4, abs=0.3)
    browser.execute_script("document.querySelector('.clips button').click()")
    until(browser, "return heard.some(id => id.startsWith('clip'))")
    until(browser, "return document.getElementById('r1').paused")
    # A unit on its own: begins where it begins, and stops soon after its end.
    click = (
        "heard.length = 0; document.querySelectorAll('svg[data-audio=r2] .unit')[1]"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert any(stopped_early(browser, "r2", click) for _ in range(TRIES))


def stopped_early(window, name, start, *values):
    """Run what starts a player; tell whether it stopped by itself, and not because the recording had ended."""
    window.execute_script(start, *values)
    until(window, f"return heard.includes('{name}') && document.getElementById('{name}').paused")
    return not window.execute_script(f"return document.getElementById('{name}').ended")


def test_units_and_phones_are_heard_one_by_one_with_the_keyboard(browser):
    browser.execute_script(
        "window.heard = []; document.addEventListener('play', event => heard.push(event.target.id), true)"
    )
    for kind in ("phone", "unit"):
        button = f"#recordings audio#r3 ~ .steps button[aria-label='Play the next {kind}']"
        stops = []
        for number in range(2):
            browser.execute_script("heard.length = 0; document.querySelector(arguments[0]).focus()", button)
            press(browser, "Enter", "Enter", "\r")
            stops.append(stopped_early(browser, "r3", ""))
            status = "return document.querySelector('audio#r3 ~ .steps [role=status]').textContent"
            assert browser.execute_script(status) == browser.execute_script(
                f"const part = document.querySelectorAll('svg[data-audio=r3] .{kind}')[{number}];"
                "return `${part.querySelector('title').textContent}, ${Number(part.dataset.start).toFixed(2)} s`"
            )
        assert any(stops)


def test_the_numbers_can_be_saved(browser):
    address = browser.execute_script("return document.getElementById('numbers').href")
    assert address.startswith("blob:")
    text = browser.execute_async_script(
        "const done = arguments[0]; done(document.getElementById('data').textContent)"
    )  # fmt: skip
    assert len(json.loads(text)["recordings"]) == ROWS


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (400, "light")])
def test_every_screen_holds_the_page(browser, width, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "media": "screen", "features": [{"name": "prefers-color-scheme", "value": scheme}]})  # fmt: skip
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ground, ink = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    dark = [sum(map(int, color.strip("rgb()").split(","))) < 380 for color in (ground, ink)]
    assert dark == [scheme == "dark", scheme == "light"]


def test_on_paper_there_is_what_can_be_read_and_nothing_to_press(browser):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return [...document.querySelectorAll(arguments[0])].filter(part => part.offsetHeight > 0).length"
    for pressed in ("nav", ".search", "audio", ".steps", ".clips"):
        assert browser.execute_script(shown, pressed) == 0, pressed
    assert browser.execute_script(shown, "#recordings tbody") == ROWS
    wide = "return [...document.querySelectorAll('svg.speech')].filter(part => part.clientWidth > 700).length"
    assert browser.execute_script(wide) == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen"})
    paper = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert paper.startswith(b"%PDF")


def test_nothing_was_said_on_the_console(browser):
    """The last test of the file: after everything was clicked."""
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('script').length") == 2
