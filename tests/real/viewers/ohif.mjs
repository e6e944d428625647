// The OHIF viewer as it is shipped, in a browser without a screen, against a running archive:
//
//   node ohif.mjs OHIF_DIST CHROMIUM SCREENSHOTS       speaks as browser.mjs says
//
// The line of JSON it reads is {"archive": URL that ends in the version, "studies": what studies.py has printed}.
// Looks at the study list, asks it for a part of a name, and opens each of the studies; prints what it has seen.
// Screenshots are kept.
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { PATIENCE, serve } from "./browser.mjs";

const [dist, chromium, screenshots] = process.argv.slice(2);
// Fewer are no picture.
const GREYS = 50;

function config(archive) {
  const configuration = {
    friendlyName: "Kymo", name: "kymo",
    wadoUriRoot: archive, qidoRoot: archive, wadoRoot: archive,
    qidoSupportsIncludeField: true, supportsFuzzyMatching: true, supportsWildcard: true, supportsReject: false,
    imageRendering: "wadors", thumbnailRendering: "wadors", enableStudyLazyLoad: true,
    bulkDataURI: { enabled: true },
  };
  const source = { namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "kymo", configuration };
  return `window.config = ${JSON.stringify({
    routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: true,
    maxNumberOfWebWorkers: 2, showLoadingIndicator: true, strictZSpacingForVolumeViewport: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    investigationalUseDialog: { option: "never" }, disableConfirmationPrompts: true,
    defaultDataSourceName: "kymo", dataSources: [source],
  })};`;
}

// Greys (or, of a colour image, brightnesses) of the pictures on the page: the most that one canvas shows.
function shown() {
  let most = { greys: 0, coloured: 0 };
  for (const canvas of document.querySelectorAll("canvas.cornerstone-canvas")) {
    if (canvas.width === 0 || canvas.height === 0) continue;
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    const greys = new Set();
    let coloured = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
      greys.add(Math.round((red + green + blue) / 3));
      if (Math.max(red, green, blue) - Math.min(red, green, blue) > 40) coloured += 1;
    }
    if (greys.size > most.greys) most = { greys: greys.size, coloured };
  }
  return most;
}

// The viewer greets whoever comes first with a tour that lies over the picture.
function skipTour() {
  const skip = [...document.querySelectorAll("button, a, div, span")].find(
    element => element.childElementCount === 0 && element.textContent.trim() === "Skip all",
  );
  skip?.click();
}

// How much of a picture of the page is as white as paper, in thousandths.
async function paper(png) {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const copy = new OffscreenCanvas(image.width, image.height);
  const context = copy.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  let white = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] > 250 && data[at + 1] > 250 && data[at + 2] > 250) white += 1;
  }
  return Math.round((white * 4000) / data.length);
}

// The picture has come to rest when several looks in a row see it.
const AT_REST = `(() => {
  const found = (${shown})();
  window.looks = found.greys >= ${GREYS} ? (window.looks ?? 0) + 1 : 0;
  return window.looks >= 4 && found;
})()`;

async function image(page) {
  const looked = { timeout: PATIENCE, polling: 250 };
  await page.waitForFunction(AT_REST, looked);
  await page.evaluate(skipTour);
  await page.evaluate("window.looks = 0");
  return (await page.waitForFunction(AT_REST, looked)).jsonValue();
}

// The viewer hands the document to the browser, which shows it as a white page with words on it.
async function paged(page) {
  const shows = () => document.querySelector("object[data], embed[src], iframe[src]") !== null;
  await page.waitForFunction(shows, { timeout: PATIENCE });
  const start = await page.evaluate(async () => {
    const element = document.querySelector("object[data], embed[src], iframe[src]");
    const bytes = new Uint8Array(await (await fetch(element.data ?? element.src)).arrayBuffer());
    return String.fromCharCode(...bytes.slice(0, 5));
  });
  const end = Date.now() + PATIENCE;
  for (;;) {
    const white = await page.evaluate(paper, await page.screenshot({ encoding: "base64" }));
    if (white >= 100) return { start, white };
    if (Date.now() > end) throw new Error(`the document is not shown: ${white} thousandths are white`);
    await page.evaluate(() => new Promise(drawn => setTimeout(drawn, 250)));
  }
}

async function look(page, { origin, studies }) {
  const seen = {};
  await page.setViewport({ width: 1400, height: 900 });
  const step = async (name, path, found) => {
    try {
      await page.goto(`${origin}${path}`, { waitUntil: "domcontentloaded", timeout: PATIENCE });
      seen[name] = await found();
    } finally {
      await page.screenshot({ path: join(screenshots, `ohif-${name}.png`) });
    }
  };
  const patients = Object.values(studies).map(study => study.patient.replace("^", ", "));
  await step("list", "/", async () => {
    const all = names => names.every(name => document.body.innerText.includes(name));
    await page.waitForFunction(all, { timeout: PATIENCE }, patients);
    return patients;
  });
  // What is typed into the list's field for names is in its address, too.
  const [wanted, other] = patients;
  const part = wanted.split(",")[0].slice(1).toUpperCase();
  const asked = [];
  page.on("request", request => {
    const search = new URL(request.url()).searchParams;
    const name = search.get("PatientName") ?? search.get("00100010");
    if (name !== null) asked.push({ name, fuzzy: search.get("fuzzymatching") });
  });
  await step("typed", `/?patientName=${part}`, async () => {
    const alone = (one, another) => document.body.innerText.includes(one) && !document.body.innerText.includes(another);
    await page.waitForFunction(alone, { timeout: PATIENCE }, wanted, other);
    return { part, asked };
  });
  for (const [name, study] of Object.entries(studies)) {
    await step(name, `/viewer?StudyInstanceUIDs=${study.study}`, () => (name === "document" ? paged(page) : image(page)));
  }
  return seen;
}

mkdirSync(screenshots, { recursive: true });
const made = (path, said) => (path === "/app-config.js" ? config(said.archive) : undefined);
await serve(dist, chromium, made, look);
