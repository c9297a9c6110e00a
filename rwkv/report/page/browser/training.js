// The loss curves of training runs.

const TRAINING_COLOURS = {
  loss: "#2f6fde",
  ahead: "#e4762b",
  imm: "#11a08a",
  learning_rate: "#8b93a1",
  gradient_norm: "#7a62d3",
};

function drawTraining({ facts }) {
  if (!facts.training.length) return;
  show("training");
  const frame = document.getElementById("training-charts");
  facts.training.forEach((run, i) => {
    if (!document.getElementById(`training-loss-${i}`)) {
      frame.append(
        element("h3", { textContent: run.name }),
        element(
          "div",
          { className: "halves" },
          element("div", { id: `training-loss-${i}`, className: "chart" }),
          element("div", { id: `training-rate-${i}`, className: "chart" }),
        ),
      );
    }
    plotRun(i, run.curves);
  });
}

function plotRun(i, curves) {
  const validations = Object.keys(curves).filter((name) => name.startsWith("validation_"));
  const losses = ["loss", "ahead", "imm"]
    .filter((name) => curves[name])
    .flatMap((name) => smoothed(name, curves[name]));
  const dots = validations.map((name, n) => ({
    x: curves[name].step,
    y: curves[name].value,
    name: plotText(name.replace("validation_", "val. ").replaceAll("_", " ")),
    mode: "lines+markers",
    line: { color: OTHER_COLOURS[n % OTHER_COLOURS.length], width: 1.5 },
    marker: { size: 8, symbol: "diamond" },
    hovertemplate: "%{y:.4f} at step %{x}<extra>%{fullData.name}</extra>",
  }));
  if (!losses.some((trace) => trace.y.length > 1) && !dots.length)
    return [`training-loss-${i}`, `training-rate-${i}`].forEach((id) => say(id, "The log has only one step."));
  drawChart(`training-loss-${i}`, [...losses, ...dots], {
    margin: { l: 50, r: 14, t: 60, b: 44 },
    xaxis: axis({ title: { text: "step" } }),
    yaxis: axis({ title: { text: "loss" } }),
  });
  const rate = curves.learning_rate,
    norm = curves.gradient_norm;
  const traces = rate
    ? [
        {
          x: rate.step,
          y: rate.value,
          name: "learning rate",
          mode: "lines",
          line: { color: cssColour("accent"), width: 2 },
        },
      ]
    : [];
  if (norm) traces.push({ ...smoothed("gradient_norm", norm)[1], name: "gradient norm (right)", yaxis: "y2" });
  drawChart(`training-rate-${i}`, traces, {
    margin: { l: 60, r: 56, t: 60, b: 44 },
    xaxis: axis({ title: { text: "step" } }),
    yaxis: axis({ rangemode: "tozero", exponentformat: "e", title: { text: "learning rate" } }),
    ...(norm
      ? { yaxis2: axis({ overlaying: "y", side: "right", showgrid: false, rangemode: "tozero", title: { text: "norm" } }) }
      : {}),
  });
}

// Single steps as a thin line, and their running mean as a thick one.
function smoothed(name, { step, value }) {
  const keep = 1 - 2 / (1 + Math.min(50, 1 + value.length / 10));
  let sum = 0,
    weight = 0;
  const mean = value.map((v) => {
    sum = keep * sum + v;
    weight = keep * weight + 1;
    return sum / weight;
  });
  const line = { color: TRAINING_COLOURS[name] },
    shared = {
      x: step,
      name,
      legendgroup: name,
      mode: "lines",
      hovertemplate: "%{y:.4f} at step %{x}<extra>%{fullData.name}</extra>",
    };
  return [
    {
      ...shared,
      y: value,
      line: { ...line, width: 1 },
      opacity: 0.3,
      showlegend: false,
      hoverinfo: "skip",
      hovertemplate: null,
    },
    { ...shared, y: mean, line: { ...line, width: 2.2 } },
  ];
}
