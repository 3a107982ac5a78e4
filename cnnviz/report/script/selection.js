// The paths of the images that the filters leave, for other programs.

/** A text as bytes: UTF-8, and bytes of names that are not UTF-8 as they are. */
function bytesOf(text) {
  const encoder = new TextEncoder();
  return text.split(/([\udc80-\udcff])/u).map((part, place) =>
    place % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : encoder.encode(part));
}

/** One path a line, in the order of the page; a path with a line break would be two. */
async function selection() {
  const found = await pathsOf(order);
  if (!found) return null;
  const fit = found.filter((path) => !/[\r\n]/.test(path));
  const left = found.length - fit.length;
  return {
    text: fit.map((path) => `${path}\n`).join(""),
    said: `${plural(fit.length, "path")}${left ? `; ${left} with a line break left out` : ""}`,
  };
}

async function download() {
  const chosen = await selection();
  if (!chosen) return;
  const { text, said: what } = chosen;
  const url = URL.createObjectURL(new Blob(bytesOf(text), { type: "text/plain" }));
  h("a", { href: url, download: "selection.txt" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  byId("copied").textContent = `Saved ${what}.`;
}

async function copy() {
  const chosen = await selection();
  if (!chosen) return;
  const { text, said: what } = chosen;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Some browsers give a page on the disk no clipboard, but let it copy what is selected.
    const area = h("textarea", { class: "sr", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    byId("copy").focus();
    if (!done) {
      byId("copied").textContent = "The browser refuses to copy; download them instead.";
      return;
    }
  }
  byId("copied").textContent = `Copied ${what}.`;
}
