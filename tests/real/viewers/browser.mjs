// A browser without a screen, and a server of static files for the pages that it opens.
//
// A page must come from an origin that the archive lets in, so the server listens before the archive starts:
// `serve` prints `origin http://127.0.0.1:PORT` and then reads one line of JSON from standard input, which
// names the archive. Needs KYMO_TEST_NODE_MODULES.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { createInterface } from "node:readline";

export const modules = process.env.KYMO_TEST_NODE_MODULES ?? "";
const puppeteer = createRequire(join(modules, "/"))("puppeteer-core");

// Longest wait for anything, in milliseconds.
export const PATIENCE = 90_000;
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".wasm": "application/wasm", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
};

// Files of `folder`; `made(path, said)` may answer text in their place. Any other path is the page `made("/", said)`
// or index.html.
function answer(folder, made, said, request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://page").pathname));
  const type = TYPES[extname(path)];
  const text = made(path, said);
  if (text !== undefined) {
    response.writeHead(200, { "content-type": type ?? TYPES[".html"] }).end(text);
    return;
  }
  try {
    const file = readFileSync(join(folder, path));
    response.writeHead(200, { "content-type": type ?? "application/octet-stream" }).end(file);
  } catch {
    response.writeHead(200, { "content-type": TYPES[".html"] }).end(made("/", said) ?? readFileSync(join(folder, "index.html")));
  }
}

// Serves, hears which archive it is, opens a page, and lets `look(page, said)` look at it. What it
// resolves to is printed as a line of JSON with the requests to the archive that failed: those, unless with a
// status that is `expected`, and whatever it throws are exit code 1.
export async function serve(folder, chromium, made, look, expected = []) {
  const said = {};
  const server = createServer((request, response) => answer(folder, made, said, request, response));
  await new Promise(listening => server.listen(0, "127.0.0.1", listening));
  said.origin = `http://127.0.0.1:${server.address().port}`;
  console.log(`origin ${said.origin}`);
  const lines = createInterface({ input: process.stdin });
  const { value: line } = await lines[Symbol.asyncIterator]().next();
  Object.assign(said, JSON.parse(line));
  const profile = mkdtempSync(join(tmpdir(), "kymo-chromium-"));
  let browser;
  try {
    browser = await puppeteer.launch({
      executablePath: chromium, headless: true, userDataDir: profile, protocolTimeout: PATIENCE,
      args: [
        "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
        "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
      ],
    });
    const page = await browser.newPage();
    const { failed, asked } = watch(page, said.archive, new Set(expected));
    const seen = await look(page, said);
    console.log(JSON.stringify({ seen, failed, asked }));
    process.exitCode = failed.length === 0 ? 0 : 1;
  } finally {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true });
    lines.close();
    server.close();
    server.closeAllConnections();
  }
}

// Requests of the page to the archive: which failed, and how often each route was asked.
function watch(page, archive, expected) {
  const failed = [], asked = {};
  const ours = request => request.url().startsWith(archive);
  page.on("requestfailed", request => {
    // What the page itself gives up, when it is left, is not the archive's failure.
    if (ours(request) && request.failure()?.errorText !== "net::ERR_ABORTED") {
      failed.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`);
    }
  });
  page.on("response", response => {
    const request = response.request();
    if (!ours(request)) return;
    if (response.status() >= 400 && !expected.has(response.status())) {
      failed.push(`${request.method()} ${response.url()}: ${response.status()}`);
    }
    if (request.method() === "OPTIONS") return;
    const route = response.url().slice(archive.length).replace(/[?].*/, "").replace(/[0-9]+([.][0-9]+)+/g, "UID");
    asked[route] = (asked[route] ?? 0) + 1;
  });
  if (process.env.VIEWER_SAYS) {
    page.on("console", message => console.error("page:", message.text()));
    page.on("pageerror", error => console.error("error:", error.message));
  }
  return { failed, asked };
}
