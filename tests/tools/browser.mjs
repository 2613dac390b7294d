// A Chromium that tests/browser.py drives. Usage: node browser.mjs NODE_MODULES CHROMIUM
// Each line of stdin is {page, action, arguments}, a key of `actions`; each line of stdout its {value} or {error}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
// Tests may run as root, where Chromium has no sandbox, and in containers, where /dev/shm is small.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const pages = [];

function watch(page) {
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  pages.push({ page, errors });
  return pages.length - 1;
}

const actions = {
  async open(_, url, options) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const number = watch(page);
    await page.goto(url);
    return number;
  },
  evaluate: ({ page }, expression) => page.evaluate(expression),
  wait: ({ page }, expression, timeout) => page.waitForFunction(expression, undefined, { timeout }).then(() => true),
  type: ({ page }, selector, text) => page.type(selector, text),
  press: ({ page }, selector, key) => page.press(selector, key),
  click: ({ page }, selector) => page.click(selector),
  errors: ({ errors }) => errors.splice(0),
  screenshot: ({ page }, path) => page.screenshot({ path }).then(() => path),
  close: ({ page }) => page.context().close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { page, action, words } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await actions[action](pages[page], ...words)) ?? null };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
