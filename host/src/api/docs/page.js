// Draws /openapi.json. What stands in it may come from plugins that nobody knows, so it only ever becomes text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
// Schemas are opened as far as somebody opens them, and no further than this.
const DEPTH_MAX = 12;
const ENUM_MAX = 40;

let api;
let token = "";

const by = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Text in which `backticks` mean code. */
function prose(text) {
  return String(text ?? "").split("`").map((part, at) => (at % 2 ? make("code", null, part) : part));
}

/** What a reference leads to, if that is within the document. */
function resolve(value) {
  for (let step = 0; value && typeof value.$ref === "string" && step < 10; step++) {
    if (!value.$ref.startsWith("#/")) return value;
    const names = value.$ref.slice(2).split("/").map((name) => decodeURIComponent(name).replace(/~1/g, "/").replace(/~0/g, "~"));
    const { $ref, ...own } = value;
    const target = names.reduce((at, name) => (at !== null && typeof at === "object" && Object.hasOwn(at, name) ? at[name] : undefined), api);
    value = target && typeof target === "object" ? { ...target, ...own } : target;
  }
  return value ?? {};
}

function nameOf(schema) {
  return typeof schema?.$ref === "string" ? schema.$ref.split("/").pop() : "";
}

/** A schema in a few words. */
function typeOf(schema) {
  if (schema === true || schema === undefined) return "anything";
  if (schema === false) return "nothing";
  const known = resolve(schema);
  const either = known.oneOf ?? known.anyOf;
  if (either && !known.properties) return nameOf(schema) || [...new Set(either.map(typeOf))].join(" or ");
  if (known.const !== undefined) return JSON.stringify(known.const);
  if (known.enum) return known.enum.slice(0, ENUM_MAX).map((one) => JSON.stringify(one)).join(" | ") + (known.enum.length > ENUM_MAX ? " | …" : "");
  const types = [known.type ?? (known.properties ? "object" : "anything")].flat();
  const words = types.map((type) => (type === "array" ? `list of ${known.items ? typeOf(known.items) : "anything"}` : type));
  const limits = [
    known.format, known.pattern && `like ${known.pattern}`,
    known.minimum !== undefined && `≥ ${known.minimum}`, known.exclusiveMinimum !== undefined && `> ${known.exclusiveMinimum}`,
    known.maximum !== undefined && `≤ ${known.maximum}`, known.exclusiveMaximum !== undefined && `< ${known.exclusiveMaximum}`,
    known.minLength !== undefined && `length ≥ ${known.minLength}`, known.maxLength !== undefined && `length ≤ ${known.maxLength}`,
    known.minItems !== undefined && `items ≥ ${known.minItems}`, known.maxItems !== undefined && `items ≤ ${known.maxItems}`,
    known.default !== undefined && `default ${JSON.stringify(known.default)}`,
  ];
  const name = types[0] === "object" && nameOf(schema);
  return [name || words.join(" or "), ...limits.filter(Boolean)].join(", ");
}

/** The parts of a schema that have members of their own. */
function parts(schema) {
  const known = resolve(schema);
  const inner = [known.allOf, known.oneOf, known.anyOf].filter(Array.isArray).flat();
  const own = known.properties ? [known] : [];
  const items = known.items && typeof known.items === "object" ? parts(known.items) : [];
  return [...own, ...inner.flatMap(parts), ...items];
}

function schemaOf(schema, label, depth = 0, open = false) {
  const objects = parts(schema);
  const about = resolve(schema).description;
  if (!objects.length || depth >= DEPTH_MAX) {
    return make("div", null, label ? `${label}: ` : "", make("span", { class: "type" }, typeOf(schema)), about ? make("p", null, prose(about)) : "");
  }
  const details = make("details", { class: "schema" }, make("summary", null, label ? `${label}: ` : "", make("span", { class: "type" }, typeOf(schema))));
  const fill = () => {
    if (details.dataset.filled) return;
    details.dataset.filled = "yes";
    if (about) details.append(make("p", null, prose(about)));
    for (const known of objects) details.append(membersOf(known, depth));
  };
  details.addEventListener("toggle", fill);
  if (open) {
    details.open = true;
    fill();
  }
  return details;
}

function membersOf(known, depth) {
  const list = make("dl");
  for (const [name, schema] of Object.entries(known.properties ?? {})) {
    const must = (known.required ?? []).includes(name);
    const nested = parts(schema).length > 0;
    const about = nested ? "" : resolve(schema).description;
    list.append(
      make("dt", null, make("code", null, name), must ? make("span", { class: "must" }, " required") : ""),
      make("dd", null, nested ? schemaOf(schema, "", depth + 1) : make("span", { class: "type" }, typeOf(schema)), about ? make("p", null, prose(about)) : ""),
    );
  }
  return list;
}

/** A text as one word of a shell. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A command line that sends such a request. */
function curl(path, method, operation, example) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const given = Object.entries(example?.parameters ?? {});
  const required = parameters.filter((one) => one.in === "query" && one.required && !given.some(([name]) => name === one.name));
  const query = [...given, ...required.map((one) => [one.name, one.name.toUpperCase()])]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join("&");
  const words = ["curl"];
  if (method !== "get" && method !== "post") words.push("-X", method.toUpperCase());
  if (token) words.push("-H", `"Authorization: Bearer $TOKEN"`);
  const content = operation.requestBody?.content ?? {};
  const isJson = "application/json" in content;
  words.push(quoted(location.origin + filled + (query ? `?${query}` : "")));
  if (isJson) {
    const body = example && "input" in example ? example.input : Object.values(content["application/json"].examples ?? {})[0]?.value;
    words.push("-d", quoted(JSON.stringify(body ?? {})));
  } else if (Object.keys(content).length) {
    words.push("--data-binary", "@FILE");
  } else if (method === "post") {
    words.push("-X", "POST");
  }
  if ((operation.tags ?? []).includes("events") && method === "get") words.splice(1, 0, "-N");
  return words.join(" ");
}

function commandOf(text) {
  const code = make("pre", null, text);
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Only pages that came over TLS or from this machine may; others select it, and whoever reads copies.
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return make("div", { class: "command" }, code, button);
}

function parametersOf(operation) {
  const list = make("dl");
  for (const one of (operation.parameters ?? []).map(resolve)) {
    list.append(
      make("dt", null, make("code", null, one.name), one.required ? make("span", { class: "must" }, " required") : "", make("span", { class: "in" }, one.in)),
      make("dd", null, make("span", { class: "type" }, typeOf(one.schema)), make("p", null, prose(one.description))),
    );
  }
  return list.children.length ? [make("h3", null, "Parameters"), list] : [];
}

function contentOf(content, open) {
  return Object.entries(content ?? {}).map(([type, { schema }]) =>
    schema ? schemaOf(schema, type, 0, open) : make("div", null, make("code", null, type), type === "*/*" ? " any bytes" : ""));
}

function bodyOf(operation) {
  const body = operation.requestBody;
  return body ? [make("h3", null, "Body"), make("p", null, prose(body.description)), contentOf(body.content, true)].flat() : [];
}

/** What lines and events hold, where a body is many of them. */
function streamOf(operation) {
  const schemas = { ...operation["x-lines"], ...operation["x-events"] };
  const label = (name) => (operation["x-lines"] ? `each line of the ${name}` : `event ${name}`);
  const shown = Object.entries(schemas).map(([name, schema]) => schemaOf(schema, label(name)));
  return shown.length ? [make("h3", null, operation["x-lines"] ? "Lines" : "Events"), ...shown] : [];
}

function answersOf(operation) {
  const shown = Object.entries(operation.responses ?? {}).map(([status, reference]) => {
    const answer = resolve(reference);
    const fields = Object.entries(answer.headers ?? {}).map(([name, field]) => [make("dt", null, make("code", null, name)), make("dd", null, prose(resolve(field).description))]);
    return make("details", { class: "answer" },
      make("summary", null, make("span", { class: "status" }, status), " ", prose(answer.description)),
      make("div", { class: "inside" }, contentOf(answer.content), fields.length ? make("dl", null, fields.flat()) : ""));
  });
  return [make("h3", null, "Answers"), ...shown];
}

function examplesOf(path, method, operation) {
  const examples = operation["x-examples"] ?? [];
  const commands = examples.map((example) => [make("p", null, example.title), commandOf(curl(path, method, operation, example))]);
  return [make("h3", null, "curl"), ...(commands.length ? commands.flat() : [commandOf(curl(path, method, operation))])];
}

function scopeOf(operation) {
  const needed = (operation.security ?? []).find((one) => one.bearer)?.bearer ?? [];
  return operation.security?.length === 0 ? "Open to all." : needed.length ? `Where tokens are asked for, needs the scope \`${needed.join(", ")}\`.` : "";
}

function operationOf({ path, method, operation }) {
  const details = make("details", { class: "operation", id: operation.operationId },
    make("summary", null, make("span", { class: `method ${method}` }, method.toUpperCase()), make("span", { class: "path" }, path), make("span", { class: "what" }, prose(operation.summary))));
  // Drawn when it is opened: a host may have hundreds of kinds.
  details.addEventListener("toggle", () => {
    if (details.querySelector(".inside")) return;
    details.append(make("div", { class: "inside" },
      String(operation.description ?? "").split("\n\n").filter(Boolean).map((text) => make("p", null, prose(text))),
      make("p", { class: "about" }, prose(scopeOf(operation))),
      examplesOf(path, method, operation), parametersOf(operation), bodyOf(operation), streamOf(operation), answersOf(operation)));
  });
  return details;
}

/** The operations, in groups: the kinds, then by tag. */
function groups() {
  const all = Object.entries(api.paths ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
  const kinds = all.filter((one) => one.operation["x-kind"]);
  const tags = (api.tags ?? []).map(({ name, description }) => ({
    name, description, operations: all.filter((one) => !one.operation["x-kind"] && one.operation.tags?.includes(name)),
  }));
  const about = "Each with what it reads and gives; dropped files appear here by themselves.";
  return [...tags.slice(0, 1), { name: "this host's kinds", description: about, operations: kinds }, ...tags.slice(1)].filter((group) => group.operations.length);
}

function draw() {
  by("version").textContent = `${api.info?.version ?? ""} API`;
  const main = by("main");
  const contents = by("contents");
  main.replaceChildren(make("p", null, prose(api.info?.description)));
  contents.replaceChildren();
  for (const { name, description, operations } of groups()) {
    const title = name[0].toUpperCase() + name.slice(1);
    main.append(make("section", null, make("h2", null, title), make("p", { class: "about" }, prose(description)), operations.map(operationOf)));
    const links = operations.map(({ method, path, operation }) => make("a", { href: `#${operation.operationId}` }, operation["x-kind"] ?? `${method.toUpperCase()} ${path}`));
    contents.append(make("div", null, make("h2", null, title), links));
  }
  by("search").disabled = false;
  by("search").addEventListener("input", find);
  addEventListener("hashchange", goTo);
  goTo();
}

/** Opens what the address names. */
function goTo() {
  const named = by(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches(".operation")) {
    named.open = true;
    named.scrollIntoView();
  }
}

/** Leaves what holds every word. */
function find() {
  const words = by("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("main > section")) {
    const operations = [...section.querySelectorAll(".operation")];
    for (const one of operations) {
      const text = one.querySelector("summary").textContent.toLowerCase();
      one.hidden = !words.every((word) => text.includes(word));
    }
    section.hidden = operations.every((one) => one.hidden);
  }
}

async function load() {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch("/openapi.json", { headers });
  by("door").hidden = answer.ok;
  by("waiting")?.remove();
  if (answer.ok) {
    api = await answer.json();
    draw();
  } else if (token || answer.status !== 401) {
    const problem = await answer.json().catch(() => ({}));
    by("refusal").textContent = problem.detail ?? `the host answered ${answer.status}`;
  }
}

function tell(error) {
  by("main").replaceChildren(make("p", null, `The document could not be read: ${error.message}. Reload to try again.`));
}

by("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = by("token").value.trim();
  load().catch(tell);
});
load().catch(tell);
