// Heatmaps in the colors of the run.

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

const paintScale = (canvas) => paint(canvas, Uint8Array.from({ length: 256 }, (_, i) => i), 256, 1);

/** Bilinear between the centers of the cells, in numbers and not in colors; times a factor. */
function enlarge(values, [height, width], side, factor = 1) {
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
      result[y * side + x] = Math.round(factor * (row(top) * (1 - down) + row(bottom) * down));
    }
  }
  return result;
}
