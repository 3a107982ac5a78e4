"use strict";
(() => {
  // Names of files and classes are somebody else's text: it gets into the page by textContent only.
  const data = JSON.parse(document.getElementById("data").textContent);
  const images = data.images;
  const byId = (id) => document.getElementById(id);
  document.documentElement.className = "js";

  function h(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") element.className = value;
      else element.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined) element.append(child);
    }
    return element;
  }

  // --- words ----------------------------------------------------------------------------------

  /** A class; a name that several have has its index behind it. */
  const nameOf = (score) => data.classes[score.index];
  const withIndex = (score) =>
    score.name === null ? nameOf(score) : `${score.name} (${score.index})`;
  const percent = (part) => {
    if (part > 0.9995 && part < 1) return "> 99.9%";
    return `${(100 * part).toFixed(1)}%`;
  };
  const number = (value) => {
    if (typeof value !== "number") return typeof value === "string" ? value : JSON.stringify(value);
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  };
  /** What the network says of a class: its probability or, of a network that gives numbers, that. */
  const said = (score) =>
    score.probability === null ? number(score.logit) : percent(score.probability);
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const titles = Object.fromEntries(data.maps.map((map) => [map.key, map.title]));
  /** Of a map by its key, which names the layer where there are several: gradcam@features.28. */
  const titleOf = (key) => {
    const [map, layer] = key.split("@");
    return (titles[map] ?? map.replaceAll("_", " ")) + (layer === undefined ? "" : ` at ${layer}`);
  };
  const broadness = (image) => image.naturalWidth / image.naturalHeight;

  // --- images -------------------------------------------------------------------------------

  const KINDS = [
    ["right", "✓ right"],
    ["wrong", "✗ wrong"],
    ["unknown", "? true class not known"],
    ["blank", "○ blank map"],
    ["failed", "! failed"],
  ];
  const truthKnown = images.some((image) => image.ground_truth);
  for (const [place, image] of images.entries()) {
    image.place = place;
    image.kinds = new Set();
    if (image.status !== "ok") {
      image.kinds.add("failed");
      continue;
    }
    image.answer = image.top5[0];
    // The explanation of what the network answered, if that was asked for; else the first.
    image.main =
      image.explanations.find((one) => one.target.index === image.answer.index) ??
      image.explanations[0];
    if (image.ground_truth) image.kinds.add(image.answer.index === image.ground_truth.index ? "right" : "wrong");
    else if (truthKnown) image.kinds.add("unknown");
    if (image.explanations.some((one) => one.blank.length)) image.kinds.add("blank");
  }

  const SORTS = {
    run: { title: "order of the run", value: (image) => image.place, first: "up" },
    confidence: { title: "confidence of the answer", value: (image) => image.answer?.probability ?? image.answer?.logit },
    margin: { title: "margin to the second answer", value: (image) => image.margin },
    loss: { title: "loss of the true class", value: (image) => image.loss },
  };
  if (!images.some((image) => typeof image.loss === "number")) delete SORTS.loss;
  if (!images.some((image) => typeof image.margin === "number")) delete SORTS.margin;

  const thumbnailOf = (url) => `thumbnails/${url.replace(/\.png$/, ".jpg")}`;

  /** A small image; the whole one if there is no thumbnail; words if neither is there. */
  function img(url, alt, more) {
    const element = h("img", { alt, loading: "lazy", decoding: "async", ...more });
    element.src = thumbnailOf(url); // last: what is not yet known to be lazy is fetched
    element.addEventListener("error", function whole() {
      element.removeEventListener("error", whole);
      element.addEventListener("error", () => element.replaceWith(
        h("span", { class: "note" }, "The image is not there."),
      ), { once: true });
      element.src = url;
    });
    return element;
  }

  function badges(image) {
    return KINDS.filter(([kind]) => image.kinds.has(kind)).map(([kind, title]) =>
      h("span", { class: `badge ${kind}` }, title),
    );
  }

  /** A line of a card: a name that may be cut, and what follows it, which is not. */
  const line = (kind, name, rest) =>
    h("span", { class: `line ${kind}`, title: name }, h("span", {}, name), h("span", {}, ` ${rest}`));

  const cards = new Array(images.length);

  function cardOf(image) {
    if (cards[image.place]) {
      draw(image);
      return cards[image.place];
    }
    const frame = h("span", { class: "frame" });
    const button = h("button", { type: "button", "data-place": image.place }, frame);
    button.append(h("span", { class: "line path", title: image.path }, image.relative ?? image.path));
    if (image.status === "ok") {
      button.append(
        line("answer", nameOf(image.answer), said(image.answer)),
      );
      if (image.ground_truth && !image.kinds.has("right")) {
        button.append(line("truth", `truly ${nameOf(image.ground_truth)}`, said(image.ground_truth)));
      }
      if (image.main.target.index !== image.answer.index) {
        button.append(h("span", { class: "line quiet" }, `explained: ${nameOf(image.main.target)}`));
      }
    } else {
      frame.append(h("span", { class: "note" }, image.error));
    }
    button.append(h("span", { class: "badges" }, badges(image)));
    const card = h("li", { class: "card" }, button);
    cards[image.place] = card;
    draw(image);
    return card;
  }

  /** Put the chosen map into a card that is there. */
  function draw(image) {
    const card = cards[image.place];
    if (!card || image.status !== "ok" || card.dataset.map === state.map) return;
    card.dataset.map = state.map;
    const { original } = image.main.files;
    const url = image.main.files[state.map];
    const title = titles[state.map] ?? "";
    const frame = card.querySelector(".frame");
    const blank = image.main.blank.includes(state.map);
    const below = original && img(original, "");
    const over = url && img(url, blank ? `${title}, blank` : title, { class: original ? "over" : "" });
    frame.classList.remove("apart");
    frame.replaceChildren(
      ...[below, over].filter((one) => one),
      ...(url || original ? [] : [h("span", { class: "note" }, "The run wrote no image of this kind.")]),
    );
    if (!below || !over) return;
    for (const one of [below, over]) {
      one.addEventListener("load", () => {
        // Several layers side by side, or a legend below: no point lies on the original's.
        frame.classList.toggle("apart", Math.abs(broadness(over) / broadness(below) - 1) > 0.02);
      });
    }
  }

  // --- state, which the address holds ---------------------------------------------------------

  const INITIAL = {
    predicted: "", truth: "", show: "", q: "", sort: "run", down: "",
    map: data.maps[0]?.key ?? "", mix: "100", open: "",
  };
  const state = { ...INITIAL };

  function readAddress() {
    let found;
    try {
      found = new URLSearchParams(location.hash.slice(1));
    } catch {
      found = new URLSearchParams();
    }
    Object.assign(state, INITIAL);
    for (const key of Object.keys(INITIAL)) {
      if (found.has(key)) state[key] = found.get(key);
    }
    const options = (id) => [...byId(id).options].map((option) => option.value);
    for (const key of ["predicted", "truth", "sort", "map"]) {
      if (!options(key).includes(state[key])) state[key] = INITIAL[key];
    }
    if (!/^\d{1,3}$/.test(state.mix) || Number(state.mix) > 100) state.mix = INITIAL.mix;
    if (!/^\d+$/.test(state.open) || !images[state.open]) state.open = "";
    const kinds = new Set(state.show.split(","));
    state.show = KINDS.map(([kind]) => kind).filter((kind) => kinds.has(kind)).join(",");
  }

  let writing = 0;

  /** Soon, for browsers refuse an address that changes a hundred times while a slider is moved. */
  function writeAddress() {
    clearTimeout(writing);
    writing = setTimeout(() => {
      const kept = Object.entries(state).filter(([key, value]) => value !== INITIAL[key]);
      const hash = new URLSearchParams(kept).toString();
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    }, 300);
  }

  // --- filter and sort ------------------------------------------------------------------------

  let order = [];

  function fits(image) {
    if (state.predicted && String(image.answer?.index) !== state.predicted) return false;
    if (state.truth) {
      const truth = image.ground_truth ? String(image.ground_truth.index) : "none";
      if (truth !== state.truth || image.status !== "ok") return false;
    }
    return !state.q || image.path.toLowerCase().includes(state.q.toLowerCase());
  }

  function sorted(found) {
    const { value, first } = SORTS[state.sort];
    const down = (first === "up") === (state.down === "1");
    const known = (image) => typeof value(image) === "number";
    const sign = down ? -1 : 1;
    return [
      ...found.filter(known).sort((a, b) => sign * (value(a) - value(b)) || a.place - b.place),
      ...found.filter((image) => !known(image)),
    ];
  }

  const AT_ONCE = 60;
  const A_SLICE = 250;
  let filling = 0;

  /** Fill the gallery: what is seen first at once, the rest when the browser has had its turn. */
  function fill() {
    const gallery = byId("gallery");
    clearTimeout(filling);
    clearTimeout(drawing);
    gallery.replaceChildren(...order.slice(0, AT_ONCE).map(cardOf));
    let done = AT_ONCE;
    const more = () => {
      gallery.append(...order.slice(done, done + A_SLICE).map(cardOf));
      done += A_SLICE;
      if (done < order.length) filling = setTimeout(more);
    };
    if (done < order.length) filling = setTimeout(more);
  }

  let drawing = 0;

  /** Another map into the cards that are there, those in sight first, and all where they are. */
  function redraw() {
    const sight = innerHeight + 200;
    const inSight = (image) => {
      const place = cards[image.place]?.getBoundingClientRect();
      return place && place.bottom > -200 && place.top < sight;
    };
    clearTimeout(drawing);
    order.filter(inSight).forEach(draw);
    let done = 0;
    const more = () => {
      order.slice(done, done + A_SLICE).forEach(draw);
      done += A_SLICE;
      if (done < order.length) drawing = setTimeout(more);
    };
    drawing = setTimeout(more);
  }

  function update() {
    const inside = images.filter(fits);
    const kinds = state.show ? state.show.split(",") : [];
    for (const button of byId("chips").children) {
      const kind = button.dataset.kind;
      const count = inside.filter((image) => image.kinds.has(kind)).length;
      button.setAttribute("aria-pressed", kinds.includes(kind));
      button.textContent = `${KINDS.find(([one]) => one === kind)[1]} ${count}`;
    }
    const found = kinds.length
      ? inside.filter((image) => kinds.some((kind) => image.kinds.has(kind)))
      : inside;
    order = sorted(found);
    fill();
    if (byId("images").getBoundingClientRect().top < 0) byId("images").scrollIntoView();
    byId("count").textContent = order.length === images.length
      ? `All ${plural(images.length, "image")}`
      : `${order.length} of ${plural(images.length, "image")}`;
    byId("clear").hidden = !(state.predicted || state.truth || state.show || state.q);
    byId("nothing").hidden = order.length > 0;
    for (const key of ["predicted", "truth", "sort", "map"]) byId(key).value = state[key];
    if (byId("query").value !== state.q) byId("query").value = state.q;
    const up = (SORTS[state.sort].first === "up") !== (state.down === "1");
    byId("direction").textContent = state.sort === "run"
      ? (up ? "first to last" : "last to first")
      : (up ? "lowest first" : "highest first");
    for (const button of document.querySelectorAll("button[data-truth]")) {
      button.setAttribute(
        "aria-pressed",
        button.dataset.truth === state.truth && button.dataset.predicted === state.predicted,
      );
    }
    mixed();
    writeAddress();
  }

  function mixed() {
    const part = Number(state.mix) / 100;
    for (const place of [byId("gallery"), byId("large")]) {
      place.style.setProperty("--mix", part);
      place.style.setProperty("--flip", part >= 0.5 ? 0 : 1);
    }
    for (const slider of document.querySelectorAll("input[type=range]")) slider.value = state.mix;
  }

  function set(changes) {
    Object.assign(state, changes);
    update();
  }

  /** Show the images of a pair, and nothing else that was filtered before. */
  function showPair(button) {
    const same = button.getAttribute("aria-pressed") === "true";
    set(same
      ? { truth: "", predicted: "" }
      : { truth: truthKnown ? button.dataset.truth : "", predicted: button.dataset.predicted, show: "", q: "" });
    if (same) return;
    goTo("images-title");
  }

  function goTo(id) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    byId(id).scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    byId(id).focus({ preventScroll: true });
  }

  function fillTools() {
    const counted = (of) => {
      const counts = new Map();
      for (const image of images) {
        const key = of(image);
        if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      return counts;
    };
    const choices = (id, counts, all) => {
      const name = (key) => (key === "none" ? "not known" : data.classes[key]);
      const keys = [...counts.keys()].sort((a, b) => (a === "none") - (b === "none") || name(a).localeCompare(name(b)));
      byId(id).append(
        h("option", { value: "" }, all),
        ...keys.map((key) => h("option", { value: key }, `${name(key)} (${counts.get(key)})`)),
      );
    };
    choices("predicted", counted((image) => image.answer && String(image.answer.index)), "all answers");
    choices("truth", counted((image) =>
      image.status === "ok" ? (image.ground_truth ? String(image.ground_truth.index) : "none") : undefined), "all true classes");
    byId("truth-label").hidden = !truthKnown;
    byId("sort").append(...Object.entries(SORTS).map(([key, { title }]) => h("option", { value: key }, title)));
    byId("map").append(...data.maps.map(({ key, title }) => h("option", { value: key }, title)));
    byId("map-label").hidden = data.maps.length < 2;
    byId("chips").append(
      ...KINDS.filter(([kind]) => images.some((image) => image.kinds.has(kind))).map(([kind]) =>
        h("button", { type: "button", "data-kind": kind })),
    );
  }

  // --- mean maps, the scale and the matrix ----------------------------------------------------

  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const scale = bytes(data.scale);

  function paint(canvas, values, width, height) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < values.length; i += 1) {
      pixels.data.set(scale.subarray(3 * values[i], 3 * values[i] + 3), 4 * i);
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }

  /** Bilinear between the centers of the cells, in numbers and not in colors. */
  function enlarge(values, [height, width], side) {
    const result = new Uint8Array(side * side);
    const along = (length) => Array.from({ length: side }, (_, i) => {
      const at = Math.min(length - 1, Math.max(0, ((i + 0.5) / side) * length - 0.5));
      const low = Math.floor(at);
      return [low, Math.min(length - 1, low + 1), at - low];
    });
    const columns = along(width);
    for (const [y, [top, bottom, down]] of along(height).entries()) {
      for (const [x, [left, right, across]] of columns.entries()) {
        const row = (r) => values[r * width + left] * (1 - across) + values[r * width + right] * across;
        result[y * side + x] = Math.round(row(top) * (1 - down) + row(bottom) * down);
      }
    }
    return result;
  }

  function paintPair(canvas) {
    if (canvas.width === 120) return;
    const { shape, map } = data.pairs[canvas.dataset.pair];
    paint(canvas, enlarge(bytes(map), shape, 120), 120, 120);
  }

  function prepareMatrix() {
    const matrix = byId("matrix");
    if (!matrix) return;
    const cells = [...matrix.querySelectorAll("button")];
    for (const cell of cells) cell.style.setProperty("--strength", 0.1 + 0.4 * Number(cell.dataset.share));
    if (cells.length) cells[0].tabIndex = 0;
    const at = (cell) => [cell.closest("tr").rowIndex, cell.closest("td").cellIndex];
    matrix.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const here = event.target.closest("button");
      if (!step || !here || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const [row, column] = at(here);
      // The nearest cell that way; beside the straight line only if there is none on it.
      const ranked = cells
        .map((cell) => {
          const [r, c] = at(cell);
          const ahead = (r - row) * step[0] + (c - column) * step[1];
          const aside = Math.abs((r - row) * step[1]) + Math.abs((c - column) * step[0]);
          return { cell, ahead, cost: ahead + 1000 * aside };
        })
        .filter(({ ahead }) => ahead > 0)
        .sort((a, b) => a.cost - b.cost);
      if (!ranked.length) return;
      here.tabIndex = -1;
      ranked[0].cell.tabIndex = 0;
      ranked[0].cell.focus();
    });
  }

  // --- one image, large ---------------------------------------------------------------------

  const dialog = byId("large");
  let shown = null;

  function figure(url, caption, { under = null, alt = "", box = null } = {}) {
    const stack = h("span", { class: "stack" });
    const top = h("img", { src: url, alt });
    const gone = (element) => element.addEventListener("error", () =>
      element.replaceWith(h("span", { class: "note" }, "The image is not there.")));
    gone(top);
    const widen = (element) => element.naturalWidth < 300 && element.classList.add("small");
    if (under && under !== url) {
      const below = h("img", { src: under, alt: "" });
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
    return h("figure", {}, h("a", { href: url, target: "_blank", rel: "noopener", title: "Open the file" }, stack),
      h("figcaption", {}, caption));
  }

  function boxOf(image, explanation) {
    if (!explanation.location || !image.size) return null;
    const [height, width] = image.size;
    const [x0, y0, x1, y1] = explanation.location.box;
    const element = h("span", { class: "box", title: "Around the highest peak of the map, down to half of it" });
    Object.assign(element.style, {
      left: `${(100 * x0) / width}%`, top: `${(100 * y0) / height}%`,
      width: `${(100 * (x1 - x0)) / width}%`, height: `${(100 * (y1 - y0)) / height}%`,
    });
    return element;
  }

  function rows(entries) {
    const table = h("table", {});
    for (const [key, value] of entries) {
      if (value !== null && value !== undefined) table.append(h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value)));
    }
    return table;
  }

  function figures(image) {
    const parts = [];
    for (const [place, one] of image.explanations.entries()) {
      const role = one.target.index === image.answer.index
        ? "the answer"
        : image.ground_truth && one.target.index === image.ground_truth.index ? "the true class" : "";
      parts.push(h("h3", {}, `Explained: ${withIndex(one.target)}, ${said(one.target)}${role ? `, ${role}` : ""}`));
      const list = h("div", { class: "figures" });
      const { original } = one.files;
      if (original && place === 0) {
        list.append(figure(original, one.location ? "Original; the frame: the map's peak" : "Original",
          { alt: "Original", box: boxOf(image, one) }));
      }
      for (const [key, url] of Object.entries(one.files)) {
        if (key === "original" || !url.endsWith(".png")) continue;
        const title = titleOf(key);
        const blank = one.blank.includes(key);
        list.append(figure(url, blank ? `${title}: blank, nothing to show` : title, { under: original, alt: title }));
      }
      parts.push(list);
    }
    for (const one of image.contrasts ?? []) {
      parts.push(h("h3", {}, `Why ${withIndex(one.positive)} rather than ${withIndex(one.negative)}`),
        h("div", { class: "figures wide" }, figure(one.file, "Red speaks for the first, blue for the second", { alt: "Contrast" })));
    }
    if (image.panel) {
      parts.push(h("h3", {}, "Panel"), h("div", { class: "figures wide" }, figure(image.panel, "", { alt: "Panel" })));
    }
    return parts;
  }

  function numbers(image) {
    const parts = [];
    if (image.status === "ok") {
      const bars = image.top5.map((score) => {
        const fill = h("i");
        fill.style.width = `${100 * (score.probability ?? 0)}%`;
        const truth = image.ground_truth && score.index === image.ground_truth.index ? " ← true class" : "";
        return h("li", {}, h("span", { class: "label" }, h("span", {}, withIndex(score) + truth),
          h("span", {}, said(score))), h("span", { class: "meter", "aria-hidden": "true" }, fill));
      });
      parts.push(h("section", {}, h("h3", {}, "Answers"), h("ol", { class: "top5" }, bars), rows([
        ["true class", image.ground_truth && `${withIndex(image.ground_truth)}, ${said(image.ground_truth)}`],
        ["loss", typeof image.loss === "number" ? number(image.loss) : null],
        ["margin", typeof image.margin === "number" ? number(image.margin) : null],
      ])));
      for (const one of image.explanations) {
        const entries = [["logit", number(one.target.logit)]];
        for (const [key, range] of Object.entries(one.ranges)) {
          entries.push([titleOf(key), `${range.map(number).join(" to ")}${one.blank.includes(key) ? ", blank" : ""}`]);
        }
        if (one.location) {
          const { border, corners, box } = one.location;
          entries.push(["at the border", `${percent(border)} of the map; its area 36%`]);
          entries.push(["in corners", `${corners.map(percent).join(", ")}; each area 4%`]);
          entries.push(["peak's box", `x ${box[0]} to ${box[2]}, y ${box[1]} to ${box[3]}`]);
        }
        for (const [key, found] of Object.entries(one.diagnostics)) {
          for (const [fact, value] of Object.entries(found)) {
            entries.push([`${titleOf(key)}: ${fact.replaceAll("_", " ")}`, number(value)]);
          }
        }
        parts.push(h("section", {}, h("h3", {}, `Numbers for ${nameOf(one.target)}`), rows(entries)));
      }
    }
    parts.push(h("section", {}, h("h3", {}, "File"), rows([
      ["path", image.path],
      ["size", image.size && `${image.size[1]} × ${image.size[0]} pixels`],
      ["SHA\u2011256", image.sha256 && h("code", {}, image.sha256)],
      ["time", typeof image.seconds === "number" ? `${number(image.seconds)} s` : null],
    ])));
    return parts;
  }

  function show(image) {
    shown = image;
    const place = order.indexOf(image);
    byId("large-title").replaceChildren(image.relative ?? image.path, " ", ...badges(image));
    byId("large-place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place >= order.length - 1;
    const body = byId("large-body");
    const inside = body.contains(document.activeElement);
    if (image.status === "ok") {
      const slider = h("input", { type: "range", min: 0, max: 100, step: 5, "aria-label": "How much of the maps lies over the original, in percent" });
      slider.addEventListener("input", () => { state.mix = slider.value; mixed(); writeAddress(); });
      body.replaceChildren(
        h("div", { class: "shown" }, h("div", { class: "mixing" }, "original", slider, "maps"), ...figures(image)),
        h("aside", {}, ...numbers(image)),
      );
    } else {
      body.replaceChildren(
        h("p", { class: "failure" }, h("strong", {}, "It failed: "), image.error),
        h("aside", {}, ...numbers(image)),
      );
    }
    body.scrollTop = 0;
    mixed();
    if (!dialog.open) {
      dialog.showModal();
      byId("large-title").focus();
    } else if (inside || document.activeElement === document.body || document.activeElement?.disabled) {
      byId("large-title").focus();
    }
    state.open = String(image.place);
    writeAddress();
  }

  function step(by) {
    const next = order[order.indexOf(shown) + by];
    if (shown && next) show(next);
  }

  dialog.addEventListener("close", () => {
    const last = shown;
    shown = null;
    state.open = "";
    writeAddress();
    byId("large-body").replaceChildren();
    const card = last && cards[last.place];
    if (card?.isConnected) {
      card.scrollIntoView({ block: "nearest" });
      card.querySelector("button").focus();
    } else byId("images-title").focus();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the ground around it
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => dialog.close());

  // --- events ---------------------------------------------------------------------------------

  byId("gallery").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-place]");
    if (button) show(images[button.dataset.place]);
  });
  byId("gallery").addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    const side = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    if (!card || !side || event.ctrlKey || event.metaKey || event.altKey || !card[side]) return;
    event.preventDefault();
    card[side].querySelector("button").focus();
  });
  document.addEventListener("click", (event) => {
    const pair = event.target.closest("button[data-truth]");
    if (pair) showPair(pair);
    const more = event.target.closest("button.show-more");
    if (more) {
      const items = byId(more.dataset.of).querySelectorAll(".more");
      for (const item of items) item.hidden = false;
      for (const canvas of byId(more.dataset.of).querySelectorAll("canvas")) paintPair(canvas);
      more.remove();
      items[0].querySelector("button").focus();
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault(); // the address holds the state
    goTo(link.getAttribute("href").slice(1));
  });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("chips").addEventListener("click", (event) => {
    const kind = event.target.closest("button")?.dataset.kind;
    if (!kind) return;
    const kinds = new Set(state.show ? state.show.split(",") : []);
    if (!kinds.delete(kind)) kinds.add(kind);
    set({ show: [...kinds].join(",") });
  });
  byId("map").addEventListener("change", () => {
    state.map = byId("map").value;
    redraw();
    writeAddress();
  });
  for (const key of ["predicted", "truth"]) {
    byId(key).addEventListener("change", () => set({ [key]: byId(key).value }));
  }
  byId("sort").addEventListener("change", () => set({ sort: byId("sort").value, down: "" }));
  byId("direction").addEventListener("click", () => set({ down: state.down ? "" : "1" }));
  byId("query").addEventListener("input", () => set({ q: byId("query").value }));
  byId("mix").addEventListener("input", () => { state.mix = byId("mix").value; mixed(); writeAddress(); });
  byId("clear").addEventListener("click", () => {
    set({ predicted: "", truth: "", show: "", q: "" });
    byId("query").focus();
  });
  window.addEventListener("hashchange", () => {
    readAddress();
    update();
    openAsked();
  });

  function openAsked() {
    if (state.open !== "") show(images[state.open]);
    else if (dialog.open) dialog.close();
  }

  fillTools();
  readAddress();
  update();
  openAsked();
  prepareMatrix();
  for (const canvas of document.querySelectorAll("canvas.scale")) paint(canvas, Uint8Array.from({ length: 256 }, (_, i) => i), 256, 1);
  for (const canvas of document.querySelectorAll("#pairs li:not([hidden]) canvas")) paintPair(canvas);
})();
