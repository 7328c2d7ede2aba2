// What sits in every cell of every array, from the rule by which a matrix is stored (`report.mapper.rule`): nothing
// is listed. The names are those of `rankfold.mapping`; tests hold each tile against the library's own.
//
// A stored matrix is a diagonal of blocks, one for each group of the convolution and, where neighbouring pixels read
// no input in common, for each pixel of the window. Lines of a block are the inputs that its pixels read, ordered by
// (channel, y, x); its columns are its outputs, ordered by (output channel, pixel). Outlines say which lines meet
// which columns in which tile. Lines and columns that a cut leaves without a weight are dropped.
const Cells = (() => {
  "use strict";
  const divide = (a, b) => Math.floor(a / b);
  const up = (a, b) => Math.ceil(a / b);

  // A support as bits, one for each (input channel, kernel position), from hexadecimal digits.
  function bitsOf(digits, length) {
    const bits = new Uint8Array(length);
    for (let index = 0; index < length; index++) {
      bits[index] = (parseInt(digits[index >> 2], 16) >> (3 - (index & 3))) & 1;
    }
    return bits;
  }

  // Which kernel position an output pixel (v, u) lays on input (y, x) under the window; -1: none.
  function position(shape, stride, dilation, mask, channel, y, x, v, u) {
    const down = y - v * stride[0], right = x - u * stride[1];
    if (down < 0 || right < 0 || down % dilation[0] || right % dilation[1]) return -1;
    const ky = down / dilation[0], kx = right / dilation[1];
    if (ky >= shape.kernel[0] || kx >= shape.kernel[1]) return -1;
    const found = ky * shape.kernel[1] + kx;
    if (mask && !mask[channel * shape.kernel[0] * shape.kernel[1] + found]) return -1;
    return found;
  }

  // Cuts of (first, last), even ones by their step.
  function cuts(rule) {
    if (Array.isArray(rule[0])) return rule;
    const [start, stop, step] = rule, all = [];
    for (let first = start; first < stop; first += step) all.push([first, Math.min(first + step, stop)]);
    return all;
  }

  // Blocks laid end to end and cut into tiles, each filled as far as it goes (`mapping.strips.strip_pieces`).
  function strips(lengths, capacity, limit) {
    const tiles = [];
    let tile = [], free = capacity;
    lengths.forEach((length, block) => {
      let start = 0;
      while (start < length) {
        if (free === 0 || (start === 0 && tile.length === limit)) {
          tiles.push(tile);
          tile = [];
          free = capacity;
        }
        const stop = Math.min(length, start + free);
        tile.push([block, start, stop]);
        free -= stop - start;
        start = stop;
      }
    });
    if (tile.length) tiles.push(tile);
    return tiles;
  }

  // The tiles of an outline: how many, and the pieces [block, first, last] of lines and columns of each.
  function outlined(rule) {
    if (rule.blocks) {
      const rows = cuts(rule.rows), columns = cuts(rule.columns), each = rows.length * columns.length;
      return {
        count: (rule.blocks[1] - rule.blocks[0]) * each,
        pieces(number) {
          const block = rule.blocks[0] + divide(number, each);
          const row = rows[divide(number % each, columns.length)], column = columns[number % columns.length];
          return [[[block, ...row]], [[block, ...column]]];
        },
      };
    }
    const heights = rule.heights.flatMap(([height, times]) => Array(times).fill(height));
    const [left, right] = rule.columns, top = rule.start;
    const lengths = rule.sideways ? heights.map(() => right - left) : heights;
    const tiles = strips(lengths, rule.capacity, rule.limit);
    return {
      count: tiles.length,
      pieces(number) {
        const rows = [], columns = [];
        for (const [block, first, last] of tiles[number]) {
          if (rule.sideways) {
            rows.push([block, top, top + heights[block]]);
            columns.push([block, left + first, left + last]);
          } else {
            rows.push([block, top + first, top + last]);
            columns.push([block, left, right]);
          }
        }
        return [rows, columns];
      },
    };
  }

  class Stored {
    constructor(shape, rule, masks) {
      this.shape = shape;
      this.rule = rule;
      this.inputs = shape.inputs / shape.groups; // input channels of a group
      this.outputs = shape.outputs / shape.groups;
      const positions = shape.kernel[0] * shape.kernel[1];
      this.mask = rule.mask === undefined ? null : bitsOf(masks[rule.mask], shape.inputs * positions);
      this.pixels = rule.part[0] * rule.part[1]; // of a block
      this.outlines = rule.outlines.map(outlined);
      this.count = this.outlines.reduce((sum, outline) => sum + outline.count, 0);
      this.blocks = this.allBlocks();
      this.known = new Map();
    }

    allBlocks() {
      const { window, part, slots } = this.rule, blocks = [];
      const groups = this.rule.groups ?? [...Array(this.shape.groups).keys()];
      for (const group of groups)
        for (let y = 0; y < window[0]; y += part[0])
          for (let x = 0; x < window[1]; x += part[1]) blocks.push([group, y, x]);
      return Array(slots).fill(blocks).flat();
    }

    // All lines [channel in its group, y, x] of a block that the outline's pixels read.
    lines(outline, group) {
      const key = `${outline} ${this.mask ? group : 0}`;
      if (!this.known.has(key)) this.known.set(key, this.findLines(outline, group));
      return this.known.get(key);
    }

    findLines(outline, group) {
      const { rule, shape } = this;
      const [kh, kw] = shape.kernel, [s, t] = rule.stride, [d, e] = rule.dilation;
      const tall = (rule.part[0] - 1) * s + (kh - 1) * d + 1, wide = (rule.part[1] - 1) * t + (kw - 1) * e + 1;
      const pixels = rule.outlines[outline].pixels ?? [...Array(this.pixels).keys()];
      const lines = [];
      for (let channel = rule.channels[0]; channel < rule.channels[1]; channel++) {
        const read = new Uint8Array(tall * wide);
        for (let k = 0; k < kh * kw; k++) {
          if (this.mask && !this.mask[(group * this.inputs + channel) * kh * kw + k]) continue;
          const below = divide(k, kw) * d, beside = (k % kw) * e;
          for (const p of pixels) {
            read[(divide(p, rule.part[1]) * s + below) * wide + (p % rule.part[1]) * t + beside] = 1;
          }
        }
        for (let y = 0; y < tall; y++) for (let x = 0; x < wide; x++) if (read[y * wide + x]) lines.push([channel, y, x]);
      }
      // Rows that overflow are taken from an edge of the window: ordered by place, then by channel.
      if (rule.axis === 0) lines.sort((a, b) => a[1] - b[1] || a[2] - b[2] || a[0] - b[0]);
      if (rule.axis === 1) lines.sort((a, b) => a[2] - b[2] || a[1] - b[1] || a[0] - b[0]);
      return lines;
    }

    // Tile of that number: rows [channel, y, x, slot] and columns [output channel, y, x, slot] under the window.
    tile(number) {
      let outline = 0;
      while (number >= this.outlines[outline].count) number -= this.outlines[outline++].count;
      const [strip, across] = this.outlines[outline].pieces(number);
      const rows = [], columns = [];
      strip.forEach((piece, index) => this.join(outline, piece, across[index], rows, columns));
      return { rows, columns };
    }

    // Add the lines and columns of a piece that hold a weight.
    join(outline, [block, first, last], [, left, right], rows, columns) {
      const { rule } = this, [group, top, beside] = this.blocks[block], slot = rule.slots > 1 ? block : 0;
      const lines = this.lines(outline, group).slice(first, last);
      const any = new Uint8Array(this.pixels); // pixels that read any of the lines
      const there = new Uint8Array(this.pixels); // pixels of the piece's columns
      for (let column = left; column < Math.min(right, left + this.pixels); column++) there[column % this.pixels] = 1;
      for (const [inGroup, y, x] of lines) {
        const channel = group * this.inputs + inGroup;
        let used = false;
        for (let pixel = 0; pixel < this.pixels; pixel++) {
          const v = divide(pixel, rule.part[1]), u = pixel % rule.part[1];
          if (position(this.shape, rule.stride, rule.dilation, this.mask, channel, y, x, v, u) < 0) continue;
          any[pixel] = 1;
          used ||= there[pixel] === 1;
        }
        if (used) rows.push([channel, y + top * rule.stride[0], x + beside * rule.stride[1], slot]);
      }
      for (let column = left; column < right; column++) {
        const pixel = column % this.pixels;
        if (!any[pixel]) continue;
        const output = group * this.outputs + rule.outputs[0] + divide(column, this.pixels);
        columns.push([output, divide(pixel, rule.part[1]) + top, (pixel % rule.part[1]) + beside, slot]);
      }
    }
  }

  class Region {
    constructor(stage, rule) {
      this.stage = stage;
      this.rule = rule;
      this.stored = stage.stored[rule.stored];
      const [height, width] = rule.size, [a, b] = rule.window;
      this.across = up(width, b);
      this.windows = up(height, a) * this.across;
      this.slots = this.stored.rule.slots;
      this.activations = up(this.windows, this.slots);
      this.cycles = this.activations * this.stored.count;
      this.spacing = rule.phase ? rule.spacing : [1, 1];
    }

    // The tile with rows and columns in inputs and pixels of the layer, where it is one of interleaved convolutions.
    tile(number) {
      const tile = this.stored.tile(number);
      if (!this.rule.phase) return tile;
      const { stride } = this.stage.shape, dense = this.stored.rule.stride, [p, q] = this.spacing;
      const y = (stride[0] * p) / dense[0], x = (stride[1] * q) / dense[1];
      return {
        rows: tile.rows.map(([channel, down, right, slot]) => [channel, down * y, right * x, slot]),
        columns: tile.columns.map(([channel, down, right, slot]) => [channel, down * p, right * q, slot]),
      };
    }

    // The number of a window among those of the region; an activation may have a slot more than there are windows.
    order(activation, slot) { return activation * this.slots + slot; }

    // First output pixel of a window.
    origin(number) {
      const at = Math.min(number, this.windows - 1);
      return [this.start(0, divide(at, this.across)), this.start(1, at % this.across)];
    }

    start(axis, number) {
      const { size, window, origin, phase } = this.rule;
      // The last window is moved back where it would reach beyond.
      const start = Math.min(number * window[axis], size[axis] - window[axis]) + origin[axis];
      return phase ? start * this.spacing[axis] + phase[axis] : start;
    }

    // Whether a window yields its output pixel (y, x), or an earlier window did.
    kept(activation, [, y, x, slot]) {
      const number = this.order(activation, slot);
      if (number >= this.windows) return false;
      return this.fresh(0, divide(number, this.across), y) && this.fresh(1, number % this.across, x);
    }

    fresh(axis, number, pixel) {
      const { size, window } = this.rule, wanted = number * window[axis];
      return Math.min(wanted, size[axis] - window[axis]) + pixel / this.spacing[axis] >= wanted;
    }
  }

  class Stage {
    constructor(rule, masks) {
      this.rule = rule;
      this.shape = rule.shape;
      this.array = rule.array;
      this.stored = rule.stored.map(each => new Stored(rule.shape, each, masks));
      this.regions = rule.regions.map(each => new Region(this, each));
      this.cycles = this.regions.reduce((sum, region) => sum + region.cycles, 0);
    }

    // Which region, activation of its tiles, and tile a cycle is.
    step(cycle) {
      let index = 0;
      while (cycle >= this.regions[index].cycles) cycle -= this.regions[index++].cycles;
      const region = this.regions[index];
      return { index, region, activation: divide(cycle, region.stored.count), number: cycle % region.stored.count };
    }

    // The weight in a cell, as its number in (m, C_in/G, kh, kw); -1: zero.
    weight(region, row, column) {
      const { shape } = this, positions = shape.kernel[0] * shape.kernel[1];
      const inputs = shape.inputs / shape.groups, outputs = shape.outputs / shape.groups;
      if (divide(row[0], inputs) !== divide(column[0], outputs) || row[3] !== column[3]) return -1;
      const { mask } = region.stored;
      const at = position(shape, shape.stride, shape.dilation, mask, row[0], row[1], row[2], column[1], column[2]);
      return at < 0 ? -1 : (column[0] * inputs + (row[0] % inputs)) * positions + at;
    }

    // The input [channel, y, x] of the feature map that drives a row; beyond its edges, it is padding.
    input(region, activation, [channel, y, x, slot]) {
      const { stride, padding } = this.shape, [v, u] = region.origin(region.order(activation, slot));
      return [channel, v * stride[0] + y - padding[0], u * stride[1] + x - padding[1]];
    }

    isPadding([, y, x]) {
      const [height, width] = this.shape.input;
      return y < 0 || x < 0 || y >= height || x >= width;
    }

    // The output [channel, y, x] that a column adds to.
    output(region, activation, [channel, y, x, slot]) {
      const [v, u] = region.origin(region.order(activation, slot));
      return [channel, v + y, u + x];
    }

    // Of a window layer: which output of the layer [channel, y, x] an output of its matrix is, which of its pixels,
    // and whether that is on the plane; else the output as it is.
    placed([channel, y, x]) {
      const of = this.rule.matrix;
      if (!of || of.gives === "values") return { output: [channel, y, x], pixel: this.pixelOf(channel), there: true };
      const [a, b] = of.window, outputs = of.outputs / of.groups, pixel = this.pixelOf(channel);
      const group = divide(channel, a * b * outputs);
      const place = [y * a + divide(pixel, b), x * b + (pixel % b)];
      const there = place[0] < of.plane[0] && place[1] < of.plane[1];
      return { output: [group * outputs + (channel % outputs), ...place], pixel, there };
    }

    // The pixel of a window that an output of a window layer's matrix is, or that a value of a pair would serve.
    pixelOf(channel) {
      const of = this.rule.matrix;
      if (!of) return 0;
      const pixels = of.window[0] * of.window[1];
      if (of.gives === "values") return divide((channel % of.rank) * pixels, of.rank);
      return divide(channel, of.outputs / of.groups) % pixels;
    }

    // Of a window layer: whether a cell holds a weight that no copy of the layer's kernel had.
    free(row, column) {
      const of = this.rule.matrix;
      if (!of) return false;
      const pixel = this.pixelOf(column[0]);
      if (of.takes === "values") {
        return divide((row[0] % of.rank) * of.window[0] * of.window[1], of.rank) !== pixel;
      }
      const v = divide(pixel, of.window[1]), u = pixel % of.window[1];
      return position(of, of.stride, of.dilation, null, 0, row[1], row[2], v, u) < 0;
    }

    // Which copy of the kernel, counted by pixels of the window, the weights of a column are of.
    copy(region, column) {
      if (this.rule.matrix) return this.pixelOf(column[0]);
      const [p, q] = region.spacing;
      return divide(column[1], p) * region.rule.window[1] + divide(column[2], q);
    }
  }

  return { Stage };
})();
