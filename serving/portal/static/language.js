// The language of the page: which one, its texts, and how it writes numbers, money and days.

export const LANGUAGES = ["ru", "en"];
const LOCALES = { ru: "ru-RU", en: "en-GB" };

/** The language the address asks for, else the browser's, else Russian. */
export function languageOfAddress() {
  const asked = new URLSearchParams(location.search).get("lang");
  if (LANGUAGES.includes(asked)) return asked;
  return navigator.language.startsWith("ru") || !navigator.language ? "ru" : "en";
}

/** Texts and formats of one language. */
export class Texts {
  constructor(language, entries) {
    this.language = language;
    this.entries = entries;
    this.locale = LOCALES[language];
    this.plurals = new Intl.PluralRules(this.locale);
  }

  static async load(language) {
    const response = await fetch(`static/${language}.json`);
    if (!response.ok) throw new Error(`no texts for ${language}`);
    return new Texts(language, await response.json());
  }

  /** The text of a key, its {names} filled in; a missing key shows itself. */
  say(key, values = {}) {
    const text = this.entries[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  }

  /** The text of a code such as a size class; an unknown code is shown as it is, a missing one is null. */
  name(family, code) {
    if (code === null || code === undefined) return null;
    return this.entries[`${family}.${code}`] ?? String(code);
  }

  /** "5 предложений": the plural form of a counted thing. */
  count(key, n) {
    return this.say(`${key}.${this.plurals.select(n)}`, { n: this.number(n) });
  }

  number(value) {
    return new Intl.NumberFormat(this.locale).format(value);
  }

  /** A probability 0–1 in per cent; small ones keep digits. */
  percent(value) {
    const digits = value < 0.01 ? 2 : value < 0.1 ? 1 : 0;
    return new Intl.NumberFormat(this.locale, {
      style: "percent",
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }).format(value);
  }

  day(iso) {
    return this.#date(iso, { day: "numeric", month: "long", year: "numeric" });
  }

  month(iso) {
    return this.#date(iso, { month: "long", year: "numeric" }).replace(/\sг\.$/, "");
  }

  /** A bare day is the same day everywhere; an instant is told in the reader's time. */
  #date(iso, form) {
    const zone = iso.includes("T") ? {} : { timeZone: "UTC" };
    return new Intl.DateTimeFormat(this.locale, { ...form, ...zone }).format(new Date(iso));
  }

  moment(iso) {
    return new Intl.DateTimeFormat(this.locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
  }

  /** An amount of traffic, in gigabytes from one on. */
  data(megabytes) {
    const [value, unit] = megabytes < 1024 ? [megabytes, "megabyte"] : [megabytes / 1024, "gigabyte"];
    return new Intl.NumberFormat(this.locale, { style: "unit", unit, maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
  }

  /** A factor or a priority, with two digits. */
  factor(value) {
    return new Intl.NumberFormat(this.locale, { maximumSignificantDigits: 2 }).format(value);
  }

  money(amountMinor, currency) {
    const digits = amountMinor % 100 === 0 ? 0 : 2;
    if (!currency) return this.number(amountMinor / 100);
    return new Intl.NumberFormat(this.locale, {
      style: "currency",
      currency,
      currencyDisplay: this.language === "ru" ? "symbol" : "code",
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }).format(amountMinor / 100);
  }

  /** A price in two parts, amount and period: ["12 500 ₽", "в месяц"]. */
  price(price, currency) {
    if (price === null) return [this.say("price.on_request"), ""];
    if (price.amount_minor === 0) return [this.say("price.free"), ""];
    return [this.money(price.amount_minor, currency), this.say(`period.${price.period}`)];
  }
}
