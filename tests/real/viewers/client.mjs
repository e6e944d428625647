// The JavaScript package dicomweb-client in a page of another origin, against a running archive:
//
//   node client.mjs CHROMIUM FOLDER       speaks as browser.mjs says
//
// The line of JSON it reads is {"archive": URL that ends in the version}. FOLDER holds the tutorial's three
// instances (fixtures/dicom); the archive must not hold their study yet. Stores, searches and retrieves with
// nothing but the package's own calls, reads the headers that a page may read, and deletes with fetch, since
// the package cannot.
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { PATIENCE, modules, serve } from "./browser.mjs";

const [chromium, folder] = process.argv.slice(2);
const PAGE = `<!doctype html><title>client</title><link rel="icon" href="data:,"><script src="/dicomweb-client.js"></script>`;

// Runs in the page. Throws what is wrong.
async function check(archive, files) {
  const study = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420";
  const series = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652";
  const red = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395";
  const equal = (what, found, expected) => {
    if (JSON.stringify(found) !== JSON.stringify(expected)) {
      throw new Error(`${what}: ${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
    }
  };
  const bytes = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const digest = async data => [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].join();
  const sent = {};
  for (const [name, file] of Object.entries(files)) sent[name] = bytes(file);
  const digests = async several => (await Promise.all([...several].map(digest))).sort();
  const everything = await digests(Object.values(sent));
  const client = new window.DICOMwebClient.api.DICOMwebClient({ url: archive, singlepart: "" });
  const uids = rows => rows.map(row => row["00080018"].Value[0]).sort();

  const three = Object.values(sent).map(file => file.buffer);
  const stored = JSON.parse(await client.storeInstances({ datasets: three.slice(0, 2), request: {} }));
  equal("stored", stored["00081199"].Value.length, 2);
  await client.storeInstances({ datasets: three.slice(2), studyInstanceUID: study });
  const refused = await client.storeInstances({ datasets: three.slice(2) }).catch(error => error.status);
  equal("stored again", refused, 409);

  const studies = await client.searchForStudies({ queryParams: { StudyInstanceUID: study } });
  equal("studies", studies.map(row => row["0020000D"].Value[0]), [study]);
  const uid = found => found.map(row => row["0020000D"].Value[0]);
  for (const queryParams of [
    // As viewers ask: a part of a name with wildcards, and fuzzy as well.
    { PatientName: "*hapes*", fuzzymatching: true }, { PatientName: "shapes*" }, { PatientName: "simple sha", fuzzymatching: "any" },
    { StudyInstanceUID: `${study}\\\\2.25.9` }, { StudyInstanceUID: `2.25.9,${study}` }, { ModalitiesInStudy: "OT\\CT" },
  ]) {
    equal(JSON.stringify(queryParams), uid(await client.searchForStudies({ queryParams })), [study]);
  }
  equal("nobody", await client.searchForStudies({ queryParams: { PatientID: "nobody" } }), []);
  equal("series", (await client.searchForSeries({ studyInstanceUID: study })).length, 2);
  equal("instances", (await client.searchForInstances({ studyInstanceUID: study })).length, 3);
  const within = { studyInstanceUID: study, seriesInstanceUID: series };
  equal("instances of a series", (await client.searchForInstances(within)).length, 2);

  const one = { ...within, sopInstanceUID: red };
  equal("metadata of a study", (await client.retrieveStudyMetadata({ studyInstanceUID: study })).length, 3);
  equal("metadata of a series", uids(await client.retrieveSeriesMetadata(within)).includes(red), true);
  const metadata = await client.retrieveInstanceMetadata(one);
  equal("metadata of an instance", uids(Array.isArray(metadata) ? metadata : [metadata]), [red]);

  const instance = await client.retrieveInstance(one);
  equal("an instance", await digest(instance), await digest(sent["red-triangle"]));
  equal("a series", (await client.retrieveSeries(within)).length, 2);
  equal("a study", await digests(await client.retrieveStudy({ studyInstanceUID: study })), everything);
  const [frame] = await client.retrieveInstanceFrames({ ...one, frameNumbers: [1] });
  const described = Array.isArray(metadata) ? metadata[0] : metadata;
  const length = described["00280010"].Value[0] * described["00280011"].Value[0] * described["00280002"].Value[0];
  equal("length of a frame", frame.byteLength, length);
  const tail = sent["red-triangle"].slice(-(length + (length % 2)));
  equal("a frame", await digest(frame), await digest(tail.slice(0, length)));
  equal("no such frame", await client.retrieveInstanceFrames({ ...one, frameNumbers: [2] }).catch(error => error.status), 404);

  const asked = await fetch(`${archive}/studies/${study}/metadata`, { headers: { accept: "application/dicom+json" } });
  const etag = asked.headers.get("etag");
  equal("a page reads ETag", typeof etag, "string");
  const again = { accept: "application/dicom+json", "if-none-match": etag, authorization: "Bearer none" };
  equal("nothing has changed", (await fetch(`${archive}/studies/${study}/metadata`, { headers: again, cache: "no-store" })).status, 304);
  equal("deleted", (await fetch(`${archive}/studies/${study}`, { method: "DELETE" })).status, 204);
  equal("gone", await client.retrieveStudyMetadata({ studyInstanceUID: study }).catch(error => error.status), 404);
  return "stored, found, retrieved and deleted";
}

async function look(page, { origin, archive }) {
  const names = ["red-triangle", "green-square", "blue-circle"];
  const files = Object.fromEntries(names.map(name => [name, readFileSync(join(folder, `${name}.dcm`)).toString("base64")]));
  await page.goto(`${origin}/`, { waitUntil: "load", timeout: PATIENCE });
  return page.evaluate(check, archive, files);
}

const made = path => (path === "/" ? PAGE : undefined);
await serve(join(modules, "dicomweb-client", "build"), chromium, made, look, [404, 409]);
