// Draws the page one section at a time, so that the first one appears at once.

function drawFrame({ facts }) {
  document.getElementById("title").textContent = facts.title;
  document.getElementById("subtitle").textContent = facts.subtitle;
  document.getElementById("notice").replaceChildren(...withCode(facts.notice ?? ""));
  document.getElementById("notice").hidden = !facts.notice;
  const list = element("dl");
  for (const [name, text] of facts.facts)
    list.append(element("dt", { textContent: name }), element("dd", {}, ...withCode(text)));
  document.getElementById("facts").replaceChildren(list);
}

function nextTask() {
  return new Promise((resolve) => setTimeout(resolve));
}

async function main() {
  applyTheme();
  const data = await readData();
  const sections = [drawFrame, drawOverview];
  if (data.facts.cards) sections.push(drawCard, drawMap);
  sections.push(drawAhead, drawPast, drawHabits, drawDecks);
  if (data.facts.cards) sections.push(drawCurves);
  if (data.facts.predicted) sections.push(drawCalibration);
  sections.push(drawComparison, drawTraining);
  for (const draw of sections) {
    draw(data);
    performance.mark(draw.name);
    await nextTask();
  }
  watchTheme(() => sections.forEach((draw) => draw(data)));
  performance.mark("all");
  document.documentElement.dataset.drawn = "all";
}

main();
