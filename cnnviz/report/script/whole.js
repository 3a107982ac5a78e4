// A page that holds the records of all its images.

/** Whether all is there that the state asks for. */
const prepared = () => true;
/** Whether an image's record has to be loaded first, before something is done. */
const later = () => false;
const pathsOf = async (list) => list.map((image) => image.path);
const isThere = (kind) => images.some((image) => image.kinds.has(kind));
const countOf = (kind, list) => list().filter((image) => image.kinds.has(kind)).length;
/** What is said behind the number of images of a search that has not ended. */
const soFar = () => "";
/** Images whose cards may be there. */
const withCards = () => order;
const cardFor = (image) => cards[image.place];

function countsOf(keysOf) {
  const counts = new Map();
  for (const image of images) {
    for (const key of keysOf(image)) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

const AT_ONCE = 60;
let filling = 0;

/** Fill the gallery: what is seen first at once, the rest when the browser has had its turn. */
function fill() {
  const gallery = byId("gallery");
  clearTimeout(filling);
  gallery.replaceChildren(...order.slice(0, AT_ONCE).map(cardOf));
  let done = AT_ONCE;
  const more = () => {
    gallery.append(...order.slice(done, done + A_SLICE).map(cardOf));
    done += A_SLICE;
    if (done < order.length) filling = setTimeout(more);
  };
  if (done < order.length) filling = setTimeout(more);
}
