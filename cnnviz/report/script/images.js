// Images that lie beside the page, and what stands at them. The page says what `thumbnailOf` is, and
// `KINDS`.

/** A small image; the whole one if there is no thumbnail; words if neither is there. */
function img(url, alt, more) {
  const element = h("img", { alt, loading: "lazy", decoding: "async", ...more });
  const small = thumbnailOf(url);
  element.src = files[small] ?? small; // last: what is not yet known to be lazy is fetched
  element.addEventListener("error", function whole() {
    element.removeEventListener("error", whole);
    element.addEventListener("error", () => element.replaceWith(
      h("span", { class: "note" }, "The file is missing."),
    ), { once: true });
    element.src = files[url] ?? url;
  });
  return element;
}

/** The name of a file by its URL; of one that is not UTF-8 the URL's end. */
function nameOfFile(url) {
  const end = url.split("/").pop();
  try {
    return decodeURIComponent(end);
  } catch {
    return end;
  }
}

function figure(url, caption, { under = null, alt = "", box = null } = {}) {
  const stack = h("span", { class: "stack" });
  const source = files[url] ?? files[thumbnailOf(url)] ?? url;
  const top = h("img", { src: source, alt });
  const gone = (element) => element.addEventListener("error", () =>
    element.replaceWith(h("span", { class: "note" }, "The file is missing.")));
  gone(top);
  const widen = (element) => element.naturalWidth < 300 && element.classList.add("small");
  if (under && under !== url) {
    const below = h("img", { src: files[under] ?? files[thumbnailOf(under)] ?? under, alt: "" });
    const settle = () => {
      if (!below.naturalWidth || !top.naturalWidth) return;
      const broader = broadness(top) / broadness(below);
      if (Math.abs(broader - 1) > 0.02) {
        below.remove(); // as in the cards
        top.classList.remove("over");
        if (broader > 1.5) stack.closest("figure").classList.add("broad");
      }
      for (const one of [below, top]) widen(one);
    };
    for (const one of [below, top]) one.addEventListener("load", settle);
    below.addEventListener("error", () => { below.remove(); top.classList.remove("over"); });
    top.className = "over";
    stack.append(below, top);
  } else {
    top.addEventListener("load", () => widen(top));
    stack.append(top);
  }
  if (box) stack.append(box);
  const link = source === url
    ? { href: url, target: "_blank", rel: "noopener", title: "Open the file" }
    // No browser opens a data URL by itself.
    : { href: source, download: nameOfFile(url), title: "Save the file" };
  return h("figure", {}, h("a", link, stack), h("figcaption", {}, caption));
}

function badges(image) {
  return KINDS.filter(([kind]) => image.kinds.has(kind)).map(([kind, title]) =>
    h("span", { class: `badge ${kind}` }, title),
  );
}

/** A line of a card: a name that may be cut, and what follows it, which is not. */
const line = (kind, name, rest) =>
  h("span", { class: `line ${kind}`, title: name }, h("span", {}, name), h("span", {}, ` ${rest}`));

function rows(entries, name = null) {
  const table = h("table", { "aria-label": name });
  for (const [key, value] of entries) {
    if (value !== null && value !== undefined) table.append(h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value)));
  }
  return table;
}
