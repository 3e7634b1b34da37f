"use strict";
// The index of a disc: everything is in memory, and nothing comes from a network. The files
// messages-0001.js and so on hand over their messages by mail6m.push.

const [DATE, SENDER, ENVELOPE, RECIPIENTS, ALSO_TO, SUBJECT, SIZE, NAME, SPAM] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const ROWS = 100;
const messages = [];
window.mail6m = { push(some) { for (const one of some) messages.push(one); } };

const $ = (id) => document.getElementById(id);
const WORDS = {
  fr: { none: "(sans objet)", nobody: "(expéditeur nul)", found: (n) => `${n} message${n < 2 ? "" : "s"}`, date: "Écrivez la date comme 2005-07-01 9:30, ou 2005-07-01.", page: (n, of) => `Page ${n} sur ${of}`, other: "English", otherLang: "en", units: ["octets", "Ko", "Mo"] },
  en: { none: "(no subject)", nobody: "(null sender)", found: (n) => `${n} message${n === 1 ? "" : "s"}`, date: "Write the date as 2005-07-01 9:30, or 2005-07-01.", page: (n, of) => `Page ${n} of ${of}`, other: "Français", otherLang: "fr", units: ["bytes", "KB", "MB"] },
};
let language = (navigator.language || "fr").toLowerCase().startsWith("fr") ? "fr" : "en";
let found = messages;
let page = 0;
let order = { column: DATE, ascending: false };
let folded = null;

const LETTERS = { "œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ß": "ss" };

// Without case, accents and ligatures, as the console has it.
function fold(text) {
  const bare = /^[\0-\x7f]*$/.test(text)
    ? text.toLowerCase()
    : text.normalize("NFKD").toLowerCase().normalize("NFKD").replace(/[\p{Mn}\p{Me}\p{Cf}]/gu, "")
        .replace(/[œæøłđðþıß]/g, (letter) => LETTERS[letter]);
  return bare.replace(/\s+/g, " ").trim();
}

// Each message's sender, recipients and subject as they are searched; made at the first search.
function texts() {
  if (folded === null) {
    folded = new Map(messages.map((one) => [one, [
      fold(one[SENDER] + "\n" + one[ENVELOPE]),
      fold(one[RECIPIENTS] + "\n" + one[ALSO_TO]),
      fold(one[SUBJECT]),
    ]]));
  }
  return folded;
}

// "2005-07-01 9:30" as dates are in the list; null for what is none.
function readDate(typed) {
  const match = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2})(?:[:h](\d{1,2})(?::(\d{1,2}))?)?)?$/.exec(typed.trim());
  if (match === null) return null;
  const [year, month, day, hour, minute, second] = match.slice(1).map((part) => Number(part || 0));
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const two = (number) => String(number).padStart(2, "0");
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) return null;
  return `${year}-${two(month)}-${two(day)} ${two(hour)}:${two(minute)}:${two(second)}`;
}

function search() {
  const dates = ["since", "until"].map((id) => {
    const typed = $(id).value;
    const date = typed.trim() === "" ? "" : readDate(typed);
    $(id).setAttribute("aria-invalid", date === null ? "true" : "false");
    return date;
  });
  if (dates.includes(null)) {
    $("said").textContent = WORDS[language].date;
    return;
  }
  const [since, until] = dates;
  const terms = ["sender", "recipient", "subject"].map((id) => fold($(id).value));
  if (terms.every((term) => term === "")) {
    found = messages;
  } else {
    const all = texts();
    found = messages.filter((one) => all.get(one).every((text, at) => text.includes(terms[at])));
  }
  if (since !== "") found = found.filter((one) => one[DATE] >= since);
  if (until !== "") found = found.filter((one) => one[DATE] < until);
  arrange();
}

function arrange() {
  const { column, ascending } = order;
  const sign = ascending ? 1 : -1;
  if (column === SIZE) {
    found = found.slice().sort((a, b) => sign * (a[SIZE] - b[SIZE]));
  } else {
    const keys = new Map(found.map((one) => [one, column === DATE ? one[DATE] : fold(one[column])]));
    found = found.slice().sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return x < y ? -sign : x > y ? sign : 0;
    });
  }
  page = 0;
  show();
}

function size(octets) {
  const units = WORDS[language].units;
  const power = octets < 999.5 ? 0 : octets < 999500 ? 1 : 2;
  const number = octets / 1000 ** power;
  return `${number.toLocaleString(language, { maximumFractionDigits: power && number < 100 ? 1 : 0 })} ${units[power]}`;
}

function cell(row, kind, text) {
  const made = row.insertCell();
  made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show() {
  const words = WORDS[language];
  const rows = document.createElement("tbody");
  rows.id = "rows";
  for (const one of found.slice(page * ROWS, (page + 1) * ROWS)) {
    const row = rows.insertRow();
    cell(row, "date", one[DATE]);
    cell(row, "sender", one[SENDER] || words.nobody);
    const link = document.createElement("a");
    const folder = one[DATE].slice(0, 10).split("-").join("/");
    link.href = `messages/${folder}/${encodeURIComponent(one[NAME])}`;
    link.textContent = one[SUBJECT] || words.none;
    cell(row, "subject").append(link, one[SPAM] ? " (spam)" : "");
    cell(row, "recipient", one[RECIPIENTS]);
    cell(row, "size", size(one[SIZE]));
  }
  $("rows").replaceWith(rows);
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  $("page").textContent = words.page(page + 1, pages);
  $("before").disabled = page === 0;
  $("after").disabled = page + 1 >= pages;
  $("said").textContent = words.found(found.length);
}

function speak() {
  document.documentElement.lang = language;
  for (const one of document.querySelectorAll("[data-fr]")) one.textContent = one.dataset[language];
  const { other, otherLang } = WORDS[language];
  $("language").textContent = other;
  $("language").lang = otherLang;
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("search").addEventListener("reset", () => { setTimeout(search); });
  $("before").addEventListener("click", () => { page -= 1; show(); });
  $("after").addEventListener("click", () => { page += 1; show(); });
  $("language").addEventListener("click", () => { language = WORDS[language].otherLang; speak(); });
  for (const button of document.querySelectorAll("[data-column]")) {
    button.addEventListener("click", () => {
      const column = Number(button.dataset.column);
      order = { column, ascending: order.column === column ? !order.ascending : column !== DATE };
      for (const heading of document.querySelectorAll("th")) heading.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
      arrange();
    });
  }
  arrange();
  speak();
});
