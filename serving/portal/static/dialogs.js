// The three questions the page asks, in one native dialog: confirm, why not, and details.

import { supplier } from "./company.js";
import { byId, el, fact } from "./dom.js";
import { badges, changeLine, priceLine, reasons, takeLabel, wayOf } from "./offers.js";

const MOST_AT_ONCE = 999;

export const DISMISSAL_REASONS = ["not_now", "irrelevant", "have_elsewhere", "too_expensive"];

/** Shows a question; gives the chosen button's value, or null when it was closed. */
function ask(texts, title, content, choices) {
  const dialog = byId("dialog");
  byId("toast").replaceChildren();
  return new Promise((answer) => {
    const finish = (value) => {
      dialog.onclose = null;
      dialog.close();
      answer(value);
    };
    const choose = ({ value, canFinish }) => (canFinish === undefined || canFinish()) && finish(value);
    const button = (choice) =>
      el(
        "button",
        { type: "button", class: choice.kind, "data-choice": choice.value, on: { click: () => choose(choice) } },
        choice.label,
      );
    dialog.replaceChildren(
      el(
        "div",
        { class: "dialog-head" },
        el("h2", { id: "dialog-title" }, title),
        el(
          "button",
          { type: "button", class: "close", "aria-label": texts.say("dialog.close"), on: { click: () => finish(null) } },
          "×",
        ),
      ),
      ...content.filter(Boolean),
      el("div", { class: "dialog-buttons" }, choices.map(button)),
    );
    dialog.onclose = () => finish(null);
    dialog.onclick = (event) => event.target === dialog && finish(null);
    dialog.showModal();
    dialog.querySelector("input, [data-choice]").focus();
  });
}

/** Price, provider and what changes, before anything does; how many more when confirmed, else null. */
export async function confirmTaking(view, item, texts) {
  const [amount] = texts.price(item.price, view.currency);
  const more = item.change === "expand" ? moreInput(item, texts) : null;
  const content = [
    el("p", { class: "dialog-lead" }, item.title),
    el(
      "dl",
      { class: "facts" },
      fact(texts.say("confirm.company"), view.client.name ?? view.client.client_id),
      fact(texts.say("confirm.provider"), supplier(item, texts)),
      fact(texts.say("confirm.price"), amount),
      item.price && fact(texts.say("confirm.period"), texts.say(`charged.${chargedOf(item.price)}`)),
      fact(texts.say("confirm.change"), changeLine(item, texts) ?? texts.name("change", item.change)),
    ),
    more?.field,
    el("p", { class: "note" }, texts.say(noteKey(item))),
  ];
  const choice = await ask(texts, texts.say(`confirm.title.${wayOf(item)}`), content, [
    { value: "confirm", label: takeLabel(item, texts), kind: "button primary", canFinish: more?.isValid },
    { value: "cancel", label: texts.say("confirm.no"), kind: "button" },
  ]);
  return choice === "confirm" ? (more?.count() ?? 1) : null;
}

/** When a price is charged: what is free never. */
const chargedOf = (price) => (price.amount_minor === 0 ? "never" : price.period);

function noteKey(item) {
  if (["retain", "request"].includes(wayOf(item))) return "confirm.note_call";
  return item.kind === "own" ? "confirm.note_own" : "confirm.note_partner";
}

/** Asks how many more, and says how many there will be. */
function moreInput(item, texts) {
  const total = el("span", { class: "muted", id: "more-total", "aria-live": "polite" });
  const input = el("input", {
    id: "more",
    type: "number",
    inputmode: "numeric",
    required: true,
    min: 1,
    max: MOST_AT_ONCE,
    step: 1,
    value: 1,
    "aria-describedby": "more-total",
    on: {
      input: () => tell(),
      keydown: (event) => event.key === "Enter" && byId("dialog").querySelector("[data-choice=confirm]").click(),
    },
  });
  const tell = () => {
    total.textContent = input.validity.valid
      ? texts.say("confirm.in_all", { count: texts.count("pieces", item.held.quantity + input.valueAsNumber) })
      : "";
  };
  tell();
  const field = el("p", { class: "more" }, el("label", { for: "more" }, texts.say("confirm.how_many")), input, total);
  return { field, count: () => input.valueAsNumber, isValid: () => input.reportValidity() };
}

/** Why the offer does not fit; null when the member thought better of it. */
export function askDismissalReason(item, texts) {
  const content = [el("p", { class: "dialog-lead" }, item.title), el("p", { class: "muted" }, texts.say("dismiss.lead"))];
  const choices = DISMISSAL_REASONS.map((reason) => ({
    value: reason,
    label: texts.say(`dismiss.${reason}`),
    kind: "button wide",
  }));
  return ask(texts, texts.say("dismiss.title"), content, choices);
}

/** The whole offer; "take" or "dismiss" when the member goes on from here. */
export function showDetails(view, item, texts) {
  const content = [
    el("p", { class: "badges" }, badges(item, texts)),
    priceLine(item.price, view.currency, texts),
    item.category ? el("p", { class: "muted" }, texts.name("category", item.category)) : null,
    item.change === "new" ? null : el("p", {}, changeLine(item, texts)),
    el("h3", { class: "dialog-sub" }, texts.say("offer.reasons")),
    reasons(item, texts),
    el("p", { class: "note" }, texts.say("details.note")),
  ];
  return ask(texts, item.title, content, [
    { value: "take", label: takeLabel(item, texts), kind: "button primary" },
    { value: "dismiss", label: texts.say("offer.dismiss"), kind: "button" },
  ]);
}
