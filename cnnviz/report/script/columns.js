// What all images are filtered and sorted by, and their paths, in lists that are loaded at need.

let columns = null;
let reading = false;
const KIND_SETS = Array.from({ length: 1 << KINDS.length }, (_, flags) => new Set(
  KINDS.filter(([kind], bit) => flags & (1 << bit) && (kind !== "unknown" || truthKnown)).map(([kind]) => kind),
));
const kindsOf = (place) => KIND_SETS[columns.flags[place]];

const ARRAYS = {
  predicted: Int32Array, truth_counts: Int32Array, truths: Int32Array, flags: Uint8Array,
  confidence: Float64Array, margin: Float64Array, loss: Float64Array,
};
const countOfParts = (kind) => Math.ceil(parts.images / parts.sizes[kind]);

async function readColumns() {
  const found = Object.fromEntries(Object.keys(ARRAYS).map((key) => [key, []]));
  const count = countOfParts("columns");
  for (let number = 0; number < count; number += 1) {
    byId("count").textContent = `Reading the list of images: ${Math.round((100 * number) / count)}%`;
    const part = await load("columns-", number);
    for (const [key, Kind] of Object.entries(ARRAYS)) found[key].push(new Kind(bytes(part[key]).buffer));
  }
  const joined = Object.entries(found).map(([key, arrays]) => {
    const whole = new ARRAYS[key](arrays.reduce((sum, { length }) => sum + length, 0));
    let place = 0;
    for (const array of arrays) {
      whole.set(array, place);
      place += array.length;
    }
    return [key, whole];
  });
  columns = Object.fromEntries(joined);
  // Where the true classes of each image begin among all, and where the last ones end.
  columns.truthsFrom = new Uint32Array(parts.images + 1);
  for (let place = 0; place < parts.images; place += 1) {
    columns.truthsFrom[place + 1] = columns.truthsFrom[place] + columns.truth_counts[place];
  }
}

const inColumn = (key) => ({ place }) => (Number.isNaN(columns[key][place]) ? undefined : columns[key][place]);
const VALUES = { confidence: inColumn("confidence"), margin: inColumn("margin"), loss: inColumn("loss") };

const predictionsOf = ({ place }) => (columns.predicted[place] < 0 ? [] : [String(columns.predicted[place])]);
/** What stands for a true class: its index; "none" if unknown, "empty" if there is none. */
const keyOfTruth = (index) => ({ "-1": "none", "-2": "empty" })[index] ?? String(index);

function truthsOf({ place }) {
  const truths = columns.truths.subarray(columns.truthsFrom[place], columns.truthsFrom[place + 1]);
  return Array.from(truths, keyOfTruth);
}

const countsOfPredictions = () => new Map(Object.entries(parts.predicted));
const countsOfTruths = () =>
  new Map(Object.entries(parts.truths).map(([index, count]) => [keyOfTruth(index), count]));
const isThere = (kind) => parts.kinds[kind] > 0;
const countOf = (kind, list) =>
  columns ? list().filter((image) => image.kinds.has(kind)).length : parts.kinds[kind];

/** The images' paths, as far as they are read: by part. */
const paths = [];
let pathsRead = null;
const pathOf = (place) => paths[Math.floor(place / parts.sizes.paths)]?.[place % parts.sizes.paths];
const hasInPath = ({ place }, text) => pathOf(place)?.toLowerCase().includes(text) ?? false;
const hasPaths = () => paths.length === countOfParts("paths");
const partRead = () => `${Math.round((100 * paths.length) / countOfParts("paths"))}%`;
const soFar = () => (state.q && !hasPaths() ? `; searched ${partRead()}` : "");
let saving = false;

/** Milliseconds from one look at what a search has found so far to the next. */
const LOOK = 1000;

/** Read all paths, one part after the other, and say how far that is. */
function readPaths() {
  pathsRead ??= (async () => {
    let looked = performance.now();
    while (!hasPaths()) {
      paths.push(await load("paths-", paths.length));
      if (state.q && (hasPaths() || performance.now() - looked > LOOK)) {
        update();
        looked = performance.now();
      }
      if (saving) byId("copied").textContent = `Reading all paths: ${partRead()}`;
    }
  })();
  pathsRead.catch(() => { pathsRead = null; }); // the next who asks tries again
  return pathsRead;
}

/** Whether all is there that the state asks for; else `again` is called when it is. */
function prepared(again) {
  const asked = ["predicted", "truth", "show", "q"].some((key) => state[key]) || state.sort !== "run";
  if (asked && !columns) {
    if (!reading) {
      reading = true;
      readColumns().then(() => {
        again();
        if (shown) show(shown); // its place among the others is known now
      }, sayWhy).finally(() => { reading = false; });
    }
    return false;
  }
  if (state.q && !hasPaths()) readPaths().catch(sayWhy);
  return true;
}

/** The paths of images; null if they cannot be read, and it is said why. */
async function pathsOf(list) {
  saving = true;
  try {
    await readPaths();
  } catch (error) {
    sayWhy(error);
    return null;
  } finally {
    saving = false;
  }
  return list.map(({ place }) => pathOf(place));
}
