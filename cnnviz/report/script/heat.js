// Heatmaps in the colors of the run.

function bytes(text) {
  const characters = atob(text);
  const found = new Uint8Array(characters.length);
  for (let i = 0; i < found.length; i += 1) found[i] = characters.charCodeAt(i);
  return found;
}

const scale = bytes(data.scale);
/** Of each byte its color as the four bytes of a pixel, in one number. */
const colors = new Uint32Array(256);
for (let i = 0; i < 256; i += 1) {
  new Uint8Array(colors.buffer, 4 * i, 4).set([...scale.subarray(3 * i, 3 * i + 3), 255]);
}

function paint(canvas, values, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const pixel = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < values.length; i += 1) pixel[i] = colors[values[i]];
  context.putImageData(pixels, 0, 0);
}

const paintScale = (canvas) => paint(canvas, Uint8Array.from({ length: 256 }, (_, i) => i), 256, 1);

/** Bilinear between the centers of the cells, in numbers and not in colors; times a factor. */
function enlarge(values, [height, width], side, factor = 1) {
  const along = (length) => Array.from({ length: side }, (_, i) => {
    const at = Math.min(length - 1, Math.max(0, ((i + 0.5) / side) * length - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(length - 1, low + 1), at - low];
  });
  const broad = new Float64Array(height * side);
  for (const [x, [left, right, across]] of along(width).entries()) {
    for (let row = 0; row < height; row += 1) {
      broad[row * side + x] = values[row * width + left] * (1 - across) + values[row * width + right] * across;
    }
  }
  const result = new Uint8Array(side * side);
  for (const [y, [top, bottom, down]] of along(height).entries()) {
    for (let x = 0; x < side; x += 1) {
      const value = broad[top * side + x] * (1 - down) + broad[bottom * side + x] * down;
      result[y * side + x] = Math.round(factor * value);
    }
  }
  return result;
}
