// The records of a page that loads them, as it needs them, from scripts beside it.

// An image is in the list from the start, with its place alone; its record is taken when its card
// comes near the screen or when it is shown, and let go when the card leaves. What images are
// filtered and sorted by, and their paths, are lists of their own (columns.js).

const { parts } = data;
class Row {
  constructor(place) {
    this.place = place;
  }

  /** As its record says or, without one, the columns. */
  get kinds() {
    return this.own ?? kindsOf(this.place);
  }

  set kinds(kinds) {
    this.own = kinds;
  }
}
for (let place = 0; place < parts.images; place += 1) images.push(new Row(place));

const multiLabel = parts.multi_label;
const truthKnown = parts.truth_known;
const lossKnown = parts.loss;
const marginKnown = parts.margin;
for (const [place, record] of Object.entries(parts.records)) take(images[place], record);

const hasRecord = (image) => image.status !== undefined;

function take(image, record) {
  Object.assign(image, record);
  prepare(image, image.place);
}

/** Let a record go, unless the page itself holds it. */
function letGo(image) {
  if (image.place in parts.records) return;
  for (const key of Object.keys(image)) if (key !== "place") delete image[key];
}

const arrived = new Map();
globalThis.cnnvizPart = ({ run, name, data: content }) => {
  if (run === parts.run) arrived.set(name, content);
};

const loading = new Map();

/** What a part holds: a script, for a page on the disk may not read the files beside it. */
function load(kind, number) {
  const name = `${kind}${String(number + 1).padStart(4, "0")}`;
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve, reject) => {
      const script = h("script", { src: `${parts.folder}/${name}.js` });
      const end = () => {
        script.remove();
        loading.delete(name);
        if (arrived.has(name)) resolve(arrived.get(name));
        else reject(new Error(`${parts.folder}/${name}.js is missing or belongs to another report. Run "cnnviz report" again.`));
        arrived.delete(name);
      };
      script.addEventListener("load", end);
      script.addEventListener("error", end);
      document.head.append(script);
    }));
  }
  return loading.get(name);
}

/** Parts of records that are kept: neighbors are asked for next. */
const RECENT = 20;
const recent = new Map();

async function fetchRecord(image) {
  if (hasRecord(image)) return;
  const size = parts.sizes.records;
  const number = Math.floor(image.place / size);
  if (!recent.has(number)) {
    recent.set(number, load("", number));
    if (recent.size > RECENT) recent.delete(recent.keys().next().value);
  }
  try {
    take(image, (await recent.get(number))[image.place % size]);
  } catch (error) {
    recent.delete(number);
    throw error;
  }
}

/** Whether an image's record has to be loaded first; then something is done. */
function later(image, then) {
  if (hasRecord(image)) return false;
  fetchRecord(image).then(then, sayWhy);
  return true;
}

function sayWhy(error) {
  byId("copied").textContent = error.message;
}
