"""Pages in a real Chromium, which playwright-core drives (tests/tools/browser.mjs).

Browser   a headless browser, as a context manager; the fixture `browser`
Page      a window with cookies and storage of its own, from Browser.open(url)
"""

import json
import subprocess

import node
from heart_server import PATIENCE, ROOT, need

DRIVER = ROOT / "tests" / "tools" / "browser.mjs"


class Browser:
    """One Chromium for any number of windows."""

    def __init__(self):
        self.words = [need("node", "nodejs"), DRIVER, node.modules(), need("chromium", "chromium")]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            [str(word) for word in self.words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()

    def ask(self, page, action, *words):
        """Have the driver do something. What fails there is an AssertionError here."""
        self.process.stdin.write(json.dumps({"page": page, "action": action, "words": words}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the browser has ended with {self.process.poll()}"
        answer = json.loads(line)
        assert "error" not in answer, f"{action} {words}: {answer['error']}"
        return answer["value"]

    def open(self, url, **options):
        """A new window that shows `url`. `options` are those of playwright's newContext, such as `colorScheme`."""
        return Page(self, self.ask(None, "open", url, options))


class Page:
    """One window."""

    def __init__(self, browser, number):
        self.browser = browser
        self.number = number

    def ask(self, action, *words):
        return self.browser.ask(self.number, action, *words)

    def evaluate(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        return self.ask("evaluate", expression)

    def wait(self, expression, timeout=PATIENCE):
        """Until a JavaScript expression is true."""
        self.ask("wait", expression, timeout * 1000)

    def type(self, selector, text):
        """Press the keys of a text."""
        self.ask("type", selector, text)

    def press(self, selector, key):
        self.ask("press", selector, key)

    def click(self, selector):
        self.ask("click", selector)

    def text(self, selector):
        """What an element shows."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def shows(self, selector, text, timeout=PATIENCE):
        """Wait until an element shows a text somewhere."""
        self.wait(f"document.querySelector({json.dumps(selector)}).innerText.includes({json.dumps(text)})", timeout)

    def errors(self):
        """Errors in the console since the last call."""
        return self.ask("errors")

    def screenshot(self, path):
        """A PNG of what the window shows."""
        return self.ask("screenshot", str(path))

    def close(self):
        self.ask("close")
