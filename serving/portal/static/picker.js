// Which company the page shows: a few examples, and a search over all of them.

import { findClients } from "./api.js";
import { standing } from "./company.js";
import { byId, el } from "./dom.js";

const PAUSE_MS = 180;

/** The chips of the examples; the current one is marked. */
export function showExamples(examples, currentId, texts, onPick) {
  byId("examples").replaceChildren(
    ...examples.map((example) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: "chip",
            "data-client": example.client_id,
            "aria-pressed": String(example.client_id === currentId),
            on: { click: () => onPick(example.client_id) },
          },
          el("span", { class: "chip-name" }, example.is_known ? (example.name ?? example.client_id) : texts.say(standing(example))),
          el("span", { class: "chip-hint" }, hint(example, texts)),
        ),
      ),
    ),
  );
}

function hint(client, texts) {
  const parts = [
    client.is_vip ? texts.say("client.vip") : null,
    texts.name("stage", client.stage),
    texts.count("services", client.n_holdings),
  ];
  return client.is_known ? parts.filter(Boolean).join(" · ") : texts.say(`${standing(client)}_hint`);
}

/** Search as you type, with the keyboard of a list box. */
export class Search {
  constructor(onPick, say) {
    this.input = byId("search");
    this.list = byId("found");
    this.onPick = onPick;
    this.say = say;
    this.active = -1;
    this.asked = 0;
    this.input.addEventListener("input", () => this.#later());
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("blur", () => this.close());
  }

  close() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.list.hidden = true;
    this.active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  #later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#search(), PAUSE_MS);
  }

  async #search() {
    const text = this.input.value.trim();
    if (!text) return this.close();
    this.asked += 1;
    const mine = this.asked;
    const found = await findClients(text).catch(() => null);
    if (mine !== this.asked || found === null) return undefined;
    return this.#show(found.clients);
  }

  #show(clients) {
    const texts = this.say();
    this.active = -1;
    this.list.replaceChildren(
      ...clients.map((client, place) =>
        el(
          "li",
          {
            id: `found-${place}`,
            role: "option",
            "aria-selected": "false",
            "data-client": client.client_id,
            // The list closes when the input loses focus, so the choice must come before.
            on: { mousedown: (event) => (event.preventDefault(), this.#pick(client.client_id)) },
          },
          el("span", { class: "found-name" }, client.name ?? client.client_id),
          el("span", { class: "muted small" }, hint(client, texts)),
        ),
      ),
    );
    if (clients.length === 0) this.list.replaceChildren(el("li", { class: "muted" }, texts.say("search.none")));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
  }

  #key(event) {
    const options = [...this.list.querySelectorAll("[role=option]")];
    if (event.key === "Escape") {
      this.close();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && options.length > 0) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.active = (this.active + step + options.length) % options.length;
      this.#mark(options);
    } else if (event.key === "Enter" && options.length > 0 && !this.list.hidden) {
      event.preventDefault();
      this.#pick(options[Math.max(this.active, 0)].dataset.client);
    }
  }

  #mark(options) {
    options.forEach((option, place) => option.setAttribute("aria-selected", String(place === this.active)));
    this.input.setAttribute("aria-activedescendant", options[this.active].id);
    options[this.active].scrollIntoView({ block: "nearest" });
  }

  #pick(clientId) {
    this.close();
    this.input.value = "";
    this.onPick(clientId);
  }
}
