// Judges HTML by html-validate: a page a line in (JSON: a string), its faults a line out (JSON: a
// list of strings). One process for all pages, since starting it takes longer than judging them.
import { createInterface } from "node:readline";
import { HtmlValidate } from "html-validate";

const validator = new HtmlValidate({
  root: true,
  extends: ["html-validate:recommended"],
  // Boxes of one list share their name, as HTML means it; the rule knows it of radio buttons alone.
  rules: { "form-dup-name": ["error", { shared: ["radio", "checkbox", "button", "submit"] }] },
});

for await (const line of createInterface({ input: process.stdin })) {
  const html = JSON.parse(line);
  const report = await validator.validateString(html);
  const lines = html.split("\n");
  const faults = report.results
    .flatMap((result) => result.messages)
    .map((it) => `${it.ruleId}: ${it.message} (line ${it.line}: ${lines[it.line - 1].trim()})`);
  process.stdout.write(`${JSON.stringify(faults)}\n`);
}
