"""The web page in headless Chromium: read in light and dark, on a desk and on a phone, and a ban lifted by a click. Needs
root and Debian's packages `chromium`, `chromium-driver` and `nftables`; everything runs in namespaces of its own.

Usage: page.py [--binary FILE] [--screenshots FOLDER]
Exit status 1 when something is missing on the page, does not fit its width, or a click does not do what it says.
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import alone
import isolation
from process import Failure, Program, wait_until

DRIVER = "127.0.0.1:9515"
PAGE = f"http://{alone.LISTEN}/"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
CASES = (
    "bt-libtorrent-plain-v4", "bt-aria2-v6", "bt-libtorrent-dht", "bt-transmission-http-tracker-v4", "bt-deluge-rc4-v4",
    "honest-tls-443", "honest-ssh-6881",
)
# Keys of the WebDriver protocol.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window, spoken to by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

    def __init__(self, work: Path):
        self.driver = Program("chromedriver", ["chromedriver", "--port=9515"], work)
        self.driver.wait_line("started successfully", 60)
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   f"--user-data-dir={work / 'profile'}"]
        wanted = {"alwaysMatch": {
            "browserName": "chrome", "unhandledPromptBehavior": "ignore",
            "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": options},
        }}
        self.session = ""
        self.session = f"/{self.call('POST', '', capabilities=wanted)['sessionId']}"

    def call(self, method: str, path: str, **body):
        """Value of the driver's answer."""
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://{DRIVER}/session{self.session}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path}: {json.load(error)['value']['message'].splitlines()[0]}") from None

    def script(self, text: str):
        """What a script in the page returns."""
        return self.call("POST", "/execute/sync", script=text, args=[])

    def devtools(self, command: str, **parameters):
        """A command of Chromium's own protocol."""
        return self.call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def element(self, selector: str) -> str:
        """Path of the first element that a CSS selector finds."""
        return f"/element/{self.call('POST', '/element', using='css selector', value=selector)[ELEMENT]}"

    def click(self, selector: str) -> None:
        self.call("POST", f"{self.element(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Replaces what a field holds."""
        field = self.element(selector)
        self.call("POST", f"{field}/clear")
        self.call("POST", f"{field}/value", text=text)

    def text(self, selector: str) -> str:
        return self.call("GET", f"{self.element(selector)}/text")

    def complaints(self) -> list[str]:
        """What the console got since it was last asked, without what the browser's own pages say."""
        messages = [entry["message"] for entry in self.call("POST", "/se/log", type="browser")]
        return [message for message in messages if not message.startswith("chrome://")]


def expect(condition, what: str) -> None:
    if not condition:
        raise Failure(what)


def look(browser: Browser, scheme: str, size: str, folder: Path | None) -> None:
    """Opens the page in one of its looks."""
    width, height = SIZES[size]
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=size == "phone")
    browser.call("POST", "/url", url=PAGE)
    wait_until("the page is drawn", lambda: "live, as of" in browser.text("#status"), 20)
    if folder:
        shot = browser.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        (folder / f"{size}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    wide = browser.script("return [...document.querySelectorAll('html, div, figure')].filter("
                          "(part) => part.scrollWidth > part.clientWidth).map((part) => part.innerText.slice(0, 30))")
    expect(not wide, f"{size}: wider than their place: {wide}")
    colour = browser.script("return getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in colour.strip("rgb()").split(",")) / 3
    expect((shade < 128) == (scheme == "dark"), f"{scheme}: the page is {colour}")
    headings = browser.script("return [...document.querySelectorAll('h3')].map((heading) => heading.firstChild.data)")
    for heading in ("Bans in force", "Hosts with evidence", "Techniques", "Programs", "Torrents", "Interfaces", "Losses"):
        expect(heading in headings, f"{heading} is not among {headings}")
    plots = browser.script("return [...document.querySelectorAll('figure svg')].filter((plot) => plot.children.length > 2).length")
    expect(plots == 6, f"{plots} plots, not 6")


def banned() -> set[str]:
    return {ban["address"] for ban in alone.overview()["bans"]}


def unban(browser: Browser, address: str, token: str, answer: str | None) -> str:
    """Clicks a ban's button and answers the question, if one is to come; what the page then says."""
    browser.script("document.getElementById('said').textContent = ''")
    if token:
        browser.type("#token", token)
    browser.click(f"button[aria-label='Unban {address}']")
    if answer:
        question = browser.call("GET", "/alert/text")
        expect(address in question, f"the question is {question!r}")
        browser.call("POST", f"/alert/{answer}")
    if answer == "dismiss":
        return ""
    return wait_until("what the page says", lambda: browser.text("#said"), 10)


def check(binary: str, work: Path, folder: Path | None) -> None:
    daemon = alone.start(binary, work)
    for case in CASES:
        alone.play(case)
    wait_until("bans", lambda: {"10.77.1.11", "fd77:1::11"} <= banned(), 20)
    browser = Browser(work)
    for scheme in ("light", "dark"):
        for size in SIZES:
            look(browser, scheme, size, folder)
    expect(browser.complaints() == [], "the console has complaints")
    lifted, kept = "10.77.1.11", "fd77:1::11"
    for token, answer, said in (
        ("", None, "Type the token first."),
        ("wrong-wrong-wrong-wrong", "accept", "the token is missing or wrong"),
        (alone.TOKEN, "dismiss", ""),
        (alone.TOKEN, "accept", f"{lifted} unbanned"),
    ):
        before = banned()
        found = unban(browser, lifted, token, answer)
        expect(found == said, f"the page says {found!r}, not {said!r}")
        gone = before - wait_until("the page's own bans", banned, 5)
        expect(gone == ({lifted} if "unbanned" in said else set()), f"after {said!r} is lifted: {gone}")
    shown = browser.script("return [...document.querySelectorAll('button[aria-label]')].map((button) => button.ariaLabel)")
    expect(f"Unban {kept}" in shown and f"Unban {lifted}" not in shown, f"after the click there are {shown}")
    wrong = [text for text in browser.complaints() if "401" not in text]
    expect(not wrong, f"the console has complaints: {wrong}")
    if folder:
        shot = browser.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        (folder / "lifted.png").write_bytes(base64.b64decode(shot["data"]))
    daemon.signal(15)
    expect(daemon.wait(20) == 0, "the daemon did not end well")
    wait_until("the page says that nobody answers", lambda: "does not answer" in browser.text("#status"), 30)
    browser.call("DELETE", "")
    browser.driver.signal(15)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(alone.ROOT / "target/release/btblocker"))
    parser.add_argument("--screenshots", type=Path)
    wish = parser.parse_args()
    if wish.screenshots:
        wish.screenshots.mkdir(parents=True, exist_ok=True)
    return isolation.run("page", lambda work: check(str(Path(wish.binary).resolve()), work, wish.screenshots))


if __name__ == "__main__":
    sys.exit(main())
