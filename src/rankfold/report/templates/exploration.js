// Bands on the axes of the upper panel, and a box in the lower one, choose points: both at once where both are drawn.
const page = document.getElementById("front");
const rows = [...document.querySelectorAll("#points tbody tr")];
const all = rows.map((_, point) => point);
let boxed = null;

// Plotly keeps a band in `constraintrange`, one interval or several.
const within = (axis, value) => {
  const bands = axis.constraintrange;
  if (!bands) { return true; }
  const each = Array.isArray(bands[0]) ? bands : [bands];
  return each.some(([low, high]) => low <= value && value <= high);
};

const show = () => {
  const axes = page.data[0].dimensions;
  const chosen = all.filter((point) => axes.every((axis) => within(axis, axis.values[point]))
    && (boxed === null || boxed.has(point)));
  const left = new Set(chosen);
  rows.forEach((row, point) => { row.hidden = !left.has(point); });
  document.getElementById("left").textContent = chosen.length.toLocaleString("en");
  Plotly.restyle(page, { selectedpoints: [chosen.length === all.length ? null : chosen] }, [2]);
};

page.on("plotly_restyle", ([, traces]) => {
  // To choose points restyles the lower panel, which is no brush.
  if (traces.includes(0)) { show(); }
});
page.on("plotly_selected", (chosen) => {
  // The front is the third trace; what is drawn in grey is in no table.
  boxed = chosen ? new Set(chosen.points.filter((one) => one.curveNumber === 2).map((one) => one.pointIndex)) : null;
  show();
});
page.on("plotly_deselect", () => { boxed = null; show(); });
