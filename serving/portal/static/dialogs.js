// The three questions the page asks, in one native dialog: confirm, why not, and details.

import { provider } from "./company.js";
import { byId, el } from "./dom.js";
import { badges, priceLine, reasons } from "./offers.js";

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
    const button = ({ value, label, kind }) =>
      el("button", { type: "button", class: kind, "data-choice": value, on: { click: () => finish(value) } }, label);
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
    dialog.querySelector("[data-choice]").focus();
  });
}

/** Price, provider and period before anything is connected; true when confirmed. */
export async function confirmConnection(view, item, texts) {
  const [amount, period] = texts.price(item.price, view.currency);
  const row = (key, value) => el("div", {}, el("dt", {}, texts.say(key)), el("dd", {}, value));
  const content = [
    el("p", { class: "dialog-lead" }, item.title),
    el(
      "dl",
      { class: "facts" },
      row("confirm.company", view.client.name ?? view.client.client_id),
      row("confirm.provider", provider(item, texts)),
      row("confirm.price", amount),
      row("confirm.period", period || texts.say("confirm.no_period")),
      row("confirm.change", texts.name("change", item.change)),
    ),
    el("p", { class: "note" }, texts.say(item.kind === "own" ? "confirm.note_own" : "confirm.note_partner")),
  ];
  const choice = await ask(texts, texts.say("confirm.title"), content, [
    { value: "confirm", label: texts.say("confirm.yes"), kind: "button primary" },
    { value: "cancel", label: texts.say("confirm.no"), kind: "button" },
  ]);
  return choice === "confirm";
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

/** The whole offer; "connect" or "dismiss" when the member goes on from here. */
export function showDetails(view, item, texts) {
  const content = [
    el("p", { class: "badges" }, badges(item, texts)),
    priceLine(item.price, view.currency, texts),
    item.category ? el("p", { class: "muted" }, texts.name("category", item.category)) : null,
    el("h3", { class: "dialog-sub" }, texts.say("offer.reasons")),
    reasons(item, texts),
    el("p", { class: "note" }, texts.say("details.note")),
  ];
  return ask(texts, item.title, content, [
    { value: "connect", label: texts.say("offer.connect"), kind: "button primary" },
    { value: "dismiss", label: texts.say("offer.dismiss"), kind: "button" },
  ]);
}
