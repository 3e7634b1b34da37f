// What a browser with scripts does better; every page works without.
"use strict";

// Choosing all of a page, and counting what is chosen.
for (const form of document.querySelectorAll("form.listing")) {
  const boxes = [...form.querySelectorAll('tbody input[type="checkbox"]')];
  const head = form.querySelector("[data-all]");
  const told = form.querySelector("[data-chosen]");
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", head.dataset.all);
  head.prepend(all, " ");
  const count = () => {
    const n = boxes.filter((box) => box.checked).length;
    all.checked = n > 0 && n === boxes.length;
    all.indeterminate = n > 0 && n < boxes.length;
    const { none, one, many } = told.dataset;
    told.textContent = n === 0 ? none : n === 1 ? one : many.replace("#", n);
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    count();
  });
  form.addEventListener("change", count);
  window.addEventListener("pageshow", count);
  count();
}

// A date can be picked, and is then written as it would be typed.
for (const input of document.querySelectorAll("input[data-picker]")) {
  const picker = document.createElement("input");
  picker.type = "datetime-local";
  picker.tabIndex = -1;
  picker.setAttribute("aria-hidden", "true");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "…";
  button.setAttribute("aria-label", `${input.dataset.picker} (${input.labels[0].textContent.trim()})`);
  const pair = document.createElement("span");
  pair.className = "picked";
  input.replaceWith(pair);
  pair.append(input, button, picker);
  button.addEventListener("click", () => {
    const typed = input.value.match(/^(\d{4}-\d{2}-\d{2})(?:[ T](\d{1,2}):(\d{2}))?/);
    if (typed) picker.value = `${typed[1]}T${(typed[2] || "0").padStart(2, "0")}:${typed[3] || "00"}`;
    picker.showPicker();
  });
  picker.addEventListener("change", () => {
    input.value = picker.value.replace("T", " ");
  });
}

// A page about work in progress looks again by itself, but not while somebody is in a form.
const waiting = document.querySelector("[data-refresh]");
const lookAgain = () => {
  if (document.activeElement?.form) setTimeout(lookAgain, 1000);
  else location.reload();
};
if (waiting) setTimeout(lookAgain, 1000 * waiting.dataset.refresh);
