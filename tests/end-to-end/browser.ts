import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { chromium } from "playwright-core";

/** What a person sees of the example page. */
export interface Shown {
  readonly title: string;
  readonly apiText: string;
  readonly cardBorder: string;
  /** Errors of the page's scripts and of what it loads. */
  readonly errors: readonly string[];
}

/** Opens the example page in headless Chromium (Debian's package) and keeps a screenshot of it. */
export async function openInBrowser(address: string, screenshot: string): Promise<Shown> {
  mkdirSync(dirname(screenshot), { recursive: true });
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    // Chromium's own sandbox needs an ordinary user; the page is ours, and nothing else is reached.
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await browser.newPage({
      viewport: { width: 1100, height: 760 },
      // The gateway's root is not among the browser's.
      ignoreHTTPSErrors: true,
    });
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("response", (response) => {
      if (response.status() >= 400) errors.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(address);
    await page.locator("#api[data-state]").waitFor({ timeout: 20_000 });
    await page.screenshot({ path: screenshot });
    return {
      title: await page.title(),
      apiText: await page.locator("#api").innerText(),
      // A string, because this runs in the page and the types here are Node's.
      cardBorder: await page.evaluate<string>('getComputedStyle(document.querySelector(".cards li")).borderTopStyle'),
      errors,
    };
  } finally {
    await browser.close();
  }
}
