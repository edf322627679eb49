// What is known of the company: its profile with the profiling switch, and its connected services.

import { byId, el, fact, icon } from "./dom.js";

// What an operator's people say of a client among themselves; the demo's own bar may tell it.
const INTERNAL_STAGES = new Set(["at_risk", "dormant", "churned"]);

/** The text that says what a company is of which nothing is known now. */
export const standing = (client) => (client.is_former ? "client.former" : "client.unknown");

/** The profile card. */
export function companyCard(view, texts, { onProfiling }) {
  const { client } = view;
  return el(
    "section",
    { class: "panel company", "aria-labelledby": "company-name" },
    el(
      "div",
      { class: "company-head" },
      el("span", { class: "company-mark" }, icon("company")),
      el(
        "div",
        {},
        el("h1", { id: "company-name", class: "company-name" }, client.name ?? client.client_id),
        el("p", { class: "muted" }, client.is_known ? texts.name("legal_form", client.legal_form) : texts.say(standing(client))),
      ),
    ),
    statusLine(client, texts),
    client.is_known
      ? profile(view, texts, onProfiling)
      : el("p", { class: "muted" }, texts.say(`${standing(client)}_note`)),
  );
}

function statusLine(client, texts) {
  const badges = [];
  if (client.is_vip) badges.push(el("span", { class: "badge badge-vip" }, icon("star"), texts.say("client.vip")));
  if (client.stage && !INTERNAL_STAGES.has(client.stage)) {
    badges.push(el("span", { class: `badge badge-stage stage-${client.stage}` }, texts.name("stage", client.stage)));
  }
  return badges.length > 0 ? el("p", { class: "badges" }, badges) : null;
}

/** Folded up at first where room is scarce, so that the offers are near; it stays as the member left it. */
const isUnfolded = (id) => byId(id)?.open ?? matchMedia("(min-width: 901px)").matches;

function profile(view, texts, onProfiling) {
  const { client } = view;
  return el(
    "details",
    { id: "profile", class: "profile", open: isUnfolded("profile") },
    el("summary", {}, texts.say("client.profile")),
    el("div", { class: "profile-body" }, facts(view, texts), profilingSwitch(client, texts, onProfiling)),
  );
}

function facts(view, texts) {
  const { client } = view;
  const staff = client.n_employees === null ? null : texts.count("people", client.n_employees);
  const size = [texts.name("size", client.size), staff].filter(Boolean).join(" · ");
  return el(
    "dl",
    { class: "facts" },
    fact(texts.say("client.size"), size),
    fact(texts.say("client.industry"), texts.name("industry", client.industry)),
    fact(texts.say("client.region"), texts.name("region", client.region)),
    fact(texts.say("client.since"), client.client_since_on && tenure(client, texts)),
    fact(texts.say("client.points"), texts.count("points", client.loyalty_points)),
    monthFacts(view, texts),
  );
}

/** The latest month: SIM cards in aggregate, spend and data. */
function monthFacts({ month, currency }, texts) {
  if (month === null) return [];
  const groups = ["employees", "field", "devices"].filter((group) => month[`n_sims_${group}`] > 0);
  const sims = groups.map((group) => texts.say(`sims.${group}`, { n: texts.number(month[`n_sims_${group}`]) }));
  const spend = month.spend_minor === null ? null : texts.money(Math.round(month.spend_minor / 100) * 100, currency);
  const data = month.data_megabytes === null ? null : texts.data(month.data_megabytes);
  const when = el("span", { class: "muted small when" }, texts.month(month.month_on));
  return [
    fact(texts.say("client.sims"), sims.join(", ") || texts.say("sims.none")),
    spend && fact(texts.say("client.spend"), [spend, when]),
    fact(texts.say("client.data"), data),
  ];
}

function tenure(client, texts) {
  const months = client.n_tenure_months;
  const long = months < 24 ? texts.count("months", months) : texts.count("years", Math.floor(months / 12));
  return `${texts.day(client.client_since_on)} (${long})`;
}

function profilingSwitch(client, texts, onProfiling) {
  const isOn = client.is_profiling_allowed;
  return el(
    "div",
    { class: "switch-row" },
    el(
      "button",
      {
        type: "button",
        id: "profiling",
        role: "switch",
        class: "switch",
        "aria-checked": String(isOn),
        "aria-describedby": "profiling-note",
        on: { click: () => onProfiling(!isOn) },
      },
      el("span", { class: "switch-track", "aria-hidden": "true" }),
      texts.say("profiling.label"),
    ),
    el("p", { id: "profiling-note", class: "muted small" }, texts.say(isOn ? "profiling.on" : "profiling.off")),
  );
}

/** The connected services, newest first. */
export function serviceList(view, texts) {
  const { holdings } = view;
  return el(
    "details",
    { id: "service-fold", class: "service-fold", open: isUnfolded("service-fold") },
    el(
      "summary",
      {},
      el("h2", { class: "panel-title" }, texts.say("services.title")),
      el("span", { class: "counter" }, texts.number(holdings.length)),
    ),
    holdings.length > 0 ? serviceRows(holdings, texts) : el("p", { class: "muted" }, texts.say("services.none")),
  );
}

function serviceRows(holdings, texts) {
  const rows = holdings.map((holding) =>
    el(
      "li",
      { class: "service", "data-offer": holding.offer_id },
      el("span", { class: "service-title" }, holding.title),
      el(
        "span",
        { class: "muted small" },
        texts.say("services.since", { day: texts.day(holding.connected_at) }),
        holding.term_ends_on ? texts.say("services.until", { day: texts.day(holding.term_ends_on) }) : "",
        holding.quantity > 1 ? ` · ${texts.count("pieces", holding.quantity)}` : "",
        holding.kind === "own" ? "" : ` · ${provider(holding, texts)}`,
      ),
    ),
  );
  return el("ul", { class: "service-list" }, rows);
}

/** The badge of an offer: whose it is. */
export function provider(thing, texts) {
  if (thing.kind === "own") return texts.say("kind.own");
  if (!thing.supplier) return texts.say(`kind.${thing.kind}`);
  return texts.say(`kind.${thing.kind}_named`, { supplier: texts.name("supplier", thing.supplier) });
}

/** Who provides an offer, by name where it is known. */
export function supplier(thing, texts) {
  const code = thing.kind === "own" ? "operator" : thing.supplier;
  return code ? texts.name("supplier", code) : texts.say(`kind.${thing.kind}`);
}
