// Judges HTML by html-validate: a page a line in (JSON: a string), its faults a line out (JSON: a
// list of strings). One process for all pages, since starting it takes longer than judging them.
import { createInterface } from "node:readline";
import { HtmlValidate } from "html-validate";

const validator = new HtmlValidate({
  root: true,
  extends: ["html-validate:recommended"],
  // Fields of one list share their name, as HTML means it: boxes, and ids that are sent along. The
  // rule can be told so of boxes alone.
  rules: { "form-dup-name": ["error", { shared: ["radio", "checkbox", "button", "submit"] }] },
});
const isOfAList = (fault, line) => fault.ruleId === "form-dup-name" && line.includes('type="hidden"');
// What is under way is followed without JavaScript, too: that is asked for, and only there it is so.
const isForTheScriptless = (fault, line) => fault.ruleId === "meta-refresh" && line.startsWith("<noscript>");

for await (const line of createInterface({ input: process.stdin })) {
  const html = JSON.parse(line);
  const lines = html.split("\n").map((one) => one.trim());
  const report = await validator.validateString(html);
  const faults = report.results
    .flatMap((result) => result.messages)
    .filter((fault) => !isOfAList(fault, lines[fault.line - 1]))
    .filter((fault) => !isForTheScriptless(fault, lines[fault.line - 1]))
    .map((fault) => `${fault.ruleId}: ${fault.message} (${fault.line}: ${lines[fault.line - 1]})`);
  process.stdout.write(`${JSON.stringify(faults)}\n`);
}
