// Layers, mappings, windows and activations to choose; cells to point at. What is stored where comes from `Cells`.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const WINDOWS = "one window…", PLAYED = 350 /* ms a step */, MOST_ROWS = 600;
  // What is shown: a choice of a layer, one of its stages, a cycle of it, and a cell of its tile.
  const now = { layer: data.start, choice: 0, stage: null, number: 0, cycle: 0, step: null, tile: null, row: 0, column: 0 };
  const size = pair => pair.join("×");
  const whole = number => number.toLocaleString("en");

  const layer = () => data.layers[now.layer];
  const choices = () => data.choices[layer().choices];
  const choice = () => choices()[now.choice];
  const isPair = () => choice().stages.length > 1;

  function fill(select, options, value) {
    const groups = new Map();
    select.replaceChildren();
    for (const [group, text, key] of options) {
      if (group && !groups.has(group)) {
        const made = document.createElement("optgroup");
        made.label = group;
        groups.set(group, made);
        select.append(made);
      }
      (groups.get(group) ?? select).append(new Option(text, key, false, key === value));
    }
    select.value = value;
  }

  function showLayer(number) {
    now.layer = number;
    now.choice = layer().first;
    at("words").textContent = layer().words;
    at("layer").value = number;
    showChoice(now.choice);
  }

  function showChoice(number) {
    now.choice = number;
    const options = [], windows = [];
    choices().forEach((each, index) => {
      if (each.window) windows.push(["", each.window.replace("x", " × "), index]);
      else options.push([each.group, each.name, index]);
    });
    const chosen = choice().window ? "window" : number;
    if (windows.length) options.push(["dense layer", WINDOWS, "window"]);
    fill(at("mapping"), options, chosen);
    at("windows").hidden = chosen !== "window";
    if (chosen === "window") fill(at("window"), windows, number);
    at("stages").hidden = !isPair();
    fill(at("stage"), choice().stages.map((stage, index) => ["", stage.name, index]), 0);
    showStage(0);
  }

  function showStage(number) {
    const rule = choice().stages[number];
    now.number = number;
    now.stage = new Cells.Stage(rule, data.masks);
    now.row = now.column = 0;
    const words = [choice().says, choice().sums, rule.caption.join(" · ")];
    at("says").textContent = words.filter(Boolean).join("; ");
    at("pale").hidden = !rule.matrix;
    at("cycle").max = now.stage.cycles - 1;
    showCycle(0);
  }

  function showCycle(cycle) {
    const before = now.step;
    now.cycle = Math.max(0, Math.min(cycle, now.stage.cycles - 1));
    now.step = now.stage.step(now.cycle);
    const { region, number, activation, index } = now.step;
    // Windows go through the same tiles: the picture of one is made once.
    if (!now.tile || now.cycle === 0 || before.region !== region || before.number !== number) {
      now.tile = region.tile(number);
      now.picture = picture(region, now.tile);
    }
    now.row = Math.min(now.row, now.tile.rows.length - 1);
    now.column = Math.min(now.column, now.tile.columns.length - 1);
    at("cycle").value = now.cycle;
    at("first").disabled = at("back").disabled = now.cycle === 0;
    at("next").disabled = at("last").disabled = now.cycle === now.stage.cycles - 1;
    const place = region.origin(region.order(activation, 0));
    const words = [`activation ${whole(now.cycle + 1)} of ${whole(now.stage.cycles)}`];
    if (now.stage.regions.length > 1) words.push(`region ${index + 1} of ${now.stage.regions.length}`);
    words.push(`window ${whole(activation * region.slots + 1)} of ${whole(region.windows)} at (${place.join(", ")})`);
    if (region.slots > 1) words.push(`${region.slots} windows at once`);
    words.push(`array ${whole(number + 1)} of ${whole(region.stored.count)}`);
    at("step").textContent = words.join(" · ");
    at("cycle").setAttribute("aria-valuetext", words.join(", "));
    show();
  }

  // Colours.
  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = hex => [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));

  function colours(region) {
    const text = data.colours[region.rule.colours], all = [];
    for (let start = 0; start < text.length; start += 6) all.push(rgb("#" + text.slice(start, start + 6)));
    return all;
  }

  const pale = colour => colour.map(value => Math.round(value * 0.45 + 255 * 0.55));

  // The array as an image with a pixel for each cell.
  function picture(region, { rows, columns }) {
    const [height, width] = now.stage.array, image = new ImageData(width, height), pixels = image.data;
    const unused = rgb(style("--unused")), zero = rgb(style("--zero")), bright = colours(region);
    for (let cell = 0; cell < height * width; cell++) pixels.set([...unused, 255], 4 * cell);
    rows.forEach((row, r) => columns.forEach((column, c) => {
      let colour = zero;
      if (now.stage.weight(region, row, column) >= 0) {
        colour = bright[now.stage.copy(region, column)];
        if (now.stage.free(row, column)) colour = pale(colour);
      }
      pixels.set(colour, 4 * (r * width + c));
    }));
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  // A canvas of rows × columns cells as sharp as the screen; what a cell is wide, in its pixels.
  function prepare(canvas, rows, columns, tallest) {
    const across = canvas.parentElement.clientWidth, wide = Math.min(across, (tallest * columns) / rows);
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${(wide * rows) / columns}px`;
    canvas.width = Math.max(1, Math.round(wide * devicePixelRatio));
    canvas.height = Math.max(1, Math.round((wide * rows * devicePixelRatio) / columns));
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    return [pen, canvas.width / columns];
  }

  function frame(pen, cell, [y, x, tall, wide], colour, line) {
    pen.strokeStyle = colour;
    pen.lineWidth = line * devicePixelRatio;
    pen.strokeRect(x * cell, y * cell, wide * cell, tall * cell);
  }

  function drawArray() {
    const [height, width] = now.stage.array, [pen, cell] = prepare(at("array"), height, width, 620);
    pen.imageSmoothingEnabled = cell < 1;
    pen.drawImage(now.picture, 0, 0, width * cell, height * cell);
    if (cell >= 5 * devicePixelRatio) {
      pen.fillStyle = style("--grid");
      for (let c = 1; c < width; c++) pen.fillRect(c * cell, 0, 1, height * cell);
      for (let r = 1; r < height; r++) pen.fillRect(0, r * cell, width * cell, 1);
    }
    const line = style("--cursor"), { rows, columns } = now.tile;
    frame(pen, cell, [now.row, 0, 1, columns.length], line, 1);
    frame(pen, cell, [0, now.column, rows.length, 1], line, 1);
    const least = Math.max(1, (5 * devicePixelRatio) / cell); // else nobody sees it
    frame(pen, cell, [now.row, now.column, least, least], style("--ink"), 2.5);
    at("of-array").textContent = `array of ${size(now.stage.array)} cells: ${rows.length} rows driven, `
      + `${columns.length} columns read`;
  }

  function drawInput() {
    const { stage, step: { region, activation }, tile } = now, { padded, padding, input } = stage.shape;
    const [pen, cell] = prepare(at("input"), padded[0], padded[1], 300);
    const [channel, y, x] = stage.input(region, activation, tile.rows[now.row]);
    pen.fillStyle = style("--unused");
    pen.fillRect(0, 0, padded[1] * cell, padded[0] * cell);
    pen.fillStyle = style("--ground");
    pen.fillRect(padding[1] * cell, padding[0] * cell, input[1] * cell, input[0] * cell);
    pen.fillStyle = style("--accent");
    const mark = (v, u) => pen.fillRect((u + padding[1]) * cell, (v + padding[0]) * cell, Math.max(1, cell), Math.max(1, cell));
    for (const row of tile.rows) {
      const [other, v, u] = stage.input(region, activation, row);
      if (other === channel) mark(v, u);
    }
    pen.fillStyle = style("--cursor");
    mark(y, x);
    const least = Math.max(1, (5 * devicePixelRatio) / cell);
    frame(pen, cell, [y + padding[0], x + padding[1], least, least], style("--ink"), 2);
    const source = now.number ? "values of stage 1" : "feature map";
    at("of-input").textContent = `${source}, channel ${named("inputs", channel)}; coloured: inputs that `
      + "drive rows of this array";
  }

  function drawOutput() {
    const { stage, step: { region, activation, index }, tile } = now, of = stage.rule.matrix;
    const pixels = of?.gives === "pixels", plane = pixels ? of.plane : stage.shape.output;
    const [pen, cell] = prepare(at("output"), plane[0], plane[1], 300), block = pixels ? of.window : [1, 1];
    const fillPixel = (v, u) => pen.fillRect(u * cell, v * cell, Math.max(1, cell), Math.max(1, cell));
    pen.fillStyle = style("--zero");
    stage.regions.slice(0, index + 1).forEach((each, number) => {
      const last = number < index ? each.windows : activation * each.slots, [p, q] = each.spacing;
      for (let done = 0; done < last; done++) {
        const [v, u] = each.origin(done), [a, b] = each.rule.window;
        for (let i = 0; i < a * block[0]; i++) for (let j = 0; j < b * block[1]; j++) {
          fillPixel(v * block[0] + i * p, u * block[1] + j * q);
        }
      }
    });
    const all = colours(region), chosen = outputOf(tile.columns[now.column]);
    for (const column of tile.columns) {
      const placed = outputOf(column);
      if (placed.output[0] !== chosen.output[0] || !placed.there || !region.kept(activation, column)) continue;
      pen.fillStyle = `rgb(${all[stage.copy(region, column)]})`;
      fillPixel(placed.output[1], placed.output[2]);
    }
    if (chosen.there) {
      const least = Math.max(1, (5 * devicePixelRatio) / cell);
      frame(pen, cell, [chosen.output[1], chosen.output[2], least, least], style("--ink"), 2);
    }
    const result = isPair() && !now.number ? "values for stage 2" : "outputs";
    at("of-output").textContent = `${result}, channel ${named("outputs", chosen.output[0])}; coloured: what columns of `
      + "this array add to; shaded: windows before";
  }

  // What cells are, in words.
  const outputOf = column => {
    const { region, activation } = now.step;
    return now.stage.placed(now.stage.output(region, activation, column));
  };

  // The layer's own number of a channel: of what the first stage reads, and of what the last one gives.
  function named(side, channel) {
    const ends = side === "inputs" ? now.number === 0 : now.number === choice().stages.length - 1;
    const own = ends ? choice()[side] : undefined;
    return own?.[channel] ?? channel;
  }

  function inputInWords(row) {
    const { stage, step: { region, activation } } = now, place = stage.input(region, activation, row);
    const name = now.number ? "z" : "x", from = choice().from;
    let outside = stage.isPadding(place), [channel, y, x] = place;
    if (from && !now.number) {
      [y, x] = [y + from[0], x + from[1]];
      outside = y < 0 || x < 0 || y >= choice().whole[0] || x >= choice().whole[1];
    }
    return `${name}[${named("inputs", channel)}, ${y}, ${x}]${outside ? ", padding: zero" : ""}`;
  }

  function outputInWords(column) {
    const { region, activation } = now.step, { output: [channel, y, x], there } = outputOf(column);
    const last = now.number === choice().stages.length - 1, corner = (last && choice().corner) || [0, 0];
    const text = `${last ? "y" : "z"}[${named("outputs", channel)}, ${y + corner[0]}, ${x + corner[1]}]`;
    if (!there) return `${text}, beyond the plane: dropped`;
    return region.kept(activation, column) ? text : `${text}, which another window yields: not counted`;
  }

  function weightInWords(row, column) {
    const { stage, step: { region } } = now, { shape } = stage, index = stage.weight(region, row, column);
    if (index < 0) return "zero: this output does not read this input";
    const [kh, kw] = shape.kernel, inputs = shape.inputs / shape.groups;
    const parts = [Math.floor(index / (kw * kh * inputs)), Math.floor(index / (kw * kh)) % inputs, Math.floor(index / kw) % kh, index % kw];
    const name = isPair() ? ["R", "L"][now.number] : stage.rule.matrix ? "M" : "W";
    const text = `${name}[${parts.join(", ")}]`;
    if (!stage.rule.matrix) return text;
    const pixel = stage.pixelOf(column[0]), wide = stage.rule.matrix.window[1];
    const own = `${text}, for pixel (${Math.floor(pixel / wide)}, ${pixel % wide}) of the window`;
    return own + (stage.free(row, column) ? "; no copy of the kernel had it" : "; a copy of the kernel had it");
  }

  function tell() {
    const row = now.tile.rows[now.row], column = now.tile.columns[now.column];
    const lines = [
      ["cell", `row ${now.row}, column ${now.column}`],
      ["weight", weightInWords(row, column)],
      ["input", inputInWords(row)],
      ["output", outputInWords(column)],
    ];
    at("told").replaceChildren(...lines.flatMap(([what, text]) => {
      const name = document.createElement("dt"), value = document.createElement("dd"), strong = document.createElement("b");
      name.textContent = what;
      strong.textContent = text;
      value.append(strong);
      return [name, value];
    }));
  }

  function table(id, headers, lines) {
    const made = document.createElement("tbody");
    for (const cells of lines.slice(0, MOST_ROWS)) {
      const line = made.insertRow();
      for (const text of cells) line.insertCell().textContent = text;
    }
    const head = document.createElement("thead"), titles = head.insertRow();
    for (const text of headers) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = text;
      titles.append(cell);
    }
    at(id).replaceChildren(head, made);
    if (lines.length > MOST_ROWS) at(id).createCaption().textContent = `the first ${MOST_ROWS} of ${lines.length}`;
  }

  function tabulate() {
    if (!at("table").open) return;
    table("rows", ["row", "is driven by"], now.tile.rows.map((row, index) => [index, inputInWords(row)]));
    table("columns", ["column", "adds to"], now.tile.columns.map((column, index) => [index, outputInWords(column)]));
  }

  function show() {
    drawArray();
    drawInput();
    drawOutput();
    tell();
    tabulate();
  }

  function point(row, column) {
    now.row = Math.max(0, Math.min(row, now.tile.rows.length - 1));
    now.column = Math.max(0, Math.min(column, now.tile.columns.length - 1));
    drawArray();
    drawInput();
    drawOutput();
    tell();
  }

  // What people do.
  let playing = null;
  function stop() {
    clearInterval(playing);
    playing = null;
    at("play").setAttribute("aria-pressed", "false");
    at("play").textContent = "play";
  }
  function play() {
    if (playing) return stop();
    at("play").setAttribute("aria-pressed", "true");
    at("play").textContent = "pause";
    playing = setInterval(() => {
      if (now.cycle + 1 >= now.stage.cycles) return stop();
      showCycle(now.cycle + 1);
    }, PLAYED);
  }
  const go = cycle => { stop(); showCycle(cycle); };
  at("layer").addEventListener("change", event => { stop(); showLayer(Number(event.target.value)); });
  at("mapping").addEventListener("change", event => {
    stop();
    const { value } = event.target;
    showChoice(value === "window" ? choices().findIndex(each => each.window) : Number(value));
  });
  at("window").addEventListener("change", event => { stop(); showChoice(Number(event.target.value)); });
  at("stage").addEventListener("change", event => { stop(); showStage(Number(event.target.value)); });
  at("first").addEventListener("click", () => go(0));
  at("back").addEventListener("click", () => go(now.cycle - 1));
  at("next").addEventListener("click", () => go(now.cycle + 1));
  at("last").addEventListener("click", () => go(now.stage.cycles - 1));
  at("play").addEventListener("click", play);
  at("cycle").addEventListener("input", event => go(Number(event.target.value)));
  at("table").addEventListener("toggle", tabulate);
  at("array").addEventListener("keydown", event => {
    const far = event.shiftKey ? 10 : 1, { row, column } = now;
    const moves = {
      ArrowUp: () => point(row - far, column), ArrowDown: () => point(row + far, column),
      ArrowLeft: () => point(row, column - far), ArrowRight: () => point(row, column + far),
      Home: () => point(row, 0), End: () => point(row, Infinity),
      PageUp: () => go(now.cycle - 1), PageDown: () => go(now.cycle + 1),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  function pointed(event) {
    const box = at("array").getBoundingClientRect(), [height, width] = now.stage.array;
    point(Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width));
  }
  at("array").addEventListener("pointermove", pointed);
  at("array").addEventListener("pointerdown", pointed);
  const redraw = () => { now.picture = picture(now.step.region, now.tile); show(); };
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  fill(at("layer"), data.layers.map((each, index) => ["", each.name, index]), now.layer);
  showLayer(now.layer);
})();
