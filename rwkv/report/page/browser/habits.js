// Habits: answer buttons, hours, and lengths of intervals.

const BUTTON_COLOURS = ["#c8443c", "#d9962f", "#3f9d5a", "#2f6fde"];
const INTERVAL_COLOURS = { RWKV: "#2f6fde", "FSRS-6": "#e4762b", Anki: "#8b93a1" };
const LEAST_IN_HOUR = 10;

function drawHabits({ facts }) {
  if (!facts.past?.reviews) return;
  show("habits");
  drawButtons(facts.past);
  drawHours(facts.past);
  drawIntervals(facts.intervals);
}

function drawButtons({ buttons, mature_days: matureDays }) {
  document.getElementById("buttons-note").textContent =
    `Learning: the first review, or again on the same day. Mature: at least ${matureDays} days after the previous review; young: fewer.`;
  const kinds = Object.entries(buttons).filter(([, counts]) => counts.some(Boolean));
  const sums = kinds.map(([, counts]) => counts.reduce((a, b) => a + b, 0));
  const traces = RATING_NAMES.slice(1).map((name, rating) => ({
    type: "bar",
    x: kinds.map(([kind], i) => `${kind}<br>${shortNumber(sums[i])}`),
    y: kinds.map(([, counts], i) => counts[rating] / sums[i]),
    customdata: kinds.map(([, counts]) => counts[rating]),
    name,
    marker: { color: BUTTON_COLOURS[rating] },
    hovertemplate: `${name}: %{y:.1%}, %{customdata:,} answers<extra></extra>`,
  }));
  drawChart("buttons-chart", traces, {
    bargap: 0.25,
    margin: { l: 50, r: 14, t: 34, b: 44 },
    xaxis: axis({ showgrid: false }),
    yaxis: axis({ tickformat: ".0%", rangemode: "tozero", title: { text: "share of answers" } }),
  });
}

function drawHours({ hours }) {
  if (!hours) return say("hours-chart", "This dataset has no hours of reviews.");
  const x = hours.reviews.map((_, hour) => hour);
  const recalled = hours.counted.map((count, hour) => (count >= LEAST_IN_HOUR ? hours.recalled[hour] / count : null));
  const hasRecall = recalled.some((value) => value !== null);
  const traces = [
    {
      type: "bar",
      x,
      y: hours.reviews,
      name: "reviews",
      marker: { color: cssColour("line") },
      hovertemplate: "%{x}:00 to %{x}:59: %{y:,} reviews<extra></extra>",
    },
  ];
  if (hasRecall)
    traces.push({
      x,
      y: recalled,
      yaxis: "y2",
      name: "recalled (right)",
      mode: "lines+markers",
      connectgaps: true,
      line: { color: "#11a08a", width: 2 },
      hovertemplate: "%{x}:00 to %{x}:59: %{y:.1%} recalled<extra></extra>",
    });
  drawChart("hours-chart", traces, {
    bargap: 0.1,
    margin: { l: 50, r: 54, t: 34, b: 44 },
    xaxis: axis({ tickmode: "linear", tick0: 0, dtick: 6, range: [-0.6, 23.6], title: { text: "hour of the day" }, showgrid: false }),
    yaxis: axis({ rangemode: "tozero", title: { text: "reviews" }, tickformat: ",d" }),
    ...(hasRecall ? { yaxis2: recalledAxis(recalled) } : {}),
  });
}

function recalledAxis(recalled) {
  const low = Math.min(...recalled.filter((value) => value !== null));
  return axis({
    overlaying: "y",
    side: "right",
    showgrid: false,
    tickformat: ".0%",
    range: [Math.max(0, low - 0.1), 1.005],
    title: { text: "recalled" },
  });
}

function drawIntervals({ names, counts } = { names: [], counts: {} }) {
  const present = Object.entries(counts);
  if (!present.length) return say("intervals-chart", "No card has an interval yet.");
  drawChart(
    "intervals-chart",
    present.map(([name, values]) => ({
      type: "bar",
      x: names,
      y: values,
      name,
      marker: { color: INTERVAL_COLOURS[name] },
      hovertemplate: `%{x}: %{y:,} cards<extra>${name}</extra>`,
    })),
    {
      barmode: "group",
      bargap: 0.2,
      xaxis: axis({ type: "category", showgrid: false, title: { text: "days, months (mo) or years (y)" } }),
      yaxis: axis({ rangemode: "tozero", title: { text: "cards" }, tickformat: ",d" }),
    },
  );
}
